import pytest
from handmade import make_network

from v1builder.load.network import Network


@pytest.fixture
def network() -> Network:
    return make_network()
