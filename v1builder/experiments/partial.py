"""What a long command has finished, kept beside its output until all is done."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v1builder.schema.files import write_text


class Partial:
    """Results by name in a file of lines, OUT.partial; made by the same, they are found there again."""

    def __init__(self, out: Path, made_by: Mapping[str, Any]):
        """Take over what an interrupted run with the same `made_by` left; anything else is dropped."""
        self._path = _beside(out)
        text = json.dumps(made_by, sort_keys=True, default=str)
        self._made_by = hashlib.sha256(text.encode()).hexdigest()
        self._found: dict[str, Any] = {}
        if self._path.is_file():
            # The last line may have been cut off, and all that is not complete is made again.
            first, *lines = self._path.read_text(encoding="utf-8").split("\n")[:-1] or [""]
            if first == self._made_by:
                self._found = dict(json.loads(line) for line in lines)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._found[name] = value
        lines = [self._made_by, *(json.dumps(item) for item in self._found.items())]
        write_text(self._path, "\n".join(lines) + "\n")


def remove_partial(out: Path) -> None:
    """All is done and written."""
    _beside(out).unlink(missing_ok=True)


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")
