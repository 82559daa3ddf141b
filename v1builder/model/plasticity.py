"""Short-term plasticity of Tsodyks and Markram, as NEST's `tsodyks2_synapse` computes it.

At a spike of the source, with u and x as they were just before,

    u <- u + U (1 - u);    release = u x;    x <- x - u x

and between spikes u relaxes to 0 with tau_fac and x to 1 with tau_rec. What reaches the target is
weight * u x / U: `weight` is the effect of a spike after a long rest, so a static synapse of the same
weight and a plastic one have the same resting amplitude whatever U is. (Files hold NEST's convention,
weight/U.) tau_fac = 0 means no facilitation.

u and x belong to a *site*: one source with all its edges of one synapse model, since nothing else
distinguishes their histories. Relaxation is exact over a step. A rollout starts at rest: u = 0 and x = 1
here, which is u = U, x = 1 in NEST, whose u is that of the next release. Several spikes of one source in
one step, which only an input can have, deliver their number times the release and change u and x once;
NEST releases one after the other (at U = .5 two spikes give 1.75 releases there and 2 here).

Sources: Markram, Wang & Tsodyks 1998, PNAS 95:5323; Maass & Markram 2002, Neural Networks 15:155
(the order of the updates); the behaviour of NEST 3.10.
"""

import torch
from torch import Tensor

from v1builder.model.rollout import Plasticity


def coefficients(U: Tensor, tau_rec: Tensor, tau_fac: Tensor, dt: float) -> Plasticity:
    """Coefficients of one step, differentiable in all three parameters.

    Args:
        U: [s] release from rest, in (0, 1].
        tau_rec: [s] ms, positive.
        tau_fac: [s] ms, 0 or positive.
        dt: ms.
    """
    facilitates = tau_fac > 0
    safe = torch.where(facilitates, tau_fac, torch.ones_like(tau_fac))
    P_fac = torch.where(facilitates, torch.exp(-dt / safe), torch.zeros_like(safe))
    return Plasticity(U=U, P_rec=torch.exp(-dt / tau_rec), P_fac=P_fac)


def step(
    u: Tensor, x: Tensor, spikes: Tensor, plasticity: Plasticity
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of every site: relax, then release where the source spiked.

    Args:
        u: [b, s] utilisation after the step before.
        x: [b, s] resources after the step before.
        spikes: [b, s] number of spikes of each site's source in this step.
        plasticity: coefficients.

    Returns:
        release [b, s] in units of the release from rest; u; x.
    """
    p = plasticity
    u = u * p.P_fac
    x = 1 + (x - 1) * p.P_rec
    raised = u + p.U * (1 - u)
    released = raised * x
    once = spikes.clamp(max=1)
    return spikes * released / p.U, u + once * (raised - u), x - once * released
