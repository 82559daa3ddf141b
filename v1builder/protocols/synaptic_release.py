"""What short-term plasticity does in a trial: release over release from rest, by synapse model.

Cells start at rest and a gray screen is shown for a second. At every spike a site (a source with its edges
of one synapse model) releases u x; the efficacy is that over U, mean over the spikes of all sites of a
model, in parts of the trial. Beside it stands what would be steady with Poisson spikes at the sites' own
rates, and the filter that the synapse is to a modulated rate (`analysis.release`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from v1builder.analysis.release import Release, poisson_efficacy, release_filter
from v1builder.measures import MeasureRow
from v1builder.model import plasticity as stp
from v1builder.model.edges import Edges
from v1builder.model.observation import Observer, Segment, SpikeCounts, observe
from v1builder.protocols.probes import edges_of, sender_of
from v1builder.protocols.protocol import Preparation, Protocol

LEVEL: Final = "synapse_model"
#: Spikes that a mean rests on at least.
SPIKES_MIN: Final = 20


@dataclass(frozen=True)
class SynapticRelease(Protocol):
    """Efficacy of every synapse model, as it is and as it would be; n counts sites and not cells.

    delivered_weight is what a spike of a cell brings to its targets, plasticity included: sum of |weight| u
    x / U over its edges, mean over spikes. Of an ablated network over that of the intact one it is the
    achieved efficacy over the intended.

    Attributes:
        n_rows: trials.
        duration_ms: of a trial.
        part_ms: of a part.
        frequencies: Hz, of the filter.
    """

    n_rows: int = 4
    duration_ms: float = 1000.0
    part_ms: float = 200.0
    frequencies: tuple[float, ...] = (1.0, 10.0, 100.0)

    name: ClassVar[str] = "synaptic_release"
    gives: ClassVar[dict[str, str]] = {
        "release": "1",
        "release_steady": "1",
        "release_gain": "1",
        "delivered_weight": "pA",
    }

    def run(self, preparation: Preparation) -> Iterator[MeasureRow]:
        """The values of every synapse model of every population of edges."""
        model = preparation.model
        length, n_steps = preparation.steps(self.part_ms), preparation.steps(self.duration_ms)
        watched = [
            _Sites(name, edges, length, model.dt)
            for name, edges in zip(model.edges, edges_of(model), strict=True)
            if edges.n_sites
        ]
        given = preparation.gray_parts(self.n_rows, preparation.draw(self.name, "inputs"))

        def inputs(start: int, stop: int) -> dict[str, Tensor]:
            preparation.progress(start, n_steps)
            return given(start, stop)

        rest, fired = model.initial_state(self.n_rows), SpikeCounts()
        observers = [fired, *watched]
        observe(model, inputs, observers, n_steps=n_steps, state=rest, steps=min(length, 250))
        yield from self._delivered(preparation, fired.counts.sum(axis=0), watched)
        seconds = self.n_rows * n_steps * model.dt / 1000
        if not watched:
            for measure in ("release", "release_steady", "release_gain"):
                reason, unit = "the synapses are static", self.gives[measure]
                yield MeasureRow(measure, unit, "trial", LEVEL, "all", np.nan, 0, reason)
        for sites in watched:
            yield from self._rows(sites, seconds, n_steps * model.dt)

    def _delivered(
        self, preparation: Preparation, counts: NDArray[np.float64], watched: Sequence["_Sites"]
    ) -> Iterator[MeasureRow]:
        """Rows of the edges among the cells, by sign: what a spike brings to all its targets together."""
        released = {sites.name: sites.released.sum(dim=0).cpu().numpy() for sites in watched}
        model = preparation.model
        recurrent = [
            (name, edges)
            for name, edges in zip(model.edges, edges_of(model), strict=True)
            if edges.source is None
        ]
        if not recurrent:
            reason = "no edges among the cells"
            yield MeasureRow("delivered_weight", "pA", "trial", "edges", "all", np.nan, 0, reason)
        for name, edges in recurrent:
            # Rows are units, then sites, as the sources of edges count.
            n_units, rows = edges.n_source, edges.projection.source_index.cpu().numpy()
            sent = np.concatenate([counts, released.get(name, np.zeros(0))])
            weight, sender = edges().detach().cpu().double().numpy(), sender_of(edges).cpu().numpy()
            for sign, label in ((1, "excitatory"), (-1, "inhibitory")):
                own = sign * weight > 0
                total = np.bincount(rows[own], np.abs(weight[own]), minlength=len(sent))
                sources = np.isin(np.arange(n_units), sender[own])
                n_spikes = counts[sources].sum()
                known = n_spikes >= SPIKES_MIN
                value = float(total @ sent / n_spikes) if known else np.nan
                n = int((counts[sources] > 0).sum()) if known else 0
                reason = "" if known else f"fewer than {SPIKES_MIN} spikes"
                yield MeasureRow(
                    "delivered_weight", "pA", "trial", "edges", f"{name}: {label}", value, n, reason
                )

    def _rows(self, sites: "_Sites", seconds: float, trial_ms: float) -> Iterator[MeasureRow]:
        """Rows of the synapse models of one population."""
        spikes, released = sites.spikes.cpu().numpy(), sites.released.cpu().numpy()
        of_site = sites.model.cpu().numpy()
        for model, (label, synapse) in enumerate(sites.synapses()):
            own = of_site == model
            if not own.any():
                continue
            group, fired = f"{sites.name}: {label}", spikes[:, own]
            n = int((fired.sum(axis=0) > 0).sum())
            rate = fired.sum(axis=0) / seconds
            enough = fired.sum() >= SPIKES_MIN

            def row(
                measure: str, window: str, value: float, known: bool, n: int = n, group: str = group
            ) -> MeasureRow:
                reason = "" if known else f"fewer than {SPIKES_MIN} spikes"
                value, n = (value, n) if known else (np.nan, 0)
                return MeasureRow(
                    measure, self.gives[measure], window, LEVEL, group, float(value), n, reason
                )

            whole = released[:, own].sum() / max(fired.sum(), 1)
            yield row("release", "trial", whole, enough)
            for part, (number, total) in enumerate(
                zip(fired.sum(axis=1), released[:, own].sum(axis=1), strict=True)
            ):
                stop = min((part + 1) * self.part_ms, trial_ms)
                window = f"{part * self.part_ms:g}-{stop:g} ms"
                yield row("release", window, total / max(number, 1), number >= SPIKES_MIN)
            weights = rate if enough else np.ones_like(rate)
            steady = np.average(poisson_efficacy(synapse, rate), weights=weights)
            yield row("release_steady", "trial", steady, enough)
            # The rate that a spike comes from, not that of a site: silent sites pass nothing on.
            mean = float(np.average(rate, weights=weights))
            gain = np.abs(release_filter(synapse, mean, self.frequencies))
            for frequency, value in zip(self.frequencies, gain, strict=True):
                yield row("release_gain", f"{frequency:g} Hz", value, enough)


class _Sites(Observer):
    """Follows the sites of one population of edges, from rest on.

    Attributes:
        name: of the edges.
        model: [site] synapse model.
        spikes, released: [part, site] number of spikes, and their release over that from rest.
    """

    def __init__(self, name: str, edges: Edges, length: int, dt: float):
        self.name, self._edges, self._length = name, edges, length
        self.model = edges.U.group_of
        self._coefficients = edges.plasticity(dt)
        self._source = edges.projection.site_source.long()
        self._parts: list[list[Tensor]] = []
        self._state: tuple[Tensor, Tensor] | None = None

    def synapses(self) -> list[tuple[str, Release]]:
        """Name and parameters of every synapse model."""
        edges = self._edges
        columns = [
            one.values().detach().tolist() for one in (edges.U, edges.tau_rec, edges.tau_fac)
        ]
        named = zip(edges.U.labels, *columns, strict=True)
        return [(label, Release(U, tau_rec, tau_fac)) for label, U, tau_rec, tau_fac in named]

    @property
    def spikes(self) -> Tensor:
        return torch.stack([part[0] for part in self._parts])

    @property
    def released(self) -> Tensor:
        return torch.stack([part[1] for part in self._parts])

    def see(self, segment: Segment) -> None:
        source = self._edges.source
        every = segment.spikes if source is None else segment.inputs[source]
        dtype = self._coefficients.U.dtype
        for t in range(every.shape[1]):
            fires = every[:, t].index_select(1, self._source).to(dtype)
            u, x = self._state or (torch.zeros_like(fires), torch.ones_like(fires))
            released, u, x = stp.step(u, x, fires, self._coefficients)
            self._state = u, x
            if (segment.start + t) // self._length == len(self._parts):
                self._parts.append([torch.zeros_like(fires[0]), torch.zeros_like(fires[0])])
            self._parts[-1][0] += fires.sum(dim=0)
            self._parts[-1][1] += released.sum(dim=0)
