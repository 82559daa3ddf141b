"""What the 14 LGN classes share: sign, spontaneous rate, and how composite cells are put together.

Sources: the classes and their fits are of Billeh et al. 2020 (Neuron 106:388), after recordings of
Durand et al. 2016 (J. Neurosci. 36:12144). Spontaneous rates of the plain classes are the means
over the recorded cells of a class whose response is largest at its temporal frequency, from the
tables `cell_metrics/*.csv` of BMTK 1.2.0 (BSD-3-Clause); rates, peak rates and latencies of the
composite classes are the constants of BMTK 1.2.0's default cell loader.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class PlainClass:
    """A unit with one subfield: rate = relu(sign * filtered movie + spontaneous rate).

    Attributes:
        sign: +1 ON, -1 OFF.
        spontaneous_rate: Hz.
    """

    sign: int
    spontaneous_rate: float


@dataclass(frozen=True)
class CompositeClass:
    """A unit with an OFF (dominant) and an ON (non-dominant) subfield, each rectified, then added.

    The ON subfield has amplitude 1. The OFF subfield has

        -(balance * P_off/P_on * S_on/S_off + r (P_off - P_on) / (P_on S_off)),

    S the area of a temporal kernel's first lobe, P the peak rates, r the spontaneous rate. Both
    kernels are delayed so that the first lobe ends at the measured latency.

    Attributes:
        spontaneous_rate: Hz, half of it from each subfield.
        off_peak_rate, on_peak_rate: Hz.
        off_latency, on_latency: ms.
        balance: factor on the OFF amplitude.
    """

    spontaneous_rate: float
    off_peak_rate: float
    on_peak_rate: float
    off_latency: float
    on_latency: float
    balance: float

    def off_amplitude(self, on_area: float, off_area: float) -> float:
        """Amplitude of the OFF subfield, given the areas of both kernels' first lobes."""
        ratio = self.off_peak_rate / self.on_peak_rate
        excess = self.off_peak_rate - self.on_peak_rate
        return -(
            self.balance * ratio * on_area / off_area
            + self.spontaneous_rate * excess / (self.on_peak_rate * off_area)
        )


LGN_CLASSES: Final[dict[str, PlainClass | CompositeClass]] = {
    "sON_TF1": PlainClass(+1, 5.2),
    "sON_TF2": PlainClass(+1, 3.533333333333333),
    "sON_TF4": PlainClass(+1, 8.25),
    "sON_TF8": PlainClass(+1, 1.7666666666666666),
    "sOFF_TF1": PlainClass(-1, 3.95),
    "sOFF_TF2": PlainClass(-1, 4.5317777777777755),
    "sOFF_TF4": PlainClass(-1, 3.679074074074074),
    "sOFF_TF8": PlainClass(-1, 3.62),
    "sOFF_TF15": PlainClass(-1, 5.075),
    "tOFF_TF4": PlainClass(-1, 3.9445502645502764),
    "tOFF_TF8": PlainClass(-1, 2.4377777777777867),
    "tOFF_TF15": PlainClass(-1, 1.050666666666664),
    "sONsOFF_001": CompositeClass(4.0, 35.0, 21.0, 115.0, 121.0, balance=1.0),
    "sONtOFF_001": CompositeClass(5.5, 46.0, 31.0, 64.8, 93.5, balance=0.7),
}
