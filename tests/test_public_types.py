"""Public functions keep what their annotations say (beartype); arrays have the stated shapes (jaxtyping)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from beartype import beartype
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import Float, Float32, Float64, Int, Shaped, UInt8, jaxtyped
from torch import Tensor

import v1builder
from v1builder.layers import GLIF
from v1builder.load.network import EdgePopulation, Network
from v1builder.model.rollout import Rollout, State

#: Modules whose functions numba compiles from their source: a check around one cannot be compiled.
COMPILED = ("v1builder.model.backends", "v1builder.build", "v1builder.schema.numba_cache")
#: NDArray[np.str_]: beartype takes no array of texts of a length for one of texts.
OF_TEXTS = ("v1builder.load.groups",)


def test_public_functions_return_what_they_say(small_network_folder: Path, tmp_path: Path) -> None:
    """Every call below has its arguments and its result checked against the annotations."""
    checked = {
        name: beartype(getattr(v1builder, name)) for name in v1builder.__all__ if name.islower()
    }
    assert len(checked) == len(v1builder.__all__) - 1  # V1Network is a class
    assert checked["validate"](small_network_folder) == []
    network = checked["load_network"](small_network_folder)
    assert isinstance(network, Network)
    model = checked["load"](small_network_folder, dt=1.0, trainable=["v1_to_v1.weight"])
    assert isinstance(beartype(model.forward)(n_steps=2, inputs=spikes(model, 1, 2)), Rollout)
    checked["fetch"](tmp_path / "store")
    with pytest.raises(BeartypeCallHintParamViolation):
        checked["load_network"](3)


def spikes(model: "v1builder.V1Network", n_trials: int, n_steps: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randint(0, 2, (n_trials, n_steps, size), generator=generator).byte()
        for name, size in model.input_sizes.items()
    }


@jaxtyped(typechecker=beartype)
def check_rollout(
    lgn: UInt8[Tensor, "trial step lgn"],
    bkg: UInt8[Tensor, "trial step bkg"],
    spikes: Float32[Tensor, "trial step cell"],
    voltage: Float32[Tensor, "trial step cell"],
    drive: Float32[Tensor, "trial step cell"],
    U: Float32[Tensor, "trial cell"],
    pending: Float32[Tensor, "delay trial cell receptor"],
    bias: Float32[Tensor, " cell"],
) -> None:
    """Names stand for one number each in all of them."""


@pytest.mark.parametrize("backend", ["reference", "fused"])
def test_shapes_of_a_rollout(small_network_folder: Path, backend: str) -> None:
    model = v1builder.load(small_network_folder, dt=1.0, backend=backend)
    inputs = spikes(model, 2, 7)
    done = model(inputs, record_voltage=True)
    assert isinstance(done.state, State)
    parts = (done.spikes, done.voltage, done.drive, done.state.U, done.state.pending)
    check_rollout(inputs["lgn"], inputs["bkg"], *parts, model.bias_current)
    with pytest.raises(Exception, match="voltage"):  # of a step more
        longer = torch.cat([done.voltage, done.voltage[:, :1]], dim=1)
        check_rollout(
            inputs["lgn"], inputs["bkg"], done.spikes, longer, *parts[2:], model.bias_current
        )


@jaxtyped(typechecker=beartype)
def check_edges(
    source_index: Int[np.ndarray, " edge"],
    target_index: Int[np.ndarray, " edge"],
    edge_type_id: Int[np.ndarray, " edge"],
    weight: Float64[np.ndarray, " edge"],
    nsyns: Shaped[np.ndarray, " edge"],
    delay: Float32[np.ndarray, " edge"],
    receptor: Shaped[np.ndarray, " edge"],
    types: pd.DataFrame,
) -> None:
    """One number of edges."""


def test_shapes_of_edges(small_network_folder: Path) -> None:
    network = v1builder.load_network(small_network_folder)
    for edges in network.edges.values():
        assert isinstance(edges, EdgePopulation)
        columns = {
            name: getattr(edges, name) for name in check_edges.__annotations__ if name != "return"
        }
        check_edges(**columns)
        assert columns["source_index"].size == len(edges)


@jaxtyped(typechecker=beartype)
def check_layer(
    given: Float[Tensor, "batch time feature"],
    sent: Float[Tensor, "batch time {hidden}"],
    hidden: int,
) -> None:
    """What a layer is given and sends."""


def test_shapes_of_a_layer() -> None:
    layer = GLIF(3, 5, seed=1, backend="reference")
    given = torch.zeros(2, 4, 3)
    sent, _ = layer(given)
    check_layer(given, sent, layer.hidden)


PROGRAM = """
import sys, warnings
from pathlib import Path
from beartype import BeartypeConf
from beartype.claw import beartype_package

warnings.simplefilter("ignore")  # protocols that cannot be checked while a program runs
conf = BeartypeConf(is_pep484_tower=True, claw_skip_package_names=COMPILED)  # an int is a float, too
beartype_package("v1builder", conf=conf)

import torch
import v1builder
from v1builder.experiments.ablations import parse_ablation
from v1builder.load import load_network, save_network

net, out = Path(sys.argv[1]), Path(sys.argv[2])
assert v1builder.validate(net) == []
network = load_network(net)
ablated = parse_ablation("mean(population) | no_asc")(network)
save_network(ablated, out)
model = v1builder.load(out, dt=1.0, trainable=["v1_to_v1.weight", "g"], backend="reference")
inputs = {name: torch.ones(2, 20, size, dtype=torch.uint8) for name, size in model.input_sizes.items()}
model(inputs).spikes.sum().backward()
print(type(v1builder.load_network.__wrapped__).__name__, float(model(inputs).spikes.sum()) > 0)
"""


@pytest.mark.slow
def test_the_whole_package_keeps_its_annotations(
    small_network_folder: Path, tmp_path: Path
) -> None:
    """Every function that is passed on the way from a file to a gradient and back is checked."""
    program = PROGRAM.replace("COMPILED", repr(COMPILED + OF_TEXTS))
    done = subprocess.run(
        [sys.executable, "-c", program, str(small_network_folder), str(tmp_path / "net")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["function", "True"]
