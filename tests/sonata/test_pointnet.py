"""BMTK PointNet runs our folders on NEST."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from v1builder.sonata import Spikes, read_report, read_simulation, read_spikes, write_spikes

pytestmark = pytest.mark.nest

TSTOP = 100.0


def run_pointnet(folder: Path) -> dict[str, Spikes]:
    """Run the folder for 100 ms with regular LGN and background spikes; the spikes of v1."""
    times = np.arange(5.0, TSTOP, 5.0)
    for name, n in (("lgn", 6), ("bkg", 2)):
        ids = np.tile(np.arange(n), len(times))
        write_spikes(folder / f"{name}_spikes.h5", {name: (np.repeat(times, n), ids)})
    config = {
        "manifest": {"$OUTPUT_DIR": "./output"},
        "network": "circuit_config.json",
        "target_simulator": "NEST",
        "run": {"tstop": TSTOP, "dt": 0.1},
        "output": {
            "output_dir": "$OUTPUT_DIR",
            "log_file": "log.txt",
            "spikes_file": "spikes.h5",
            "spikes_sort_order": "time",
            "overwrite_output_dir": True,
        },
        "inputs": {
            name: {
                "input_type": "spikes",
                "module": "sonata",
                "input_file": f"{name}_spikes.h5",
                "node_set": {"population": name},
            }
            for name in ("lgn", "bkg")
        },
        "reports": {
            "voltage": {
                "module": "multimeter_report",
                "variable_name": ["V_m"],
                "cells": {"population": "v1"},
                "file_name": "voltage.h5",
            }
        },
    }
    path = folder / "simulation_config.json"
    path.write_text(json.dumps(config))
    simulation = read_simulation(path)  # one file serves us and BMTK
    script = Path(__file__).with_name("run_pointnet.py")
    done = subprocess.run(
        [sys.executable, str(script), path.name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return read_spikes(simulation.output_path("spikes.h5"))


def test_pointnet_runs_the_folder(small_network_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "network"
    shutil.copytree(small_network_folder, folder)
    spikes = run_pointnet(folder)
    assert set(spikes) == {"v1"}
    assert len(spikes["v1"]) > 10
    assert set(spikes["v1"].node_ids.tolist()) <= set(range(24))
    assert 3 not in spikes["v1"].node_ids  # that cell has no inputs
    report = read_report(folder / "output/voltage.h5")
    assert report.population == "v1"
    assert report.data.shape[1] == 24
    np.testing.assert_allclose(report.data[:, report.node_ids == 3].std(), 0.0, atol=1e-9)
