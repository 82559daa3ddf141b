"""Objectives: what a training minimises besides a task, one self-registered file each.

    [[objective]]
    kind = "rates"
    weight = 0.1

An objective is a subclass of `ObjectiveSettings` with a kind, and what it makes: an `Objective`.
"""

from v1builder.objectives.objective import Objective, ObjectiveSettings, Seen, Setting

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.objectives.register import OBJECTIVES, AnyObjective

__all__ = ["OBJECTIVES", "AnyObjective", "Objective", "ObjectiveSettings", "Seen", "Setting"]
