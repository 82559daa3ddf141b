"""What the compiled kernels of the CPU are given, besides the tuples of `backends.layout`: arrays by name.

Letters as there.
"""

from typing import NamedTuple

from torch import Tensor

from v1builder.model.backends.cpu.tiles import Array


class EmittedSpikes(NamedTuple):
    """Spikes of all inputs, by sample and step: those of (b, t) are start[b*T + t] and following."""

    start: Tensor  # [b*T + 1] int64
    source: Tensor  # int32, a unit, or a site that releases
    value: Tensor


class TiledCells(NamedTuple):
    """Coefficients of all cells; with the first of the tiles in a row whose synapses are alike."""

    membrane: Array  # [4, n]
    adaptation: Array  # [4, a, n]
    synapse: Array  # [tile, r, 10*WIDTH], or 12
    same_as: Array  # [tile] int32
    threshold: Array  # [7, n], of length 0 where no threshold moves
    t_ref: Array  # [n] int32


class ForwardScratch(NamedTuple):
    """What a step of the forward pass writes and the next overwrites."""

    total: Array  # [b, Np] voltage change of a step from synaptic currents
    phase: Array  # [b, n] see `cpu.membrane`
    source: Array  # [2, b, block, cells and sites] what emitted in this step and the last
    value: Array  # its value: 1, or what a site releases
    n_emitted: Array  # [2, b, block]


class SurrogateShape(NamedTuple):
    """`Surrogate` by its code; and whether no gradient flows through the reset."""

    code: int
    dampening: float
    width: float
    detach_reset: bool


class ReplayedSegment(NamedTuple):
    """What is recomputed of the k steps of one segment, before each. Unneeded arrays have length 1."""

    phase: Array  # [k, b, n]
    asc: Array  # [k, b, A, n]
    U: Array  # [k, b, n] for the gradient of membrane coefficients
    current: Array  # [k, b, n] likewise
    y: Array  # [k, b, tile, r, 4*WIDTH] for the gradient of synaptic coefficients
    arrived: Array  # [k, b, r, Np] likewise
    u: Array  # [k, b, s] of the sites of cells, and of inputs where their gradient is wanted
    x: Array  # [k, b, s]
    moving: Array  # [k, b, 2, n] where the threshold moves
    threshold: Array  # [k, b, n] likewise, in the step


class BackwardScratch(NamedTuple):
    """What a step of the backward pass writes and the next overwrites."""

    l_drive: Array  # [b, Np]
    slope: Array  # [b, n]
    tile: Array  # [task, 2, WIDTH]
    wanted: Array  # [units]
    wanted_site: Array  # [s]
    why: Array  # [n] uint8, see `cpu.backward._mark`
    emitted: Array  # [units, b]; zero between steps for cells
    released: Array  # [s, b]
    grad_unit: Array  # [units, b]
    grad_release: Array  # [s, b]
    per_site: Array  # [s]
    turned: Array  # [task, b, Np], see `cpu.walk.turn`; b is 0 where edges are not dense


class GradientArrays(NamedTuple):
    """Gradients besides those of cells; of length 0 where nobody wants them."""

    weight: Array  # [e]
    input: Array  # [b, t, input unit]
    current: Array  # [b or 1, t or 1, n]
    sites: Array  # [3, s]
