"""Networks of other layouts: several populations, integrate-and-fire cells, defaults that are noted."""

from pathlib import Path

import numpy as np
import pytest

from v1builder.load import load_network, save_network
from v1builder.load.populations import split
from v1builder.schema.errors import NetworkError
from v1builder.sonata import validate
from v1builder.sonata.glif_cells import LEVELS
from v1builder.sonata.integrate_fire import inclusive_threshold, strict_threshold
from v1builder.sonata.point_neuron import cell_model_parameters, read_cell_model
from v1builder.verify.layouts import GLIF, IAF, LAYOUTS, write_layout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_and_read_again(layout: str, tmp_path: Path) -> None:
    write_layout(tmp_path, layout, 1.0)
    assert validate(tmp_path) == []
    network = load_network(tmp_path)
    again = load_network(save_network(network, tmp_path / "again"))
    assert validate(tmp_path / "again") == []
    for before, after in ((network.membrane, again.membrane), (network.receptors, again.receptors)):
        for name in before.values:
            np.testing.assert_array_equal(before.per_cell(name), after.per_cell(name))
    np.testing.assert_array_equal(network.initial_voltage, again.initial_voltage)
    for name, edges in network.edges.items():
        order = np.lexsort((edges.source_index, edges.target_index))
        for key in ("source_index", "target_index", "weight", "delay", "receptor"):
            np.testing.assert_array_equal(
                getattr(edges, key)[order], getattr(again.edges[name], key)
            )


def test_two_populations_are_one_axis(tmp_path: Path) -> None:
    write_layout(tmp_path, "two populations", 1.0)
    network = load_network(tmp_path)
    assert (network.simulated, network.n_cells) == ("one+two", 60)
    assert [(p.name, len(p)) for _, p in split(network.cells)] == [("one", 30), ("two", 30)]
    across = network.edges["two_to_one"]
    assert across.source == across.target == "one+two"
    assert across.source_index.min() >= 30 > across.target_index.max()
    assert len(np.unique(network.cells.node_type_id)) == 3


def test_defaults_are_noted(tmp_path: Path) -> None:
    write_layout(tmp_path, "point_120cells", 1.0)
    notes = load_network(tmp_path).provenance["defaults"]
    assert any("cortex_to_cortex: no 'nsyns'; taken as 1" in note for note in notes)


@pytest.mark.parametrize("flags", LEVELS)
def test_glif_levels(flags: tuple[bool, bool, bool]) -> None:
    """A mechanism that is switched off is 0; the file written has the flags again."""
    names = ("spike_dependent_threshold", "after_spike_currents", "adapting_threshold")
    file = {**GLIF, **dict(zip(names, flags, strict=True)), "th_spike_add": 2.0}
    if not flags[1]:
        file["asc_amps"] = [0.0, 0.0]
    model = read_cell_model(file, "nest:glif_psc", "cell")
    assert model.membrane["th_spike_add"] == (2.0 if flags[0] else 0.0)
    assert model.membrane["th_voltage_index"] == (0.005 if flags[2] else 0.0)
    reset = GLIF["E_L"] + 18.51 if flags[0] else GLIF["V_reset"]
    assert model.membrane["V_reset"] == reset
    written = cell_model_parameters(model)
    assert (written[names[0]], written[names[2]]) == (flags[0], flags[2])
    again = read_cell_model(written, "nest:glif_psc_double_alpha", "cell")
    for name, value in model.membrane.items():
        np.testing.assert_array_equal(value, again.membrane[name])


def test_a_combination_that_nest_refuses() -> None:
    with pytest.raises(NetworkError, match="no GLIF level with these mechanisms"):
        read_cell_model({**GLIF, "adapting_threshold": True}, "nest:glif_psc", "cell")


@pytest.mark.parametrize(
    ("V_th", "E_L"), [(-43.0, -78.0), (0.0, -70.0), (15.0, 0.0), (-9.9, -70.1)]
)
def test_threshold_is_inclusive(V_th: float, E_L: float) -> None:
    strict = strict_threshold(V_th, E_L)
    assert strict - E_L < V_th - E_L < strict - E_L + 1e-13
    assert inclusive_threshold(strict, E_L) == V_th


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V_thresh": -50.0}, "unknown parameter 'V_thresh'"),
        ({"V_min": -90.0}, "a lower limit of the voltage"),
        ({"V_reset": -40.0}, "V_reset is not below V_th"),
        ({"tau_m": 0.0}, "must be positive"),
    ],
)
def test_wrong_integrate_and_fire_cells(change: dict[str, float], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        read_cell_model({**IAF, **change}, "nest:iaf_psc_alpha", "cell")
