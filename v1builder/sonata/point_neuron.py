"""Cell models of point-neuron networks: which templates are supported, read and written.

GLIF cells are in `glif_cells`, integrate-and-fire cells in `integrate_fire`; the numbers of NEST's other
neurons with currents as synapses are read as they are (`other_neurons`). A template may carry the
schema `nestml:` instead of `nest:`, or none; as in BMTK, NEST's built-in model of that name is meant.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np

from v1builder.schema.errors import NetworkError, Problem, raise_if_any, unknown_name
from v1builder.schema.names import GLIF_TEMPLATE, PSC_ALPHA
from v1builder.sonata.cell_model import CellModel
from v1builder.sonata.glif_cells import (
    ALLEN_TEMPLATES,
    ALPHA_TEMPLATE,
    allen_problems,
    glif_parameters,
    glif_problems,
    normalised,
    read_glif,
)
from v1builder.sonata.integrate_fire import (
    SHAPE_OF,
    iaf_parameters,
    iaf_problems,
    is_iaf,
    read_iaf,
)
from v1builder.sonata.other_neurons import (
    is_other,
    other_parameters,
    other_problems,
    own_parameters,
    read_other,
)

__all__ = [
    "TEMPLATES",
    "CellModel",
    "NeuronProblems",
    "cell_model_parameters",
    "cell_model_problems",
    "chooses_by_sign",
    "component_file",
    "is_read_as_it_is",
    "kinds_problem",
    "n_ports",
    "plain_template",
    "read_cell_model",
]

#: Says what a neuron finds wrong with its own parameters of a file: (parameters, template, where).
NeuronProblems = Callable[[Mapping[str, Any], str, object], list[Problem]]

#: Templates whose parameters are read as those of GLIF cells.
TEMPLATES: Final = (GLIF_TEMPLATE, ALPHA_TEMPLATE, *ALLEN_TEMPLATES, *SHAPE_OF)


def plain_template(template: str) -> str:
    """A template with the schema "nest:", which BMTK's DPointNet leaves out."""
    bare = template.removeprefix("nestml:")
    return template if ":" in bare or not bare else f"nest:{bare}"


def is_read_as_it_is(template: str) -> bool:
    """Whether the parameters of such cells are only known to their neuron."""
    template = plain_template(template)
    return template not in TEMPLATES and is_other(template)


def chooses_by_sign(template: str) -> bool:
    """Whether such cells have two ports, excitatory and inhibitory, chosen by the sign of a weight."""
    return plain_template(template) in SHAPE_OF or is_read_as_it_is(template)


def kinds_problem(templates: Iterable[str], where: object) -> Problem:
    """The problem of cells that no one kind of neuron computes."""
    return Problem(
        "the cells are of several kinds of neuron",
        str(where),
        ", ".join(templates),
        "simulate them apart, or give all of them cell models of one kind",
    )


def read_cell_model(parameters: Mapping[str, Any], template: str, where: object) -> CellModel:
    """The cell model that NEST would make of a component file.

    Raises:
        NetworkError: listing everything wrong with it.
    """
    raise_if_any(cell_model_problems(parameters, template, where), NetworkError)
    template = plain_template(template)
    if template in SHAPE_OF:
        return read_iaf(parameters, template)
    if is_read_as_it_is(template):
        return read_other(parameters, template)
    return read_glif(*normalised(parameters, template))


def cell_model_parameters(model: CellModel) -> dict[str, Any]:
    """The component file of a `glif_psc_double_alpha` cell with these parameters."""
    return glif_parameters(model)


def component_file(model: CellModel, where: object) -> tuple[str, dict[str, Any]]:
    """The template and the component file of a cell.

    It keeps the template of an integrate-and-fire cell if that can hold the parameters, and that of a cell
    that was read as it is; everything else becomes `glif_psc_double_alpha`. A bias current must be in E_L
    already for the latter.

    Raises:
        NetworkError: no template can hold the parameters.
    """
    wanted = plain_template(model.template)
    if is_read_as_it_is(wanted):
        return wanted, other_parameters(model)
    shape = model.receptors["psc_shape"]
    candidates = [wanted] if wanted in SHAPE_OF else []
    if np.any(shape[:2] != PSC_ALPHA):
        candidates += [name for name in SHAPE_OF if name != wanted]
    for template in candidates:
        if is_iaf(model, template):
            return template, iaf_parameters(model, template)
    if np.any(shape != PSC_ALPHA):
        raise NetworkError.of(
            "no cell model of NEST can have these parameters",
            where,
            f"psc_shape {shape.tolist()} with after-spike currents or a moving threshold",
            "leave exponential and delta synapses to cells without them",
        )
    return GLIF_TEMPLATE, glif_parameters(model, where)


def n_ports(parameters: Mapping[str, Any], template: str) -> int:
    """Number of receptor ports of a component file; 0 where the sign of a weight chooses the port."""
    if chooses_by_sign(template):
        return 0
    template = plain_template(template)
    values = normalised(parameters, template)[0]
    taus = values.get("tau_syn_fast", values.get("tau_syn", ()))
    return len(taus) if isinstance(taus, list) else 0


def cell_model_problems(
    parameters: Mapping[str, Any],
    template: str,
    where: object,
    of_neuron: NeuronProblems | None = None,
) -> list[Problem]:
    """Everything wrong with the component file of a cell.

    Args:
        parameters: of the file.
        template: its `model_template`.
        where: for messages.
        of_neuron: asked about parameters that only the neuron knows; else they need only be numbers.
    """
    template = plain_template(template)
    if is_read_as_it_is(template):
        problems = other_problems(parameters, where)
        if of_neuron is None or problems:
            return problems
        return of_neuron(own_parameters(parameters), template, where)
    if template not in TEMPLATES:
        problem = unknown_name("model template", template, TEMPLATES, where)
        return [problem]
    if template in SHAPE_OF:
        return iaf_problems(parameters, template, where)
    problems = allen_problems(parameters, template, where)
    if problems:
        return problems
    return glif_problems(*normalised(parameters, template), where)
