"""Every network by name: ``zoo.create("fcn8s_vgg16", num_classes=21)``."""

import difflib
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.backbones import VGG_VARIANTS, PooledClassifier, VGGClassifier, resnet, vgg
from jaxvision.layers import BatchNorm
from jaxvision.segmentation import FCN, UNet
from jaxvision.weights import (
    BOOKKEEPING,
    Rule,
    convert,
    read_weights,
    resnet_classifier_rules,
    vgg_classifier_rules,
)


class Entry(NamedTuple):
    """One network of the table.

    Attributes:
      builder: makes the module from the overrides.
      rules: makes the table for its published weights; None if there are none.
      paper: where the network is from.
    """

    builder: Callable[..., nn.Module]
    rules: Callable[[], Sequence[Rule]] | None
    paper: str


def _vgg_classifier(
    variant: str,
    *,
    dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    backbone: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> VGGClassifier:
    body = vgg(variant, **{"dtype": dtype, "axis_name": axis_name, **backbone})
    return VGGClassifier(body, dtype=dtype, **fields)


def _resnet_classifier(
    variant: str,
    *,
    num_classes: int = 1000,
    dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    backbone: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> PooledClassifier:
    norm = functools.partial(BatchNorm, axis_name=axis_name)
    body = resnet(variant, **{"dtype": dtype, "norm": norm, **backbone})
    return PooledClassifier(body, num_classes, dtype=dtype, **fields)


def _fcn(
    variant: str,
    stride: int,
    *,
    num_classes: int = 21,
    dtype: DTypeLike | None = None,
    axis_name: str | None = None,
    backbone: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> FCN:
    body = vgg(variant, **{"dtype": dtype, "axis_name": axis_name, **backbone})
    return FCN(body, num_classes, **{"stride": stride, "dtype": dtype, **fields})


def _unet(*, num_classes: int = 2, **fields: Any) -> UNet:
    return UNet(num_classes, **fields)


def _vgg_rules(variant: str) -> Sequence[Rule]:
    fields = VGG_VARIANTS[variant]
    return vgg_classifier_rules(fields["convolutions"], use_norm=fields.get("use_norm", False))


_VGG_PAPER = "Simonyan and Zisserman 2015, Very Deep Convolutional Networks for Large-Scale Image Recognition"
_RESNET_PAPER = "He, Zhang, Ren and Sun 2016, Deep Residual Learning for Image Recognition"
_RESNEXT_PAPER = (
    "Xie, Girshick, Dollár, Tu and He 2017, Aggregated Residual Transformations for Deep Neural Networks"
)
_WIDE_RESNET_PAPER = "Zagoruyko and Komodakis 2016, Wide Residual Networks"
_FCN_PAPER = "Long, Shelhamer and Darrell 2015, Fully Convolutional Networks for Semantic Segmentation"
_UNET_PAPER = (
    "Ronneberger, Fischer and Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation"
)


def _vgg_entry(variant: str) -> Entry:
    return Entry(
        functools.partial(_vgg_classifier, variant), functools.partial(_vgg_rules, variant), _VGG_PAPER
    )


def _resnet_entry(variant: str, paper: str) -> Entry:
    return Entry(functools.partial(_resnet_classifier, variant), resnet_classifier_rules, paper)


def _fcn_entry(variant: str, stride: int) -> Entry:
    return Entry(functools.partial(_fcn, variant, stride), None, _FCN_PAPER)


ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "vgg11": _vgg_entry("vgg11"),
        "vgg13": _vgg_entry("vgg13"),
        "vgg16": _vgg_entry("vgg16"),
        "vgg19": _vgg_entry("vgg19"),
        "vgg11_bn": _vgg_entry("vgg11_bn"),
        "vgg13_bn": _vgg_entry("vgg13_bn"),
        "vgg16_bn": _vgg_entry("vgg16_bn"),
        "vgg19_bn": _vgg_entry("vgg19_bn"),
        "resnet18": _resnet_entry("resnet18", _RESNET_PAPER),
        "resnet34": _resnet_entry("resnet34", _RESNET_PAPER),
        "resnet50": _resnet_entry("resnet50", _RESNET_PAPER),
        "resnet101": _resnet_entry("resnet101", _RESNET_PAPER),
        "resnet152": _resnet_entry("resnet152", _RESNET_PAPER),
        "resnext50_32x4d": _resnet_entry("resnext50_32x4d", _RESNEXT_PAPER),
        "resnext101_32x8d": _resnet_entry("resnext101_32x8d", _RESNEXT_PAPER),
        "resnext101_64x4d": _resnet_entry("resnext101_64x4d", _RESNEXT_PAPER),
        "wide_resnet50_2": _resnet_entry("wide_resnet50_2", _WIDE_RESNET_PAPER),
        "wide_resnet101_2": _resnet_entry("wide_resnet101_2", _WIDE_RESNET_PAPER),
        "fcn32s_vgg16": _fcn_entry("vgg16", 32),
        "fcn16s_vgg16": _fcn_entry("vgg16", 16),
        "fcn8s_vgg16": _fcn_entry("vgg16", 8),
        "fcn32s_vgg16_bn": _fcn_entry("vgg16_bn", 32),
        "fcn16s_vgg16_bn": _fcn_entry("vgg16_bn", 16),
        "fcn8s_vgg16_bn": _fcn_entry("vgg16_bn", 8),
        "unet": Entry(_unet, None, _UNET_PAPER),
        "unet_bn": Entry(functools.partial(_unet, use_norm=True), None, _UNET_PAPER),
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
    builder = _entry(name).builder
    try:
        return builder(**overrides)
    except TypeError as error:
        raise ValueError(f"{name}: {error}; got the overrides {sorted(overrides)}") from error


def load(name: str, *, weights: str | os.PathLike[str], **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a network and fills it with published weights from a local file.

    Args:
      name: a network with published weights: the VGG and ResNet classifiers, as torchvision saves them.
      weights: a file that :func:`jaxvision.weights.read_weights` reads.
      **overrides: as :func:`create`.

    Returns:
      ``(model, variables)``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown name, one without rules, or a file that does not fit the network.
    """
    entry = _entry(name)
    if entry.rules is None:
        known = [other for other in names() if ENTRIES[other].rules is not None]
        raise ValueError(
            f"{name} has no published weights in a known layout; those that do: {known}. For an FCN, see "
            "jaxvision.segmentation.initialise_from_classifier"
        )
    model = create(name, **overrides)
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return model, convert(read_weights(weights), entry.rules(), target, ignore=BOOKKEEPING)


def _entry(name: str) -> Entry:
    if name in ENTRIES:
        return ENTRIES[name]
    close = difflib.get_close_matches(name, ENTRIES)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise ValueError(f"unknown network {name!r}; {hint}jaxvision.zoo.names() lists all {len(ENTRIES)}")
