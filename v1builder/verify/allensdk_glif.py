"""Published GLIF cells against `allensdk.model.glif`, whose output is stored with its script.

traces/allensdk_glif.npz holds spikes and voltages of 24 specimens at every level under steps and noise,
made by processes/allensdk_traces.py with allensdk 2.16.2 at 50, 25 and 10 us. A quarter of them have
the reset rules (fraction outside [0, 1]) that NEST refuses. What allensdk does differently:

- It integrates the membrane by forward Euler, U <- U + dt/C (I + sum I_a - g U), with the after-spike
  currents of the begin of the step; here and in NEST both are exact. Forward Euler is the exact
  solution of a membrane whose capacitance C' obeys e^(-g dt/C') = 1 - g dt/C, and after-spike currents
  taken at the begin of the step are amplitudes larger by k dt/(1 - e^(-k dt)). So the same model with
  C' and these amplitudes must give allensdk's spikes to the step at levels 1 and 3, and does.
- In the reset rule of levels 2, 4 and 5, U is that at the end of the step in which the threshold was
  crossed; in NEST that at its begin. The two differ by less than one step of the membrane.
- Spike times are interpolated within the step for output only; the reset acts at its end. Compared are
  the steps.
- After-spike currents, spike-dependent threshold and refractory period (a number of steps that is cut
  out) are as in NEST. The voltage-dependent threshold is exact as well, with the currents of the begin.

What follows is the tolerance. Euler runs ahead: a decay of time constant tau is faster by dt/(2 tau),
so after a time t a spike may be early by t dt/(2 tau), tau the shortest time constant of the cell. In
both, an interval between spikes ends at the end of a step, so that each interval may add one step, and
each reset rule |fraction| steps. A spike agrees if it is nearer than the sum of these. (Where noise only
just reaches the threshold, one of the two may miss it: the share that does is the result.) Everything
shrinks in proportion to the step, which is a case as well.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from v1builder.load.network import GroupedValues
from v1builder.model import V1Network
from v1builder.model.observation import Observer, Segment, SpikeEvents, observe
from v1builder.model.recordables import V_M
from v1builder.verify.agreement import Measured, case
from v1builder.verify.published_cells import LEVELS, glif_models, membrane, network, rheobase
from v1builder.verify.single_cells import receptors

TRACES = Path(__file__).parent / "traces" / "allensdk_glif.npz"
DT_MS = (0.05, 0.025, 0.01)
STIMULI = ("steps", "noise")
#: Share of spikes within the tolerance above.
LEAST_WITHIN = 0.99
#: mV. The stored voltages are float32.
VOLTAGE_LIMIT = 1e-5


@dataclass(frozen=True)
class EulerRun:
    """One kind of run of all models under both stimuli.

    Attributes:
        step: [k] time step of every spike, sorted by model, stimulus and time.
        model: [k] model of the spike.
        stimulus: [k] stimulus.
        voltage: [m, 2, samples] mV above E_L at the stored times.
    """

    step: NDArray[Any]
    model: NDArray[Any]
    stimulus: NDArray[Any]
    voltage: NDArray[Any]

    def of(self, model: int, stimulus: int) -> NDArray[Any]:
        """Steps of the spikes of one model under one stimulus."""
        return self.step[(self.model == model) & (self.stimulus == stimulus)]


@cache
def _stored() -> dict[str, NDArray[Any]]:
    with np.load(TRACES) as file:
        return dict(file)


def theirs(dt: float) -> EulerRun:
    """The run of allensdk; voltages are stored at 50 us only."""
    data, key = _stored(), f"{1000 * dt:g}"
    if not (data[f"completed_{key}"] == round(float(data["duration_ms"]) / dt)).all():
        raise RuntimeError("allensdk stopped at a reset above the threshold")
    step, model, stimulus = (data[f"{name}_{key}"] for name in ("steps", "model", "stimulus"))
    return EulerRun(step, model, stimulus, data["voltage"])


def _models() -> pd.DataFrame:
    data = _stored()
    table = pd.concat([glif_models(level) for level in LEVELS])
    table = table.set_index(["specimen_id", "glif_level"], drop=False)
    return table.loc[list(zip(data["specimen"], data["level"], strict=True))].reset_index(drop=True)


def _euler(cells: GroupedValues, dt: float) -> GroupedValues:
    """Cells whose exact integration is forward Euler with after-spike currents of the step's begin."""
    values = dict(cells.values)
    values["C_m"] = -dt * values["g"] / np.log1p(-dt * values["g"] / values["C_m"])
    decay = values["asc_decay"] * dt
    values["asc_amps"] = values["asc_amps"] * decay / -np.expm1(-decay)
    return GroupedValues(values, cells.group_of, cells.labels)


