"""MobileNet, EfficientNet and EfficientNet-Lite by name."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import flax.linen as nn
import jax

from jaxvision.backbones import (
    MobileBackbone,
    MobileClassifier,
    PooledClassifier,
    efficientnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
)
from jaxvision.weights import (
    Preprocessing,
    Rule,
    efficientnet_pytorch_rules,
    efficientnet_rules,
    efficientnet_timm_rules,
    mobilenet_v1_rules,
    mobilenet_v2_rules,
    mobilenet_v3_rules,
)
from jaxvision.zoo.entry import Entry, build_classifier

_V1_PAPER = (
    "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto and Adam 2017, MobileNets: Efficient "
    "Convolutional Neural Networks for Mobile Vision Applications"
)
_V2_PAPER = (
    "Sandler, Howard, Zhu, Zhmoginov and Chen 2018, MobileNetV2: Inverted Residuals and Linear Bottlenecks"
)
_V3_PAPER = (
    "Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le and Adam 2019, Searching for "
    "MobileNetV3"
)
_EFFICIENTNET_PAPER = (
    "Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
)
# Uniform from ±1 / sqrt(K), as the authors' code and torchvision.
_UNIFORM = jax.nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


def _prepare(size: int, resize: int, interpolation: str = "bicubic", *, half: bool = False) -> Preprocessing:
    """``half``: mean and deviation of 0.5, which maps pixels to [-1, 1], for ImageNet's."""
    prepared = Preprocessing((size, size), resize, interpolation=interpolation)
    return prepared._replace(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)) if half else prepared


# Dropout in front of the scores, as torchvision's builders and the authors' table of parameters have it, and
# the images of torchvision's weights (B1: those of the second version, which are its default).
_EFFICIENTNETS: Mapping[str, tuple[float, Preprocessing]] = {
    "efficientnet_b0": (0.2, _prepare(224, 256)),
    "efficientnet_b1": (0.2, _prepare(240, 255, "bilinear")),
    "efficientnet_b2": (0.3, _prepare(288, 288)),
    "efficientnet_b3": (0.3, _prepare(300, 320)),
    "efficientnet_b4": (0.4, _prepare(380, 384)),
    "efficientnet_b5": (0.4, _prepare(456, 456)),
    "efficientnet_b6": (0.5, _prepare(528, 528)),
    "efficientnet_b7": (0.5, _prepare(600, 600)),
    # timm's: resize is the size over its crop_pct, rounded down.
    "tf_efficientnet_b0": (0.2, _prepare(224, 256)),
    "tf_efficientnet_b1": (0.2, _prepare(240, 272)),
    "tf_efficientnet_b2": (0.3, _prepare(260, 292)),
    "tf_efficientnet_b3": (0.3, _prepare(300, 331)),
    "tf_efficientnet_b4": (0.4, _prepare(380, 412)),
    "tf_efficientnet_b5": (0.4, _prepare(456, 488)),
    "tf_efficientnet_b6": (0.5, _prepare(528, 560)),
    "tf_efficientnet_b7": (0.5, _prepare(600, 632)),
    "tf_efficientnet_lite0": (0.2, _prepare(224, 256, half=True)),
    "tf_efficientnet_lite1": (0.2, _prepare(240, 272, half=True)),
    "tf_efficientnet_lite2": (0.3, _prepare(260, 292, half=True)),
    "tf_efficientnet_lite3": (0.3, _prepare(300, 331, "bilinear", half=True)),
    "tf_efficientnet_lite4": (0.3, _prepare(380, 413, "bilinear", half=True)),
}
# timm's efficientnet_b5 to b7 have torchvision's names for other weights, trained with 1e-5 in the norm.
_AS_TIMM = tuple(f"efficientnet_b{index}" for index in range(5))


def _pytorch_rules(variant: str) -> Sequence[Rule]:
    return efficientnet_pytorch_rules([len(stage) for stage in efficientnet(variant).stages])


