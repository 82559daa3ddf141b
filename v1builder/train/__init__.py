"""Training: a loop that a person reads in one go, and the experiment file that describes it."""

from v1builder.train.evaluation import Classifier, Evaluation, evaluate
from v1builder.train.loop import fit
from v1builder.train.run import train
from v1builder.train.settings import Experiment, load_experiment
from v1builder.train.streams import stream
from v1builder.train.subjects import Subject, check, prepare

__all__ = [
    "Classifier",
    "Evaluation",
    "Experiment",
    "Subject",
    "check",
    "evaluate",
    "fit",
    "load_experiment",
    "prepare",
    "stream",
    "train",
]
