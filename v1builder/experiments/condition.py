"""One condition of a comparison: what is done to the network of a seed, and when it is trained."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from v1builder.experiments.ablations import Ablation
from v1builder.train.metric import TRAINED as PHASE_TRAINED
from v1builder.train.metric import UNTRAINED

#: retrain: ablate, then train from the initial weights. frozen: ablate the trained network, and test it as it
#: is. readout: the same, with the readout trained anew. finetune: the same, with everything trained on.
PROTOCOLS: Final = ("retrain", "frozen", "readout", "finetune")
#: Protocols whose network is trained with a learning rate that may be chosen.
TRAINED: Final = ("retrain", "finetune")
#: Protocols that start from the trained intact network.
AFTER_TRAINING: Final = ("frozen", "readout", "finetune")


@dataclass(frozen=True)
class Condition:
    """What was done to which seed."""

    protocol: str
    ablation: Ablation
    seed: int

    def folder(self, run: Path) -> Path:
        """Where its files go."""
        slug = re.sub(r"[^\w.]+", "-", self.ablation.name).strip("-")
        return run / "cells" / self.protocol / slug / f"seed-{self.seed}"

    @property
    def is_baseline(self) -> bool:
        """Whether this is the intact network, trained: what all others are paired with."""
        return self.protocol == "retrain" and self.ablation.name == "intact"

    @property
    def phases(self) -> tuple[str, ...]:
        """When its network is measured. Where one starts from a trained network, that is not untrained."""
        return (UNTRAINED, PHASE_TRAINED) if self.protocol == "retrain" else (PHASE_TRAINED,)

    @property
    def title(self) -> str:
        """For progress bars."""
        return f"seed {self.seed} {self.protocol}: {self.ablation.name}"
