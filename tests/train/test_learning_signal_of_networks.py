"""Gradients of single trials of a spiking network: the same as those of a batch, and what kernels are of."""

import pytest
import torch
from handmade import make_foreign

from v1builder.analysis.learning import gradient_signal_to_noise
from v1builder.inputs import input_sources
from v1builder.tasks import make_task
from v1builder.train.learning_signal import gradient_signals, task_alignment, task_kernel
from v1builder.train.lesson import draw_batch
from v1builder.train.run import make_classifier
from v1builder.train.settings import Experiment
from v1builder.train.subjects import Subject

WEIGHTS = "edges.v1_to_v1.log_scale"


@pytest.fixture(scope="module")
def made():
    experiment = Experiment.model_validate(
        {
            "name": "a test",
            "network": {"path": "nowhere"},
            "task": {"name": "direction_classification", "n_directions": 2, "n_phases": 1,
                     "warm_up_ms": 20.0, "on_ms": 60.0, "gray_before_ms": 0.0,
                     "gray_after_ms": 0.0, "response_ms": [20.0, 60.0]},
            "model": {"trainable": ["v1_to_v1.weight", "C_m"], "dtype": "float64"},
            "readout": {"populations": ["Pyr*"], "pool_size": 4, "radius_um": "all"},
        }
    )  # fmt: skip
    network = make_foreign()
    task = make_task(experiment.task, input_sources(network, dt=1.0), dt=1.0)
    subject = Subject(3, network, task, None, None, {}, ())
    return make_classifier(experiment, subject, network), task


def test_the_mean_of_single_gradients_is_that_of_a_batch(made):
    classifier, task = made
    single = gradient_signals(classifier, task, n_trials=8, seed=2)
    assert set(single) == {n for n, _ in classifier.network.named_parameters()}
    batch = draw_batch(task, 8, 2, 0)
    weights = dict(classifier.network.named_parameters())[WEIGHTS]

    def gradient(rows):
        part = {name: spikes[rows] for name, spikes in batch.inputs.items()}
        before = {name: spikes[rows] for name, spikes in batch.warm_up.items()}
        loss = task.answer.loss(classifier(part, before)[0], batch.trials.target[rows])
        return torch.autograd.grad(loss, weights)[0]

    each = torch.stack([gradient(slice(k, k + 1)) for k in range(8)])
    torch.testing.assert_close(each.mean(dim=0), gradient(slice(0, 8)))
    ratio, _ = gradient_signal_to_noise(each)
    assert single[WEIGHTS].ratio == pytest.approx(ratio)
    assert single[WEIGHTS].n_trials == 8


def test_few_trials_have_a_reason(made):
    found = gradient_signals(*made, n_trials=3)[WEIGHTS]
    assert found.ratio != found.ratio
    assert (found.n_trials, found.reason) == (0, "fewer than 8 trials")


def test_a_kernel_is_one_of_inner_products(made):
    kernel, right = task_kernel(*made, n_trials=6, seed=2)
    assert kernel.shape == right.shape == (6, 6)
    torch.testing.assert_close(kernel, kernel.T)
    assert torch.linalg.eigvalsh(kernel).min() > -1e-9 * kernel.trace()
    target = draw_batch(made[1], 6, 2, 0, warm=False).trials.target
    same = (target == target.T).all(dim=-1) if target.ndim == 3 else target[:, :1] == target[:, 0]
    assert torch.equal(right, same.double())
    assert 0 <= task_alignment(*made, n_trials=6, seed=2) <= 1
