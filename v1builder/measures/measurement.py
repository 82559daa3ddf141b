"""Several measures of one network at once, window by window, while it runs; and their values as rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from v1builder.measures.activity import Activity, Design, Indices, Window, joined
from v1builder.measures.groups import all_groups
from v1builder.measures.measure import Axis, Measure
from v1builder.measures.names import measure_named
from v1builder.model.observation import Observer, Segment
from v1builder.model.recordables import V_M
from v1builder.schema.errors import (
    ConfigError,
    Problem,
    raise_if_any,
    unknown_name,
)

#: What is recorded for a need other than spikes.
_RECORDED: Final = {"voltage": V_M, "currents": "I_syn_by_port"}
#: Condition of trials in which nothing is shown or asked.
NOTHING_SHOWN: Final = -1


@dataclass(frozen=True)
class MeasureRow:
    """One value of one measure.

    Attributes:
        measure, unit: name and unit.
        window: steps of the trials that it is of, by name.
        level, group: which cells.
        value: NaN where there is none.
        n: number of cells that it rests on.
        reason: why there is none; empty where there is one.
    """

    measure: str
    unit: str
    window: str
    level: str
    group: str
    value: float
    n: int
    reason: str

    def record(self) -> dict[str, Any]:
        """JSON values: None for a value that there is not."""
        return asdict(self) | {"value": None if self.reason else self.value}


@dataclass(frozen=True)
class CurveRow:
    """One point of the curve of a measure that has an `Axis`.

    Attributes:
        measure, unit: name of the measure, and unit of `value`.
        window, level, group: as in `MeasureRow`.
        axis, axis_unit: what the curve is a function of.
        at: the point.
        value, n, reason: as in `MeasureRow`.
    """

    measure: str
    unit: str
    window: str
    level: str
    group: str
    axis: str
    axis_unit: str
    at: float
    value: float
    n: int
    reason: str

    def record(self) -> dict[str, Any]:
        """JSON values: None for a value that there is not."""
        return asdict(self) | {"value": None if self.reason else self.value}


class Measurement:
    """Measures of one network.

    Memory is that of the measures; one that does not stream keeps all that it is shown.
    """

    def __init__(
        self,
        names: Sequence[str],
        design: Design,
        windows: Mapping[str, slice | Window],
        *,
        levels: Sequence[str] | None = None,
        positions: NDArray[np.int64] | None = None,
        reference: Self | None = None,
    ):
        """Set up measures in windows.

        Args:
            names: of measures.
            design: of the trials, whose cells are those that are observed.
            windows: by name; steps alone are those of all conditions, and nothing changes in them.
            levels: of groups, of `GROUP_LEVELS`, or names of node sets; unless given, all that the cells can
                be grouped by but "cell".
            positions: [n_cells of the design] where the observed cells are among those of the model; all of
                them, in order, unless given.
            reference: what was measured of the network that others are compared with, with the same measures
                and windows, in the same trials. Measures that compare have no value unless given.

        Raises:
            ConfigError: a measure, a level or a window is not valid.
            NetworkError: the cells cannot be grouped by a level that was asked for.
        """
        kinds = [measure_named(name) for name in dict.fromkeys(names)]
        self._windows = {
            name: Window(one) if isinstance(one, slice) else one for name, one in windows.items()
        }
        raise_if_any(list(_window_problems(self._windows, design.n_steps)), ConfigError)
        self._groups = all_groups(design.cells, levels, design.node_sets)
        self._positions, self._reference = positions, reference
        self._measures = {
            name: [kind(design.within(window)) for kind in kinds]
            for name, window in self._windows.items()
        }
        self._kept: dict[str, list[Activity]] = {name: [] for name in windows}
        self._keeps = not all(kind.streaming for kind in kinds)
        self.needs = sorted({need for kind in kinds for need in kind.needs} - {"spikes"})
        self.n_trials = 0

    def observer(
        self, condition: ArrayLike | Tensor | None = None, windows: Sequence[str] | None = None
    ) -> Observer:
        """What lets the measures see one run.

        Where one of them needs currents, the model should keep the network's ports apart (`V1Network`,
        keep_ports).

        Args:
            condition: [trial] what is shown or asked in each trial of the run, as a number (as a task's
                trials have it). By it trials are repeats and have a direction. `NOTHING_SHOWN` in all of
                them unless given.
            windows: the windows this run is of; all unless given.

        Raises:
            ConfigError: there is no such window.
        """
        chosen = list(self._windows) if windows is None else list(windows)
        problems = [
            unknown_name("window", name, self._windows, "measures")
            for name in chosen
            if name not in self._windows
        ]
        raise_if_any(problems, ConfigError)
        shown = None if condition is None else np.asarray(condition, dtype=np.int64)
        return _Watch(self, chosen, shown)

    def see(self, window: str, activity: Activity) -> None:
        """Show the measures of a window a part of its activity."""
        for measure in self._measures[window]:
            if measure.streaming:
                measure.see(activity)
        if self._keeps:
            self._kept[window].append(activity)

    def rows(self) -> list[MeasureRow]:
        """The values of all that was seen."""
        return [
            row
            for window, measures in self._measures.items()
            for measure in measures
            for row in self._rows(window, self._complete(window, measure))
        ]

    def curves(self) -> list[CurveRow]:
        """The points of the curves of all that was seen, of those measures that have one."""
        return [
            row
            for window, measures in self._measures.items()
            for measure in measures
            if measure.axis is not None
            for row in self._curve(window, self._complete(window, measure), measure.axis)
        ]

    def _complete(self, window: str, measure: Measure) -> Measure:
        """The measure, having seen everything, and with what it compares with."""
        if not measure.streaming and self._kept[window]:
            fresh = type(measure)(measure.design)
            fresh.see(joined(self._kept[window]))
            measure = fresh
        if measure.compares and self._reference is not None:
            measure.reference = self._reference.measure(window, measure.name)
        return measure

    def measure(self, window: str, name: str) -> Measure | None:
        """The measure of that name in a window, having seen everything; None where there is none."""
        for measure in self._measures.get(window, []):
            if measure.name == name:
                return self._complete(window, measure)
        return None

    def _rows(self, window: str, measure: Measure) -> Iterator[MeasureRow]:
        for level, groups in self._groups.items():
            if not measure.has(level):
                continue
            found = measure.values(groups)
            for group, value, n, reason in zip(
                groups.labels, found.value.tolist(), found.n.tolist(), found.reason, strict=True
            ):
                yield MeasureRow(measure.name, measure.unit, window, level, group, value, n, reason)

    def _curve(self, window: str, measure: Measure, axis: Axis) -> Iterator[CurveRow]:
        for level, groups in self._groups.items():
            if not measure.has(level):
                continue
            for at, found in measure.curve(groups).items():
                for group, value, n, reason in zip(
                    groups.labels, found.value.tolist(), found.n.tolist(), found.reason, strict=True
                ):
                    yield CurveRow(
                        measure.name, axis.value_unit, window, level, group,
                        axis.name, axis.unit, at, value, n, reason,
                    )  # fmt: skip

    def cut(
        self, window: str, segment: Segment, trials: Indices, shown: Indices
    ) -> Activity | None:
        """What of a segment is in a window and of the observed cells; None where nothing is."""
        steps, conditions = self._windows[window].steps, self._windows[window].conditions
        first, last = max(segment.start, steps.start), min(segment.stop, steps.stop)
        rows: slice | Indices = slice(None)
        if conditions is not None:
            rows = np.flatnonzero(np.isin(shown, conditions))
            trials, shown = trials[rows], shown[rows]
        if first >= last or not len(trials):
            return None
        here = slice(first - segment.start, last - segment.start)
        chosen = slice(None) if self._positions is None else self._positions
        spikes = segment.spikes[rows, here][:, :, chosen]
        at = spikes.nonzero(as_tuple=True)
        if (spikes[at] != 1).any():
            raise ConfigError.of(
                "activity is measured in spikes, and these cells send a graded signal",
                "measures",
                "a number of spikes other than 0 and 1",
                'measure a module of the same network with neuron = "glif"',
            )
        trial, step, cell = (index.cpu().numpy() for index in at)
        order = np.lexsort((step, cell, trial))

        def recorded(need: str) -> NDArray[np.float64] | None:
            if need not in self.needs:
                return None
            found = segment.recorded[_RECORDED[need]][rows, here][:, :, chosen]
            return found.double().cpu().numpy()

        return Activity(
            trials,
            shown,
            first - steps.start,
            last - steps.start,
            trial[order],
            cell[order],
            step[order] + (first - steps.start),
            recorded("voltage"),
            recorded("currents"),
        )


class _Watch(Observer):
    """Shows a measurement one run."""

    def __init__(self, measurement: Measurement, windows: Sequence[str], shown: Indices | None):
        self._measurement, self._windows, self._shown = measurement, windows, shown
        self._trials: Indices | None = None
        self.needs = tuple(_RECORDED[need] for need in measurement.needs)

    def see(self, segment: Segment) -> None:
        """Show what of a segment is in the windows."""
        batch = len(segment.spikes)
        if self._trials is None:
            self._trials = self._measurement.n_trials + np.arange(batch)
            self._measurement.n_trials += batch
            if self._shown is None:
                self._shown = np.full(batch, NOTHING_SHOWN)
        assert self._shown is not None
        if len(self._shown) != batch:
            raise ConfigError.of(
                "the conditions are not those of the trials",
                "measures",
                f"{len(self._shown)} conditions, {batch} trials",
                "give the number of the condition of each trial of the run",
            )
        for window in self._windows:
            part = self._measurement.cut(window, segment, self._trials, self._shown)
            if part is not None:
                self._measurement.see(window, part)


def _window_problems(windows: Mapping[str, Window], n_steps: int) -> Iterator[Problem]:
    for name, window in windows.items():
        steps, change = window.steps, window.change
        if steps.step is not None or not 0 <= steps.start <= steps.stop <= n_steps:
            yield Problem(
                "a window is not within the trial",
                f"measures, window {name}",
                str(steps),
                f"give steps within 0 and {n_steps}",
            )
        elif change is not None and not steps.start < change < steps.stop:
            yield Problem(
                "the change is not within its window",
                f"measures, window {name}",
                f"step {change} of {steps}",
                "begin the window before the change and end it after",
            )
