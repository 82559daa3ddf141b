from pathlib import Path

import pandas as pd
import pytest

TABLES = Path(__file__).parents[2] / "data_manifests" / "tables"


@pytest.fixture(scope="session")
def glif_models():
    """GLIF3 parameters of every published specimen."""
    models = pd.read_csv(TABLES / "glif_models.csv")
    return models[models["glif_level"] == 3].reset_index(drop=True)


@pytest.fixture(scope="session")
def kinetics():
    return pd.read_csv(TABLES / "synapse_kinetics.csv")
