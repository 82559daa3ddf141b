from pathlib import Path

import pandas as pd
import pytest
import torch

TABLES = Path(__file__).parents[2] / "data_manifests" / "tables"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for one another on a busy machine slow these tiny networks down 20-fold."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def glif_models():
    """GLIF3 parameters of every published specimen."""
    models = pd.read_csv(TABLES / "glif_models.csv")
    return models[models["glif_level"] == 3].reset_index(drop=True)


@pytest.fixture(scope="session")
def kinetics():
    return pd.read_csv(TABLES / "synapse_kinetics.csv")