class _Sampled(Observer):
    """The voltages at some steps.

    Attributes:
        rows: [k, n] mV.
    """

    needs = (V_M,)

    def __init__(self, steps: NDArray[Any], n_cells: int):
        self._steps = steps
        self.rows = np.zeros((len(steps), n_cells))

    def see(self, segment: Segment) -> None:
        """Take the rows of those steps that are in the segment."""
        here = (self._steps >= segment.start) & (self._steps < segment.stop)
        recorded = segment.recorded[V_M][0, self._steps[here] - segment.start]
        self.rows[here] = recorded.numpy()


@cache
def ours(dt: float, euler: bool = False) -> EulerRun:
    """The same in our model, in float64.

    A current that is set in one step acts in the next, so that it is given one step early.
    """
    data, models = _stored(), _models()
    m = len(models)
    plain = membrane(models, np.tile(np.arange(m), 2))
    cells = _euler(plain, dt) if euler else plain
    ports = receptors("glif_psc", 2 * m)
    ports = GroupedValues(
        {name: values[:, :1] for name, values in ports.values.items()}, ports.group_of, ports.labels
    )
    nothing = {name: np.zeros(0) for name in ("source", "target", "weight", "delay", "receptor")}
    net = network(cells, ports, nothing, nothing, n_input=1)
    model = V1Network(net, dt=dt, dtype=torch.float64, trainable=(), backend="reference")
    pieces = np.repeat(data["relative_current"], m, axis=0).T * rheobase(plain)
    n_steps, per_piece = (round(float(data[k]) / dt) for k in ("duration_ms", "piece_ms"))
    sample = np.rint((data["sample_step"] + 1) * DT_MS[0] / dt).astype(int) - 1

    def injected(start: int, stop: int) -> torch.Tensor:
        piece = np.minimum((np.arange(start, stop) + 1) // per_piece, len(pieces) - 1)
        return torch.tensor(pieces[piece])[None]

    spikes, voltage = SpikeEvents(), _Sampled(sample, 2 * m)
    silence = {"lgn": torch.zeros(1, n_steps, 1, dtype=torch.uint8)}
    observe(model, silence, [spikes, voltage], current=injected)
    _, step, cell = spikes.events()[0].astype(np.int64)
    order = np.lexsort((step, cell))
    step, cell = step[order], cell[order]
    return EulerRun(
        step,
        cell % m,
        cell // m,
        (voltage.rows - plain.per_cell("E_L")).reshape(-1, 2, m).transpose(2, 1, 0),
    )


def _tolerance(row: Any, steps: NDArray[Any], dt: float) -> NDArray[np.float64]:
    """[k] ms by which the k-th spike may differ: Euler, grid, reset; see the module."""
    taus = [row.C_m_pF / row.g_nS]
    if row.glif_level >= 3:
        taus += [row.asc_tau_0_ms, row.asc_tau_1_ms]
    fraction = abs(row.v_reset_fraction) if row.glif_level in (2, 4, 5) else 0.0
    drift = steps * dt * dt / (2 * min(taus))
    return drift + np.arange(len(steps)) * (1 + fraction) * dt + 2 * dt


def at_50_us(_folder: Path, *, level: int) -> Measured:
    """Both at the step of the published fits."""
    dt = DT_MS[0]
    a, b, models = theirs(dt), ours(dt), _models()
    within, distances, counts = 0, [], np.zeros(2, dtype=int)
    rows: Any = enumerate(models.itertuples())
    for i, row in rows:
        if row.glif_level != level:
            continue
        for kind in range(2):
            first, second = a.of(i, kind), b.of(i, kind)
            counts += len(first), len(second)
            if len(first) and len(second):
                gap = dt * np.abs(first[:, None] - second).min(axis=1)
                within += np.count_nonzero(gap <= _tolerance(row, first, dt))
                distances.append(gap)
    chosen = (models["glif_level"] == level).to_numpy()
    apart = np.abs(a.voltage - b.voltage)[chosen]
    apart = apart[np.isfinite(apart)]
    gaps = np.concatenate(distances)
    text = (
        f"{counts[0]} spikes there, {counts[1]} here; distance median {np.median(gaps):.2g} ms, "
        f"90 % below {np.percentile(gaps, 90):.2g} ms; {100 * within / counts[0]:.1f} % within "
        f"the error of Euler and grid; voltages apart by {np.median(apart):.2g} mV (median)"
    )
    return Measured(text, within / counts[0], LEAST_WITHIN, at_least=True)


def with_eulers_parameters(_folder: Path, *, level: int) -> Measured:
    """Our exact step made equal to Euler's by other parameters: nothing may differ."""
    dt = DT_MS[0]
    a, b, models = theirs(dt), ours(dt, euler=True), _models()
    chosen = np.flatnonzero(models["glif_level"] == level)
    trains = [
        {
            tuple(row)
            for row in zip(run.model, run.stimulus, run.step, strict=True)
            if row[0] in chosen
        }
        for run in (a, b)
    ]
    both, either = len(trains[0] & trains[1]), len(trains[0] | trains[1])
    apart = np.abs(a.voltage - b.voltage)[chosen]
    worst = float(np.nanmax(apart))
    text = (
        f"{both} of {either} spikes at the same step ({100 * both / either:.6g} %); "
        f"voltages within {worst:.1g} mV"
    )
    agree = worst <= VOLTAGE_LIMIT and len(trains[0]) > 500
    return Measured(text, both / either if agree else float("nan"), 1.0, at_least=True)


def convergence(_folder: Path) -> Measured:
    """The exponent p of distance ~ dt^p from 50 to 10 us, by level; runs with equal spike numbers."""
    levels = _models()["glif_level"].to_numpy()
    runs = {dt: (theirs(dt), ours(dt)) for dt in DT_MS}
    exponents, texts = [], []
    for level in LEVELS:
        gaps: dict[float, list[NDArray[Any]]] = {dt: [] for dt in DT_MS}
        for i in np.flatnonzero(levels == level).tolist():
            trains = {dt: (a.of(i, 0), b.of(i, 0)) for dt, (a, b) in runs.items()}
            if all(len(a) == len(b) for a, b in trains.values()):
                for dt, (a, b) in trains.items():
                    gaps[dt].append(dt * np.abs(a - b))
        means = [float(np.concatenate(gaps[dt]).mean()) for dt in DT_MS]
        exponents.append(np.polyfit(np.log(DT_MS), np.log(means), 1)[0])
        texts.append(f"GLIF{level} {', '.join(f'{1000 * mean:.0f}' for mean in means)} us")
    text = f"mean distance of a spike at 50, 25, 10 us: {'; '.join(texts)}; exponent of dt "
    text += f"{min(exponents):.2f} to {max(exponents):.2f}"
    return Measured(text, min(exponents), 0.8, at_least=True)


for _level in LEVELS:
    case(
        f"GLIF{_level} cells at 50 us, allensdk",
        reference="allensdk 2.16.2",
        compared="spikes and voltages of 24 specimens under steps and noise, 1 s, dt 0.05 ms",
        needs="allensdk traces",
    )(partial(at_50_us, level=_level))
for _level in (1, 3):
    case(
        f"GLIF{_level} cells with forward Euler's parameters, allensdk",
        reference="allensdk 2.16.2",
        compared="the same with capacitance and amplitudes that make the exact step Euler's",
        needs="allensdk traces",
    )(partial(with_eulers_parameters, level=_level))
case(
    "difference to allensdk shrinks with the step",
    reference="allensdk 2.16.2",
    compared="spikes of 24 specimens at all levels under steps, dt 50, 25 and 10 us",
    needs="allensdk traces",
    slow=True,
)(convergence)
