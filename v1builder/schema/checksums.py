"""Checksums of a network folder, in the form that `sha256sum --check` reads."""

import re
from pathlib import Path
from typing import Final

from v1builder.schema.errors import Problem
from v1builder.schema.files import hash_folder, sha256_of, write_text

#: In the network folder; of all other files that were written with it.
CHECKSUMS: Final = "SHA256SUMS"
_LINE: Final = re.compile(r"([0-9a-f]{64})  (.+)")


def write_checksums(folder: Path) -> None:
    """Write the checksums of all files of a folder, once they are complete."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    lines = [f"{sha256}  {name}\n" for name, sha256 in hash_folder(folder).items()]
    write_text(folder / CHECKSUMS, "".join(lines))


def changed_files(folder: Path) -> list[Problem]:
    """The files of a folder that are not as they were written; none where no checksums are.

    Files that are missing or were added are no concern here.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        return []
    fix = f"build or copy the network again; if it was changed on purpose, remove {CHECKSUMS}"
    problems = []
    for number, line in enumerate(
        file.read_text(encoding="utf-8", errors="replace").splitlines(), 1
    ):
        named = _LINE.fullmatch(line)
        if named is None:
            problems.append(
                Problem("a line is not a checksum", f"{file}, line {number}", line[:80], fix)
            )
            continue
        path = folder / named[2]
        if not path.is_file():
            continue
        got = sha256_of(path)
        if got != named[1]:
            what = "a file is not as it was written"
            problems.append(
                Problem(what, str(path), f"sha256 {got[:12]}..., recorded {named[1][:12]}...", fix)
            )
    return problems
