"""What the zoo knows of a network, and the builder that all classifiers share."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
from jax.typing import DTypeLike

from jaxvision.backbones import PooledClassifier
from jaxvision.weights import Preprocessing, Rule


class Entry(NamedTuple):
    """One network of the table.

    Attributes:
      builder: makes the module from the overrides.
      rules: makes the table for its published weights; None if there are none.
      paper: where the network is from.
      preprocessing: what the published weights expect; ``input_shape`` is one that the network takes.
      other_rules: makers of tables for other files of weights of the same network, which name its tensors
        in another way, such as timm's beside torchvision's.
      ignore: regular expressions of keys in these files that the network has no place for.
      classifier: name of the classifier with the same backbone, whose weights can start it; see
        :func:`jaxvision.zoo.start_backbone`.
    """

    builder: Callable[..., nn.Module]
    rules: Callable[[], Sequence[Rule]] | None
    paper: str
    preprocessing: Preprocessing = Preprocessing()
    other_rules: tuple[Callable[[], Sequence[Rule]], ...] = ()
    ignore: tuple[str, ...] = ()
    classifier: str | None = None


def build_classifier(
    family: Callable[..., nn.Module],
    variant: str,
    *,
    head: Callable[..., nn.Module] = PooledClassifier,
    num_classes: int = 1000,
    dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    backbone: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> nn.Module:
    """A head on a backbone.

    Args:
      family: makes the backbone from the variant and its fields, such as ``jaxvision.backbones.resnet``.
      variant: name in the family's table.
      head: makes the classifier from the backbone, ``num_classes``, ``dtype`` and ``fields``.
      num_classes: number of classes K.
      dtype: dtype of the computation, of backbone and head.
      axis_name: what batch normalisation averages its statistics over under ``pmap``.
      backbone: fields of the backbone to set.
      **fields: fields of the head to set.

    Returns:
      The module, without parameters.
    """
    body = family(variant, **{"dtype": dtype, **backbone})
    model = head(synchronised(body, axis_name), num_classes, dtype=dtype, **fields)
    return synchronised(model, axis_name)


def synchronised(module: nn.Module, axis_name: str | None) -> nn.Module:
    """The module whose batch normalisations (its field ``norm`` or ``axis_name``) average over an axis."""
    if axis_name is None:
        return module
    if hasattr(module, "axis_name"):
        return module.clone(axis_name=axis_name)
    norm = getattr(module, "norm", None)
    return module if norm is None else module.clone(norm=functools.partial(norm, axis_name=axis_name))
