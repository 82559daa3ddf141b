"""Tasks: stimulus, target, response window and readout."""

from v1builder.tasks.gratings import (
    TASK_NAMES,
    DirectionClassification,
    GratingTuning,
    OrientationDiscrimination,
    TaskSettings,
    make_task,
)
from v1builder.tasks.readout import LAYER_5_EXCITATORY, Readout
from v1builder.tasks.stimuli import (
    Grating,
    Presentation,
    full_field_flash,
    grating_movie,
    gray_screen,
)
from v1builder.tasks.task import SPLITS, GratingTask, Task, Trials

__all__ = [
    "LAYER_5_EXCITATORY",
    "SPLITS",
    "TASK_NAMES",
    "DirectionClassification",
    "Grating",
    "GratingTask",
    "GratingTuning",
    "OrientationDiscrimination",
    "Presentation",
    "Readout",
    "Task",
    "TaskSettings",
    "Trials",
    "full_field_flash",
    "grating_movie",
    "gray_screen",
    "make_task",
]
