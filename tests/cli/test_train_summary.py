"""What `v1builder train` says when it is done."""

from importlib import import_module

from typer.testing import CliRunner

from v1builder.cli import app


def test_every_task_is_one_line(tmp_path, monkeypatch):
    def score(label, value):
        return {"main_score": {"name": "x", "label": label, "value": value}, "n_trials": 8}

    result = score("accuracy", 0.75) | {"also": {"grating_change_detection": score("d'", 1.5)}}
    module = import_module(
        "v1builder.train"
    )  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "load_experiment", lambda path: path)
    monkeypatch.setattr(module, "train", lambda *_, **__: result)
    file = tmp_path / "e.toml"
    file.write_text("")
    done = CliRunner().invoke(app, ["train", str(file), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "held-out accuracy: 0.750 (8 trials)" in done.output
    assert "grating_change_detection, held-out d': 1.500 (8 trials)" in done.output
