"""What a test of a trained network measures knows what the task shows."""

import numpy as np
import torch
from handmade import make_foreign

from v1builder.inputs import input_sources
from v1builder.tasks import make_task
from v1builder.train import stream
from v1builder.train.run import make_classifier, score_tested
from v1builder.train.settings import Experiment
from v1builder.train.subjects import Subject


def test_tuning_is_measured_where_stimuli_have_directions():
    """osi_vector of a cell in the rows of a test is that of its rates by direction."""
    experiment = Experiment.model_validate(
        {
            "name": "a test",
            "network": {"path": "nowhere"},
            "task": {"name": "direction_classification", "n_directions": 8, "n_phases": 1,
                     "warm_up_ms": 0.0, "on_ms": 200.0, "gray_before_ms": 0.0,
                     "gray_after_ms": 0.0, "response_ms": [0.0, 200.0]},
            "model": {"trainable": []},
            "readout": {"populations": ["Pyr*"], "pool_size": 1, "radius_um": "all"},
            "train": {"test_trials": 32, "batch_size": 16},
            "measure": {"names": ["osi_vector"], "levels": ["cell"]},
        }
    )  # fmt: skip
    network = make_foreign()
    task = make_task(experiment.task, input_sources(network, dt=1.0), dt=1.0)
    subject = Subject(3, network, task, None, None, {}, ())
    classifier = make_classifier(experiment, subject, network)
    seen = []
    classifier.network.register_forward_hook(lambda _m, _i, rollout: seen.append(rollout.spikes))
    rows = score_tested(experiment, subject, classifier)["measures"]
    spikes = torch.cat(seen).sum(dim=1).numpy()
    condition = task.draw(32, "test", stream(3, "test", "trials")).condition.numpy()
    rates = np.stack([spikes[condition == k].mean(axis=0) for k in range(8)])
    enough = spikes.sum(axis=0) >= 10
    assert enough.sum() > 3
    found = np.array([np.nan if row["value"] is None else row["value"] for row in rows])
    assert np.isfinite(found).tolist() == enough.tolist()
    angle = np.exp(2j * np.deg2rad(np.arange(8) * 45.0))
    expected = np.abs(angle @ rates[:, enough]) / rates[:, enough].sum(axis=0)
    np.testing.assert_allclose(found[enough], expected)
