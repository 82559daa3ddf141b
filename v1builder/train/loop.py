"""The training loop.

Every random draw comes from a stream named by the seed and the step, so a run that was interrupted and
resumed is the run that was not, and two networks trained with one seed see the same trials and noise.
Several tasks take turns, a batch each. A batch may be shared between processes, see `train.parallel`.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from v1builder.model.edges import Edges
from v1builder.model.parameters import GroupedParameter
from v1builder.objectives.terms import Objectives
from v1builder.schema.errors import ConfigError, StorageError
from v1builder.tasks import Task
from v1builder.train.checkpoint import (
    CHECKPOINT,
    MetricsLog,
    check_optimizer,
    load_checkpoint,
    restore,
    save_checkpoint,
    stop_after_step,
)
from v1builder.train.evaluation import Classifier, evaluate
from v1builder.train.gradient_norm import clip_gradient
from v1builder.train.lesson import Lesson, draw_batch
from v1builder.train.optimizers import Optimizers, make_optimizer
from v1builder.train.parallel import Processes, one_process
from v1builder.train.settings import TrainSettings

Progress = Callable[[int, int, dict[str, Any]], None]

#: Of what a checkpoint holds; one of another format is not resumed.
_CHECKPOINT_FORMAT: Final = 4


def _check(tasks: Sequence[Task], settings: TrainSettings, processes: Processes) -> None:
    """Refuse what several processes cannot share."""
    if settings.batch_size < processes.count:
        raise ConfigError.of(
            "there are more processes than trials in a batch",
            "train, batch_size",
            f"{processes.count} processes, {settings.batch_size} trials",
            "make batch_size larger, or start fewer processes",
        )
    for task in tasks:
        if task.carry_state and processes.count > 1:
            raise ConfigError.of(
                "trials that go on in the state of those before them are not shared between processes",
                f"task {task.name}",
                f"{processes.count} processes",
                "train in one process",
            )


def _is_finite(classifier: Classifier) -> bool:
    """Whether all that is learned is, also the values whose logarithms are trained."""
    with torch.no_grad():
        values: list[Tensor] = [p for p in classifier.parameters() if p.requires_grad]
        for module in classifier.network.modules():
            if isinstance(module, GroupedParameter) and module.trainable:
                values.append(module.values())
            elif isinstance(module, Edges) and module.is_learned:
                values.append(module.weights())
        return all(bool(torch.isfinite(value).all()) for value in values)


def fit(
    classifier: Classifier,
    task: Task,
    settings: TrainSettings,
    *,
    seed: int,
    out: Path,
    also: Sequence[Task] = (),
    objectives: Sequence[Objectives] = (),
    resume: bool = False,
    made_by: dict[str, Any] | None = None,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> None:
    """Train `classifier` in place; metrics and checkpoints go to `out`.

    Args:
        classifier: network and readout, one for every task.
        task: draws trials and turns them into input spikes.
        settings: of the loop.
        seed: names the streams of trials and noise.
        out: run folder.
        also: further tasks, in the order of `classifier.also`: step s is a batch of task s modulo their
            number, 0 is the main one. Their lines in the metrics have their name under "task".
        objectives: what is minimised besides the tasks, of each task in their order; none for nothing.
        resume: go on from the checkpoint in `out`, if there is one.
        made_by: what the run depends on besides the settings; a checkpoint made by something else is
            refused.
        processes: that share every batch; this one alone, on the CPU, when None. Their number may
            change when a run goes on.
        progress: called after each step with (steps done, steps, last record of the main task), in the
            first process.

    Raises:
        KeyboardInterrupt: after the running step was finished and saved.
        ConfigError: the loss, a gradient or a weight is not finite, `resume` finds a checkpoint of another
            experiment, or a batch has fewer trials than there are processes.
        StorageError: the checkpoint is damaged, or the file system refused.
    """
    processes = processes or one_process()
    _check([task, *also], settings, processes)
    out.mkdir(parents=True, exist_ok=True)
    classifier.to(processes.device)
    optimizer = make_optimizer(
        settings.optimizer,
        classifier.network,
        [*classifier.readout.parameters(), *classifier.also.parameters()],
        lr=settings.learning_rate,
        readout_lr=settings.readout_learning_rate,
    )
    made_by = {
        "checkpoint": _CHECKPOINT_FORMAT,
        "seed": seed,
        "settings": settings.model_dump_json(),
        "also": [each.name for each in also] or None,  # None as in checkpoints that do not say it
        **(made_by or {}),
    }
    of_task: list[Objectives | None] = list(objectives) or [None] * (1 + len(also))
    answering, *others = classifier.by_task()
    main = Lesson(answering, task, of_task[0], {})
    further = {
        each.name: Lesson(answering, each, own, {"task": each.name})
        for answering, each, own in zip(others, also, of_task[1:], strict=True)
    }
    lessons = [main, *further.values()]
    first, logged = 0, ""
    if resume and (saved := load_checkpoint(out, made_by)) is not None:
        first, logged = saved["step"], saved["metrics"]
        if first > settings.steps:
            raise StorageError.of(
                "the checkpoint is damaged",
                out / CHECKPOINT,
                f"step {first} of {settings.steps}",
                "remove it: the training then begins anew",
            )
        restore(classifier, saved["classifier"], out)
        restore(optimizer, saved["optimizer"], out)
        for part in optimizer.parts if isinstance(optimizer, Optimizers) else [optimizer]:
            if isinstance(part, torch.optim.Adam):
                check_optimizer(part, first, out)
        main.load_state_dict(saved)
        for name, lesson in further.items():
            lesson.load_state_dict(saved["also"][name])
    processes.barrier()  # all have read what the first will write
    log = MetricsLog(out, text=logged, writes=processes.first)

    def validate(step: int) -> dict[str, Any]:
        records = []
        for lesson in lessons:
            found = evaluate(
                lesson.classifier,
                lesson.task,
                split="validation",
                n_trials=settings.validation_trials,
                batch_size=settings.batch_size,
                seed=seed,
                dt=classifier.network.dt,
                processes=processes,
            )
            records.append({**found.record(step, "validation"), **lesson.mark})
            log.write(records[-1])
        return records[0]

    def save(step: int) -> None:
        if processes.first:
            save_checkpoint(
                out,
                {
                    "step": step,
                    "made_by": made_by,
                    "classifier": classifier.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    **main.state_dict(),
                    "also": {name: lesson.state_dict() for name, lesson in further.items()},
                    "metrics": log.before(step),
                },
            )
        processes.barrier()

    record: dict[str, Any] = {}
    with stop_after_step() as stop:
        for step in range(first, settings.steps):
            if step % settings.validate_every == 0:
                record = validate(step)
            lesson = lessons[step % len(lessons)]
            batch = draw_batch(lesson.task, settings.batch_size, seed, step, warm=lesson.at_start)
            parts = lesson.learn(batch, processes, seed=seed, step=step)
            # Readouts of other tasks have no gradient, not one of zero, so Adam leaves them alone.
            learned = lesson.classifier.parameters()
            norm = clip_gradient(learned, settings.gradient_clip)
            finite = math.isfinite(norm) and math.isfinite(parts["loss"])
            if finite:
                optimizer.step()
            if not (finite and _is_finite(classifier)):
                raise ConfigError.of(
                    "the weights are not finite" if finite else "the gradient is not finite",
                    f"task {lesson.task.name}, training step {step}; the last checkpoint stays",
                    ", ".join(f"{name} {value:g}" for name, value in parts.items()),
                    "make model.surrogate.dampening or train.learning_rate smaller, or trials shorter",
                )
            optimizer.zero_grad()
            parts["gradient_norm"] = float(norm)
            log.write({"step": step, "split": "train", **parts, **lesson.mark})
            stopping = processes.any(stop.is_set())
            if stopping or (step + 1) % settings.checkpoint_every == 0:
                save(step + 1)
            if progress and processes.first:
                progress(step + 1, settings.steps, record)
            if stopping:
                raise KeyboardInterrupt
        validate(settings.steps)
        save(settings.steps)
        if processes.any(stop.is_set()):
            raise KeyboardInterrupt
