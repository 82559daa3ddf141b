"""What every task must do; a new one is tested the moment its file exists."""

import pytest
import torch
from lgn_nodes import lgn_nodes

from v1builder.inputs import FilterSource, PoissonSource
from v1builder.lgn import LGN
from v1builder.schema.config import Settings, parse_settings
from v1builder.schema.errors import ConfigError
from v1builder.tasks import SPLITS, TASKS, AnyTask, make_task

EVERY = pytest.mark.parametrize("name", TASKS)
#: Where an answer is asked for; what the cells do is the answer to others, see tests/tasks/test_in_vivo.py.
ASKING = pytest.mark.parametrize("name", [name for name, kind in TASKS.items() if kind.asks])


class Table(Settings):
    task: AnyTask


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sources():
    lgn = LGN(lgn_nodes(1, seed=4))
    return {"lgn": FilterSource(lgn), "bkg": PoissonSource(torch.full((10,), 50.0), lgn.dt)}


@pytest.fixture
def task(name, sources):
    return make_task(TASKS[name](), sources, dt=1.0)


@EVERY
def test_its_table_is_read_and_written(name):
    settings = parse_settings({"task": {"name": name}}, Table, "experiment.toml")
    assert type(settings.task) is TASKS[name]
    assert parse_settings(settings.model_dump(), Table, "again") == settings
    assert TASKS[name].__doc__
    with pytest.raises(ConfigError, match="did you mean 'warm_up_ms'"):
        parse_settings({"task": {"name": name, "warmup_ms": 1}}, Table, "experiment.toml")


@EVERY
def test_it_asks_unless_cells_are_the_answer(name):
    assert TASKS[name].asks is not TASKS[name]().answer.of_cells


@EVERY
def test_windows_lie_in_the_trial_one_after_the_other(task):
    ends = [0, *(end for window in task.windows for end in (window.start, window.stop))]
    assert ends == sorted(ends)
    assert all(window.stop > window.start for window in task.windows)
    assert ends[-1] <= task.n_steps
    assert 0 <= task.spontaneous.start <= task.spontaneous.stop <= task.evoked.start
    assert task.evoked.start < task.evoked.stop <= task.n_steps
    assert 0 <= task.stimulus_ms[0] < task.stimulus_ms[1] <= task.n_steps * task.dt


@EVERY
@pytest.mark.parametrize("split", SPLITS)
def test_trials_are_of_the_split_and_of_the_seed(task, split):
    trials = task.draw(7, split, generator(1))
    again, other = task.draw(7, split, generator(1)), task.draw(7, split, generator(2))
    assert (len(trials), trials.split) == (7, split)
    assert torch.equal(trials.target, again.target)
    assert trials.movies == again.movies
    assert len(trials.condition) == len(trials.movies) == 7
    assert (trials.movies, trials.target.tolist()) != (other.movies, other.target.tolist())
    n_answers = len(task.windows)
    if task.per_step:
        n_answers = sum(window.stop - window.start for window in task.windows)
    assert trials.target.shape[:2] == (7, n_answers)
    part = trials[2:5]
    assert torch.equal(part.target, trials.target[2:5])
    assert part.movies == trials.movies[2:5]


@EVERY
def test_an_unknown_split_is_refused(task):
    with pytest.raises(ConfigError, match="did you mean 'train'"):
        task.draw(2, "trains", generator())


@EVERY
def test_inputs_are_counts_of_every_population(task, sources):
    trials = task.draw(2, "train", generator())
    shape = {name: (2, task.n_steps, source.n_units) for name, source in sources.items()}
    for inputs in (task.inputs(trials, generator(1)), task.blank(2, generator(1))):
        assert {name: spikes.shape for name, spikes in inputs.items()} == shape
        assert {spikes.dtype for spikes in inputs.values()} == {torch.uint8}
        assert all(spikes.sum() > 0 for spikes in inputs.values())
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            task.inputs(trials, generator(1)).values(),
            task.inputs(trials, generator(1)).values(),
            strict=True,
        )
    )
    warm_up = task.warm_up(2, generator())
    assert warm_up is None or warm_up.keys() == sources.keys()


@ASKING
def test_perfect_answers_score_best_and_guesses_by_chance(task):
    trials = task.draw(4000, "test", generator())
    answer = task.answer
    if trials.target.is_floating_point():
        perfect, guess = trials.target, torch.zeros_like(trials.target) + trials.target.mean()
    else:
        perfect = 20.0 * torch.nn.functional.one_hot(trials.target, answer.n_outputs)
        guess = torch.rand(perfect.shape, generator=generator(5))
    best, chance = answer.score(perfect, trials.target), answer.score(guess, trials.target)
    assert answer.loss(perfect, trials.target) < 0.01 * answer.loss(guess, trials.target)
    for score in answer.scores:
        assert chance[score.name] == pytest.approx(score.chance, abs=0.08)
        assert best[score.name] > score.chance
        if score.ceiling is not None:
            assert best[score.name] == pytest.approx(score.ceiling)
    assert answer.primary is answer.scores[0]
