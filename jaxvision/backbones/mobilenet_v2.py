"""MobileNetV2 (Sandler et al. 2018): inverted residual blocks with linear ends."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxvision.backbones.mobile import MobileBackbone, MobileBlock, scaled_stages
from jaxvision.core import find_variant
from jaxvision.layers import make_divisible

# Sandler et al. 2018, table 2: expansion, kernel, stride, channels and number of blocks.
_LAYOUT = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 3, 2, 32, 3),
    (6, 3, 2, 64, 4),
    (6, 3, 1, 96, 3),
    (6, 3, 2, 160, 3),
    (6, 3, 1, 320, 1),
)

MOBILENET_V2_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mobilenet_v2": {"width": 1.0},
        "mobilenetv2_035": {"width": 0.35},
        "mobilenetv2_050": {"width": 0.5},
        "mobilenetv2_075": {"width": 0.75},
        "mobilenetv2_100": {"width": 1.0},
        "mobilenetv2_110d": {"width": 1.1, "depth": 1.2, "scale_ends": False},
        "mobilenetv2_120d": {"width": 1.2, "depth": 1.4, "scale_ends": False},
        "mobilenetv2_140": {"width": 1.4},
    }
)
"""Fields of :func:`mobilenet_v2` by name.

"mobilenet_v2" is torchvision's, the others are timm's: the widths of section 6.1.2 (0.35 to 1.4), and two
networks that are deeper as well.
"""


class MobileNetV2(MobileBackbone):
    """The convolutional part of MobileNetV2.

    Submodules: ``stem`` (``conv`` and ``norm``) and ``stage{s}_block{i}``, stages counted from 1 and blocks
    from 0, as :class:`InvertedResidual`.

    Attributes:
      width: what the channels are multiplied by, then rounded to multiples of 8; the head only if it grows.
      depth: what the blocks of each stage are multiplied by, then rounded up.
      scale_ends: whether ``width`` scales the stem and the head, and ``depth`` the first and last stages.
      activation: elementwise function.
      padding: ``"torch"`` or ``"tensorflow"``, as :class:`MobileBackbone`.
      output_stride: 32, or 16 or 8 for dense prediction, as :class:`MobileBackbone`.
      dilate_strided: as :class:`MobileBackbone`.
      taps: as :class:`MobileBackbone`.
      head_conv: as :class:`MobileBackbone`.
      drop_path_rate: as :class:`MobileBackbone`.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    width: float = 1.0
    depth: float = 1.0
    scale_ends: bool = True

    @property
    def stem_features(self) -> int:
        """Number of channels of the stem: 32, scaled."""
        return make_divisible(32 * self.width) if self.scale_ends else 32

    @property
    def head_features(self) -> tuple[int, ...]:
        """Number of channels of the head's convolution: ``(1280,)``, scaled where ``width`` is above 1."""
        return (make_divisible(1280 * max(1.0, self.width)) if self.scale_ends else 1280,)

    @property
    def stages(self) -> tuple[tuple[MobileBlock, ...], ...]:
        """The blocks of the seven stages."""
        return scaled_stages(
            _LAYOUT,
            self.stem_features,
            self.activation,
            width=self.width,
            depth=self.depth,
            scale_ends=self.scale_ends,
        )


def mobilenet_v2(variant: str, **overrides: Any) -> MobileNetV2:
    """Builds a MobileNetV2 backbone by name.

    Args:
      variant: a key of :data:`MOBILENET_V2_VARIANTS`.
      **overrides: fields of :class:`MobileNetV2` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Sandler et al. 2018, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, table 2. Initialised as
      torchvision's: kernels from fan-out He initialisation.

    >>> mobilenet_v2("mobilenet_v2").channels
    {'c1': 16, 'c2': 24, 'c3': 32, 'c4': 96, 'c5': 320}
    """
    fields = find_variant("MobileNetV2 variant", variant, MOBILENET_V2_VARIANTS)
    return MobileNetV2(**{**fields, **overrides})
