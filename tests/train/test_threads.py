"""The same bytes with one thread and with two."""

import pytest
import torch
from test_training import EXPERIMENT

from v1builder.model.parameters import of_members
from v1builder.objectives.voltage import voltage_loss
from v1builder.train import load_experiment, prepare, train
from v1builder.train.checkpoint import CHECKPOINT, METRICS
from v1builder.train.gradient_norm import clip_gradient, sum_of_squares
from v1builder.train.optimizers import ExponentiatedGradient


@pytest.fixture(params=[2, 3])
def more_threads(request):
    before = torch.get_num_threads()

    def both(function):
        found = []
        for threads in (1, request.param):
            torch.set_num_threads(threads)
            found.append(function())
        return found

    yield both
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(4, 60, 1001), (3, 500, 64), (1, 2, 100_003)])
def test_the_loss_of_voltages(more_threads, shape):
    generator = torch.Generator().manual_seed(1)
    drive = 30 * torch.randn(shape, generator=generator)
    threshold = 10 + torch.rand(shape[-1], generator=generator)
    one, more = more_threads(lambda: voltage_loss(drive, threshold))
    assert one.item() == more.item()
    exact = torch.nn.functional.softshrink(drive.double() / threshold, 1.0).square().mean()
    assert one.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("n", [0, 1, 4096, 100_003, 17_000_000])
def test_the_norm_of_a_gradient(more_threads, n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(n))
    one, more = more_threads(lambda: sum_of_squares(values))
    assert one.item() == more.item()
    assert one.item() == pytest.approx(values.double().square().sum().item(), rel=1e-6)


def test_gradients_are_clipped_as_by_torch():
    def parameters():
        generator = torch.Generator().manual_seed(2)
        found = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 50_000, 7)]
        for parameter in found[:2]:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        return found

    for largest in (0.5, 1e4):
        mine, theirs = parameters(), parameters()
        norm = clip_gradient(mine, largest)
        expected = torch.nn.utils.clip_grad_norm_(theirs, largest)
        torch.testing.assert_close(norm, expected, rtol=1e-5, atol=0)
        for a, b in zip(mine[:2], theirs[:2], strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=0)
        assert mine[2].grad is None


@pytest.mark.parametrize("shape", [(7,), (7, 2), (7, 0)])
def test_the_gradient_of_shared_parameters(more_threads, shape):
    generator = torch.Generator().manual_seed(4)
    values = torch.randn(shape, generator=generator)
    group_of = torch.randint(7, (200_003,), generator=generator)
    upstream = torch.randn((len(group_of), *shape[1:]), generator=generator)

    def gradient():
        learned = values.clone().requires_grad_()
        spread = of_members(learned, group_of)
        assert torch.equal(spread, values[group_of])
        spread.backward(upstream)
        return learned.grad

    one, more = more_threads(gradient)
    assert torch.equal(one, more)
    exact = torch.zeros(shape, dtype=torch.float64).index_add_(0, group_of, upstream.double())
    torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-2)


def test_a_step_of_the_exponentiated_gradient(more_threads):
    generator = torch.Generator().manual_seed(3)
    start, gradient = torch.randn(2, 1_000_003, generator=generator).unbind()

    def stepped():
        parameter = torch.nn.Parameter(start.clone())
        parameter.grad = gradient.clone()
        ExponentiatedGradient([(parameter, torch.ones(()))], lr=0.1).step()
        return parameter.detach()

    one, more = more_threads(stepped)
    assert torch.equal(one, more)


@pytest.mark.slow
@pytest.mark.parametrize("more_threads", [2], indirect=True)
def test_a_whole_training(more_threads, small_column, tmp_path):
    """Every line of the log and every byte of the checkpoint."""
    path = tmp_path / "experiment.toml"
    path.write_text(EXPERIMENT.format(network=small_column).replace("steps = 6", "steps = 2"))
    experiment = load_experiment(path)
    subject = prepare(experiment, 1)

    def trained():
        out = tmp_path / f"run-{torch.get_num_threads()}"
        train(experiment, out, subject=subject)
        return [(out / name).read_bytes() for name in (METRICS, CHECKPOINT)]

    one, more = more_threads(trained)
    assert one == more
