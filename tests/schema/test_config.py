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
