"""Whole commands on another device: whatever they run computes there, and the numbers are those of the CPU.

No GPU is needed: `elsewhere` plays another device and fails where tensors of two devices meet. It is some
twenty times as slow, so networks and trials are few.
"""

import pytest
from elsewhere import played_gpu
from handmade import make_foreign
from test_comparison import by_cell
from test_pages_while_running import EXPERIMENT

from v1builder.experiments import compare
from v1builder.experiments.export import trained_network
from v1builder.experiments.measure_run import lesion_run, measure_run
from v1builder.load import save_network
from v1builder.schema.errors import ConfigError
from v1builder.train import load_experiment

SHORT = {
    "[1, 2]": "[1]",
    "gray_before_ms = 10.0": "warm_up_ms = 4.0\ngray_before_ms = 2.0",
    "on_ms = 40.0": "on_ms = 12.0",
    "gray_after_ms = 10.0": "gray_after_ms = 2.0",
    "[10.0, 50.0]": "[2.0, 14.0]",
    "[model]": '[model]\nbackend = "reference"',
    "[measure]": "[measure]\ntrials = 4",
    '"raw"': '"rate"\nmatching_measurements = 2',
    '"no_asc"': '"mean(ei)"',
}


@pytest.fixture
def experiment(tmp_path):
    save_network(make_foreign(), tmp_path / "network")
    text = EXPERIMENT.format(network=tmp_path / "network")
    for what, instead in SHORT.items():
        assert what in text
        text = text.replace(what, instead)
    (tmp_path / "experiment.toml").write_text(text)
    return load_experiment(tmp_path / "experiment.toml")


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:for .* copying from a non-meta parameter"
)  # it is played by "meta"
def test_a_comparison_its_measures_and_lesions(experiment, tmp_path):
    """Trained, ablated, matched, tested, measured and silenced there."""
    run = tmp_path / "here"

    def everything(out, accelerator):
        cells = compare(experiment, out, accelerator=accelerator)["cells"]
        options = {"accelerator": accelerator, "n_trials": 4}
        file = tmp_path / f"{accelerator}.csv"
        return (
            [(cell["loss"], cell["operating_point"]) for cell in cells],
            measure_run(run, file, select=["mean_rate"], ablations=["mean(ei)"], **options),
            lesion_run(run, file, level="population", **options),
        )

    cells, measured, lesioned = everything(run, "cpu")
    with played_gpu():
        there = everything(tmp_path / "there", "cuda")
    assert there[0] == cells
    assert there[1].equals(measured)
    assert there[2].equals(lesioned)
    assert measured["value"].notna().any()


def test_results_of_another_accelerator_are_kept(experiment, tmp_path):
    """Neither thrown away nor taken for one's own."""
    run = tmp_path / "run"
    before = compare(experiment, run, accelerator="cpu")
    with played_gpu():
        with pytest.raises(ConfigError, match="computed on another accelerator"):
            compare(experiment, run, accelerator="cuda")
        with pytest.raises(ConfigError, match="made anew on the accelerator that made it"):
            trained_network(run, ablation="mean(ei)", accelerator="cuda")
    assert by_cell(compare(experiment, run)) == by_cell(before)
