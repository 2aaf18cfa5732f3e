"""MobileNet (Howard et al. 2017): depthwise separable convolutions, one after the other."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn

from jaxvision.backbones.mobile import MobileBackbone, MobileBlock, scaled_stages
from jaxvision.core import find_variant
from jaxvision.layers import SeparableConv, he_normal_fan_out, make_divisible
from jaxvision.ops.windows import Padding

# Howard et al. 2017, table 1, grouped by resolution: expansion (none), kernel, stride, channels and blocks.
_LAYOUT = ((1, 3, 1, 64, 1), (1, 3, 2, 128, 2), (1, 3, 2, 256, 2), (1, 3, 2, 512, 6), (1, 3, 2, 1024, 2))

MOBILENET_V1_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mobilenetv1_025": {"width": 0.25},
        "mobilenetv1_050": {"width": 0.5},
        "mobilenetv1_075": {"width": 0.75},
        "mobilenetv1_100": {"width": 1.0},
        "mobilenetv1_125": {"width": 1.25},
    }
)
"""Fields of :func:`mobilenet_v1` by name.

Width multipliers of the paper's table 6, and timm's 1.25; the names are timm's.
"""


class MobileNetV1(MobileBackbone):
    """The convolutional part of MobileNet V1.

    Submodules: ``stem`` (``conv`` and ``norm``) and ``stage{s}_block{i}`` (``depthwise`` and ``pointwise``),
    stages counted from 1 and blocks from 0. Nothing is added to the input of a block.

    Attributes:
      width: what the channels are multiplied by, the paper's alpha; they are rounded to multiples of 8.
      activation: elementwise function; ReLU6 as in the authors' code, where the paper says ReLU.
      padding: ``"torch"`` or ``"tensorflow"``, as :class:`MobileBackbone`.
      output_stride: 32, or 16 or 8 for dense prediction, as :class:`MobileBackbone`.
      dilate_strided: as :class:`MobileBackbone`.
      taps: as :class:`MobileBackbone`.
      head_conv: as :class:`MobileBackbone`.
      drop_path_rate: must be 0: there is no sum that a branch could be dropped from.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    width: float = 1.0

    @property
    def stem_features(self) -> int:
        """Number of channels of the stem: 32, scaled."""
        return make_divisible(32 * self.width)

    @property
    def head_features(self) -> tuple[int, ...]:
        """Number of channels of the 1x1 convolution that timm's ``mobilenetv1_100h`` has in its head."""
        return (max(1024, make_divisible(1024 * self.width)),)

    @property
    def stages(self) -> tuple[tuple[MobileBlock, ...], ...]:
        """The blocks of the five stages."""
        return scaled_stages(_LAYOUT, self.stem_features, self.activation, width=self.width)

    def _make_block(
        self, block: MobileBlock, *, padding: Padding | None, dilation: int, drop_path_rate: float, name: str
    ) -> nn.Module:
        if drop_path_rate:
            raise ValueError(
                f"drop_path_rate: expected 0, got {self.drop_path_rate}; MobileNet V1 has no sum to drop a "
                "branch from, take MobileNet V2"
            )
        return SeparableConv(
            block.features,
            block.kernel_size,
            block.strides,
            padding,
            dilation,
            norm=self.norm,
            activation=block.activation,
            kernel_init=he_normal_fan_out,
            dtype=self.dtype,
            name=name,
        )


def mobilenet_v1(variant: str, **overrides: Any) -> MobileNetV1:
    """Builds a MobileNet V1 backbone by name.

    Args:
      variant: a key of :data:`MOBILENET_V1_VARIANTS`.
      **overrides: fields of :class:`MobileNetV1` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Howard et al. 2017, *MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
      Applications*, tables 1 and 6. Kernels start as those of torchvision's MobileNetV2, from fan-out He
      initialisation; timm divides the fan-out of a depthwise convolution by its groups.

    >>> mobilenet_v1("mobilenetv1_050").channels
    {'c1': 32, 'c2': 64, 'c3': 128, 'c4': 256, 'c5': 512}
    """
    fields = find_variant("MobileNet V1 variant", variant, MOBILENET_V1_VARIANTS)
    return MobileNetV1(**{**fields, **overrides})
