"""The terms of what a training minimises: objectives with their weights."""

from collections.abc import Sequence
from dataclasses import dataclass

from v1builder.objectives.objective import Objective, ObjectiveSettings, Setting


@dataclass(frozen=True)
class Term:
    """An objective and how much it counts.

    Attributes:
        settings: with the weight.
        objective: as made from them.
    """

    settings: ObjectiveSettings
    objective: Objective


@dataclass(frozen=True)
class Objectives:
    """The objectives of a network in the trials of a task.

    Attributes:
        settings: of each, in the order in which they are summed.
        setting: what they are made for.
    """

    settings: Sequence[ObjectiveSettings]
    setting: Setting

    def terms(self) -> list[Term]:
        """The objectives, without memory of any batch."""
        return [Term(each, each.make(self.setting)) for each in self.settings]
