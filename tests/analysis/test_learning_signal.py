"""Signal of gradients and tangent kernels against closed forms: Gaussians, a two-layer linear net."""

import math

import pytest
import torch

from v1builder.analysis.learning import (
    gradient_of,
    gradient_signal_to_noise,
    kernel_alignment,
    tangent_kernel,
)

F64 = torch.float64


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=F64)


@pytest.mark.parametrize("signal", [0.0, 0.5, 3.0])
def test_gaussians_of_known_mean_and_spread(draw, signal):
    """|m|^2 = signal^2, variance 50 x .04: unbiased, also where there is no signal."""
    mean = torch.zeros(50, dtype=F64)
    mean[3] = signal
    ratios = [gradient_signal_to_noise(mean + 0.2 * draw(10, 50))[0] for _ in range(300)]
    expected = signal**2 / 2
    error = torch.tensor(ratios).std().item() / math.sqrt(300)
    # The ratio itself is biased by the scatter of its denominator, a part in a few hundred.
    assert sum(ratios) / 300 == pytest.approx(expected, abs=3 * error + 0.01 * expected)


def test_the_kernel_of_a_two_layer_linear_net(draw):
    """F = W2 W1 x: K = |W2|^2 X X' + C (W1 X)'(W1 X), summed over the C outputs."""
    x, first, second = draw(12, 5), draw(7, 5).requires_grad_(), draw(3, 7).requires_grad_()
    answers = x @ first.T @ second.T
    gradients = [
        torch.stack([gradient_of(answers[i, o], [first, second]) for i in range(12)])
        for o in range(3)
    ]
    hidden = (x @ first.T).detach()
    expected = second.detach().square().sum() * (x @ x.T) + 3 * hidden @ hidden.T
    torch.testing.assert_close(tangent_kernel(gradients), expected)


def test_alignment_of_a_linear_net_turns_with_its_weights(draw):
    """First-layer weights of the answers alone make the kernel theirs."""
    x = torch.linalg.qr(draw(40, 6))[0]
    y = x[:, :1]
    target = y @ y.T
    along = x[:, :1] @ x[:, :1].T * 25 + x @ x.T
    assert kernel_alignment(along, target) > 0.99
    assert kernel_alignment(x @ x.T, target) == pytest.approx(1 / math.sqrt(6), abs=0.1)


def test_alignment_does_not_know_scale_or_offset(draw):
    a, b = draw(9, 4), draw(9, 4)
    one, other = a @ a.T, b @ b.T
    value = kernel_alignment(one, other)
    assert kernel_alignment(one, one) == pytest.approx(1)
    assert kernel_alignment(5 * one + 3, other) == pytest.approx(value)
    assert math.isnan(kernel_alignment(torch.ones(9, 9), other))


def test_too_little_has_a_reason(draw):
    assert gradient_signal_to_noise(draw(7, 3))[1] == "fewer than 8 trials"
    assert gradient_signal_to_noise(torch.ones(9, 3))[1] == "the gradient does not vary"


def test_what_a_number_does_not_depend_on_has_no_gradient():
    a, b = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    assert gradient_of((2 * a).sum(), [a, b]).tolist() == [2, 2, 0, 0, 0]
