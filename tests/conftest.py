"""Fixtures that several areas share."""

import os
import signal
from pathlib import Path

# As importing the package does: torch's and numba's OpenMP threads must not spin long against each other.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
