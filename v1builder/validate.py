"""Everything that is wrong with a network folder: with its files, and with what its neurons need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v1builder.schema.checksums import changed_files
from v1builder.schema.errors import Problem
from v1builder.sonata import validate as file_problems


def validate(folder: Path | str) -> list[Problem]:
    """Check a network folder (or the circuit configuration named).

    Returns:
        Every problem found; empty when the network is valid. A file that is not as the command wrote it that
        made the network is one.
    """
    home = Path(folder)
    changed = changed_files(home if home.is_dir() else home.parent)
    return [*changed, *file_problems(folder, _of_neuron)]


def _of_neuron(parameters: Mapping[str, Any], template: str, where: object) -> list[Problem]:
    # Imported where it is needed: a network of GLIF cells is checked without torch.
    from v1builder.model.neurons import template_problems

    return template_problems(parameters, template, where)
