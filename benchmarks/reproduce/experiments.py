"""All experiments, by name."""

from typing import Final

from benchmarks.reproduce.experiment import Experiment
from benchmarks.reproduce.interval_discrimination import IntervalDiscrimination
from benchmarks.reproduce.japanese_vowels import JapaneseVowels
from benchmarks.reproduce.match_to_sample import MatchToSample
from benchmarks.reproduce.mnist1d import Mnist1D
from benchmarks.reproduce.observed_recall import ObservedRecall
from benchmarks.reproduce.store_recall import StoreRecall
from benchmarks.reproduce.winston_digits import WinstonDigits
from benchmarks.reproduce.winston_sine import WinstonSine

EXPERIMENTS: Final[dict[str, Experiment]] = {
    one.name: one
    for one in (
        StoreRecall(),
        ObservedRecall(),
        WinstonSine(),
        WinstonDigits(),
        Mnist1D(),
        JapaneseVowels(),
        MatchToSample(),
        IntervalDiscrimination(),
    )
}
