"""Errors that say what is wrong, where, what was got, and how to fix it.

Validators collect every `Problem` before they raise, so a user sees all of them at once.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        what: the fault, as one sentence without a full stop.
        where: file, table, key or row in which it was found.
        got: the offending value, shortened to what a person needs to see.
        fix: what the user can do about it.
    """

    what: str
    where: str
    got: str = ""
    fix: str = ""

    def __str__(self) -> str:
        lines = [self.what, f"  where: {self.where}"]
        if self.got:
            lines.append(f"  got:   {self.got}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class V1BuilderError(Exception):
    """Base of every error a user can cause; carries one or more `Problem`s."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems: list[Problem] = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[Self], tuple[list[Problem]]]:
        """Errors that come from another process keep their problems."""
        return type(self), (self.problems,)

    @classmethod
    def of(cls, what: str, where: object, got: object = "", fix: str = "") -> Self:
        """The error with a single problem."""
        return cls([Problem(what, str(where), str(got), fix)])


class ConfigError(V1BuilderError):
    """A configuration file or argument is not valid."""


class DataError(V1BuilderError):
    """A table of published data is missing, damaged, or not what its manifest says."""


class FetchError(V1BuilderError):
    """Something could not be downloaded, or is not what it was or should be."""


class NetworkError(V1BuilderError):
    """A SONATA network or simulation folder is not valid."""


class StorageError(V1BuilderError):
    """The file system refused: no space, no permission, or something is in the way."""


def raise_if_any(problems: Sequence[Problem], error: type[V1BuilderError]) -> None:
    """Raise `error` with all `problems`, if there are any."""
    if problems:
        raise error(problems)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to `word`, or None when nothing is similar."""
    names = list(candidates)
    by_lower = {name.lower(): name for name in names}
    matches = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def unknown_name(kind: str, word: str, candidates: Iterable[str], where: object) -> Problem:
    """The problem of a name that is not one of `candidates`, with the nearest one as the fix."""
    names = list(candidates)
    guess = nearest(word, names)
    choices = ", ".join(names)
    fix = f"did you mean '{guess}'? " if guess else ""
    return Problem(f"unknown {kind} '{word}'", str(where), word, f"{fix}choose one of: {choices}")
