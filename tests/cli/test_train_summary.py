"""What `v1builder train` says when it is done."""

from typer.testing import CliRunner

import v1builder.train
from v1builder.cli import app


def test_every_task_is_one_line(tmp_path, monkeypatch):
    def score(label, value):
        return {"main_score": {"name": "x", "label": label, "value": value}, "n_trials": 8}

    result = score("accuracy", 0.75) | {"also": {"grating_change_detection": score("d'", 1.5)}}
    monkeypatch.setattr(v1builder.train, "load_experiment", lambda path: path)
    monkeypatch.setattr(v1builder.train, "train", lambda *_, **__: result)
    file = tmp_path / "e.toml"
    file.write_text("")
    done = CliRunner().invoke(app, ["train", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "held-out accuracy: 0.750 (8 trials)" in done.output
    assert "grating_change_detection, held-out d': 1.500 (8 trials)" in done.output
