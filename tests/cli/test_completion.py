"""Completion in the shell, as `v1builder --install-completion` sets it up; also of `python -m v1builder`."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("typed", "word", "completions"),
    [("v1builder ch", 1, ["characterize"]), ("v1builder build --ra", 2, ["--radius"])],
)
def test_words_are_completed(typed: str, word: int, completions: list[str]) -> None:
    asked = {
        "COMP_WORDS": typed,
        "COMP_CWORD": str(word),
        "_V1BUILDER_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-m", "v1builder"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == completions
