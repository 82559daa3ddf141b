"""One TOML file per experiment: which network, which task, how it is trained, what is compared.

name = "orientation discrimination"
seeds = [1, 2, 3]

[network]
path = "networks/seed-{seed}"      # relative to this file; {seed} is optional

[task]
name = "orientation_discrimination"

[[also]]                           # optional: further tasks that the same network learns in turn
name = "direction_classification"

[model]
dt = 1.0

[train]
steps = 100

[compare]
ablations = ["intact", "mean(population)"]
"""

import math
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import (
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from v1builder.measures import MEASURES
from v1builder.model.device import Accelerator, found_accelerator
from v1builder.model.edges import EDGE_GROUPINGS, PLASTICITY_GROUPINGS
from v1builder.model.neurons import NEURONS
from v1builder.model.surrogate import Surrogate, SurrogateKind
from v1builder.objectives import AnyObjective, ObjectiveSettings
from v1builder.objectives.rates import RatesSettings
from v1builder.objectives.voltage import VoltageSettings
from v1builder.protocols import PROTOCOLS
from v1builder.readout import AnyReadout
from v1builder.readout.pools import PoolsSettings
from v1builder.schema.config import Settings, load_settings
from v1builder.schema.errors import ConfigError, unknown_name
from v1builder.tasks import AnyTask
from v1builder.train.metric import DISPERSION, LEARNED, TRAINED, UNTRAINED, Metric

#: Below these an experiment says what it cannot decide, see `Experiment.notes`.
ENOUGH_VALIDATION_TRIALS: Final = 512
ENOUGH_TEST_TRIALS: Final = 2048
ENOUGH_SEEDS: Final = 20


class NetworkSettings(Settings):
    """Which network.

    Attributes:
        path: folder of the network, relative to the experiment file. It may hold {seed}, so that every seed
            has its own network.
    """

    path: str


class SurrogateSettings(Settings):
    """Surrogate derivative of the spike, see `model.surrogate`.

    Attributes:
        kind: its shape.
        dampening: its height at the threshold.
        width: how far from the threshold it reaches, in units of V_th - E_L.
    """

    kind: SurrogateKind = Surrogate.kind
    dampening: float = Field(default=Surrogate.dampening, gt=0)
    width: float = Field(default=Surrogate.width, gt=0)

    def build(self) -> Surrogate:
        """The surrogate these settings describe."""
        return Surrogate(self.kind, self.dampening, self.width)


class ModelSettings(Settings):
    """How the network becomes a torch module, see `model.V1Network`.

    Attributes:
        dt: time step, ms.
        dtype: of all numbers of the network.
        backend: one of `model.backends`; "auto" for the fastest that computes these cells on this device.
        group_by: one grouping for all cell parameters, or one per parameter name.
        trainable: parameter names; everything else is frozen.
        surrogate, detach_reset: how a gradient passes a spike; GLIFR has no use for a surrogate.
        neuron: one of `model.neurons` ("glifr" is the smooth one of GLIF cells); "auto" for what the cells
            are.
        sigma_V: mV, smoothness of GLIFR; 1 unless given.
        tau: ms, shortest interval between spikes of GLIFR; dt unless given.
        neuron_settings: settings of other neurons by name, see `model.neurons`.
        checkpoint_steps: steps between which the backward pass recomputes, "auto" as memory asks for it.
        memory_budget: GiB for "auto"; what is free unless given.
    """

    dt: float = Field(default=1.0, gt=0)
    dtype: Literal["float32", "float64"] = "float32"
    backend: str = "auto"
    group_by: str | dict[str, str] = "cell_model"
    trainable: tuple[str, ...] = ("v1_to_v1.weight", "lgn_to_v1.weight", "bkg_to_v1.weight")
    surrogate: SurrogateSettings = SurrogateSettings()
    detach_reset: bool = False
    checkpoint_steps: PositiveInt | Literal["auto"] | None = "auto"
    memory_budget: float | None = Field(default=None, gt=0)
    neuron: str = "auto"
    sigma_V: float | None = Field(default=None, gt=0)  # noqa: N815
    tau: float | None = Field(default=None, gt=0)
    neuron_settings: dict[str, float] = Field(default_factory=dict)

    @field_validator("neuron")
    @classmethod
    def _known(cls, neuron: str) -> str:
        names = ("auto", *NEURONS)
        if neuron not in names:
            problem = unknown_name("neuron", neuron, names, "model.neuron")
            raise ValueError(f"{problem.what}; {problem.fix}")
        return neuron


class TrainSettings(Settings):
    """The training loop.

    Attributes:
        steps: optimiser steps, of all tasks together: several take turns.
        batch_size: trials per step.
        optimizer: "adam" on the logarithms of weights, or "exponentiated_gradient", see `train.optimizers`.
        learning_rate: weights are trained as logarithms, so it is a relative change.
        readout_learning_rate: of the readout's scale and bias.
        gradient_clip: largest norm of the whole gradient.
        rate_weight: of the distance of firing rates from the in vivo distribution: short for an [[objective]]
            "rates" with units = "all". An [[objective]] of that kind takes its place.
        voltage_weight: of voltages outside [-1, 1] in units of V_th - E_L; likewise short for "voltage".
        validate_every: steps between validations on held-out stimuli.
        validation_trials: held-out trials of every validation. In a small network each costs about three
            quarters of a training trial, so 512 of them every 10 steps of 16 trials cost twice the training
            itself: validate less often in long runs. With fewer a learning curve is noisy: at 80 % correct
            its points have a standard error of 1.8 points with 512 trials and of 5 with 64.
        test_trials: trials of the test after training, once. At 80 % correct the difference of two networks
            has a standard error of 1.25 points by trials alone with 2 048, and of 3.5 with 256.
        checkpoint_every: steps between checkpoints.
        criterion: validation score that counts as learned (accuracy, where answers are classes).
        accelerator: where `train`, `compare` and `battery` compute, unless told otherwise there: "cpu";
            "cuda", a GPU per process; "auto", a GPU where there is one.
    """

    steps: int = Field(default=100, ge=0)
    batch_size: int = Field(default=16, gt=0)
    optimizer: Literal["adam", "exponentiated_gradient"] = "adam"
    learning_rate: float = Field(default=0.01, gt=0)
    readout_learning_rate: float = Field(default=0.05, gt=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    rate_weight: float = Field(default=0.1, ge=0)
    voltage_weight: float = Field(default=0.1, ge=0)
    validate_every: int = Field(default=10, gt=0)
    validation_trials: int = Field(default=ENOUGH_VALIDATION_TRIALS, gt=0)
    test_trials: int = Field(default=ENOUGH_TEST_TRIALS, gt=0)
    checkpoint_every: int = Field(default=25, gt=0)
    criterion: float = Field(default=0.8, gt=0, le=1)
    accelerator: Accelerator = "cpu"

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Results depend on no key that they were made without."""
        dumped = dump(self)
        for name, usual in (("optimizer", "adam"), ("accelerator", "cpu")):
            if dumped.get(name) == usual:
                del dumped[name]
        return dumped


class MeasureSettings(Settings):
    """What is measured of the networks, see `v1builder.measures`.

    Attributes:
        names: of measures, and of protocols (`v1builder.protocols`); none measures nothing.
        levels: groups of cells they are measured of: network, layer, class, population, cell, or names of
            SONATA node sets (a set and all other cells); unless given, all that the cells can be grouped by
            but single cells.
        phases: "trained" measures after training, "untrained" also before it (protocol "retrain").
        trials: of the test's kind that are measured, before and after training, in a run of their own; unless
            given as many as the test has. Measures of spikes then watch the test itself after training. A
            measure that does not stream keeps all its trials in memory.
        explain: metrics that are to explain the outcome of a comparison (`train.metric`,
            `experiments.explain`), named before anything is run.
        lesions: after training every group of this level (layer, class, population; or the cells of a node
            set) is silenced, and as many other cells drawn at random (`experiments.lesion`); nothing unless
            given.
        lesion_trials: test trials of each lesion.
    """

    names: tuple[str, ...] = (
        "mean_rate",
        "silent_share",
        "rate_cv",
        "top10_share",
        "spikes_per_trial",
        "cv_isi",
        "fano_factor",
    )
    levels: tuple[str, ...] | None = None
    phases: tuple[Literal["untrained", "trained"], ...] = (TRAINED,)
    trials: PositiveInt | None = None
    explain: tuple[str, ...] = ()
    lesions: str | None = None
    lesion_trials: PositiveInt = 256

    @field_validator("names")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in MEASURES and name not in PROTOCOLS:
                problem = unknown_name("measure", name, [*MEASURES, *PROTOCOLS], "measure.names")
                raise ValueError(f"{problem.what}; {problem.fix}")
        return names

    @field_validator("lesions")
    @classmethod
    def _of_groups(cls, level: str | None) -> str | None:
        if level in ("network", "cell"):
            raise ValueError(
                f"lesions of '{level}' would silence all cells or each alone: name layer, class, population "
                "or a node set"
            )
        return level

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Results depend on no key that they were made without."""
        dumped = dump(self)
        usual = {"phases": [TRAINED], "trials": None, "explain": [], "lesions": None}
        if dumped.get("lesions") is None:
            dumped.pop("lesion_trials", None)
        return {
            name: value
            for name, value in dumped.items()
            if name not in usual
            or (list(value) if isinstance(value, tuple) else value) != usual[name]
        }

    @field_validator("explain")
    @classmethod
    def _measured(cls, explain: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        measured = info.data.get("names", ())
        given = [one for name in measured if name in PROTOCOLS for one in PROTOCOLS[name].gives]
        names = (*(name for name in measured if name in MEASURES), *given, *LEARNED)
        for text in explain:
            try:
                metric = Metric.parse(text)
            except ConfigError as error:
                raise ValueError(f"{error.problems[0].what}; {error.problems[0].fix}") from None
            learned = metric.measure.startswith(DISPERSION)
            if metric.measure not in names and not learned:
                problem = unknown_name("metric", metric.measure, names, "measure.explain")
                raise ValueError(f"{problem.what}; {problem.fix} (or add it to measure.names)")
            if (
                metric.phase == UNTRAINED
                and UNTRAINED not in info.data.get("phases", ())
                and not learned
            ):
                raise ValueError(
                    f"'{text}' is of before training: add \"untrained\" to measure.phases"
                )
        return explain


class CompareSettings(Settings):
    """Which networks are compared and how.

    Attributes:
        ablations: names as `experiments.parse_ablation` reads them; the first is the baseline.
        protocols: "retrain" trains every ablated network from its initial weights; the others ablate the
            trained intact network: "frozen" tests it as it is, "readout" trains the readout anew,
            "finetune" trains everything on.
        carry: "psp" gives cells with other membranes the weights that the builder would have given them;
            "none" leaves weights in pA that were made for other cells, and breaks the operating point.
        background: "calibrated" tunes the background of new cell models as the builder does
            (`experiments.background`); "ratio" only keeps its ratio to rheobase.
        calibration_seconds: of gray screen over which it is tuned.
        matching: "rate" gives every population one bias current until its mean rate is that of the
            intact network; "raw" changes nothing more.
        rate_tolerance: largest relative difference of a matched rate.
        matching_trials: trials of each condition in which networks are measured, for matching and for the
            report of the operating point.
        matching_measurements: how often rates are measured at most.
        learning_rate_factors: of `train.learning_rate`; of several the best on validation is chosen for every
            condition, as mean over the first `learning_rate_seeds` seeds.
        learning_rate_seeds: see there.
        primary: the outcome that is judged, one of the task's scores ("accuracy" where answers are classes,
            "d_prime" where there are two); the main one unless given.
        margin: difference in the primary outcome below which two networks count as equivalent (TOST).
        shapley_orders: random orders of the parts of the cells' diversity whose Shapley values are wanted
            (`experiments.shapley`); 0 for none. Each adds up to 16 conditions.
    """

    ablations: tuple[str, ...] = ("intact", "mean(population)", "mean(ei)", "no_asc")
    protocols: tuple[Literal["retrain", "frozen", "readout", "finetune"], ...] = (
        "retrain",
        "frozen",
    )
    carry: Literal["psp", "none"] = "psp"
    background: Literal["calibrated", "ratio"] = "calibrated"
    calibration_seconds: float = Field(default=24.0, gt=0)
    matching: Literal["rate", "raw"] = "rate"
    rate_tolerance: float = Field(default=0.05, gt=0)
    matching_trials: int = Field(default=32, gt=0)
    matching_measurements: int = Field(default=15, gt=0)
    learning_rate_factors: tuple[float, ...] = (1.0,)
    learning_rate_seeds: int = Field(default=3, gt=0)
    primary: str | None = None
    margin: float = Field(default=0.015, gt=0)
    shapley_orders: int = Field(default=0, ge=0)

    @field_validator("learning_rate_factors")
    @classmethod
    def _positive(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if not factors or not all(0 < factor < math.inf for factor in factors):
            raise ValueError("give at least one positive factor, such as [0.333, 1, 3]")
        if len(set(factors)) != len(factors):
            raise ValueError("a factor is named twice")
        return factors

    @field_validator("ablations")
    @classmethod
    def _baseline_first(cls, ablations: tuple[str, ...]) -> tuple[str, ...]:
        if not ablations or ablations[0] != "intact":
            raise ValueError(
                "the list must begin with 'intact', the network all others are paired with"
            )
        if len(set(ablations)) != len(ablations):
            raise ValueError("an ablation is named twice")
        return ablations


class Experiment(Settings):
    """A whole experiment file. `train` runs its first seed; `compare` runs all of it.

    Attributes:
        name: of the experiment, for people.
        seeds: of networks, trials, initial weights and noise. `train` takes the first; `compare` all, and
            pairs the conditions of each.
        task: what is trained, scored and compared.
        also: further tasks that the same network learns, in batches that take turns with those of the main
            one. Each has a readout of its own, with the same settings.
        objective: what training minimises besides the tasks, see `v1builder.objectives`.
        core_radius_um: objectives, and scores of activity, look at cells within this distance of the column's
            axis only: those near the edge lack neighbours. All cells unless given.
    """

    name: str
    network: NetworkSettings
    task: AnyTask
    also: tuple[AnyTask, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    model: ModelSettings = ModelSettings()
    readout: AnyReadout = PoolsSettings()
    train: TrainSettings = TrainSettings()
    measure: MeasureSettings = MeasureSettings()
    compare: CompareSettings = CompareSettings()
    objective: tuple[AnyObjective, ...] = ()
    core_radius_um: float | None = Field(default=None, gt=0)

    @property
    def objectives(self) -> tuple[ObjectiveSettings, ...]:
        """All that training minimises besides the tasks: the short forms of [train], then [[objective]]."""
        given = {each.kind for each in self.objective}
        short: list[ObjectiveSettings] = []
        if self.train.rate_weight > 0 and "rates" not in given:
            short.append(RatesSettings(weight=self.train.rate_weight, units="all"))
        if self.train.voltage_weight > 0 and "voltage" not in given:
            short.append(VoltageSettings(weight=self.train.voltage_weight))
        return (*short, *self.objective)

    @field_validator("objective")
    @classmethod
    def _no_two_targets(cls, given: tuple[AnyObjective, ...]) -> tuple[AnyObjective, ...]:
        kinds = [each.kind for each in given]
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ValueError(
                f"objective '{twice[0]}' is there twice, so its targets would contradict each other; "
                "name each kind once"
            )
        return given

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError("give at least one seed, and none twice")
        return seeds

    @field_validator("also")
    @classmethod
    def _each_once(cls, also: tuple[AnyTask, ...], info: ValidationInfo) -> tuple[AnyTask, ...]:
        names = [each.name for each in also]
        if "task" in info.data:
            names.append(info.data["task"].name)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"results are named by task, and '{twice[0]}' is there twice; name each task once"
            )
        return also

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that an experiment does not use are no matter of its results."""
        dumped = dump(self)
        for name in ("also", "objective", "core_radius_um"):
            if not dumped.get(name):
                dumped.pop(name, None)
        return dumped

    def computed_on(self, accelerator: str | None) -> "Experiment":
        """The same, computed by this accelerator, or by its own when None; in place of "auto" what is found.

        Raises:
            ConfigError: the accelerator is unknown or not there.
        """
        found = found_accelerator(accelerator or self.train.accelerator)
        train = self.train.model_copy(update={"accelerator": found})
        return self.model_copy(update={"train": train})

    def notes(self) -> tuple[str, ...]:
        """What an experiment of this size cannot decide, for people. Empty when it is large enough.

        Numbers are standard errors at 80 % correct: of a difference of two proportions, and of one.
        """
        notes = []
        test, validation = self.train.test_trials, self.train.validation_trials
        if self.task.asks and test < ENOUGH_TEST_TRIALS:
            error = 100 * math.sqrt(2 * 0.8 * 0.2 / test)
            notes.append(
                f"{test} test trials (fewer than {ENOUGH_TEST_TRIALS}): by trials alone a difference "
                f"between two networks has a standard error of {error:.1f} points"
            )
        if self.task.asks and validation < ENOUGH_VALIDATION_TRIALS:
            error = 100 * math.sqrt(0.8 * 0.2 / validation)
            notes.append(
                f"{validation} validation trials (fewer than {ENOUGH_VALIDATION_TRIALS}): every point of a "
                f"learning curve, and so steps to criterion, has a standard error of {error:.1f} points"
            )
        if len(self.seeds) < ENOUGH_SEEDS:
            notes.append(
                f"{len(self.seeds)} paired seeds (fewer than {ENOUGH_SEEDS}): small differences between "
                "networks are not decided"
            )
        grouping = self.model.group_by
        shared = {grouping} if isinstance(grouping, str) else set(grouping.values())
        if shared - {"cell", "cell_model", *EDGE_GROUPINGS, *PLASTICITY_GROUPINGS}:
            notes.append(
                "model.group_by makes cells of several models share values under weights in pA that were "
                "made for each, which moves their rates; an ablation such as mean(population) carries the "
                "weights along"
            )
        if self.compare.carry == "none":
            notes.append(
                'carry = "none": cells are exchanged under weights in pA that were made for other cells, so '
                "differences are those of the operating point"
            )
        if len(self.compare.learning_rate_factors) == 1:
            notes.append(
                "one learning rate for all conditions: a condition that would learn better at another is "
                "judged too low (compare.learning_rate_factors = [0.333, 1, 3] chooses)"
            )
        return tuple(notes)


def load_experiment(path: Path | str) -> Experiment:
    """Read an experiment file; the network path becomes absolute, relative to the file's folder.

    Raises:
        ConfigError: the file cannot be read, or keys are unknown, missing or wrong.
    """
    path = Path(path)
    experiment = load_settings(path, Experiment)
    located = str(path.resolve().parent / experiment.network.path)
    try:
        located.format(seed=0)
    except (KeyError, IndexError, ValueError):
        raise ConfigError.of(
            "the network path has a field other than {seed}",
            f"{path}, key network.path",
            experiment.network.path,
            "use a plain path, or {seed} where the seed belongs",
        ) from None
    return experiment.model_copy(update={"network": NetworkSettings(path=located)})
