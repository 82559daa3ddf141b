"""What the demo says before each stage: what it does, and about how long that takes here."""

from importlib import resources

import pytest

from v1builder import demo
from v1builder.train import load_experiment


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """Headings of a demo whose stages do nothing, by the speed of the machine."""
    done = []
    monkeypatch.setattr(demo, "fetch", lambda *_, **__: done.append("fetch"))
    monkeypatch.setattr(demo.pipeline, "build", lambda *_, **__: done.append("build"))
    monkeypatch.setattr(demo, "compare", lambda *_, pages, **__: done.append(f"compare {pages}"))
    monkeypatch.setattr(demo.torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(demo, "write_report", lambda run: run / "report" / "index.html")

    def run(speed):
        monkeypatch.setattr(demo, "measure_speed", lambda _experiment: speed)
        said = []
        demo.run_demo(
            tmp_path / "demo",
            overwrite=True,
            heading=lambda title, command: said.append((title, command)),
            progress=lambda *_: None,
        )
        return said, done

    return run


def test_every_stage_says_how_long_it_takes(stages):
    said, done = stages(demo.Speed(build=4.0, training=4.0))
    assert [title[0] for title, _ in said] == ["0", "1", "2", "3", "4"]
    assert all("second" in title or "minute" in title for title, _ in said)
    assert "about 10 seconds" in said[2][0]  # 3 networks
    assert "about 4 minutes" in said[3][0]  # 9 conditions, two at once
    assert all(command.startswith("v1builder ") for _, command in said[1:])
    assert done == ["fetch", "build", "build", "build", "compare True"]


def test_a_slower_machine_takes_longer(stages):
    said, _ = stages(demo.Speed(build=40.0, training=40.0))
    assert "about 2 minutes" in said[2][0]
    assert "about 40 minutes" in said[3][0]


def test_durations_follow_what_there_is_to_do():
    experiment = load_experiment(resources.files("v1builder") / "demo.toml")
    speed = demo.Speed(build=1.0, training=1.0)
    more = experiment.model_copy(update={"seeds": (*experiment.seeds, 4, 5, 6)})
    # Three baselines and six others: nine rounds alone, two and three rounds of two.
    assert speed.of_comparison(more, 1) == 2 * speed.of_comparison(experiment, 1)
    assert speed.of_comparison(experiment, 2) == speed.of_comparison(experiment, 1) * 5 / 9
    assert speed.of_build(6) == 2 * speed.of_build(3)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "some seconds"),
        (34, "about 30 seconds"),
        (89, "about 90 seconds"),
        (440, "about 7 minutes"),
    ],
)
def test_durations_are_as_exact_as_they_are_known(seconds, words):
    assert demo.said(seconds) == words
