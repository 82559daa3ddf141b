"""What is wrong with an edge population: its datasets, types, values and indices."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from v1builder.schema.errors import NetworkError, Problem
from v1builder.sonata import edge_rules as rules
from v1builder.sonata.circuit import PopulationFile
from v1builder.sonata.edge_rules import Fault
from v1builder.sonata.edge_types import edge_types
from v1builder.sonata.edges import REQUIRED_DATASETS, EdgeTable, iterate_edges
from v1builder.sonata.groups import attributes_of, populations_in
from v1builder.sonata.hdf5 import (
    H5Group,
    datasets_in,
    open_dataset,
    open_to_read,
    read_array,
    read_integers,
)
from v1builder.sonata.indices import DIRECTIONS
from v1builder.sonata.join import (
    ALIASES,
    joined,
    misspelled,
    numbers,
    receptor_of_type,
    type_rows,
)
from v1builder.sonata.synapse_models import (
    model_names,
    not_at_rest,
    synapse_problems,
    tsodyks_parameters,
)

_CHUNK = 1 << 22
_COLUMNS = ("syn_weight", "nsyns", "delay")
#: Columns whose absence PointNet and `load` fill in, see `load.edge_values`.
_WITH_DEFAULT = ("nsyns", "delay")


class Nodes(Protocol):
    """What is known of a node population."""

    node_id: NDArray[np.int64]
    ei: NDArray[Any] | None
    virtual: bool
    n_ports: NDArray[np.int64] | None


def shape_problems(
    group: H5Group, where: str, kind: str, required: tuple[str, ...]
) -> list[Problem]:
    """Missing datasets and unequal lengths of a population; `kind` is "node" or "edge"."""
    missing = [name for name in required if name not in group]
    if missing:
        return [
            Problem("a dataset is missing", f"{where}, dataset {name}", fix="write the file again")
            for name in missing
        ]
    own = (*required, *(f"{kind}_{name}" for name in ("id", "group_id", "group_index")))
    datasets = dict(datasets_in(group)) | {
        name: open_dataset(group, name) for name in own if name in group
    }
    lengths = {name: item.shape for name, item in datasets.items()}
    n = len(datasets[required[0]]) if lengths.get(required[0]) else 0
    problems = [
        Problem(
            "datasets differ in length",
            f"{where}, dataset {name}",
            f"shape {shape} for {n} {kind}s",
            "write the file again",
        )
        for name, shape in lengths.items()
        if shape != (n,)
    ]
    if problems:
        return problems
    group_id = f"{kind}_group_id"
    counts = _counts(datasets[group_id]) if group_id in group else {0: n}
    for key, count in counts.items():
        problems += [
            Problem(
                "datasets differ in length",
                f"{where}, dataset {key}/{name}",
                f"{item.shape[:1]} values for {count} {kind}s",
                "write the file again",
            )
            for name, item in attributes_of(group, key)
            if item.shape[:1] != (count,)
        ]
    return problems


def _counts(dataset: Any) -> dict[int, int]:
    """How often each group id occurs, read in chunks."""
    counts: Counter[int] = Counter()
    for start in range(0, len(dataset), _CHUNK):
        part = read_integers(dataset, start, min(start + _CHUNK, len(dataset)))
        ids, numbers_of = np.unique(part, return_counts=True)
        counts.update(dict(zip(ids.tolist(), numbers_of.tolist(), strict=True)))
    return counts


class EdgeCheck:
    """Checks one edge population; `problems` grows while it runs.

    Every kind of problem is noted once, with the number of edges that have it and the first.
    """

    def __init__(
        self,
        part: PopulationFile,
        name: str,
        synaptic_models: Path | None,
        nodes: Mapping[str, Nodes],
    ):
        self.part, self.name = part, name
        self.where = f"{part.file}, population {name}"
        self.problems: list[Problem] = []
        self._synaptic_models = synaptic_models
        self._nodes = nodes
        self._counts: dict[tuple[str, str], tuple[int, int, str]] = {}

    def run(self) -> None:
        """Do all checks.

        Raises:
            NetworkError: a file is missing or damaged, so that no more can be said.
        """
        with open_to_read(self.part.file) as file:
            names = populations_in(file, "edges", self.part.file)
            if self.name not in names:
                present = ", ".join(names)
                problem = Problem(f"no population '{self.name}' in the file", self.where, present)
                self.problems.append(problem)
                return
            group = file[f"edges/{self.name}"]
            self.problems += shape_problems(group, self.where, "edge", REQUIRED_DATASETS)
            if self.problems:
                return
            self._check_indices(group)
        types = self._types()
        for chunk in iterate_edges(self.part.file, self.name, _CHUNK):
            if chunk.start == 0 and not self._ends_known(chunk):
                return
            self._check_nodes_exist(chunk)
            if types is not None:
                self._check_values(chunk, types)
        for (what, fix), (count, first, got) in self._counts.items():
            self.problems.append(
                Problem(what, self.where, f"{got}; {count} edges, first edge {first}", fix)
            )

    def _note(self, start: int, *faults: Fault) -> None:
        """Count the edges that break rules; what the first has is shown."""
        for fault in faults:
            count = int(np.count_nonzero(fault.wrong))
            if count == 0:
                continue
            key = fault.what, fault.fix
            if key in self._counts:
                before = self._counts[key]
                self._counts[key] = (before[0] + count, *before[1:])
            else:
                first = int(np.flatnonzero(fault.wrong)[0])
                self._counts[key] = (count, start + first, str(fault.got[first]))

    def _types(self) -> pd.DataFrame | None:
        try:
            types = edge_types(self.part, self.name, self._synaptic_models)
        except NetworkError as error:
            self.problems += error.problems
            return None
        where = self.part.types_file or self.part.file
        found = synapse_problems(types, where)
        if not found:
            plastic = tsodyks_parameters(types)
            values = {str(key): plastic[key].to_numpy(np.float64) for key in plastic}
            names = model_names(types.loc[plastic.index])
            found = list(dict.fromkeys(not_at_rest(values, names.tolist(), where)))
        self.problems += found
        return types.assign(receptor_type=receptor_of_type(types))

    def _ends_known(self, chunk: EdgeTable) -> bool:
        ends = {"source": chunk.source, "target": chunk.target}
        unknown = {end: name for end, name in ends.items() if name not in self._nodes}
        self.problems += [
            rules.no_population(end, name, self.where, self._nodes) for end, name in unknown.items()
        ]
        self.problems += rules.other_ends(self.part, ends, self.where)
        self.problems += rules.own_parameters(chunk.attributes, self.where)
        if not unknown and self._nodes[chunk.target].virtual:
            simulated = [name for name, nodes in self._nodes.items() if not nodes.virtual]
            self.problems.append(rules.not_simulated(chunk.target, self.where, simulated))
        return not unknown

    def _check_nodes_exist(self, chunk: EdgeTable) -> None:
        for end, population, ids in (
            ("source", chunk.source, chunk.source_id),
            ("target", chunk.target, chunk.target_id),
        ):
            known = self._nodes[population].node_id
            wrong = ~np.isin(ids, known)
            self._note(chunk.start, rules.unknown_nodes(end, population, len(known), wrong, ids))

    def _check_values(self, chunk: EdgeTable, types: pd.DataFrame) -> None:
        rows = type_rows(chunk.edge_type_id, types)
        unknown = rows < 0
        self._note(chunk.start, rules.unknown_types(unknown, chunk.edge_type_id))
        if unknown.any():
            return
        names = joined("weight_function", chunk.attributes, types, rows)
        found = [] if names is None else rules.weight_functions(names, self.where)
        self.problems += [problem for problem in found if problem not in self.problems]
        values: dict[str, NDArray[np.float64]] = {}
        ports = self._ports(chunk)
        ported = ports if ports is None else ports > 0
        for name in (*_COLUMNS, "receptor_type"):
            column = joined(name, chunk.attributes, types, rows)
            guess = misspelled(name, types.columns, chunk.attributes)
            if column is None and name in _WITH_DEFAULT and guess is None:
                continue
            if name == "receptor_type" and (ported is None or not ported.all()):
                # the sign of a weight chooses where there are no ports
                column = np.zeros(len(chunk)) if column is None else numbers(column)
                column = (
                    column if ported is None else np.where(ported, column, np.nan_to_num(column))
                )
            empty = name == "receptor_type" and len(chunk) > 0 and np.isnan(column).all()
            if column is None or empty:
                if chunk.start == 0:
                    where = f"{self.where}, types {self.part.types_file}"
                    self.problems.append(rules.no_column(name, where, guess))
                continue
            values[name] = numbers(column)
            if name in _WITH_DEFAULT:
                for lacking in (
                    chunk.lacking[k] for k in ALIASES.get(name, (name,)) if k in chunk.lacking
                ):
                    values[name] = np.where(lacking & np.isnan(values[name]), 1.0, values[name])
            self._note(chunk.start, rules.not_finite(name, values[name], np.asarray(column)))
        self._check_ranges(chunk, values)

    def _ports(self, chunk: EdgeTable) -> NDArray[np.int64] | None:
        """[e] number of ports of each target; None when unknown."""
        target = self._nodes[chunk.target]
        if target.n_ports is None:
            return None
        order = np.argsort(target.node_id)
        found = np.searchsorted(target.node_id, chunk.target_id, sorter=order)
        return target.n_ports[order[found.clip(max=len(order) - 1)]]

    def _check_ranges(self, chunk: EdgeTable, values: dict[str, NDArray[np.float64]]) -> None:
        if "delay" in values:
            delay = values["delay"]
            self._note(chunk.start, rules.not_positive_delay(delay), rules.too_long_delay(delay))
        if "nsyns" in values:
            nsyns = values["nsyns"]
            few = rules.no_synapses(np.where(nsyns < 0, 1, nsyns))
            broken = rules.broken_synapses(nsyns), rules.negative_synapses(nsyns)
            self._note(chunk.start, few, *broken)
        ports = self._ports(chunk)
        if "receptor_type" in values and ports is not None:
            self._note(chunk.start, *rules.unknown_ports(values["receptor_type"], ports))
        source = self._nodes[chunk.source]
        if "syn_weight" in values and source.ei is not None:
            signs = [self._is(source, chunk.source_id, ei) for ei in "ie"]
            self._note(chunk.start, *rules.against_dale(values["syn_weight"], *signs))

    @staticmethod
    def _is(source: Nodes, ids: NDArray[Any], ei: str) -> NDArray[np.bool_]:
        """Which edges come from nodes with this `ei`."""
        assert source.ei is not None
        return np.isin(ids, source.node_id[source.ei == ei])

    def _check_indices(self, group: H5Group) -> None:
        if "indices" not in group:  # optional, and nothing here needs them
            return
        for direction, dataset in DIRECTIONS.items():
            where = f"{self.where}, indices/{direction}"
            index = group.get(f"indices/{direction}")
            names = ("node_id_to_ranges", "node_id_to_range")
            found = [name for name in names if isinstance(index, h5py.Group) and name in index]
            if not found or "range_to_edge_id" not in index:
                self.problems.append(
                    Problem(
                        "an index is missing",
                        where,
                        fix="write the file again with its indices, or without any",
                    )
                )
                continue
            *to_ranges, to_edges = (
                open_dataset(index, name) for name in (*found, "range_to_edge_id")
            )
            tables = [*to_ranges, to_edges]
            if any(table.ndim != 2 or table.shape[1] != 2 for table in tables):
                fault = f"shapes {', '.join(str(table.shape) for table in tables)} for [n, 2]"
            elif any(table.dtype.kind not in "iu" for table in tables):
                fault = "ranges are not whole numbers"
            else:
                ids = open_dataset(group, dataset)
                whole = (
                    ids.dtype.kind in "iu"
                )  # as narrow as they are stored: there may be billions
                ids = read_array(ids) if whole else read_integers(ids)
                faults = [index_fault(read_array(each), to_edges, ids) for each in to_ranges]
                fault = next(filter(None, faults), "")
            if fault:
                self.problems.append(
                    Problem(
                        "an index disagrees with the edges", where, fault, "write the file again"
                    )
                )


def index_fault(to_ranges: NDArray[Any], to_edges: Any, ids: NDArray[Any]) -> str:
    """How a SONATA index disagrees with the edges, or "" when it does not.

    Args:
        to_ranges: [node, 2] first and last + 1 row of `to_edges`.
        to_edges: [range, 2] first and last + 1 edge; an HDF5 dataset, read in chunks.
        ids: [e] the node id of every edge.
    """
    n_edges = len(ids)
    first, last = to_ranges[:, 0].astype(np.int64), to_ranges[:, 1].astype(np.int64)
    used = (last > first) & (first >= 0)  # a negative start: no edges
    if np.any(first[used] < 0) or np.any(last[used] > len(to_edges)):
        return "a node points to ranges that do not exist"
    node_of_range = np.full(len(to_edges), -1, dtype=np.int32)
    for node in np.flatnonzero(used):
        node_of_range[first[node] : last[node]] = node
    covered = np.zeros(n_edges, dtype=bool)
    n_listed = 0
    for begin in range(0, len(to_edges), _CHUNK):
        ranges = to_edges[begin : begin + _CHUNK].astype(np.int64)
        start, stop = ranges[:, 0], ranges[:, 1]
        if np.any(start < 0) or np.any(stop > n_edges) or np.any(stop < start):
            return "a range points to edges that do not exist"
        before = np.cumsum(stop - start)  # cut so that a piece has about _CHUNK edges
        cuts = np.searchsorted(before, np.arange(_CHUNK, before[-1], _CHUNK))
        for piece in np.split(np.arange(len(ranges)), cuts):
            node = node_of_range[begin + piece]
            fault = _range_fault(node, start[piece], stop[piece], ids, covered)
            if fault:
                return fault
        n_listed += int(before[-1])
    if not covered.all():
        return f"edge {int(np.flatnonzero(~covered)[0])} is not listed"
    return "" if n_listed == n_edges else "an edge is listed twice"


def _range_fault(
    node: NDArray[np.int32],
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    ids: NDArray[Any],
    covered: NDArray[np.bool_],
) -> str:
    """How ranges [start, stop) of `node` disagree with the edges; marks their edges as covered."""
    length = stop - start
    edges = np.repeat(start - np.cumsum(length) + length, length)
    edges += np.arange(len(edges))
    of_node = np.repeat(node, length)
    wrong = ids[edges] != of_node
    if wrong.any():
        edge = int(edges[wrong][0])
        return f"edge {edge} of node {ids[edge]} is listed for node {of_node[wrong][0]}"
    covered[edges] = True
    return ""
