"""Every network by name: ``zoo.create("fcn8s_vgg16", num_classes=21)``."""

import ast
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn

from jaxvision.zoo import (
    cifar,
    classic,
    mobile,
    modern,
    residual,
    segmentation,
    segmentation_context,
    vgg,
    video,
)
from jaxvision.zoo.entry import Entry

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        **vgg.ENTRIES,
        **residual.ENTRIES,
        **mobile.ENTRIES,
        **modern.ENTRIES,
        **cifar.ENTRIES,
        **classic.ENTRIES,
        **video.ENTRIES,
        **segmentation.ENTRIES,
        **segmentation_context.ENTRIES,
    }
)


def names() -> list[str]:
    """The names of all networks, sorted.

    >>> "fcn8s_vgg16" in names()
    True
    """
    return sorted(ENTRIES)


def create(name: str, **overrides: Any) -> nn.Module:
    """Builds a network by name, without parameters.

    Args:
      name: one of :func:`names`.
      **overrides: fields of the network, such as ``num_classes`` or ``dtype``. Where a network has a
        backbone, ``dtype`` and ``axis_name`` reach it too, and ``backbone={"features": ...}`` sets its own
        fields.

    Returns:
      A Linen module, called as ``model.apply(variables, images, train=...)``.

    Raises:
      ValueError: for an unknown name (with the nearest ones) or an unknown override.

    >>> create("fcn8s_vgg16", num_classes=11).num_classes
    11
    """
    builder = find_entry(name).builder
    try:
        return builder(**overrides)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; got the overrides {sorted(overrides)}") from error


def parse_override(text: str) -> tuple[str, Any]:
    """A field of a network as commands take it: ``FIELD=VALUE``, the value a Python literal or plain text.

    Raises:
      ValueError: for another form.

    >>> parse_override("backbone={'output_stride': 8}")
    ('backbone', {'output_stride': 8})
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: expected FIELD=VALUE, such as num_classes=10")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def find_entry(name: str) -> Entry:
    """The line of the table.

    Raises:
      ValueError: for an unknown name, with the nearest ones.
    """
    if name in ENTRIES:
        return ENTRIES[name]
    close = difflib.get_close_matches(name, ENTRIES)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ValueError(f"unknown network {name!r}; {hint}jaxvision.zoo.names() lists all {len(ENTRIES)}")
