"""What every objective must do; a new one is tested the moment its file exists."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from columns import N_E, N_I, network, seen, setting

from v1builder.objectives import OBJECTIVES, AnyObjective
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError

EVERY = pytest.mark.parametrize("kind", OBJECTIVES)
N = N_E + N_I


class Table(Settings):
    objective: tuple[AnyObjective, ...] = ()


def settings_of(kind, **options):
    values = {"objective": [{"kind": kind, **options}]}
    return parse_settings(values, Table, "experiment.toml").objective[0]


def batch(task, seed=0, rate=0.02, n_trials=16):
    """Spikes with a common gain that changes every 20 ms, and weights and voltages to go with them."""
    rng = np.random.default_rng(seed)
    gain = np.repeat(rng.gamma(1, 1, (n_trials, -(-task.n_steps // 20))), 20, axis=1)
    rate = rate * gain[:, : task.n_steps, None]
    trials = task.draw(n_trials, "train", torch.Generator().manual_seed(seed))
    spikes = torch.from_numpy((rng.random((n_trials, task.n_steps, N)) < rate).astype(np.float64))
    drive = torch.from_numpy(rng.normal(0, 30, spikes.shape))
    known = torch.as_tensor(network().edges["v1_to_v1"].weight)
    weights = known * torch.from_numpy(rng.uniform(0.5, 1.5, len(known)))
    return {"spikes": spikes, "condition": trials.condition, "drive": drive, "weights": weights}


def run(objective, batches, seed=0):
    return [objective(seen(**b, seed=seed + k)).item() for k, b in enumerate(batches)]


@EVERY
def test_its_table_is_read_written_and_explained(kind):
    settings = settings_of(kind, weight=0.3)
    assert (type(settings), settings.weight) == (OBJECTIVES[kind], 0.3)
    again = parse_settings({"objective": [settings.model_dump()]}, Table, "again")
    assert again.objective[0] == settings
    assert OBJECTIVES[kind].__doc__
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        settings_of(kind, wieght=1)
    with pytest.raises(ConfigError, match=f"did you mean '{kind}'"):
        settings_of(f"{kind}x")
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="weight"):
            settings_of(kind, weight=wrong)


@EVERY
def test_it_is_a_finite_number_that_teaches(kind):
    where = setting()
    objective = settings_of(kind).make(where)
    given = batch(where.task)
    leaves = [given[name].requires_grad_() for name in ("spikes", "drive", "weights")]
    value = objective(seen(**given))
    assert value.shape == ()
    assert value.isfinite()
    value.backward()
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert any(grad.abs().sum() > 0 for grad in gradients)
    assert all(grad.isfinite().all() for grad in gradients)


@EVERY
def test_cells_outside_the_core_are_not_judged(kind):
    """Whatever they do, the value stays, and nothing is asked of them."""
    judged = np.arange(N) % 4 > 0
    where = setting(judged=judged)
    given = batch(where.task)
    quiet = {**given, "spikes": given["spikes"].clone(), "drive": given["drive"].clone()}
    quiet["spikes"][:, :, ~judged] = 0
    quiet["drive"][:, :, ~judged] = 500
    one, other = (run(settings_of(kind).make(where), [each]) for each in (given, quiet))
    assert one == other
    given["spikes"].requires_grad_()
    value = settings_of(kind).make(where)(seen(**given))
    if value.requires_grad:
        value.backward()
        assert given["spikes"].grad is not None
        assert not given["spikes"].grad[:, :, ~judged].any()


@EVERY
def test_a_remembered_state_goes_on_as_if_nothing_had_happened(kind, tmp_path):
    where = setting()
    batches = [batch(where.task, seed) for seed in range(4)]
    whole = run(settings_of(kind).make(where), batches)
    first, second = (settings_of(kind).make(where) for _ in range(2))
    run(first, batches[:2])
    torch.save(first.state_dict(), tmp_path / "memory.pt")
    second.load_state_dict(torch.load(tmp_path / "memory.pt", weights_only=True))
    assert run(second, batches[2:], seed=2) == whole[2:]
    assert run(settings_of(kind).make(where), batches) == whole


def by_threads(make, given, parts):
    """The sum of what processes find that share a batch, each a thread that waits for the others' sums."""
    barrier, values = threading.Barrier(len(parts)), [torch.zeros(())] * len(parts)

    def summed_by(rank):
        def summed(value):
            values[rank] = value.detach()
            barrier.wait(timeout=20)
            others = sum(values[k] for k in range(len(parts)) if k != rank)
            barrier.wait(timeout=20)
            return value + others

        return summed

    def found(rank):
        part = parts[rank]
        share = {name: v if name == "weights" else v[part] for name, v in given.items()}
        n, count = part.stop - part.start, len(parts)
        more = {"n_trials": 16, "part": n / 16, "processes": count, "summed": summed_by(rank)}
        return make()(seen(**share, **more)).item()

    with ThreadPoolExecutor(len(parts)) as pool:
        return sum(pool.map(found, range(len(parts))))


@EVERY
def test_processes_find_together_what_one_finds(kind):
    where = setting()
    given = batch(where.task)

    def make():
        return settings_of(kind).make(where)

    whole = by_threads(make, given, [slice(0, 16)])
    assert whole != 0
    assert by_threads(make, given, [slice(0, 6), slice(6, 16)]) == pytest.approx(whole, rel=1e-9)


@EVERY
def test_its_weight_follows_the_schedule(kind):
    settings = settings_of(kind, weight=2.0, from_step=3, ramp_steps=3)
    assert [settings.weight_at(k) for k in range(8)] == [0, 0, 0, 0.5, 1.0, 1.5, 2.0, 2.0]
    assert [settings_of(kind, weight=2.0).weight_at(k) for k in (0, 9)] == [2.0, 2.0]
    assert [settings_of(kind, from_step=1).weight_at(k) > 0 for k in (0, 1)] == [False, True]
