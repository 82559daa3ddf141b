"""Configuration from TOML into frozen models; an unknown key is an error that names the nearest."""

import tomllib
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
)

from v1builder.schema.errors import ConfigError, Problem, unknown_name

#: More than any configuration; a larger file is another one.
_LARGEST_BYTES: Final = 1 << 24


class Settings(BaseModel):
    """Base of every configuration: immutable, no unknown keys, numbers finite, defaults in one place."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


def located(value: str, info: ValidationInfo) -> str:
    """A path that exists beside the file it stands in becomes absolute; anything else is left as it is."""
    path = Path(info.context["folder"]) / value if info.context else Path(value)
    return str(path.resolve()) if path.exists() else value


SettingsT = TypeVar("SettingsT", bound=Settings)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation names: itself, members of a union, what a tuple or dictionary holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed at the table that holds the last element of `location`."""
    models = [model]
    for part in location[:-1]:
        # In a union told apart by a tag, pydantic puts the tag's value into the location.
        tagged = [
            kind for kind in models if any(f.default == part for f in kind.model_fields.values())
        ]
        fields = [kind.model_fields[str(part)] for kind in models if part in kind.model_fields]
        if not tagged and not fields:
            continue  # the name of an entry of a dictionary, or the position in a list
        models = tagged or [kind for field in fields for kind in _models_in(field.annotation)]
    return [key for kind in models for key in kind.model_fields]


def parse_settings(
    values: dict[str, Any], model: type[SettingsT], where: object, folder: Path | None = None
) -> SettingsT:
    """Validate `values` as `model`.

    Args:
        values: of a file.
        model: what it should hold.
        where: the file, for errors.
        folder: to which paths in it are relative (`located`); the working directory unless given.

    Raises:
        ConfigError: listing every key that is unknown, missing or has a wrong value.
    """
    try:
        return model.model_validate(values, context=folder and {"folder": folder})
    except ValidationError as error:
        problems = []
        for detail in error.errors():
            key = ".".join(str(part) for part in detail["loc"]) or "the whole file"
            if detail["type"] == "extra_forbidden":
                allowed = _keys_at(model, detail["loc"])
                problems.append(
                    unknown_name("key", str(detail["loc"][-1]), allowed, f"{where}, key {key}")
                )
            elif detail["type"] == "missing":
                problems.append(
                    Problem("a required key is missing", f"{where}, key {key}", fix=f"add '{key}'")
                )
            else:
                message = detail["msg"].removeprefix("Value error, ")
                problems.append(
                    Problem(
                        "a value is not valid",
                        f"{where}, key {key}",
                        repr(detail["input"]),
                        message,
                    )
                )
        raise ConfigError(problems) from None


def load_settings(path: Path | str, model: type[SettingsT]) -> SettingsT:
    """Read a TOML file as `model`.

    Raises:
        ConfigError: the file is missing, is not TOML, or does not fit `model`.
    """
    path = Path(path)
    fix = "name a TOML file"
    try:
        # A pipe might be read forever.
        if path.exists() and not path.is_file():
            got = "a folder, pipe or device"
            raise ConfigError.of("cannot read the configuration", path, got, fix)
        if path.exists() and path.stat().st_size > _LARGEST_BYTES:
            got = f"{path.stat().st_size} bytes"
            raise ConfigError.of("the file is too large for a configuration", path, got, fix)
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError.of(
            "cannot read the configuration", path, error.strerror or error, "check the path"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError.of(
            "the configuration is not valid TOML", path, error, "correct the line named above"
        ) from None
    return parse_settings(values, model, path, path.resolve().parent)


def one_of(
    members: Mapping[str, type[Settings]], key: str, room: str, default: str | None = None
) -> Any:
    """The type of a table in which a key selects whose settings it holds.

    Args:
        members: settings by name; each has a field `key` that is a Literal of its name.
        key: of the table.
        room: what members are, for messages: a misspelt name is answered with the nearest.
        default: name where the table has none; unless given there must be one.
    """

    def named(value: Any) -> Any:
        if not isinstance(value, dict):
            return value  # pydantic's to judge
        name = value.get(key, default)
        if name is None:
            raise ValueError(f"add '{key}', one of: {', '.join(members)}")
        if name not in members:
            problem = unknown_name(room, str(name), members, room)
            raise ValueError(f"{problem.what}; {problem.fix}")
        return {key: name, **value}

    union: Any = reduce(or_, members.values())
    return Annotated[union, Field(discriminator=key), BeforeValidator(named)]
