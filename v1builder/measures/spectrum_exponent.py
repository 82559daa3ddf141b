"""How fast variance falls over dimensions: exponent of the spectrum of spike counts.

Variances of one half of the trials, of all conditions, along the principal components of the other
(`analysis.dimensions`) fall as k^-alpha. Noise that is independent in cells lies under all of them alike and
makes alpha small: `signal_spectrum_exponent` is that of what is shown alone.
"""

from typing import ClassVar

import numpy as np

from v1builder.analysis.dimensions import held_out_variances
from v1builder.measures.activity import Array
from v1builder.measures.measure import Axis
from v1builder.measures.spectrum import OfSpectrum


class SpectrumExponent(OfSpectrum):
    """Exponent of the variances of spike counts along principal components; as a curve, the variances."""

    name: ClassVar[str] = "spectrum_exponent"
    axis: ClassVar[Axis | None] = Axis(
        "principal component", "1", "variance of other trials", "spikes^2"
    )

    def along(self, halves: list[tuple[Array, Array]]) -> Array:
        """Variances, mean over splits."""
        return np.mean([held_out_variances(*each)[0] for each in halves], axis=0)
