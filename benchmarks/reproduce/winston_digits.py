"""Handwritten digits, one row of pixels per step; the class is read after the last one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.ndimage import zoom
from torch import Tensor

from benchmarks.reproduce.classification import batches, in_parts, train_classifier
from benchmarks.reproduce.experiment import Contrast, Experiment, Say
from benchmarks.reproduce.winston import MODES, groups, make_layer
from v1builder.layers import GLIFR
from v1builder.load.images import read_image_set

#: Where `v1builder fetch --source mnist --from FOLDER --out` is to put the images.
MNIST = Path("mnist")


@dataclass(frozen=True)
class Sizes:
    """Settings of a run; the defaults are the published ones."""

    images: str = "mnist"
    cells: int = 256
    rows: int = 28
    delay_steps: int = 20
    batch: int = 512
    epochs: int = 30
    learning_rate: float = 1e-3


def digits(name: str, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images [n, row, column] in 0 to 1 with classes [n], to learn from and to be tested with.

    Args:
        name: "mnist", the folder `MNIST` with the user's files; or "load_digits" of scikit-learn, 8 x 8
            pixels, enlarged, of which every fifth image is for testing.
        rows: pixels of a row and of a column, of load_digits.
    """
    if name == "mnist":
        sets = read_image_set(MNIST)
        found = []
        for split in ("train", "test"):
            found += [
                torch.tensor(np.array(sets[split].images)) / 255,
                torch.tensor(sets[split].labels),
            ]
        return tuple(found)  # pyright: ignore[reportReturnType]
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = zoom(x.reshape(-1, 8, 8) / 16, (1, rows / 8, rows / 8), order=1)
    test = np.arange(len(y)) % 5 == 4
    parts = [torch.tensor(images, dtype=torch.float32), torch.tensor(y).long()]
    return parts[0][~test], parts[1][~test], parts[0][test], parts[1][test]


class WinstonDigits(Experiment):
    """Winston et al. 2023, row-by-row MNIST."""

    name = "winston_digits"
    title = "Row-by-row digits with smooth GLIF cells"
    source = "Winston et al. 2023, Neural Comput. 35:555: mean (standard deviation) of 10 networks on MNIST"
    modes = MODES
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(images="load_digits", cells=64, batch=64),
        "short": Sizes(
            images="load_digits",
            cells=24,
            rows=8,
            delay_steps=4,
            batch=128,
            epochs=8,
            learning_rate=3e-3,
        ),
    }
    published: ClassVar = {
        "homogeneous": ".9364 (.0013)", "learned": ".9417 (.0017)", "refined": ".9481 (.0013)",
    }  # fmt: skip
    contrasts = (
        Contrast("learned", "homogeneous", "+.0053"),
        Contrast("refined", "homogeneous", "+.0117"),
    )
    notes = """Modes and constants as in the published code: `benchmarks/reproduce/winston.py`. The
full size needs MNIST: `v1builder fetch --source mnist --from FOLDER_WITH_THE_FOUR_FILES --out mnist`
in the folder where this is run. Other sizes take scikit-learn's 1 797 digits of 8 x 8 pixels, enlarged to
28 x 28, every fifth for testing."""

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        x, y, x_test, y_test = digits(size.images, size.rows)
        learned = None

        def train(layer: GLIFR) -> dict[str, Any]:
            torch.manual_seed(seed)
            steps = x.shape[1]
            return train_classifier(
                layer, size.cells, 10, [slice(steps - 1, steps)], batches(x, y, size.batch, seed),
                in_parts(x_test, y_test, 500), size.epochs * (len(x) // size.batch),
                size.learning_rate, say, groups(layer, size.learning_rate), gain=1.0, clip=None,
            )  # fmt: skip

        if mode == "refined":
            learned = make_layer("learned", x.shape[2], size, seed)
            train(learned)
        layer = make_layer(
            mode, x.shape[2], size, seed + 500 if mode == "refined" else seed, learned
        )
        return train(layer)
