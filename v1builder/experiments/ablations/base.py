"""What an ablation is: a named, frozen function from network to network."""

import dataclasses
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from v1builder.experiments.history import SpikeHistory
from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError, unknown_name

Details = dict[str, Any]

#: What happens to the weights onto a cell whose membrane changes, see `experiments.carrying`.
CARRY: Final = ("psp", "none")


@dataclass(frozen=True)
class Draw:
    """What an ablation may need besides the network.

    Attributes:
        seed: of every random choice, or None.
        activity: what was measured of the network that is ablated, or None.
        carry: one of `CARRY`.
        spared: [n_cells] cells that an ablation that `extrapolates` leaves as they are, or None.
    """

    seed: int | None = None
    activity: SpikeHistory | None = None
    carry: str = "psp"
    spared: NDArray[np.bool_] | None = None

    def generator(self, name: str) -> np.random.Generator:
        """A generator for the ablation `name`: the same draws whatever it is composed with."""
        return np.random.default_rng([self.seed or 0, zlib.crc32(name.encode())])

    @property
    def measured(self) -> SpikeHistory:
        """The activity, which the caller of an ablation that needs it has checked to be there."""
        assert self.activity is not None
        return self.activity


@dataclass(frozen=True)
class Ablation(ABC):
    """A function from network to network that knows its name. Composes with `|`, left one first.

    The fields of a subclass are the arguments shown in its name. A subclass that has a word can be named in
    experiment files from the moment its module is imported: see `names`.

    Attributes:
        word: name without arguments, as experiment files write it.
    """

    word: ClassVar[str] = ""

    @property
    def needs_activity(self) -> bool:
        """Whether the call must be given `activity`."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether the call must be given `seed`."""
        return False

    @property
    def keeps_charge(self) -> bool:
        """Whether the mean charge of after-spike currents of a population is to stay as it is."""
        return True

    @property
    def extrapolates(self) -> bool:
        """Whether it drives cells beyond those that were recorded, and heeds `spared`."""
        return False

    @property
    def name(self) -> str:
        """Canonical text: `parse_ablation(a.name) == a`."""
        fields = dataclasses.fields(self)
        arguments = ", ".join(_text(getattr(self, field.name)) for field in fields)
        return f"{self.word}({arguments})" if arguments else self.word

    def __call__(
        self,
        network: Network,
        *,
        seed: int | None = None,
        activity: SpikeHistory | None = None,
        carry: str = "psp",
        spared: NDArray[np.bool_] | None = None,
    ) -> Network:
        """The ablated network; `network` is left as it was.

        Args:
            network: any loaded network.
            seed: of random choices; needed when `is_random`.
            activity: of `network` (`experiments.history`); needed when `needs_activity`.
            carry: "psp" gives a cell whose membrane changes the weights that the builder would have given
                it (`experiments.carrying`); "none" leaves its weights in pA, made for another membrane.
            spared: [n_cells] cells that are not to be driven beyond what was recorded (`extrapolates`).

        Returns:
            A network that shares every unchanged array with `network`. One record of what was done
            is appended to `provenance["ablations"]`.

        Raises:
            ConfigError: `seed` or `activity` is needed and missing, `activity` is of other cells, or
                `carry` is unknown.
            NetworkError: the network lacks what the ablation works on.
        """
        if carry not in CARRY:
            raise ConfigError([unknown_name("carry", carry, CARRY, f"ablation {self.name}")])
        if self.is_random and (seed is None or seed < 0):
            raise ConfigError.of(
                f"ablation {self.name} is random and needs a seed", "seed", seed, "give seed >= 0"
            )
        if self.needs_activity:
            _check_activity(activity, network.n_cells, self.name)
        return self._run(network, Draw(seed, activity, carry, spared))

    def _run(self, network: Network, draw: Draw) -> Network:
        ablated, details = self.apply(network, draw)
        record: Details = {"name": self.name}
        if self.is_random:
            record["seed"] = draw.seed
        records = [*network.provenance.get("ablations", []), record | details]
        provenance = network.provenance | {"ablations": records}
        return dataclasses.replace(ablated, provenance=provenance)

    def affected(self, network: Network) -> NDArray[np.bool_]:
        """[n_cells] the cells that it may change, themselves or the edges onto them.

        Raises:
            ConfigError: it names cells that the network has not; so this is asked before anything long.
        """
        return np.ones(network.n_cells, bool)

    @abstractmethod
    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """The ablated network and what else to record about it (JSON values)."""

    def __or__(self, other: "Ablation") -> "Ablation":
        return Composition((*_steps(self), *_steps(other)))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Composition(Ablation):
    """Several ablations, one after the other, each working on the result of the one before."""

    steps: tuple[Ablation, ...]

    @property
    def name(self) -> str:
        """The names of the steps, joined by bars."""
        return " | ".join(step.name for step in self.steps)

    @property
    def needs_activity(self) -> bool:
        """True when any step needs it."""
        return any(step.needs_activity for step in self.steps)

    @property
    def keeps_charge(self) -> bool:
        """True when all steps keep it."""
        return all(step.keeps_charge for step in self.steps)

    @property
    def extrapolates(self) -> bool:
        """True when any step does."""
        return any(step.extrapolates for step in self.steps)

    @property
    def is_random(self) -> bool:
        """True when any step is random."""
        return any(step.is_random for step in self.steps)

    def _run(self, network: Network, draw: Draw) -> Network:
        return self.apply(network, draw)[0]

    def affected(self, network: Network) -> NDArray[np.bool_]:
        """Those of any step."""
        return np.any([step.affected(network) for step in self.steps], axis=0)

    def apply(self, network: Network, draw: Draw) -> tuple[Network, Details]:
        """Apply the steps in order; each leaves its own record."""
        for step in self.steps:
            network = step._run(network, draw)
        return network, {}


def _steps(ablation: Ablation) -> tuple[Ablation, ...]:
    return ablation.steps if isinstance(ablation, Composition) else (ablation,)


def _text(value: object) -> str:
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def _check_activity(activity: SpikeHistory | None, n_cells: int, name: str) -> None:
    where = f"activity given to ablation {name}"
    fix = f"give what `measure_history` says of the network's {n_cells} simulated cells"
    if activity is None:
        raise ConfigError.of("the ablation needs the network's activity", where, "none", fix)
    if activity.n_cells != n_cells:
        raise ConfigError.of("the activity is of another network", where, activity.n_cells, fix)
