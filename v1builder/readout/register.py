"""Every readout by its kind: the [readout] table of an experiment file; pools unless it says otherwise."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field

from v1builder.readout.readout import ReadoutSettings
from v1builder.schema.errors import unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.readout", but=__name__)

#: The settings of every readout, by kind.
READOUTS: Final[dict[str, type[ReadoutSettings]]] = named(
    ReadoutSettings, lambda kind: kind.model_fields["kind"].default, "readout"
)


def _known_kind(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value.get("kind", "pools")
    if kind not in READOUTS:
        problem = unknown_name("readout", str(kind), READOUTS, "readout")
        raise ValueError(f"{problem.what}; {problem.fix}")
    return {"kind": kind, **value}


#: The [readout] table: `kind` selects the readout.
if TYPE_CHECKING:
    AnyReadout = ReadoutSettings
else:
    AnyReadout = Annotated[
        reduce(or_, READOUTS.values()), Field(discriminator="kind"), BeforeValidator(_known_kind)
    ]
