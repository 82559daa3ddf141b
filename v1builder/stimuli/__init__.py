"""Stimuli: what can be on the screen, and movies made of it.

Values are in [-1, 1] and gray is 0. A kind of stimulus is one file of this package with a subclass of
`Stimulus`; it registers itself.
"""

from v1builder.stimuli.grating import Grating
from v1builder.stimuli.patch import GratingPatch
from v1builder.stimuli.picture import Picture
from v1builder.stimuli.screen import FullField
from v1builder.stimuli.stimulus import Movie, Shown, Stimulus, factored

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.stimuli.register import STIMULI

__all__ = [
    "STIMULI",
    "FullField",
    "Grating",
    "GratingPatch",
    "Movie",
    "Picture",
    "Shown",
    "Stimulus",
    "factored",
]
