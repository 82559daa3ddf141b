"""The runs of all seeds of a comparison in this process, one after another."""

from pathlib import Path

from v1builder.experiments.seed_run import Progress, SeedRun
from v1builder.train.settings import Experiment
from v1builder.train.subjects import Subjects


class SeedRuns:
    """Gives the run of a seed. The last one is kept, since its networks are in memory.

    Attributes:
        subjects: the networks and tasks of seeds, of which the last is kept too.
    """

    def __init__(self, experiment: Experiment, out: Path, show: Progress):
        """No run yet.

        Args:
            experiment: whose seeds.
            out: folder of the comparison.
            show: called with (what, done, total).
        """
        self.subjects = Subjects()
        self._experiment, self._out, self._show = experiment, out, show
        self._last: SeedRun | None = None

    def of(self, seed: int) -> SeedRun:
        """The run of a seed; raises as `Subjects.of`."""
        if self._last is None or self._last.subject.seed != seed:
            self._last = None  # frees its memory first
            subject = self.subjects.of(self._experiment, seed)
            self._last = SeedRun(self._experiment, subject, self._out, self._show)
        return self._last
