"""The same bytes with one thread and with two."""

import pytest
import torch

from v1builder.objectives.voltage import voltage_loss
from v1builder.train.gradient_norm import clip_gradient, sum_of_squares


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
