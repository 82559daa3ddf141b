"""Japanese Vowels: which of nine men says /ae/, from 12 coefficients of 7 to 29 frames."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks.reproduce.classification import batches, in_parts, train_classifier
from benchmarks.reproduce.experiment import Contrast, Experiment, Say
from benchmarks.reproduce.mnist1d import make_model

#: What the data come from; read as an archive, since its requirements exclude those of this project.
WHEEL = "aeon-*.whl"
_MEMBER = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
FRAMES = 29


@dataclass(frozen=True)
class Sizes:
    """Settings of a run."""

    cells: int = 128
    sample_ms: int = 5
    batch: int = 30
    epochs: int = 40
    learning_rate: float = 0.005


def read_ts(text: str) -> tuple[list[Tensor], list[int]]:
    """Series [frame, coefficient] and classes from 0 of a file of the UEA archive.

    Args:
        text: of the file: lines of `@` and `#`, then one series per line, its dimensions apart by ":".
    """
    series, labels = [], []
    for line in text.splitlines():
        if not line or line[0] in "@#":
            continue
        *dimensions, label = line.strip().split(":")
        rows = [[float(value) for value in one.split(",")] for one in dimensions]
        series.append(torch.tensor(rows).T)
        labels.append(int(label) - 1)
    return series, labels


def vowels(folder: Path = Path()) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Series [n, 29, 12] with classes, to learn from and to be tested with; z-scored, silent before they
    begin.

    Args:
        folder: with aeon's wheel.

    Raises:
        FileNotFoundError: it is not there, with how to get it.
    """
    found = sorted(folder.glob(WHEEL))
    if not found:
        raise FileNotFoundError(
            f"no {WHEEL} in {folder.absolute()}: run 'pip download aeon==1.6.0 --no-deps' there"
        )
    parts = []
    mean = spread = torch.zeros(12)
    for split in ("TRAIN", "TEST"):
        with zipfile.ZipFile(found[-1]) as wheel:
            series, labels = read_ts(wheel.read(_MEMBER.format(split)).decode())
        if split == "TRAIN":
            every = torch.cat(series)
            mean, spread = every.mean(0), every.std(0)
        x = torch.zeros(len(series), FRAMES, 12)
        for row, one in enumerate(series):
            x[row, FRAMES - len(one) :] = (one - mean) / spread
        parts += [x, torch.tensor(labels)]
    return parts[0], parts[1], parts[2], parts[3]


class JapaneseVowels(Experiment):
    """Kudo et al. 1999 with GLIF3 cells."""

    name = "japanese_vowels"
    title = "Japanese Vowels with 128 cells"
    source = "Kudo et al. 1999, Pattern Recognit. Lett. 20:1103; dynamic time warping about 95 %"
    modes = ("homogeneous", "heterogeneous", "learned")
    sizes: ClassVar = {
        "full": Sizes(),
        "evening": Sizes(epochs=8),
        "short": Sizes(cells=32, sample_ms=2, epochs=3),
    }
    contrasts = (Contrast("heterogeneous", "homogeneous"),)
    notes = """As MNIST-1D, a frame per 5 ms, series aligned at their ends. The data are in the wheel of
aeon (BSD), whose requirements exclude this project's: `pip download aeon==1.6.0 --no-deps` in the folder
where this is run."""

    def run(self, mode: str, seed: int, size: Sizes, say: Say) -> dict[str, Any]:
        """One network."""
        x, y, x_test, y_test = vowels()
        x, x_test = (one.repeat_interleave(size.sample_ms, 1) for one in (x, x_test))
        model = make_model(mode, size, seed, inputs=12)  # pyright: ignore[reportArgumentType]
        torch.manual_seed(seed)
        steps = x.shape[1]
        return train_classifier(
            model, size.cells, 9, [slice(steps - steps // 4, steps)], batches(x, y, size.batch, seed),
            in_parts(x_test, y_test, 100), size.epochs * (len(x) // size.batch), size.learning_rate, say,
        )  # fmt: skip
