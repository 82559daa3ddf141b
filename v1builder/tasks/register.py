"""Every task by its name: the [task] table of an experiment file.

[task]
name = "orientation_discrimination"
max_delta = 10.0
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from v1builder.inputs import Source
from v1builder.schema.config import one_of
from v1builder.schema.errors import ConfigError
from v1builder.schema.members import import_members, named
from v1builder.tasks.task import Task, TaskSettings

import_members("v1builder.tasks", but=__name__)

#: The settings of every task, by name: the subclasses that have one of their own.
TASKS: Final[dict[str, type[TaskSettings]]] = named(
    TaskSettings, lambda kind: kind.model_fields["name"].default, "task"
)


#: The [task] table: `name` selects the task.
if TYPE_CHECKING:
    AnyTask = TaskSettings
else:
    AnyTask = one_of(TASKS, "name", "task")


def make_task(settings: TaskSettings, sources: Mapping[str, Source], *, dt: float) -> Task:
    """The task of these settings for a network.

    Args:
        settings: of the task.
        sources: of the network's inputs, see `inputs.input_sources`. What is on the screen is seen by those
            that see; without any the task still runs, and its `notes` say so.
        dt: ms, time step of the network; the sources must have the same.

    Raises:
        ConfigError: there are no sources, one has another dt, or a window leaves the trial or is shorter than
            a step.
    """
    where = f"task {settings.name}"
    if not sources:
        raise ConfigError.of(
            "no spikes reach the network: it has no inputs", where, "0 input populations",
            "give it an edge population from virtual nodes",
        )  # fmt: skip
    for name, source in sources.items():
        if source.dt != dt:
            raise ConfigError.of(
                "input and network have different time steps",
                f"{where}, input '{name}'",
                f"{source.dt} and {dt} ms",
                "make the input with the network's dt",
            )
    return settings.make(sources, dt)
