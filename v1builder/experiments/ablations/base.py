"""What an ablation is: a named, frozen function from network to network."""

import dataclasses
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from v1builder.load.network import Network
from v1builder.schema.errors import ConfigError

Details = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """What an ablation may need besides the network.

    Attributes:
        seed: of every random choice, or None.
        rates: [n_cells] Hz, each simulated cell's own firing rate, or None.
    """

    seed: int | None
    rates: NDArray[np.float64] | None

    def generator(self, name: str) -> np.random.Generator:
        """A generator for the ablation `name`: the same draws whatever it is composed with."""
        return np.random.default_rng([self.seed or 0, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Ablation(ABC):
    """A function from network to network that knows its name. Composes with `|`, left one first.

    The fields of a subclass are the arguments shown in its name.

    Attributes:
        word: name without arguments, as experiment files write it.
    """

    word: ClassVar[str]

    @property
    def needs_rates(self) -> bool:
        """Whether the call must be given `rates`."""
        return False

    @property
    def is_random(self) -> bool:
        """Whether the call must be given `seed`."""
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
        rates: NDArray[np.float64] | None = None,
    ) -> Network:
        """The ablated network; `network` is left as it was.

        Args:
            network: any loaded network.
            seed: of random choices; needed when `is_random`.
            rates: [n_cells] Hz, each simulated cell's firing rate; needed when `needs_rates`.

        Returns:
            A network that shares every unchanged array with `network`. One record of what was done
            is appended to `provenance["ablations"]`.

        Raises:
            ConfigError: `seed` or `rates` is needed and missing, or `rates` is not one rate per
            cell. NetworkError: the network lacks what the ablation works on.
        """
        if self.is_random and (seed is None or seed < 0):
            raise ConfigError.of(
                f"ablation {self.name} is random and needs a seed", "seed", seed, "give seed >= 0"
            )
        if self.needs_rates:
            _check_rates(rates, network.n_cells, self.name)
        return self._run(network, Draw(seed, rates))

    def _run(self, network: Network, draw: Draw) -> Network:
        ablated, details = self.apply(network, draw)
        record: Details = {"name": self.name}
        if self.is_random:
            record["seed"] = draw.seed
        records = [*network.provenance.get("ablations", []), record | details]
        provenance = network.provenance | {"ablations": records}
        return dataclasses.replace(ablated, provenance=provenance)

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
    def needs_rates(self) -> bool:
        """True when any step needs rates."""
        return any(step.needs_rates for step in self.steps)

    @property
    def is_random(self) -> bool:
        """True when any step is random."""
        return any(step.is_random for step in self.steps)

    def _run(self, network: Network, draw: Draw) -> Network:
        return self.apply(network, draw)[0]

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


def _check_rates(rates: NDArray[np.float64] | None, n_cells: int, name: str) -> None:
    where = f"rates given to ablation {name}"
    fix = f"give the measured rate of each of the {n_cells} simulated cells, Hz"
    if rates is None:
        raise ConfigError.of("the ablation needs firing rates", where, "none", fix)
    if np.shape(rates) != (n_cells,):
        raise ConfigError.of("wrong number of rates", where, np.shape(rates), fix)
    if not (np.all(np.isfinite(rates)) and np.all(np.asarray(rates) >= 0)):
        raise ConfigError.of("rates must be finite and not negative", where, "", fix)
