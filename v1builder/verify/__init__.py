"""Agreement with the field's references, measured: `v1builder verify`.

Every module of this package that registers a case is one topic; importing the package imports them
all. Scripts that run in a process of their own are in `processes`.
"""

import tempfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.schema.files import atomic_folder
from v1builder.schema.members import import_members
from v1builder.verify.agreement import CASES, Agreement, Case, Measured, case
from v1builder.verify.table import write_tables

__all__ = ["Agreement", "Case", "Measured", "all_cases", "case", "chosen_cases", "verify"]

Progress = Callable[[str, int, int], None]


def all_cases() -> list[Case]:
    """Every case, by topic."""
    import_members(__name__, but=__name__)
    return sorted(CASES.values(), key=lambda found: found.topic)


def chosen_cases(select: Sequence[str] = (), *, slow: bool = True) -> list[Case]:
    """The cases whose topic or name has one of the words (or matches one of the patterns).

    Args:
        select: words, or patterns with * and ?; upper and lower case are the same. None takes all.
        slow: whether to take slow ones as well.

    Raises:
        ConfigError: a word that selects nothing.
    """
    cases = all_cases()
    chosen: set[str] = set()
    for word in select:
        found = {one.name for one in cases if _matches(one, word.lower())}
        if not found:
            names = [*{one.topic for one in cases}, *(one.name for one in cases)]
            raise ConfigError([unknown_name("case", word, names, "verify, --select")])
        chosen |= found
    return [one for one in cases if (one.name in chosen or not select) and (slow or not one.slow)]


def verify(
    out: Path | str,
    *,
    select: Sequence[str] = (),
    slow: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Agreement]:
    """Run the cases and write agreement.json and agreement.md.

    Args:
        out: folder to create.
        select: words or patterns of `chosen_cases`; none runs all.
        slow: whether to run slow cases.
        overwrite: replace an existing folder.
        progress: called with (stage, done, total).

    Returns:
        One row per case.

    Raises:
        ConfigError: a word that selects nothing.
        StorageError: the folder exists, or the file system refused.
    """
    cases = chosen_cases(select, slow=slow)
    rows: list[Agreement] = []
    with atomic_folder(out, overwrite=overwrite) as folder:
        for done, one in enumerate(cases):
            if progress is not None:
                progress("cases", done, len(cases))
            with tempfile.TemporaryDirectory() as scratch:
                rows.append(_row(one, Path(scratch)))
        if progress is not None:
            progress("cases", len(cases), len(cases))
        write_tables(rows, folder)
    return rows


def _row(one: Case, scratch: Path) -> Agreement:
    try:
        return one(scratch)
    except Exception as error:  # one broken case must not cost the others their rows
        return one.failed(error)


def _matches(one: Case, word: str) -> bool:
    texts = (one.topic.lower(), one.name.lower())
    if any(letter in word for letter in "*?["):
        return any(fnmatchcase(text, word) for text in texts)
    return any(word in text for text in texts)
