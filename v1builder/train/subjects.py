"""What the training of one seed needs: its network, its task, and what was recorded in living mice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from v1builder.inputs import Source, input_sources
from v1builder.load import Network, load_network
from v1builder.load.reference import home_of, read_in_vivo, read_in_vivo_units
from v1builder.measures.groups import all_groups
from v1builder.objectives import Setting
from v1builder.objectives.objective import core
from v1builder.objectives.terms import Objectives
from v1builder.readout import Asked, Readout
from v1builder.schema.errors import ConfigError
from v1builder.schema.files import hash_folder
from v1builder.tasks import Task, make_task
from v1builder.train.cell_counts import CellCounts
from v1builder.train.settings import Experiment
from v1builder.train.streams import stream


@dataclass(frozen=True)
class Subject:
    """What all networks of one seed have in common.

    Attributes:
        seed: names network (where the path holds {seed}), readout pools, trials and noise.
        network: as built.
        task: on the network's inputs.
        reference: what was recorded in living mice (`load.reference.read_in_vivo`), or None where the
            network has none.
        objectives: what its training minimises besides the task.
        hashes: SHA-256 of every file of the network, and of those that trials are made of.
        notes: what one should know of results with this network, for people.
        also: the same for each further task, none of which has any of its own.
    """

    seed: int
    network: Network
    task: Task
    reference: pd.DataFrame | None
    objectives: Objectives
    hashes: dict[str, str]
    notes: tuple[str, ...]
    also: tuple["Subject", ...] = ()


class Subjects:
    """Subjects, one after another.

    The last one stays in memory, and what it read of its network serves any other subject of that network.
    """

    def __init__(self) -> None:
        self._last: tuple[Experiment, Subject] | None = None
        self._read: _Read | None = None

    def of(self, experiment: Experiment, seed: int) -> Subject:
        """All that the training and the comparison of one seed need, before the hours they take.

        Raises:
            NetworkError: the network is not valid, or its nodes lack what a task or a readout asks for.
            DataError: an objective needs recordings, and the network has none, or none of a population.
            ConfigError: a readout asks for populations or for more cells than there are, an objective has
                nothing to look at, or measures or lesions name groups that there are not.
        """
        if self._last is not None:
            known, subject = self._last
            if known == experiment and subject.seed == seed:
                return subject
        self._last = None
        path = Path(experiment.network.path.format(seed=seed))
        if self._read is None or not self._read.is_of(path, experiment.model.dt):
            self._read = None  # frees its memory first
            self._read = _read(path, experiment.model.dt)
        subject = _subject(experiment, seed, self._read)
        self._last = (experiment, subject)
        return subject

    def check(self, experiment: Experiment) -> tuple[str, ...]:
        """Prepare every network of an experiment once, so that what is missing is missed now.

        Returns:
            The notes of the experiment and of all its networks and tasks, none twice.

        Raises:
            V1BuilderError: as `of`, of the first seed that cannot be prepared.
        """
        # One network for all seeds need not be read for each; only its pools differ, not their size. The
        # first seed comes last: it is the one that is wanted next.
        seeds = {
            experiment.network.path.format(seed=seed): seed for seed in reversed(experiment.seeds)
        }
        notes = list(experiment.notes())
        for seed in seeds.values():
            subject = self.of(experiment, seed)
            notes += subject.notes
            notes += [f"{each.task.name}: {note}" for each in subject.also for note in each.notes]
        return tuple(dict.fromkeys(notes))


def prepare(experiment: Experiment, seed: int) -> Subject:
    """The subject of one seed; raises as `Subjects.of`."""
    return Subjects().of(experiment, seed)


def check(experiment: Experiment) -> tuple[str, ...]:
    """The notes of an experiment whose networks can all be prepared; raises as `Subjects.check`."""
    return Subjects().check(experiment)


@dataclass(frozen=True)
class _Read:
    """A network and what was recorded, as they were read for steps of `dt` ms."""

    path: Path
    dt: float
    hashes: dict[str, str]
    network: Network
    sources: dict[str, Source]
    reference: pd.DataFrame | None
    units: pd.DataFrame | None

    def is_of(self, path: Path, dt: float) -> bool:
        """Whether reading these files now would give the same."""
        return (path, dt) == (self.path, self.dt) and hash_folder(home_of(path)) == self.hashes


def _read(path: Path, dt: float) -> _Read:
    home = home_of(path)
    hashes = hash_folder(home)
    network = load_network(path)
    sources = input_sources(network, dt=dt)
    return _Read(path, dt, hashes, network, sources, read_in_vivo(home), read_in_vivo_units(home))


def _subject(experiment: Experiment, seed: int, read: _Read) -> Subject:
    network, dt, home = read.network, read.dt, home_of(read.path)
    reference, units = read.reference, read.units
    judged = core(network, experiment.core_radius_um)
    tasks = [
        make_task(each, read.sources, dt=dt).on(network, units, judged)
        for each in (experiment.task, *experiment.also)
    ]
    readouts(experiment, seed, tasks, network)
    measured = experiment.measure
    for levels in (measured.levels, measured.lesions and [measured.lesions]):
        all_groups(network.cells, levels, network.node_sets)
    hashes = dict(read.hashes)
    for task in tasks:
        hashes.update(task.files)
    batch_size = experiment.train.batch_size
    subjects: list[Subject] = []
    for task in tasks:
        setting = Setting(network, task, home, reference, units, judged, batch_size)
        objectives = Objectives(experiment.objectives, setting)
        said = [note for term in objectives.terms() for note in term.objective.notes]
        notes = (
            *task.notes,
            *(note for note in said if not subjects or note not in subjects[0].notes),
        )
        subjects.append(Subject(seed, network, task, reference, objectives, hashes, notes))
    main, *also = subjects
    return replace(main, also=tuple(also))


def readouts(
    experiment: Experiment, seed: int, tasks: Sequence[Task], network: Network
) -> list[Readout]:
    """A readout for each task, each with draws of its own."""
    made = []
    for position, task in enumerate(tasks):
        asked = Asked(task.answer.n_outputs, task.windows, task.n_steps, task.dt, task.per_step)
        own = stream(seed, "readout", position).initial_seed() if position else seed
        try:
            if task.answer.of_cells:
                made.append(CellCounts(task.windows))
            else:
                made.append(experiment.readout.make(network, asked, own))
        except ConfigError as error:
            if len(tasks) == 1:
                raise
            raise ConfigError(
                replace(each, where=f"task {task.name}, {each.where}") for each in error.problems
            ) from None
    return made
