"""What a backend is: one way to compute a rollout.

A subclass of `Backend` with a name, in a file of this package or of another (`schema.members`), is a backend.
It says where it runs and what it computes; what needs a library that may be missing, or takes long to
import, it imports when it is called. Files whose names begin with _ are parts of backends.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from v1builder.model.rollout import Coefficients, Plasticity, Projection, Rollout, State
from v1builder.model.surrogate import Surrogate
from v1builder.schema.errors import ConfigError

if TYPE_CHECKING:
    from v1builder.model.backends.kernels import Kernels


class Backend(ABC):
    """Computes rollouts. Every backend gives the reference's numbers, forward and gradient.

    Attributes:
        name: by which it is asked for.
        about: what it computes, for tables.
        needs: the package it needs besides torch, and the extra of v1builder that installs it; "" for none.
        devices: types of torch devices it computes on; None for all.
        priority: "auto" takes the highest of those that can compute a model where its tensors are; None for
            one that is taken by name only.
    """

    name: ClassVar[str] = ""
    about: ClassVar[str] = ""
    needs: ClassVar[tuple[str, str]] = ("", "")
    devices: ClassVar[tuple[str, ...] | None] = None
    priority: ClassVar[int | None] = None

    def why_not(self) -> str | None:
        """What keeps it from running on this machine, its package being there; None where nothing does."""
        return None

    def cannot(self, propagators: Coefficients, plastic: bool = False) -> str | None:
        """What of a model it cannot compute; None where it can.

        Args:
            propagators: coefficients of the cells.
            plastic: whether there are sites of short-term plasticity.
        """
        del propagators, plastic
        return None

    def require(self, propagators: Coefficients, plastic: bool = False) -> None:
        """Raise what it cannot compute of a model, see `cannot`.

        Raises:
            ConfigError: there is something that it cannot compute.
        """
        reason = self.cannot(propagators, plastic)
        if reason is not None:
            raise ConfigError.of(
                f"the {self.name} backend cannot compute this model",
                f"backend '{self.name}'",
                reason,
                "use backend 'reference' or 'auto'",
            )

    @abstractmethod
    def __call__(
        self,
        propagators: Coefficients,
        projections: Sequence[Projection],
        weights: Sequence[Tensor],
        inputs: Mapping[str, Tensor],
        current: Tensor | None,
        state: State,
        n_steps: int,
        *,
        plasticity: Plasticity | None = None,
        surrogate: Surrogate,
        detach_reset: bool,
        record_voltage: bool,
    ) -> Rollout:
        """Run `n_steps` steps.

        Args:
            propagators: coefficients of the cells.
            projections: edges, grouped by source.
            weights: one [e] tensor in pA per projection, signed.
            inputs: by projection source name, spikes [b, t, n_source]: bool or uint8, or floating
                point when the gradient with respect to the input is wanted.
            current: [b or 1, t or 1, n] pA injected, or None.
            state: state before the first step.
            n_steps: number of steps.
            plasticity: coefficients of the sites; None when there are none.
            surrogate: derivative of the spike with respect to (drive - threshold)/V_th.
            detach_reset: when True, no gradient flows through reset and after-spike jumps.
            record_voltage: keep `voltage` and `drive`.

        Raises:
            ConfigError: the model has what this backend cannot compute, or a tensor does not fit.
        """


class Compiled(Backend):
    """A backend of compiled kernels, which are those of GLIF cells: `driver` does what is common."""

    about: ClassVar[str] = "GLIF cells with all their synapses, in compiled kernels"

    def cannot(self, propagators: Coefficients, plastic: bool = False) -> str | None:
        """What the cells say."""
        del plastic
        return propagators.uncompiled

    @abstractmethod
    def kernels(self) -> "Kernels":
        """Its own part of a rollout; what it is compiled with is imported here."""

    def __call__(self, propagators: Coefficients, *args: Any, **kwargs: Any) -> Rollout:
        """Run the steps."""
        from v1builder.model.backends import driver

        self.require(propagators, kwargs.get("plasticity") is not None)
        return driver.rollout(self.kernels(), propagators, *args, **kwargs)  # pyright: ignore[reportArgumentType]
