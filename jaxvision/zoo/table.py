"""Every network by name: ``zoo.create("fcn8s_vgg16", num_classes=21)``."""

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
"""How each network is built, where it is from, and what its published weights are called, by name."""


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
