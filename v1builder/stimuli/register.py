"""Every kind of stimulus by the name of its class."""

from typing import Final

from v1builder.schema.members import import_members, named
from v1builder.stimuli.stimulus import Stimulus

import_members("v1builder.stimuli", but=__name__)

STIMULI: Final[dict[str, type[Stimulus]]] = named(Stimulus, lambda kind: kind.__name__, "stimulus")
