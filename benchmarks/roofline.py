"""Bytes that an algorithm must move in one rollout, counted from the algorithm, not measured.

Divided by the bandwidth of the triad of the same run they give a time. A program near it is limited by
memory; one that is faster kept its arrays in the cache. float32 and int32 throughout. t steps, b
samples, n cells, k synapses per cell, r ports, a after-spike currents:

fused, forward    state of a cell in every step, sample: ring and 4 currents per port, read and
(triton likewise) written; voltage, after-spike currents, counters, spikes; coefficients once per step
                  for all samples. Per spike and synapse: weight, place, and the sum it is added to.
fused, backward   the states again (recomputed), their adjoints, the outgoing synapses (weight, place,
                  and the gradient there of each sample) of every cell with a non-zero surrogate in any
                  sample, and per spike and synapse the gradient of the weight.
dense             forward: the n x n matrix once a step. Backward, autograd's way: the matrix, the
                  step's gradient written and read, and the sum of gradients read and written.
torch.sparse      forward only: values and column of all synapses once a step.

Programs whose algorithm is not in this list have no entry.
"""

FLOAT = 4
DENSE = ("snntorch", "norse", "spikingjelly")


def bytes_moved(case: dict, spikes: float, active: float | None) -> float | None:
    """Of one rollout with that many spikes; `active` is the share of cells that pass a gradient."""
    t, b, n, k = (case[x] for x in ("steps", "batch", "cells", "fan_in"))
    backward = case["mode"] == "forward+backward"
    if case["backend"] in DENSE:
        return t * FLOAT * n * n * (6 if backward else 1)
    if case["backend"] == "torch.sparse":
        return None if backward else t * 2 * FLOAT * n * k
    if case["backend"] not in ("fused", "triton"):
        return None
    r, a = (case["receptors"], 2) if case["neuron"] == "glif3" else (1, 0)
    state = FLOAT * (2 * (5 * r + a + 3) + 1)
    coefficients = FLOAT * (10 * r + 4 * a + 6)
    forward = t * n * (b * state + coefficients) + spikes * k * 4 * FLOAT
    if not backward:
        return forward
    if active is None:
        return None
    rows = 1 - (1 - active) ** b
    walk = t * n * rows * k * FLOAT * (2 + b)
    return forward + t * n * (2 * b * state + coefficients) + walk + spikes * k * 4 * FLOAT
