"""What every readout must do; a new one is tested the moment its file exists."""

import numpy as np
import pytest
import torch
from test_pools import N, network

from v1builder.readout import READOUTS, AnyReadout, Asked
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError

KINDS = pytest.mark.parametrize("kind", READOUTS)
WINDOWS = (slice(10, 20), slice(40, 60))


class Table(Settings):
    readout: AnyReadout


def settings_of(kind, **options):
    return parse_settings({"readout": {"kind": kind, **options}}, Table, "experiment").readout


def make(kind, asked=None, seed=0, **options):
    asked = asked or Asked(3, WINDOWS, 60, 1.0)
    return settings_of(kind, radius_um="all", **options).make(network(), asked, seed)


def some_spikes(seed=0, dtype=torch.float32):
    uniform = torch.rand(4, 60, N, generator=torch.Generator().manual_seed(seed))
    return (uniform < 0.1).to(dtype)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_answers_every_window_in_the_networks_dtype(kind, dtype):
    output = make(kind)(some_spikes(dtype=dtype))
    assert output.shape == (4, 2, 3)
    assert output.dtype == dtype
    assert output.isfinite().all()


@KINDS
def test_trials_are_answered_one_by_one(kind):
    readout, spikes = make(kind), some_spikes()
    whole = readout(spikes)
    parts = torch.cat([readout(trial[None]) for trial in spikes])
    assert torch.allclose(whole, parts, atol=1e-6)


@KINDS
def test_it_reads_the_selected_cells_and_no_time_after_the_windows(kind):
    spikes = some_spikes().requires_grad_()
    make(kind, populations=("e5IT",))(spikes).square().sum().backward()
    assert spikes.grad is not None
    _, step, cell = torch.nonzero(spikes.grad, as_tuple=True)
    names = network().cells.attributes["pop_name"][cell.numpy()]
    assert set(names) == {"e5IT"}
    assert step.max() < WINDOWS[-1].stop
    first = torch.zeros(1, 60, N).requires_grad_()
    make(kind)(first)[:, 0].sum().backward()
    assert first.grad is not None
    assert torch.nonzero(first.grad)[:, 1].max() < WINDOWS[0].stop


@KINDS
def test_it_can_be_learned_and_stored(kind):
    readout, spikes = make(kind, seed=1), some_spikes()
    readout(spikes).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in readout.parameters())
    other = make(kind, seed=2)
    assert not torch.equal(other(spikes), readout(spikes))
    other.load_state_dict(readout.state_dict())
    assert torch.equal(other(spikes), readout(spikes))
    assert torch.equal(make(kind, seed=1)(spikes), readout(spikes))


@KINDS
def test_values_in_every_step_are_given_or_refused(kind):
    asked = Asked(2, (slice(0, 60),), 60, 1.0, per_step=True)
    try:
        readout = make(kind, asked)
    except ConfigError as error:
        assert "every step" in str(error)  # noqa: PT017
        return
    spikes = some_spikes()
    output = readout(spikes)
    assert output.shape == (4, 60, 2)
    later = spikes.clone()
    later[:, 30:] = 0
    assert torch.equal(readout(later)[:, :30], output[:, :30])


@KINDS
def test_a_wrong_table_is_explained(kind):
    with pytest.raises(ConfigError, match="did you mean 'populations'"):
        settings_of(kind, population=["e5IT"])
    with pytest.raises(ConfigError, match=f"did you mean '{kind}'"):
        settings_of(f"{kind}x")


def test_pools_unless_it_says_otherwise():
    assert parse_settings({"readout": {}}, Table, "experiment").readout.kind == "pools"


def test_a_linear_readout_is_linear_in_filtered_spikes():
    tau, dt = 15.0, 0.5
    readout = make("linear", Asked(2, (slice(20, 30),), 60, dt), tau_ms=tau, populations=("e5*",))
    spikes = some_spikes(3, torch.float64)
    trace, kept = np.zeros((4, N)), []
    for t in range(60):
        trace = np.exp(-dt / tau) * trace + spikes[:, t].numpy()
        kept.append(trace)
    mean = np.mean(kept[20:30], axis=0)[:, readout.cells.numpy()]
    weight, bias = (p.detach().double().numpy() for p in (readout.weight, readout.bias))
    expected = mean @ weight.T + bias
    assert np.allclose(readout(spikes)[:, 0].detach().numpy(), expected, atol=1e-5)
