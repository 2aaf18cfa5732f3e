"""EfficientNet (Tan and Le 2019) and EfficientNet-Lite: one network of MBConv blocks, scaled in all sizes."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax

from jaxvision.backbones.mobile import MobileBackbone, MobileBlock, scaled_stages
from jaxvision.core import find_variant
from jaxvision.layers import BatchNorm, SqueezeExcitation, he_normal_fan_out, make_divisible

# Tan and Le 2019, table 1: expansion, kernel, stride, channels and layers of stages 2 to 8.
_B0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
# Width and depth of B0 to B7: the powers of section 3.3's coefficients, as the authors' code rounds them.
_SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1))
# torchvision's B5 to B7 have TensorFlow's constants, since their weights came from there; its B0 to B4 not.
_TENSORFLOW_NORM = functools.partial(BatchNorm, epsilon=1e-3)
_LATE_NORM = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.01)


def _variants() -> Mapping[str, Mapping[str, Any]]:
    table: dict[str, Mapping[str, Any]] = {}
    ported: Mapping[str, Any] = {"padding": "tensorflow", "norm": _TENSORFLOW_NORM}
    for index, (width, depth) in enumerate(_SCALES):
        scale = {"width": width, "depth": depth}
        table[f"efficientnet_b{index}"] = {**scale, "norm": _LATE_NORM} if index >= 5 else scale
        table[f"tf_efficientnet_b{index}"] = {**scale, **ported}
        if index <= 4:
            lite = {"squeeze": False, "scale_ends": False, "activation": nn.relu6}
            table[f"tf_efficientnet_lite{index}"] = {**scale, **lite, **ported}
    return MappingProxyType(table)


EFFICIENTNET_VARIANTS: Mapping[str, Mapping[str, Any]] = _variants()
"""Fields of :func:`efficientnet` by name.

"efficientnet_b0" to "b7" are torchvision's. The names with "tf_" are timm's, for weights ported from the
authors' TensorFlow code: that padding, and 1e-3 in the normalisation. Lite0 to Lite4 have B0's to B4's scales
(the authors' efficientnet/lite, README), but no squeeze-and-excitation and ReLU6 for SiLU.
"""


class EfficientNet(MobileBackbone):
    """The convolutional part of EfficientNet or EfficientNet-Lite.

    Submodules: ``stem`` (``conv`` and ``norm``) and ``stage{s}_block{i}``, stages counted from 1 and blocks
    from 0, as :class:`InvertedResidual` with the squeeze-and-excitation as ``attention``.

    Attributes:
      width: what the channels of B0 are multiplied by, then rounded to multiples of 8.
      depth: what the blocks of each stage are multiplied by, then rounded up.
      squeeze: whether squeeze-and-excitation reweights the hidden channels, with a quarter of the block's
        input channels inside.
      scale_ends: whether ``width`` scales the stem and the head, and ``depth`` the first and last stages;
        EfficientNet-Lite keeps them, which leaves small networks small.
      activation: elementwise function: ``nn.silu``, and ``nn.relu6`` in EfficientNet-Lite.
      padding: ``"torch"`` or ``"tensorflow"``, as :class:`MobileBackbone`.
      output_stride: 32, or 16 or 8 for dense prediction, as :class:`MobileBackbone`.
      dilate_strided: as :class:`MobileBackbone`.
      taps: as :class:`MobileBackbone`.
      head_conv: as :class:`MobileBackbone`.
      drop_path_rate: of the last block, nearly; that of the ``l``-th of ``L`` blocks, counted from 0, is
        ``l / L`` of it. 0.2 is the authors' and torchvision's.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    width: float = 1.0
    depth: float = 1.0
    squeeze: bool = True
    scale_ends: bool = True
    activation: Callable[[jax.Array], jax.Array] = nn.silu
    drop_path_rate: float = 0.2

    @property
    def stem_features(self) -> int:
        """Number of channels of the stem: 32, scaled."""
        return make_divisible(32 * self.width) if self.scale_ends else 32

    @property
    def head_features(self) -> tuple[int, ...]:
        """Number of channels of the head's convolution: ``(1280,)``, scaled as the last stage is."""
        return (4 * self.stages[-1][-1].features,) if self.scale_ends else (1280,)

    @property
    def stages(self) -> tuple[tuple[MobileBlock, ...], ...]:
        """The blocks of the seven stages."""
        stages = scaled_stages(
            _B0,
            self.stem_features,
            self.activation,
            width=self.width,
            depth=self.depth,
            scale_ends=self.scale_ends,
        )
        if not self.squeeze:
            return stages
        return tuple(tuple(block._replace(attention=self._squeeze(block)) for block in s) for s in stages)

    def _squeeze(self, block: MobileBlock) -> Callable[..., nn.Module]:
        return functools.partial(
            SqueezeExcitation,
            squeeze_features=max(1, block.inputs // 4),
            activation=self.activation,
            kernel_init=he_normal_fan_out,
        )


def efficientnet(variant: str, **overrides: Any) -> EfficientNet:
    """Builds an EfficientNet or EfficientNet-Lite backbone by name.

    Args:
      variant: a key of :data:`EFFICIENTNET_VARIANTS`.
      **overrides: fields of :class:`EfficientNet` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Tan and Le 2019, *EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks*, table 1 and
      section 3.3; Liu 2020, *Higher Accuracy on Vision Models with EfficientNet-Lite* (TensorFlow blog).
      Kernels start from torchvision's fan-out He initialisation; the authors' divides the fan-out of a
      depthwise convolution by its groups, so that those start larger.

    >>> efficientnet("efficientnet_b0").channels
    {'c1': 16, 'c2': 24, 'c3': 40, 'c4': 112, 'c5': 320}
    >>> efficientnet("tf_efficientnet_lite0", output_stride=16).strides
    {'c1': 2, 'c2': 4, 'c3': 8, 'c4': 16, 'c5': 16}
    """
    fields = find_variant("EfficientNet variant", variant, EFFICIENTNET_VARIANTS)
    return EfficientNet(**{**fields, **overrides})
