"""A run's configuration: frozen dataclasses, saved as JSON, from which the run can be repeated."""

import dataclasses
import json
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxvision.core import write_atomically

Config = TypeVar("Config")


def config_to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON values of a dataclass; paths become strings, tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def config_from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Builds a dataclass from what :func:`config_to_dict` gave.

    Fields that are absent keep their defaults, so that files of an older version still load.

    Raises:
      ValueError: for a name that is not a field, with the names that are, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__}: got {values!r}, expected an object of options by name")
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(
            f"{kind.__name__}: unknown {', '.join(unknown)}; expected some of {', '.join(sorted(names))}"
        )
    return kind(
        **{
            name: value_from_json(f"{kind.__name__}.{name}", hints[name], value)
            for name, value in values.items()
        }
    )


def value_from_json(name: str, hint: Any, value: Any) -> Any:
    """A value of a declared type from JSON's: lists become tuples, whole numbers floats, texts paths.

    Args:
      name: of the value, for the message.
      hint: the type: a dataclass, tuple, sequence, union, literal, path, or one that JSON has.
      value: of plain types.

    Raises:
      ValueError: if it is of another type.

    >>> value_from_json("rates", tuple[float, ...], [1, 2.5])
    (1.0, 2.5)
    """
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_one_of(name, options, value)
    if dataclasses.is_dataclass(hint):
        return config_from_dict(typing.cast(type, hint), value)
    if origin in (tuple, Sequence) and isinstance(value, list):
        each = origin is Sequence or options[-1] is Ellipsis
        hints = options[:1] * len(value) if each else options
        if len(hints) == len(value):
            return tuple(value_from_json(name, *pair) for pair in zip(hints, value, strict=True))
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif (origin is typing.Literal and value in options) or type(value) is hint:
        return value
    elif hint is float and type(value) is int:
        return float(value)
    expected = hint.__name__ if isinstance(hint, type) and not options else str(hint)
    raise ValueError(f"{name}: got {value!r}, expected {expected.replace('typing.', '')}")


def _from_one_of(name: str, options: tuple[Any, ...], value: Any) -> Any:
    """The first of several types that takes the value."""
    if value is None and types.NoneType in options:
        return None
    kinds = [option for option in options if option is not types.NoneType]
    if len(kinds) == 1:
        return value_from_json(name, kinds[0], value)
    for kind in kinds:
        try:
            return value_from_json(name, kind, value)
        except ValueError:
            continue
    expected = " or ".join(str(kind).replace("typing.", "") for kind in kinds)
    raise ValueError(f"{name}: got {value!r}, expected {expected}")


def save_config(path: Path, config: Any) -> None:
    """Writes a dataclass as indented JSON, whole or not at all."""
    text = json.dumps(config_to_dict(config), indent=2)
    write_atomically(path, lambda file: file.write(text.encode()))


def load_config(kind: type[Config], path: Path) -> Config:
    """Reads what :func:`save_config` wrote.

    Raises:
      ValueError: if the file is missing, is not JSON, or names an unknown field or a value of another type.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; give the config.json of an earlier run") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); give the config.json of an earlier run") from error
    return config_from_dict(kind, values)


def config_differences(old: Any, new: Any, *, ignore: Collection[str] = ()) -> list[str]:
    """Fields in which two configurations differ, as ``"model.name: unet -> fcn8s_vgg16"``.

    Args:
      old: a dataclass.
      new: another of the same type.
      ignore: dotted names of fields, or of groups of fields, that may differ.
    """
    before, after = _flatten(config_to_dict(old)), _flatten(config_to_dict(new))
    return [
        f"{name}: {before[name]} -> {after[name]}"
        for name in before
        if before[name] != after[name]
        and not any(name == other or name.startswith(f"{other}.") for other in ignore)
    ]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
