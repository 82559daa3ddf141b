"""What compiled kernels ask of a rollout's arguments, because they do not check an index themselves."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from v1builder.model.rollout import Projection
from v1builder.schema.errors import ConfigError


def check_shapes(
    projections: Sequence[Projection],
    weights: Sequence[Tensor],
    inputs: Mapping[str, Tensor],
    current: Tensor | None,
    plasticity: Sequence[Tensor],
    sites: Sequence[Tensor],
    shape: tuple[int, int, int],
) -> None:
    """Compiled code does not check an index, so what it is given must fit."""
    n_batch, n_steps, n_cells = shape
    n_sites = _count_sites(projections)
    wanted: list[tuple[str, Tensor, tuple[int, ...]]] = []
    if n_sites or plasticity:
        wanted += [("a coefficient of plasticity", tensor, (n_sites,)) for tensor in plasticity]
        wanted += [("the state of the sites", tensor, (n_batch, n_sites)) for tensor in sites]
        if not plasticity:
            raise ConfigError.of(
                "edges with short-term plasticity come without its coefficients", "plasticity",
                "None", "pass `plasticity`",
            )  # fmt: skip
    for projection, weight in zip(projections, weights, strict=True):
        name = projection.source
        wanted.append((f"weights from {name or 'the cells'}", weight, projection.receptor.shape))
        if name is not None:
            wanted.append(
                (f"input '{name}'", inputs[name], (n_batch, n_steps, projection.n_source))
            )
        elif projection.n_source != n_cells:
            raise ConfigError.of(
                "a recurrent projection must have the cells as its sources", "projection",
                f"{projection.n_source} sources for {n_cells} cells",
            )  # fmt: skip
    if current is not None:
        repeated = tuple(
            1 if have == 1 else want for have, want in zip(current.shape, shape, strict=False)
        )
        wanted.append(("current", current, (*repeated[:2], n_cells)))
    for where, tensor, expected in wanted:
        if tuple(tensor.shape) != tuple(expected):
            raise ConfigError.of(
                "a tensor does not fit the network and the number of steps",
                where,
                f"shape {list(tensor.shape)} instead of {list(expected)}",
            )


def _count_sites(projections: Sequence[Projection]) -> int:
    n_sites = 0
    for projection in projections:
        if len(projection.site_source) and projection.first_site != n_sites:
            raise ConfigError.of(
                "the sites of all projections must be numbered in the order of the projections",
                f"projection from {projection.source or 'the cells'}",
                f"first_site {projection.first_site} instead of {n_sites}",
            )
        n_sites += len(projection.site_source)
    return n_sites


def check_edges(projection: Projection, shape: tuple[int, int, int]) -> None:
    """Compiled code does not check an index: one wrong edge would write into foreign memory."""
    n_cells, n_receptors, n_delays = shape
    for field, low, high in (
        ("source_index", 0, projection.n_source + len(projection.site_source)),
        ("site_source", 0, projection.n_source),
        ("target_index", 0, n_cells),
        ("receptor", 0, n_receptors),
        ("delay_steps", 1, n_delays + 1),
    ):
        values = getattr(projection, field)
        if len(values) and (int(values.min()) < low or int(values.max()) >= high):
            raise ConfigError.of(
                f"{field} of an edge is outside {low}..{high - 1}",
                f"projection from {projection.source or 'the cells'}",
                f"{int(values.min())}..{int(values.max())}",
                "the state's pending must be as deep as the longest delay"
                if field == "delay_steps"
                else "check the projection against the number of cells, receptors and sources",
            )
