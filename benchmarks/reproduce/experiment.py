"""What an experiment says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

#: Told what a run does, for people.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Contrast:
    """Two modes whose difference is asked for, `mode` minus `base`, paired by seed.

    Attributes:
        published: what the source says of it, as text; "" where it says nothing.
    """

    mode: str
    base: str
    published: str = ""


class Experiment(ABC):
    """A published experiment, or one beside it.

    Attributes:
        name: on the command line.
        title: for people.
        source: where it was published.
        score: the main number of a run's results.
        label: that number for people, with its unit.
        better: whether more or less of it is better.
        modes: what is compared; all are run with the same seeds.
        sizes: settings by name, dataclasses; "full" are those of the source, others are cut down.
        published: what the source found, as text by mode.
        contrasts: differences asked for.
        notes: what one should know to read the numbers, in Markdown.
        curve: what results["by_delay"] goes over, for people; "" where there is none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    score: ClassVar[str] = "accuracy"
    label: ClassVar[str] = "accuracy"
    better: ClassVar[Literal["more", "less"]] = "more"
    modes: ClassVar[tuple[str, ...]]
    sizes: ClassVar[Mapping[str, Any]]
    published: ClassVar[Mapping[str, str]] = {}
    contrasts: ClassVar[tuple[Contrast, ...]] = ()
    notes: ClassVar[str] = ""
    curve: ClassVar[str] = ""

    @abstractmethod
    def run(self, mode: str, seed: int, size: Any, say: Say) -> dict[str, Any]:
        """Train and test one network.

        Args:
            mode: one of `modes`.
            seed: of everything that is drawn.
            size: one of `sizes`.
            say: progress.

        Returns:
            `score` and other numbers, as JSON values.
        """
