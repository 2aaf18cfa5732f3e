"""Narrow EfficientNets, MobileNets and SE-ResNets for both sides. No torch here."""

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvision.backbones import (
    EfficientNet,
    MobileClassifier,
    MobileNetV1,
    MobileNetV2,
    MobileNetV3,
    PooledClassifier,
    ResNet,
    mobilenet_v3,
)
from jaxvision.layers import BasicBlock, BatchNorm, SqueezeExcitation
from jaxvision.weights import (
    Rule,
    efficientnet_pytorch_rules,
    efficientnet_rules,
    efficientnet_timm_rules,
    mobilenet_v1_rules,
    mobilenet_v2_rules,
    mobilenet_v3_rules,
    resnet_classifier_rules,
)


class Case(NamedTuple):
    """One network at one input shape ``[N, H, W, C]``.

    Attributes:
      source: the library whose network it is, or the package of that name.
      backbone: ours.
      shape: of the images.
      head: fields of our classifier.
      classes: number of classes.
    """

    source: str
    backbone: Any
    shape: tuple[int, int, int, int]
    head: Mapping[str, Any] = MappingProxyType({})
    classes: int = 3


_NORM = functools.partial(BatchNorm, epsilon=1e-3)
_SLOW_NORM = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.01)
_TF = {"padding": "tensorflow", "norm": _NORM}
_TINY = {"width": 0.05, "depth": 0.4, "drop_path_rate": 0.0}
_SQUEEZE = functools.partial(SqueezeExcitation, divisor=8)

CASES = {
    "efficientnet": Case("torchvision", EfficientNet(**_TINY), (2, 45, 70, 3)),
    "efficientnet_tf": Case("timm", EfficientNet(**_TINY, **_TF), (2, 64, 90, 3)),
    "efficientnet_lite": Case(
        "timm",
        EfficientNet(**{**_TINY, "depth": 0.6}, **_TF, squeeze=False, scale_ends=False, activation=nn.relu6),
        (3, 64, 90, 3),
        {"features": (20,)},
    ),
    "efficientnet_pytorch": Case(
        "efficientnet_lite_pytorch",
        EfficientNet(**_TINY, padding="tensorflow", norm=_SLOW_NORM),
        (2, 64, 96, 3),
    ),
    "mobilenet_v1": Case("timm", MobileNetV1(width=0.04), (2, 45, 70, 3)),
    "mobilenet_v2": Case("torchvision", MobileNetV2(width=0.05, depth=0.3), (2, 45, 70, 3)),
    "mobilenet_v2_timm": Case(
        "timm", MobileNetV2(width=0.05, depth=0.4), (2, 45, 70, 3), {"features": (20,)}
    ),
    "mobilenet_v3_large": Case("torchvision", mobilenet_v3("mobilenet_v3_large", width=0.05), (2, 45, 70, 3)),
    "mobilenet_v3_small": Case("torchvision", mobilenet_v3("mobilenet_v3_small", width=0.05), (2, 64, 70, 3)),
    "se_resnet": Case(
        "timm",
        ResNet((1, 1, 1, 1), (8, 12, 16, 24), BasicBlock, attention=_SQUEEZE),
        (2, 45, 64, 3),
    ),
}


def our_model(case: Case) -> Any:
    """The network without dropout, so that train mode is deterministic."""
    if isinstance(case.backbone, MobileNetV1 | ResNet):
        return PooledClassifier(case.backbone, case.classes)
    return MobileClassifier(case.backbone, case.classes, dropout_rate=0.0, **case.head)


def rules_for(case: Case) -> Sequence[Rule]:
    """From the names of the case's library to ours."""
    body = case.backbone
    if isinstance(body, ResNet):
        return resnet_classifier_rules()
    if isinstance(body, MobileNetV1):
        return mobilenet_v1_rules()
    if case.source == "timm":
        return efficientnet_timm_rules()
    if case.source == "efficientnet_lite_pytorch":
        return efficientnet_pytorch_rules([len(stage) for stage in body.stages])
    if isinstance(body, EfficientNet):
        return efficientnet_rules()
    rules = mobilenet_v3_rules if isinstance(body, MobileNetV3) else mobilenet_v2_rules
    return rules([[block.parts for block in stage] for stage in body.stages])


def names_of(kind: type) -> list[str]:
    """Cases whose backbone is of a class."""
    return [name for name, case in CASES.items() if isinstance(case.backbone, kind)]


def shapes_of(model: Any, shape: tuple[int, ...] = (1, 64, 64, 3)) -> Any:
    """What the model gives, and its variables, by shape."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)
