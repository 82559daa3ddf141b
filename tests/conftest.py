"""Fixtures that several areas share."""

import os
from pathlib import Path

# As the command line does: torch's and numba's OpenMP threads must not spin against each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from small_network import write_small_network


@pytest.fixture(scope="session")
def small_network_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small valid SONATA network; read it, or copy it before changing anything."""
    return write_small_network(tmp_path_factory.mktemp("small_network"))


@pytest.fixture(scope="session")
def small_column(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest column that can be built, from the embedded data; read it, or copy it."""
    from v1builder import pipeline

    folder = tmp_path_factory.mktemp("small_column") / "network"
    pipeline.build(folder, radius=30, seed=1)
    return folder
