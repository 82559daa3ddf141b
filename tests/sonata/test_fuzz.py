"""Damaged networks and simulations end in one clean message or are read; nothing else happens to a user."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_network import N_BKG, N_LGN, write_small_network

from v1builder.sonata import write_report, write_spikes

CASES = Path(__file__).with_name("fuzz_cases.py")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A network with a simulation of all kinds of inputs, its files and a report."""
    folder = write_small_network(tmp_path_factory.mktemp("fuzz") / "network")
    rng = np.random.default_rng(1)
    write_spikes(folder / "lgn.h5", {"lgn": (rng.uniform(1, 90, 30), rng.integers(N_LGN, size=30))})
    rows = [f"{time:.2f} bkg {node}" for time, node in
            zip(rng.uniform(1, 90, 20), rng.integers(N_BKG, size=20), strict=True)]  # fmt: skip
    (folder / "bkg.csv").write_text("timestamps population node_ids\n" + "\n".join(rows) + "\n")
    (folder / "current.csv").write_text("timestamps amps\n1.0 20.0\n30.0 -5.0\n60.0 0.0\n")
    data = rng.normal(size=(5, 2))
    write_report(folder / "report.h5", "v1", [0, 3], data, start=1, step=1, units="mV")
    (folder / "node_sets.json").write_text(
        json.dumps({"some": {"ei": "i", "x": {"$gt": -100}}, "two": ["some", "pair"],
                    "pair": {"population": "v1", "node_id": [0, 1]}})
    )  # fmt: skip
    clamp = {"input_type": "current_clamp", "module": "IClamp", "node_set": "two",
             "amp": [5.0, 6.0], "delay": [1.0, 20.0], "duration": [5.0, 5.0]}  # fmt: skip
    config = {
        "manifest": {"$HERE": "${configdir}", "$OUT": "$HERE/out"},
        "network": "$HERE/circuit_config.json",
        "run": {"tstop": 100.0, "dt": 1.0},
        "conditions": {"celsius": 34.0, "v_init": -70.0},
        "node_sets_file": "$HERE/node_sets.json",
        "inputs": {
            "lgn": {"input_type": "spikes", "module": "sonata", "input_file": "$HERE/lgn.h5",
                    "node_set": "lgn"},
            "bkg": {"input_type": "spikes", "module": "csv", "input_file": "$HERE/bkg.csv",
                    "node_set": {"population": "bkg"}},
            "clamp": clamp,
            "table": {"input_type": "csv", "module": "IClamp", "file": "$HERE/current.csv",
                      "node_set": {"pop_name": "e23Cux2"}},
        },
        "connection_overrides": [{"name": "a", "source": "lgn", "target": "v1", "weight": 0.5}],
        "output": {"output_dir": "$OUT", "spikes_file": "spikes.h5"},
        "reports": {"v": {"cells": "some", "variable_name": "V_m", "dt": 1.0}},
    }  # fmt: skip
    (folder / "simulation_config.json").write_text(json.dumps(config))
    return folder


def classes_of(whole, scratch, first, n):
    """How many cases are of each class, and all that should not be."""
    command = [sys.executable, str(CASES), str(whole), str(scratch), str(first), str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counted, wrong = Counter(), []
    for line in done.stdout.splitlines():
        case, _, answer = line.partition("\t")
        found = json.loads(answer) if answer else {"class": "died", "trace": done.stderr[-1500:]}
        counted[found["class"]] += 1
        if found["class"] not in ("fine", "clean"):
            wrong.append(f"{case}: {found['class']}\n{found['trace']}")
    assert counted.total() == n, done.stderr[-1500:]
    return counted, wrong


def test_two_hundred_damaged_networks(whole, tmp_path, record_property):
    counted, wrong = classes_of(whole, tmp_path, 0, 200)
    for name, n in counted.items():
        record_property(name, n)
    assert not wrong, "\n".join(wrong)
    assert counted["clean"] > 100  # damage is seen, not read as something else
    assert counted["fine"] < 80


@pytest.mark.slow
def test_thousands_of_damaged_networks(whole, tmp_path, record_property):
    counted, wrong = classes_of(whole, tmp_path, 1000, 5000)
    record_property("classes", dict(counted))
    assert not wrong, "\n".join(wrong[:20])
