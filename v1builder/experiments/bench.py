"""Where networks are ablated and measured: the same trials before and after, for all networks of a seed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from v1builder.experiments.ablations import Ablation
from v1builder.experiments.ablations.base import CARRY
from v1builder.experiments.background import calibrated, overdriven
from v1builder.experiments.history import SpikeHistory
from v1builder.experiments.operating_point import CALIBRATION, SPARED, compared, operating_point
from v1builder.experiments.probes import Probes, gray_inputs, make_probes
from v1builder.load import Network
from v1builder.model import V1Network
from v1builder.model.device import device_of
from v1builder.schema.errors import ConfigError, Problem, raise_if_any, unknown_name
from v1builder.tasks import Task

Array = NDArray[np.float64]

#: What happens to the background of new cell models, see `Bench`.
BACKGROUNDS: Final = ("calibrated", "ratio")
#: Share of cells up to which no more are spared: whoever is drawn anew without them drives a few others.
SPARED_ROUND: Final = 0.002


@dataclass(frozen=True)
class Start:
    """A network that ablations start from, and what was measured of it.

    Attributes:
        network: intact, built or trained.
        rates: [n_cells, 2] Hz, spontaneous and evoked.
        activity: measures what some ablations need to know.
        point: record of its operating point.
    """

    network: Network
    rates: Array
    activity: Callable[[], SpikeHistory]
    point: dict[str, Any]


class Bench:
    """Ablates and measures.

    Attributes:
        probes: trials in which networks are measured.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        *,
        dt: float,
        n_trials: int,
        calibration_seconds: float,
        carry: str = "psp",
        background: str = "calibrated",
        accelerator: str = "cpu",
        model: Callable[[Network], V1Network] | None = None,
    ):
        """Set up a bench.

        Args:
            task: its trials are the evoked condition, gray ones the spontaneous.
            seed: of the trials and of random ablations.
            dt: ms.
            n_trials: of each condition.
            calibration_seconds: of gray screen over which a background is tuned.
            carry: see `Ablation`.
            background: "calibrated" tunes the background of new cell models, "ratio" does not.
            accelerator: where networks compute, see `model.device`.
            model: makes the module that is measured, there; `V1Network` of the given dt unless said.

        Raises:
            ConfigError: `carry` or `background` is unknown.
        """
        problems: list[Problem] = []
        if carry not in CARRY:
            problems.append(unknown_name("carry", carry, CARRY, "bench"))
        if background not in BACKGROUNDS:
            problems.append(unknown_name("background", background, BACKGROUNDS, "bench"))
        raise_if_any(problems, ConfigError)
        self._task = task
        self._seed = seed
        self._dt = dt
        self._n_trials = n_trials
        self._calibration_seconds = calibration_seconds
        self._carry = carry
        self._calibrates = background == "calibrated" and carry == "psp"
        self._device = device_of(accelerator)
        self._model = model or self._module

    def _module(self, network: Network) -> V1Network:
        return V1Network(network, dt=self._dt, trainable=[]).to(self._device)

    @cached_property
    def probes(self) -> Probes:
        """Trials in which networks are measured."""
        return make_probes(self._task, self._n_trials, self._seed, self._dt)

    @cached_property
    def _gray(self) -> Mapping[str, Tensor]:
        return gray_inputs(self._task, self._calibration_seconds, self._seed, self._dt)

    def start(self, network: Network) -> Start:
        """Measure a network that ablations are to start from."""
        model = self._model(network)
        rates = self.probes.rates(model)
        point = operating_point(network, rates).record()
        return Start(network, rates, lambda: self.probes.activity(model), compared(point, point))

    def ablated(self, start: Start, ablation: Ablation) -> tuple[Network, dict[str, Any]]:
        """The ablated network, its background tuned where that is wanted.

        Cells that an extrapolating ablation would drive to where no background holds them are spared: it is
        made again without them, so that the others keep their means, until next to none are left.

        Returns:
            The network, and a record: what the ablation and the tuning did (ablation_record, calibration).
        """
        done = len(start.network.provenance.get("ablations", []))
        spared = np.zeros(start.network.n_cells, bool)
        network = self._made(start, ablation, spared)
        record: dict[str, Any] = {}
        if self._calibrates:
            where = (start.network, self._gray)
            how = {"model": self._module, "affected": ablation.affected(start.network)}
            while ablation.extrapolates:
                more = overdriven(network, *where, **how) & ~spared
                if more.sum() <= SPARED_ROUND * start.network.n_cells:
                    break
                spared |= more
                network = self._made(start, ablation, spared)
            tuned = calibrated(network, *where, **how)
            found = tuned.record | {SPARED: float(spared.mean())}
            network = replace(
                tuned.network, provenance=tuned.network.provenance | {CALIBRATION: found}
            )
            record["calibration"] = found
        record["ablation_record"] = network.provenance["ablations"][done:]
        return network, record

    def _made(self, start: Start, ablation: Ablation, spared: NDArray[np.bool_]) -> Network:
        return ablation(
            start.network,
            seed=self._seed,
            activity=start.activity() if ablation.needs_activity else None,
            carry=self._carry,
            spared=spared,
        )

    def point(self, network: Network, start: Start) -> dict[str, Any]:
        """Record of the operating point of an ablated network, beside that of its start."""
        rates = self.probes.rates(self._model(network))
        return compared(operating_point(network, rates).record(), start.point)
