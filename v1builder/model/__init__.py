"""The network in torch: neurons, synapses, delays, plasticity, surrogate gradients."""

from v1builder.model.network import V1Network, load
from v1builder.model.rollout import Rollout, State
from v1builder.model.surrogate import Surrogate

__all__ = ["Rollout", "State", "Surrogate", "V1Network", "load"]
