"""The order in which compiled kernels keep what a cell is computed with, and what it remembers.

Names are those of `model.neurons.glif` and `model.synapses`; a kernel finds a field by its position.
"""

from typing import Final

#: Coefficients of a cell, of each of its after-spike currents, of each of its ports.
MEMBRANE: Final = ("P33", "P30", "V_th", "V_reset")
ADAPTATION: Final = ("asc_mean", "asc_decay", "asc_amps", "asc_refractory")
SYNAPSE: Final = (
    "P31_fast",
    "P32_fast",
    "P31_slow",
    "P32_slow",
    "P21_fast",
    "P11_fast",
    "y1_init_fast",
    "P21_slow",
    "P11_slow",
    "y1_init_slow",
)
#: Further ones of a port, where some current is exponential or jumps at once (delta synapses).
INSTANT: Final = ("y2_init_fast", "U_jump")
#: Coefficients of a cell whose threshold moves.
THRESHOLD: Final = (
    "voltage_reset_fraction",
    "th_spike_add",
    "th_spike_decay",
    "th_spike_refractory",
    "th_voltage_decay",
    "th_voltage_per_mV",
    "th_voltage_per_pA",
)
#: Coefficients of a site of short-term plasticity.
PLASTICITY: Final = ("U", "P_rec", "P_fac")

#: The differentiable fields of a state: of every cell, of one whose threshold moves, of a site.
CURRENTS: Final = ("y1_fast", "y2_fast", "y1_slow", "y2_slow")
STATE: Final = ("U", "asc", *CURRENTS, "current", "pending")
MOVING: Final = ("th_spike", "th_voltage")
SITES: Final = ("u", "x")

P33, P30, V_TH, V_RESET = range(len(MEMBRANE))
ASC_MEAN, ASC_DECAY, ASC_AMPS, ASC_REFRACTORY = range(len(ADAPTATION))
(
    P31_FAST, P32_FAST, P31_SLOW, P32_SLOW, P21_FAST, P11_FAST, Y1_INIT_FAST, P21_SLOW, P11_SLOW,
    Y1_INIT_SLOW, Y2_INIT_FAST, U_JUMP,
) = range(len(SYNAPSE) + len(INSTANT))  # fmt: skip
(
    RESET_FRACTION, SPIKE_ADD, SPIKE_DECAY, SPIKE_REFRACTORY, VOLTAGE_DECAY, PER_MV, PER_PA,
) = range(len(THRESHOLD))  # fmt: skip
Y1_FAST, Y2_FAST, Y1_SLOW, Y2_SLOW = range(len(CURRENTS))
TH_SPIKE, TH_VOLTAGE = range(len(MOVING))
