"""The examples of docs/extending.md as modules of another package, found by their entry points."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
EXAMPLE = re.compile(
    r"```python\n# my_lab/(?P<name>\w+)\.py -> (?P<room>[\w.]+)\n(?P<code>.*?)```", re.S
)
#: Suites of tests that are run for every member of a room.
SUITES = {
    "v1builder.stimuli": "tests/stimuli/test_every_stimulus.py",
    "v1builder.images": "tests/images/test_every_image_set.py",
    "v1builder.tasks": "tests/tasks/test_every_task.py",
    "v1builder.readout": "tests/readout/test_every_readout.py",
    "v1builder.model.neurons": "tests/model/test_every_neuron.py",
    "v1builder.model.backends": "tests/model/test_every_backend.py",
    "v1builder.objectives": "tests/objectives/test_every_objective.py",
    "v1builder.measures": "tests/measures/test_every_measure.py",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with the package of the page as pip would install it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "__init__.py").write_text("")
    examples = [match.groupdict() for match in EXAMPLE.finditer(PAGE.read_text(encoding="utf-8"))]
    points = []
    for example in examples:
        (folder / "my_lab" / f"{example['name']}.py").write_text(example["code"])
        points.append(f"[{example['room']}]\n{example['name']} = my_lab.{example['name']}\n")
    info = folder / "my_lab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points))
    assert {example["room"] for example in examples} > set(SUITES)
    return folder


def run(lab, *arguments):
    path = os.pathsep.join([str(lab), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PAGE.parents[1],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_examples_pass_the_suites_of_their_rooms(lab):
    members = "Disc or stripes or which_side or early or median_rate or pif or dense or quiet"
    done = run(lab, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES.values(), "-k", members)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    n_passed = int(re.search(r"(\d+) passed", done.stdout)[1])
    assert n_passed > 20


CLOCK = """
import numpy as np, torch
from v1builder.inputs.network import KINDS
from v1builder.load.network import NodePopulation

ids = np.arange(2)
nodes = NodePopulation("tick", ids, ids, {"interval_ms": np.array([5.0, 20.0])}, None)
kind = next(kind for kind in KINDS if kind.serves(nodes))
source = kind.of(nodes, ids, dt=0.5, dtype=torch.float32)
print(kind.__name__, source.gray_rates().tolist(), source.spikes([(), ()], 80, None).sum((0, 1)).tolist())
"""


def test_the_input_is_served(lab):
    done = run(lab, "-c", CLOCK)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "Clock [200.0, 50.0] [16, 4]"


COMPARE = """
import sys
from pathlib import Path
from v1builder.experiments.comparison import compare
from v1builder.train import load_experiment

Path(sys.argv[1]).write_text(sys.argv[2])
found = compare(load_experiment(sys.argv[1]), Path(sys.argv[1]).parent / "run")
print([cell["ablation"] for cell in found["cells"]], found["scores"][0]["name"])
"""

EXPERIMENT = """
name = "extended"
seeds = [1]
[network]
path = "{network}"
[task]
name = "which_side"
distance = 10.0
gray_after_ms = 50.0
warm_up_ms = 50.0
[readout]
kind = "early"
populations = ["e23*", "e5*"]
[train]
steps = 1
batch_size = 4
validation_trials = 4
test_trials = 4
[compare]
ablations = ["intact", "scale_inhibition(0.5)"]
protocols = ["frozen"]
matching = "raw"
background = "ratio"
matching_trials = 2
"""


def test_a_comparison_uses_them_all(lab, small_column, tmp_path):
    text = EXPERIMENT.format(network=small_column)
    done = run(lab, "-c", COMPARE, str(tmp_path / "experiment.toml"), text)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "['intact', 'scale_inhibition(0.5)'] accuracy"


def test_a_package_that_cannot_be_imported_is_named(lab, tmp_path):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[v1builder.stimuli]\nx = no_such_package.x\n")
    done = run(tmp_path, "-c", "import v1builder.stimuli")
    assert done.returncode != 0
    assert "entry point x of v1builder.stimuli" in done.stderr
    assert "no_such_package" in done.stderr
