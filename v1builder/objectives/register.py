"""Every objective by its kind: the [[objective]] tables of an experiment file."""

from typing import TYPE_CHECKING, Final

from v1builder.objectives.objective import ObjectiveSettings
from v1builder.schema.config import one_of
from v1builder.schema.members import import_members, named

import_members("v1builder.objectives", but=__name__)

#: The settings of every objective, by kind.
OBJECTIVES: Final[dict[str, type[ObjectiveSettings]]] = named(
    ObjectiveSettings, lambda kind: kind.model_fields["kind"].default, "objective"
)


#: An [[objective]] table: `kind` selects the objective.
if TYPE_CHECKING:
    AnyObjective = ObjectiveSettings
else:
    AnyObjective = one_of(OBJECTIVES, "kind", "objective")
