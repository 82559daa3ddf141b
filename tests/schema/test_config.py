import os

import pytest
from pydantic import Field

from v1builder.schema.config import Settings, load_settings
from v1builder.schema.errors import ConfigError


class Inner(Settings):
    rate_in: float = 1.0
    count: int = Field(default=3, gt=0)


class Outer(Settings):
    name: str
    inner: Inner = Inner()


def load(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load_settings(path, Outer)


def test_values_and_defaults(tmp_path):
    settings = load(tmp_path, 'name = "x"\n[inner]\nrate_in = 2\n')
    assert settings == Outer(name="x", inner=Inner(rate_in=2.0, count=3))


def test_every_problem_is_reported_with_its_key_and_the_nearest(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "nam = 3\n[inner]\nrate_inn = 2\ncount = 0\n")
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert "did you mean 'name'" in text
    assert "did you mean 'rate_in'" in text
    assert "inner.count" in text
    assert "greater than 0" in text
    assert "a required key is missing" in text


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path, "name = ")
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        load_settings(tmp_path / "nowhere.toml", Outer)


def test_what_is_no_configuration_is_refused_before_it_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "deep.toml").write_text("name = " + "[" * 100_000)
    (tmp_path / "binary.toml").write_bytes(b"name = '\xff'")
    for name in ("pipe.toml", "large.toml", "deep.toml", "binary.toml", "."):
        with pytest.raises(ConfigError, match="configuration"):
            load_settings(tmp_path / name, Outer)


@pytest.mark.parametrize("number", ["inf", "-inf", "nan"])
def test_numbers_are_finite_by_type(tmp_path, number):
    with pytest.raises(ConfigError, match=r"inner\.rate_in(.|\n)*finite"):
        load(tmp_path, f'name = "x"\n[inner]\nrate_in = {number}\n')


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("train", "gradient_clip"),
        ("train", "learning_rate"),
        ("model.surrogate", "width"),
        ("model", "dt"),
        ("model.neuron_settings", "x"),
        ("compare", "margin"),
        ("compare", "rate_tolerance"),
        ("compare", "calibration_seconds"),
        ("task", "on_ms"),
    ],
)
def test_an_experiment_with_an_infinite_setting_is_refused(tmp_path, table, key):
    from v1builder.train.settings import load_experiment

    path = tmp_path / "experiment.toml"
    tables = {"network": 'path = "n"', "task": 'name = "orientation_discrimination"'}
    tables[table] = f"{tables.get(table, '')}\n{key} = inf"
    path.write_text('name = "x"\n' + "".join(f"[{k}]\n{v}\n" for k, v in tables.items()))
    with pytest.raises(
        ConfigError, match=f"{table.split('.', maxsplit=1)[0]}(.|\n)*{key}(.|\n)*finite"
    ):
        load_experiment(path)


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ("recurrent", "displacement_um = inf"),
        ("recurrent", "displacement_um = 1e9"),
        ("background", "rate_Hz = inf"),
        ("lgn", "deg_per_um = [inf, 0.04]"),
    ],
)
def test_a_recipe_with_an_impossible_number_is_refused(tmp_path, table, line):
    from v1builder.schema.recipe import BuildRecipe

    path = tmp_path / "recipe.toml"
    path.write_text(f"[{table}]\n{line}\n")
    with pytest.raises(ConfigError, match=line.split()[0]):
        load_settings(path, BuildRecipe)