def _efficientnet_entry(variant: str) -> Entry:
    dropout_rate, preprocessing = _EFFICIENTNETS[variant]
    head = functools.partial(MobileClassifier, dropout_rate=dropout_rate, dense_init=_UNIFORM)
    builder = functools.partial(build_classifier, efficientnet, variant, head=head)
    if variant.startswith("tf_"):
        other = (functools.partial(_pytorch_rules, variant),)
        return Entry(builder, efficientnet_timm_rules, _EFFICIENTNET_PAPER, preprocessing, other)
    other_rules = (efficientnet_timm_rules,) if variant in _AS_TIMM else ()
    return Entry(builder, efficientnet_rules, _EFFICIENTNET_PAPER, preprocessing, other_rules)


def block_parts(backbone: MobileBackbone) -> list[list[tuple[str, ...]]]:
    """Of each block of each stage the names of its submodules, as the tables of weights take them.

    >>> block_parts(mobilenet_v2("mobilenet_v2"))[0]
    [('depthwise', 'project')]
    """
    return [[block.parts for block in stage] for stage in backbone.stages]


def _torchvision_v2_rules(variant: str) -> Sequence[Rule]:
    return mobilenet_v2_rules(block_parts(mobilenet_v2(variant)))


def _torchvision_v3_rules(variant: str) -> Sequence[Rule]:
    return mobilenet_v3_rules(block_parts(mobilenet_v3(variant)))


def _v1_entry(variant: str, preprocessing: Preprocessing, *, head: Callable[..., nn.Module]) -> Entry:
    builder = functools.partial(build_classifier, mobilenet_v1, variant, head=head)
    return Entry(builder, mobilenet_v1_rules, _V1_PAPER, preprocessing)


def _v2_entry(variant: str) -> Entry:
    builder = functools.partial(build_classifier, mobilenet_v2, variant, head=MobileClassifier)
    return Entry(builder, efficientnet_timm_rules, _V2_PAPER, _prepare(224, 256))


def _v3_entry(variant: str, resize: int) -> Entry:
    builder = functools.partial(build_classifier, mobilenet_v3, variant, head=MobileClassifier)
    rules = functools.partial(_torchvision_v3_rules, variant)
    return Entry(builder, rules, _V3_PAPER, _prepare(224, resize, "bilinear"))


_POOLED, _CONVOLVED = PooledClassifier, functools.partial(MobileClassifier, dropout_rate=0.0)
_V1_IMAGES = _prepare(224, 256, half=True)

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "mobilenetv1_025": _v1_entry("mobilenetv1_025", _V1_IMAGES, head=_POOLED),
        "mobilenetv1_050": _v1_entry("mobilenetv1_050", _V1_IMAGES, head=_POOLED),
        "mobilenetv1_075": _v1_entry("mobilenetv1_075", _V1_IMAGES, head=_POOLED),
        "mobilenetv1_100": _v1_entry("mobilenetv1_100", _V1_IMAGES, head=_POOLED),
        "mobilenetv1_100h": _v1_entry("mobilenetv1_100", _V1_IMAGES, head=_CONVOLVED),
        "mobilenetv1_125": _v1_entry("mobilenetv1_125", _prepare(224, 248, half=True), head=_POOLED),
        # The images of torchvision's second, default weights.
        "mobilenet_v2": _v2_entry("mobilenet_v2")._replace(
            rules=functools.partial(_torchvision_v2_rules, "mobilenet_v2"),
            preprocessing=_prepare(224, 232, "bilinear"),
            other_rules=(efficientnet_timm_rules,),
        ),
        "mobilenetv2_035": _v2_entry("mobilenetv2_035"),
        "mobilenetv2_050": _v2_entry("mobilenetv2_050"),
        "mobilenetv2_075": _v2_entry("mobilenetv2_075"),
        "mobilenetv2_100": _v2_entry("mobilenetv2_100"),
        "mobilenetv2_110d": _v2_entry("mobilenetv2_110d"),
        "mobilenetv2_120d": _v2_entry("mobilenetv2_120d"),
        "mobilenetv2_140": _v2_entry("mobilenetv2_140"),
        "mobilenet_v3_large": _v3_entry("mobilenet_v3_large", 232),
        "mobilenet_v3_small": _v3_entry("mobilenet_v3_small", 256),
        **{variant: _efficientnet_entry(variant) for variant in _EFFICIENTNETS},
    }
)
