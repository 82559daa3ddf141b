"""Every readout by its kind: the [readout] table of an experiment file; pools unless it says otherwise."""

from typing import TYPE_CHECKING, Final

from v1builder.readout.readout import ReadoutSettings
from v1builder.schema.config import one_of
from v1builder.schema.members import import_members, named

import_members("v1builder.readout", but=__name__)

#: The settings of every readout, by kind.
READOUTS: Final[dict[str, type[ReadoutSettings]]] = named(
    ReadoutSettings, lambda kind: kind.model_fields["kind"].default, "readout"
)


#: The [readout] table: `kind` selects the readout.
if TYPE_CHECKING:
    AnyReadout = ReadoutSettings
else:
    AnyReadout = one_of(READOUTS, "kind", "readout", default="pools")
