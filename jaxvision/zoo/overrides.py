"""Fields of a network as commands take them: ``FIELD=VALUE``, of the types that its modules declare."""

import ast
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn

from jaxvision.training.config import value_from_json
from jaxvision.zoo.table import create


def read_overrides(name: str, texts: Sequence[str], *, taken: Collection[str] = ()) -> dict[str, Any]:
    """Reads fields of a network for :func:`jaxvision.zoo.create`.

    Args:
      name: of the network.
      texts: ``FIELD=VALUE`` each, the value a Python literal or plain text; those of a backbone as
        ``backbone={'FIELD': VALUE}``.
      taken: fields that the command sets by itself.

    Returns:
      Values by field.

    Raises:
      ValueError: for an unknown network, a text of another form, a field that the network does not have or
        that is taken, or a value of another type than the field's.

    >>> read_overrides("unetplusplus_resnet34", ["deep_supervision=True", "backbone={'stem_features': 32}"])
    {'deep_supervision': True, 'backbone': {'stem_features': 32}}
    """
    model = create(name)
    fields = dict(map(_split, texts))
    for field in fields:
        if field in taken:
            raise ValueError(f"--set {field}: this command sets it by itself; leave it out")
    return _typed(name, model, fields)


def _typed(name: str, module: nn.Module, fields: Mapping[str, Any]) -> dict[str, Any]:
    hints = {
        field.name: field.type
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name")
    }
    found = {}
    for field, value in fields.items():
        if field not in hints:
            raise ValueError(f"--set {field}: {name} has no such field, only {', '.join(sorted(hints))}")
        part = getattr(module, field, None)
        if not isinstance(part, nn.Module):
            found[field] = value_from_json(f"--set {field}", hints[field], _plain(value))
        elif isinstance(value, Mapping):
            found[field] = _typed(f"{name}: {field}", part, value)
        else:
            raise ValueError(f"--set {field}: got {value!r}, expected its fields, as {{'FIELD': VALUE}}")
    return found


def _plain(value: Any) -> Any:
    """The value as JSON has it: lists for tuples."""
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _split(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: expected FIELD=VALUE, such as num_classes=10")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
