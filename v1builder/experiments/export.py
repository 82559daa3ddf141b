"""A trained network, intact or a condition of a comparison, as a network to be saved and run anywhere."""

from pathlib import Path

from v1builder.experiments.finished import FinishedRun
from v1builder.load import Network


def trained_network(
    run: Path | str,
    *,
    protocol: str = "retrain",
    ablation: str = "intact",
    seed: int | None = None,
    accelerator: str = "cpu",
) -> tuple[Network, Path]:
    """The network of a finished run with what it learned.

    Args:
        run: folder of `train` or of `compare`.
        protocol: of the condition, in a comparison.
        ablation: of the condition, in a comparison.
        seed: of the condition; the first of the experiment unless given.
        accelerator: where the network is made; of an ablated one where it was.

    Returns:
        The network, and the folder of the network that it was made from.

    Raises:
        StorageError: the folder holds no finished run, or files of it are damaged or gone.
        ConfigError: the run has no such condition, or it was made on another accelerator.
    """
    finished = FinishedRun(run, "export", accelerator)
    condition = finished.condition(protocol, ablation, seed)
    found = finished.learned(condition)
    network = found.before
    if condition.protocol != "frozen":
        network = found.classifier.network.export(network)
    return network, Path(finished.experiment.network.path.format(seed=condition.seed))
