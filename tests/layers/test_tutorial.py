"""The code of docs/tutorial_ml.md, run as one program with smaller numbers."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorial_ml.md"
CODE = re.compile(r"```python\n(.*?)```", re.S)
NUMBERS = "TRAIN, TEST, CELLS, EPOCHS, SEEDS = 4000, 1000, 64, 10, (1, 2, 3)"
SMALL = "TRAIN, TEST, CELLS, EPOCHS, SEEDS = 150, 20, 8, 1, (1,)"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that the page's program leaves behind, and the folder it ran in."""
    published = pytest.importorskip("mnist1d.data")
    few = published.get_dataset_args()
    few.num_samples = 200
    folder = tmp_path_factory.mktemp("tutorial")
    page = PAGE.read_text(encoding="utf-8")
    assert page.count(NUMBERS) == 1
    program = "\n".join(CODE.findall(page.replace(NUMBERS, SMALL)))
    found: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(published, "get_dataset_args", lambda: few)
        exec(compile(program, PAGE.name, "exec"), found)  # noqa: S102
    return found, folder


def test_every_condition_trains_and_the_ablations_take_away_what_they_say(ran):
    found, _ = ran
    assert set(found["accuracies"]) == set(found["conditions"])
    networks = {
        name: found["GLIF"](1, 8, seed=1, **options).arrays
        for name, options in found["conditions"].items()
    }
    assert len(networks["as in V1"].membrane.labels) > 1
    assert len(networks["all cells alike"].membrane.labels) == 1
    assert networks["as in V1"].membrane.values["asc_amps"].any()
    assert not networks["no currents after spikes"].membrane.values["asc_amps"].any()
    assert not networks["no recurrence"].edges


def test_cells_learn_to_differ_and_are_passed_on(ran):
    found, _ = ran
    learned = found["learned"].layer.to_network().membrane
    # All began at one value; the first steps of Adam are of one size, so some cells still agree.
    assert len(set(learned.per_cell("C_m"))) > 1
    passed_on = found["refined"].arrays.membrane
    assert passed_on.per_cell("C_m") == pytest.approx(learned.per_cell("C_m"))


def test_what_was_trained_is_saved(ran):
    _, folder = ran
    assert (folder / "my_network" / "circuit_config.json").is_file()
