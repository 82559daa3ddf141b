"""Results of a comparison by protocol, condition and seed: what statistics are computed from.

A result is a dict of one (protocol, ablation, seed), in comparisons of several networks per seed also of
one `network`. Numbers that a protocol does not give, or only for some conditions, are no outcome of it.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from v1builder.experiments.statistics.mixed import crossed
from v1builder.experiments.statistics.survival import Runs
from v1builder.schema.errors import ConfigError

BASELINE: Final = "intact"
CO_PRIMARY: Final = "steps_to_criterion"
#: What every task gives besides its scores; descriptive.
DESCRIPTIVE: Final = ("area_under_curve", "spikes_per_trial", "rate_Hz")

ConditionKey = tuple[str, str]  # protocol, ablation

_DOSE: Final = re.compile(r"dose\((?P<alpha>[^,|]+),\s*(?P<level>\w+)\)")
_MEAN: Final = re.compile(r"mean\((?P<level>\w+)\)")


@dataclass(frozen=True)
class Outcomes:
    """Results by condition, each sorted by seed.

    Attributes:
        runs: results by (protocol, ablation), the baseline of a protocol first.
        untested: ablations that are described and not tested.
    """

    runs: dict[ConditionKey, list[dict[str, Any]]]
    untested: frozenset[str] = frozenset()

    @cached_property
    def ablated(self) -> list[ConditionKey]:
        """Every condition but the baselines."""
        return [condition for condition in self.runs if condition[1] != BASELINE]

    @cached_property
    def tested(self) -> list[ConditionKey]:
        """Those that are members of the families of tests."""
        return [condition for condition in self.ablated if condition[1] not in self.untested]

    @cached_property
    def protocols(self) -> list[str]:
        """In the order of the experiment."""
        return list(dict.fromkeys(protocol for protocol, _ in self.runs))

    @cached_property
    def seeds(self) -> list[int]:
        """Ascending."""
        return sorted({run["seed"] for runs in self.runs.values() for run in runs})

    @cached_property
    def crossed(self) -> bool:
        """Whether several networks were each run with several seeds."""
        runs = next(iter(self.runs.values()))
        networks = [run.get("network", run["seed"]) for run in runs]
        return crossed(networks, [run["seed"] for run in runs])

    def of_protocol(self, protocol: str) -> list[str]:
        """Its conditions, the baseline first."""
        return [ablation for name, ablation in self.runs if name == protocol]

    def has(self, protocol: str, outcome: str) -> bool:
        """Whether every run of the protocol gives the outcome."""
        runs = [
            run for ablation in self.of_protocol(protocol) for run in self.runs[protocol, ablation]
        ]
        return all(_is_number(run.get(outcome)) for run in runs)

    def values(self, condition: ConditionKey, outcome: str) -> list[float]:
        """[n_seeds] of a condition; with several networks per seed, their mean."""
        by_seed: dict[int, list[float]] = {}
        for run in self.runs[condition]:
            by_seed.setdefault(run["seed"], []).append(float(run[outcome]))
        return [float(np.mean(values)) for values in by_seed.values()]

    def learns(self, protocol: str) -> bool:
        """Whether every run of the protocol is a training with a criterion."""
        runs = [
            run for ablation in self.of_protocol(protocol) for run in self.runs[protocol, ablation]
        ]
        return all(run.get("learning_curve") and CO_PRIMARY in run for run in runs)

    def training(self, condition: ConditionKey) -> Runs:
        """Steps to criterion of its runs, those that never reached it censored at their last validation."""
        runs = self.runs[condition]
        steps = [run[CO_PRIMARY] for run in runs]
        return Runs(
            seeds=np.array([run["seed"] for run in runs]),
            steps=np.array(
                [
                    run["learning_curve"][-1][0] if step is None else step
                    for run, step in zip(runs, steps, strict=True)
                ],
                np.float64,
            ),
            reached=np.array([step is not None for step in steps]),
        )

    def table(self, protocol: str, outcome: str) -> pd.DataFrame:
        """One row per run: value, condition, network, seed."""
        return pd.DataFrame(
            [
                {
                    "value": float(run[outcome]),
                    "condition": ablation,
                    "network": run.get("network", run["seed"]),
                    "seed": run["seed"],
                }
                for ablation in self.of_protocol(protocol)
                for run in self.runs[protocol, ablation]
            ]
        )

    def doses(self, protocol: str) -> dict[str, dict[float, ConditionKey]]:
        """By level, conditions by dose; mean(level) is dose 0 and the baseline dose 1."""
        found: dict[str, dict[float, ConditionKey]] = {}
        for ablation in self.of_protocol(protocol):
            if match := _DOSE.fullmatch(ablation):
                found.setdefault(match["level"], {})[float(match["alpha"])] = (protocol, ablation)
        for ablation in self.of_protocol(protocol):
            match = _MEAN.fullmatch(ablation)
            if match and match["level"] in found:
                found[match["level"]][0.0] = (protocol, ablation)
        for by_dose in found.values():
            by_dose[1.0] = (protocol, BASELINE)
        return found

    @cached_property
    def invalid(self) -> dict[ConditionKey, dict[str, list[Any]]]:
        """Conditions of which a run is outside the bars: which seeds, and why."""
        found = {}
        for condition, runs in self.runs.items():
            bad = [run for run in runs if run.get("valid") is False]
            reasons = [reason for run in bad for reason in run.get("invalid_because") or []]
            if bad:
                found[condition] = {
                    "seeds": list(dict.fromkeys(run["seed"] for run in bad)),
                    "because": list(dict.fromkeys(reasons)),
                }
        return found

    def is_valid(self, condition: ConditionKey) -> bool:
        """Whether neither the condition nor the baseline it is compared with is outside the bars."""
        return not {condition, (condition[0], BASELINE)} & self.invalid.keys()


def by_condition(results: list[dict[str, Any]], untested: Collection[str] = ()) -> Outcomes:
    """The results in order, see `Outcomes`.

    Raises:
        ConfigError: a protocol without baseline, or conditions of a protocol with other runs than it.
    """
    ordered = sorted(results, key=lambda run: (run["seed"], str(run.get("network", ""))))
    # The order of protocols and ablations is that of the experiment, the order of seeds is made.
    runs: dict[ConditionKey, list[dict[str, Any]]] = {
        (protocol, ablation): []
        for protocol in dict.fromkeys(run["protocol"] for run in results)
        for ablation in [
            BASELINE,
            *dict.fromkeys(
                run["ablation"]
                for run in results
                if run["protocol"] == protocol and run["ablation"] != BASELINE
            ),
        ]
    }
    for run in ordered:
        runs[run["protocol"], run["ablation"]].append(run)
    for (protocol, ablation), found in runs.items():
        expected = [_key(run) for run in runs[protocol, BASELINE]]
        if not expected or [_key(run) for run in found] != expected:
            raise ConfigError.of(
                "conditions can only be compared over the same seeds",
                f"{ablation}, protocol {protocol}",
                f"{[_key(run) for run in found]}, {BASELINE} has {expected}",
                "run what is missing",
            )
    return Outcomes(runs, frozenset(untested))


def _key(run: dict[str, Any]) -> tuple[Any, ...]:
    return (run["seed"], run["network"]) if "network" in run else (run["seed"],)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
