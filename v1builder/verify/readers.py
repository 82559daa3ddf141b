"""What other software reads of our files: libsonata, BMTK's analyzer, and the V1 trainer's loader.

Each case counts the values that were compared and those that differ; none may.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from v1builder import pipeline
from v1builder.schema.names import SYNAPSE_CLASSES
from v1builder.simulate import simulate
from v1builder.sonata.circuit import Circuit, read_circuit
from v1builder.sonata.edges import read_edges
from v1builder.sonata.nodes import read_nodes
from v1builder.sonata.reports import read_report
from v1builder.sonata.simulation_config import read_simulation
from v1builder.sonata.spikes import read_spikes
from v1builder.verify.agreement import Measured, case
from v1builder.verify.nest_process import run_script
from v1builder.verify.networks import poisson_spikes, write_configuration

PLOTS = Path(__file__).parent / "processes" / "bmtk_plots.py"
RADIUS_UM = 30
DURATION = 200.0  # ms


@dataclass
class Comparison:
    """Counts what was compared and remembers what differs."""

    n: int = 0
    wrong: list[str] = field(default_factory=list)

    def equal(self, what: str, theirs: Any, ours: Any) -> None:
        """Compare a value, or arrays of the same shape."""
        a, b = np.asarray(theirs), np.asarray(ours)
        self.n += b.size
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f"):
            self.wrong.append(what)

    def holds(self, what: str, condition: bool) -> None:
        """Compare one statement with true."""
        self.equal(what, bool(condition), True)

    def measured(self, text: str) -> Measured:
        """No difference is allowed."""
        found = f"; differs: {', '.join(self.wrong[:5])}" if self.wrong else ", all equal"
        return Measured(f"{text}: {self.n} values{found}", len(self.wrong), 0)


def simulated_column(folder: Path) -> tuple[Path, Path]:
    """A small column and the configuration of a finished simulation with spikes and voltages."""
    pipeline.build(folder / "net", radius=RADIUS_UM, seed=1)
    inputs = poisson_spikes(folder, {"lgn": (17_400, 8.0), "bkg": (100, 250.0)})
    path = write_configuration(folder, folder / "net", inputs, 1.0, DURATION)
    settings = json.loads(path.read_text())
    settings["reports"] = {
        "voltage": {
            "cells": "all",
            "variable_name": "V_m",
            "module": "multimeter_report",
            "sections": "soma",
        }
    }
    path.write_text(json.dumps(settings))
    simulate(path, backend="reference")
    return folder / "net", path


def _populations(circuit: Circuit, kind: str) -> Iterator[tuple[str, Path]]:
    for part in getattr(circuit, kind):
        yield part.population, part.file


@case(
    "libsonata reads everything",
    reference="libsonata",
    compared="nodes, edges with both indices, spikes, report, circuit and simulation configuration "
    f"of a column of radius {RADIUS_UM} um",
    needs="libsonata",
)
def libsonata_reads(folder: Path) -> Measured:
    """All attributes of all nodes and edges, and what `simulate` wrote."""
    import libsonata

    net, path = simulated_column(folder)
    circuit, check = read_circuit(net), Comparison()
    theirs = libsonata.CircuitConfig.from_file(str(net / "circuit_config.json"))
    complete = libsonata.CircuitConfigStatus.complete
    check.holds("circuit configuration complete", theirs.config_status == complete)
    for name, file in _populations(circuit, "nodes"):
        population, table = theirs.node_population(name), read_nodes(file, name)
        check.equal(f"{name} size", population.size, len(table))
        for attribute, values in table.attributes.items():
            read = population.get_attribute(attribute, population.select_all())
            check.equal(f"{name}/{attribute}", read, values)
    for name, file in _populations(circuit, "edges"):
        population, table = theirs.edge_population(name), read_edges(file, name)
        everything = population.select_all()
        check.equal(f"{name} sources", population.source_nodes(everything), table.source_id)
        check.equal(f"{name} targets", population.target_nodes(everything), table.target_id)
        for attribute, values in table.attributes.items():
            check.equal(
                f"{name}/{attribute}", population.get_attribute(attribute, everything), values
            )
        # One edge after another in the order of the nodes: each found once, at the right node.
        for method, ids in (
            ("afferent_edges", table.target_id),
            ("efferent_edges", table.source_id),
        ):
            every_node = np.arange(ids.max() + 1)
            counts = [len(getattr(population, method)([int(k)]).flatten()) for k in every_node]
            check.equal(f"{name} {method}", counts, np.bincount(ids))
            found = np.sort(getattr(population, method)(every_node.tolist()).flatten())
            check.equal(f"{name} {method} ids", found, np.arange(len(ids)))
    _simulation_output(libsonata, path, check)
    return check.measured("nodes, edges, indices, spikes, report, configurations")


def _simulation_output(libsonata: Any, path: Path, check: Comparison) -> None:
    """Spikes, report and the simulation configuration."""
    output = path.parent / "output"
    train = read_spikes(output / "spikes.h5")["v1"]
    reader = libsonata.SpikeReader(str(output / "spikes.h5"))["v1"]
    check.equal("spike sorting", str(reader.sorting), "by_time")
    read = np.array(reader.get())
    check.equal("spike nodes", read[:, 0].astype(int), train.node_ids)
    check.equal("spike times", read[:, 1], train.timestamps)
    report = read_report(output / "voltage.h5")
    population = libsonata.SomaReportReader(str(output / "voltage.h5"))["v1"]
    frame = population.get()
    check.equal("report nodes", frame.ids, report.node_ids)
    check.equal("report values", np.asarray(frame.data), report.data)
    check.equal("report units", population.data_units, report.units)
    check.holds("report times", np.allclose(frame.times, report.times))
    settings = json.loads(path.read_text())
    settings["run"]["random_seed"] = 1  # which libsonata requires
    settings.pop("target_simulator")  # of BMTK only, as is the module of an input
    (path.parent / "node_sets.json").write_text(json.dumps({"v1": {"population": "v1"}}))
    settings["node_sets_file"] = str(path.parent / "node_sets.json")
    for one in settings["inputs"].values():
        one |= {"module": "synapse_replay", "spike_file": one.pop("input_file")}
        one |= {"delay": 0.0, "duration": DURATION, "node_set": "v1"}
    settings["reports"]["voltage"] = {
        "cells": "v1",
        "sections": "soma",
        "type": "compartment",
        "variable_name": "V_m",
        "unit": "mV",
        "dt": 1.0,
        "start_time": 0.0,
        "end_time": DURATION,
    }
    other = path.with_name("libsonata_config.json")
    other.write_text(json.dumps(settings))
    theirs, ours = libsonata.SimulationConfig.from_file(str(other)), read_simulation(other)
    check.equal("run.tstop", theirs.run.tstop, ours.config.run.tstop)
    check.equal("run.dt", theirs.run.dt, ours.config.run.dt)
    check.equal("network", str(Path(theirs.network)), str(ours.circuit.path))
    check.equal("output_dir", str(Path(theirs.output.output_dir)), str(ours.output_dir))
    check.equal("inputs", sorted(theirs.list_input_names), sorted(ours.config.inputs))
    check.equal("reports", sorted(theirs.list_report_names), sorted(ours.config.reports))


@case(
    "BMTK plots a simulation",
    reference="BMTK analyzer",
    compared="spikes in its raster, spikes it counts, curves and mean of its voltage plot",
    needs="bmtk",
)
def bmtk_plots(folder: Path) -> Measured:
    """plot_raster, plot_rates and plot_traces run, and show all that `simulate` wrote."""
    net, path = simulated_column(folder)
    printed = run_script(PLOTS, [str(path), "v1", str(folder)], cwd=net)
    line = next(row for row in printed.splitlines() if row.startswith("RESULT"))
    found, check = json.loads(line.removeprefix("RESULT")), Comparison()
    spikes = read_spikes(folder / "output/spikes.h5")["v1"]
    report = read_report(folder / "output/voltage.h5")
    check.equal("raster", found["raster_points"], len(spikes))
    check.equal("spike statistics", found["counted_spikes"], len(spikes))
    n_steps, n_cells = report.data.shape
    check.equal("curves", found["curves"], n_cells + 1)
    check.equal("points", found["curve_points"], (n_cells + 1) * n_steps)
    mean = float(report.data.mean(dtype=np.float64))
    check.holds("mean voltage", abs(found["mean_voltage"] - mean) < 1e-3)
    for name in ("raster", "rates", "traces"):
        check.holds(f"{name}.png", (folder / f"{name}.png").stat().st_size > 10_000)
    return check.measured(f"{len(spikes)} spikes, {n_cells} voltage traces, 3 figures")


#: What the loaders of JavierGalvan9/V1_GLIF_model (v1_model_utils/load_sparse.py, other_v1_utils.py,
#: lgn_model/lgn.py) read below data_dir. Types tables are separated by single spaces.
READ_OF_TYPES = {
    "v1_node_types": ("node_type_id", "pop_name"),
    "lgn_node_types": ("node_type_id", "pop_name", "location", "ei"),
    "v1_v1_edge_types": ("edge_type_id", "model_template", "delay", "dynamics_params"),
    "lgn_v1_edge_types": ("edge_type_id", "model_template", "delay", "dynamics_params"),
    "bkg_v1_edge_types": (
        "edge_type_id",
        "model_template",
        "delay",
        "dynamics_params",
        "syn_weight",
    ),
}
_EDGE = ("edge_type_id", "source_node_id", "target_node_id")
_KERNEL = [
    f"{what}_{which}_{i}"
    for what in ("kpeaks", "weight", "delay")
    for which in ("dom", "non_dom")
    for i in (0, 1)
]
_LGN_UNIT = ("x", "y", "spatial_size", "tuning_angle", "sf_sep", *_KERNEL)
READ_OF_HDF5 = {
    "v1_nodes": [
        f"nodes/v1/{name}"
        for name in ("node_id", "node_type_id", "0/x", "0/y", "0/z", "0/tuning_angle")
    ],
    "lgn_nodes": [
        f"nodes/lgn/{name}" for name in ("node_id", "node_type_id", *(f"0/{k}" for k in _LGN_UNIT))
    ],
    "bkg_nodes": ["nodes/bkg/node_id"],
    "v1_v1_edges": [f"edges/v1_to_v1/{name}" for name in (*_EDGE, "0/syn_weight")],
    "lgn_v1_edges": [f"edges/lgn_to_v1/{name}" for name in (*_EDGE, "0/syn_weight")],
    "bkg_v1_edges": [f"edges/bkg_to_v1/{name}" for name in _EDGE],
}
#: Of a cell's component file: name and number of values.
READ_OF_CELLS = {"V_th": 1, "g": 1, "E_L": 1, "C_m": 1, "V_m": 1, "t_ref": 1}
READ_OF_CELLS |= {"asc_decay": 2, "asc_amps": 2}
#: Names its table of synaptic basis functions has, beside the classes we write: pre and post.
POST_CLASSES = tuple(name for name in SYNAPSE_CLASSES if name != "exc")


@case(
    "V1_GLIF_model finds its data_dir",
    reference="JavierGalvan9/V1_GLIF_model",
    compared="files, datasets, columns, component files and number ranges its loaders read",
)
def v1_glif_model_layout(folder: Path) -> Measured:
    """Everything on the list is there, and in the form in which that code takes it."""
    pipeline.build(folder / "net", radius=RADIUS_UM, seed=1)
    network, check = folder / "net/network", Comparison()
    types = {}
    for name, columns in READ_OF_TYPES.items():
        types[name] = pd.read_csv(network / f"{name}.csv", sep=" ")
        for column in columns:
            present = column in types[name] and bool(types[name][column].notna().all())
            check.holds(f"{name}.{column}", present)
    data = {}
    for name, paths in READ_OF_HDF5.items():
        with h5py.File(network / f"{name}.h5") as file:
            for path in paths:
                check.holds(f"{name}.h5:{path}", path in file)
                found = file.get(path)
                data[path] = found[()] if isinstance(found, h5py.Dataset) else np.zeros(0)
    ids = data["nodes/v1/node_id"]
    check.equal("v1 node ids", ids, np.arange(len(ids)))
    cells, synapses = (
        folder / "net/components" / name for name in ("cell_models", "synaptic_models")
    )
    for node_type in types["v1_node_types"]["node_type_id"]:
        parameters = json.loads((cells / f"{node_type}_glif_lif_asc_config.json").read_text())
        for parameter, size in READ_OF_CELLS.items():
            check.equal(f"{node_type} {parameter}", np.size(parameters.get(parameter, ())), size)
        check.equal(f"{node_type} V_m is V_reset", parameters["V_m"], parameters["V_reset"])
    for source in ("v1", "lgn", "bkg"):
        table = types[f"{source}_v1_edge_types"]
        ids = data[f"edges/{source}_to_v1/edge_type_id"]
        check.holds(f"{source} edge types", bool(np.isin(ids, table["edge_type_id"]).all()))
        check.holds(
            f"{source} edge types fit uint16", table["edge_type_id"].between(0, 65535).all()
        )
        for name in table["dynamics_params"].unique():
            pre, _, post = Path(name).stem.partition("_to_")
            check.holds(f"basis of {name}", pre in SYNAPSE_CLASSES and post in POST_CLASSES)
            model = json.loads((synapses / name).read_text())
            check.holds(f"{name} receptor_type", model.get("receptor_type", 0) >= 1)
    check.holds(
        "layer 5 excitatory cells", types["v1_node_types"]["pop_name"].str[:2].eq("e5").any()
    )
    check.holds("LGN within 120 x 80 degrees", _inside(data))
    names = types["lgn_node_types"]["pop_name"]
    composite = names[names.str.contains("ON") & names.str.contains("OFF")]
    check.equal("composite units", sorted(composite), ["sONsOFF_001", "sONtOFF_001"])
    with h5py.File(network / "lgn_v1_edges.h5") as file:
        nsyns = np.asarray(file["edges/lgn_to_v1/0/nsyns"])
    several = 100 * np.mean(nsyns > 1)
    return check.measured(
        f"its {len(READ_OF_TYPES) + len(READ_OF_HDF5)} network files and all component files "
        f"(it does not read nsyns, which is above 1 in {several:.0f} % of the LGN edges)"
    )


def _inside(data: dict[str, Any]) -> bool:
    x, y = data["nodes/lgn/0/x"], data["nodes/lgn/0/y"]
    return bool(((x >= 0) & (x <= 120) & (y >= 0) & (y <= 80)).all())
