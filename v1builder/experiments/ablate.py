"""From a network folder to the folder of an ablated network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from v1builder.experiments.ablations import parse_ablation
from v1builder.experiments.operating_point import judge
from v1builder.experiments.operating_table import Row, bench_of, markdown
from v1builder.load import load_network, save_network
from v1builder.load.groups import group_cells
from v1builder.schema.files import check_free, write_text

Progress = Callable[[str, int, int], None]


def ablate_network(
    folder: Path | str,
    ablation: str,
    out: Path | str,
    *,
    seed: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> list[Row]:
    """Ablate a network and write it as SONATA, with OUT/operating_point.md beside.

    Args:
        folder: of the network.
        ablation: as `parse_ablation` reads it.
        out: folder to create.
        seed: of a random ablation and of the trials.
        overwrite: replace an existing folder.
        progress: called with (stage, done, total).
        options: of `operating_table.bench_of`.

    Returns:
        The operating points of the intact and of the ablated network.

    Raises:
        ConfigError: the ablation is not valid. NetworkError: the network is not, or lacks what is ablated.
        StorageError: the output is in the way.
    """
    show = progress or (lambda _stage, _done, _total: None)
    parsed = parse_ablation(ablation)
    check_free(out, overwrite=overwrite)
    network = load_network(folder)
    parsed.affected(network)
    bench = bench_of(network, seed=seed, **options)
    show("intact", 0, 3)
    start = bench.start(network)
    show(parsed.name, 1, 3)
    ablated, _ = bench.ablated(start, parsed)
    show(parsed.name, 2, 3)
    point = bench.point(ablated, start)
    groups = group_cells(network.cells, "population")
    sizes = dict(zip(groups.labels, groups.sizes.tolist(), strict=True))
    found = judge([point], [start.point], sizes, keeps_charge=parsed.keeps_charge)
    rows = [
        Row("intact", (start.point,), True, ()),
        Row(parsed.name, (point,), found.valid, found.reasons),
    ]
    table = markdown(rows)
    save_network(ablated, out, overwrite=overwrite, recordings_of=folder)
    write_text(Path(out) / "operating_point.md", table)
    show(parsed.name, 3, 3)
    return rows
