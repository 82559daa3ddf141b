"""Tasks: trials, and when which answer is asked for.

A task is one file of this package with a subclass of `TaskSettings`: the [task] table of an experiment and
what it means. It registers itself.
"""

from v1builder.tasks.answer import Answer, Classes, Score, Values
from v1builder.tasks.design import design_of
from v1builder.tasks.direction_classification import DirectionClassification
from v1builder.tasks.grating_tuning import GratingTuning
from v1builder.tasks.orientation_discrimination import OrientationDiscrimination
from v1builder.tasks.task import SPLITS, Task, TaskSettings, Trials
from v1builder.tasks.visual import VisualSettings, VisualTask

# Last: members, also those of other packages, use what is above.
# isort: split
from v1builder.tasks.register import TASKS, AnyTask, make_task

__all__ = [
    "SPLITS",
    "TASKS",
    "Answer",
    "AnyTask",
    "Classes",
    "DirectionClassification",
    "GratingTuning",
    "OrientationDiscrimination",
    "Score",
    "Task",
    "TaskSettings",
    "Trials",
    "Values",
    "VisualSettings",
    "VisualTask",
    "design_of",
    "make_task",
]
