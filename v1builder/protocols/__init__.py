"""Numbers of a network that need an experiment of their own: self-registered protocols, one file each.

    for row in run_protocols(["perturbation_growth"], network, model, draw=partial(stream, seed)):
        ...  # row.measure, row.window, row.level, row.group, row.value, row.n, row.reason

What measures see happens in the trials of a task. A protocol runs what it needs itself, on a gray screen:
twins that differ by a spike, random currents, copies of an input; or it only reads parameters. It works with
every neuron, on every device, on trained networks as on others. A member is a subclass of `Protocol` with a
name, in a file of this package or of another (`schema.members`).
"""

from v1builder.protocols.protocol import Preparation, Protocol
from v1builder.protocols.register import PROTOCOLS, protocol_named, run_protocols

__all__ = ["PROTOCOLS", "Preparation", "Protocol", "protocol_named", "run_protocols"]
