"""The stand-in for the Allen services."""

from collections.abc import Iterator

import pytest
from allen_server import AllenServer

from v1builder.fetch.transfer import Transfer


@pytest.fixture
def server() -> Iterator[AllenServer]:
    with AllenServer() as running:
        yield running


@pytest.fixture
def quick() -> Transfer:
    """Few attempts without long pauses."""
    return Transfer(attempts=3, backoff_s=0.01, read_timeout_s=2.0, connect_timeout_s=2.0)
