"""Every objective by its kind: the [[objective]] tables of an experiment file."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BeforeValidator, Field

from v1builder.objectives.objective import ObjectiveSettings
from v1builder.schema.errors import unknown_name
from v1builder.schema.members import import_members, named

import_members("v1builder.objectives", but=__name__)

#: The settings of every objective, by kind.
OBJECTIVES: Final[dict[str, type[ObjectiveSettings]]] = named(
    ObjectiveSettings, lambda kind: kind.model_fields["kind"].default, "objective"
)


def _known_kind(value: Any) -> Any:
    """Say which objective a misspelt kind may mean; everything else is pydantic's to judge."""
    if not isinstance(value, dict):
        return value
    kind = value.get("kind")
    if kind is None:
        raise ValueError(f"add 'kind', one of: {', '.join(OBJECTIVES)}")
    if kind not in OBJECTIVES:
        problem = unknown_name("objective", str(kind), OBJECTIVES, "objective")
        raise ValueError(f"{problem.what}; {problem.fix}")
    return value


#: An [[objective]] table: `kind` selects the objective.
if TYPE_CHECKING:
    AnyObjective = ObjectiveSettings
else:
    AnyObjective = Annotated[
        reduce(or_, OBJECTIVES.values()),
        Field(discriminator="kind"),
        BeforeValidator(_known_kind),
    ]
