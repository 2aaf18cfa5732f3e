"""MobileNetV3 (Howard et al. 2019): searched inverted residual blocks with hard swish and excitation."""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import flax.linen as nn
import jax

from jaxvision.backbones.mobile import MobileBackbone, MobileBlock
from jaxvision.core import find_variant
from jaxvision.layers import BatchNorm, SqueezeExcitation, he_normal_fan_out, make_divisible

Row: TypeAlias = tuple[int, int, int, bool, bool, int]
"""Kernel, hidden and output channels, squeeze-and-excitation, hard swish (or ReLU) and stride of a block."""

# Howard et al. 2019, tables 1 and 2, grouped into stages by the number of output channels.
_LARGE: tuple[tuple[Row, ...], ...] = (
    ((3, 16, 16, False, False, 1),),
    ((3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1)),
    ((5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1)),
    (
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
    ),
    ((3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1)),
    ((5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1)),
)
_SMALL: tuple[tuple[Row, ...], ...] = (
    ((3, 16, 16, True, False, 2),),
    ((3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1)),
    ((5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1)),
    ((5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1)),
    ((5, 288, 96, True, True, 2), (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1)),
)

MOBILENET_V3_VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "mobilenet_v3_large": {"layout": _LARGE, "hidden_features": 1280},
        "mobilenet_v3_small": {"layout": _SMALL, "hidden_features": 1024},
    }
)
"""Fields of :func:`mobilenet_v3` by name. Howard et al. 2019, tables 1 and 2; the names are torchvision's."""


class MobileNetV3(MobileBackbone):
    """The convolutional part of MobileNetV3.

    Submodules: ``stem`` (``conv`` and ``norm``) and ``stage{s}_block{i}``, stages counted from 1 and blocks
    from 0, as :class:`InvertedResidual` with the squeeze-and-excitation as ``attention``.

    Attributes:
      layout: of each stage the rows of the paper's table: kernel's size, hidden channels, output channels,
        whether there is squeeze-and-excitation, whether hard swish (else ReLU), stride.
      hidden_features: width of the head's hidden layer.
      width: what all channels are multiplied by, then rounded to multiples of 8.
      activation: elementwise function of the stem, of the blocks with hard swish, and of the head.
      padding: ``"torch"`` or ``"tensorflow"``, as :class:`MobileBackbone`.
      output_stride: 32, or 16 or 8 for dense prediction, as :class:`MobileBackbone`; torchvision's
        ``dilated`` is 16 with ``dilate_strided``.
      dilate_strided: as :class:`MobileBackbone`.
      taps: as :class:`MobileBackbone`.
      head_conv: as :class:`MobileBackbone`.
      drop_path_rate: as :class:`MobileBackbone`.
      norm: makes a normalisation from ``dtype`` and ``name``.
      dtype: dtype of the computation; parameters and statistics stay float32.
    """

    layout: tuple[tuple[Row, ...], ...] = _LARGE
    hidden_features: int = 1280
    width: float = 1.0
    activation: Callable[[jax.Array], jax.Array] = nn.hard_swish
    norm: Callable[..., nn.Module] = functools.partial(BatchNorm, epsilon=1e-3, momentum=0.01)

    @property
    def stem_features(self) -> int:
        """Number of channels of the stem: 16, scaled."""
        return make_divisible(16 * self.width)

    @property
    def head_features(self) -> tuple[int, ...]:
        """Number of channels of the head's convolution, 6 for each of ``c5``, and of its hidden layer."""
        return 6 * self.stages[-1][-1].features, make_divisible(self.hidden_features * self.width)

    @property
    def stages(self) -> tuple[tuple[MobileBlock, ...], ...]:
        """The blocks, by number of output channels."""
        inputs, stages = self.stem_features, []
        for rows in self.layout:
            blocks = []
            for kernel_size, hidden, features, squeeze, swish, strides in rows:
                hidden, features = make_divisible(hidden * self.width), make_divisible(features * self.width)
                activation = self.activation if swish else nn.relu
                attention = _squeeze(hidden) if squeeze else None
                blocks.append(
                    MobileBlock(inputs, features, hidden, kernel_size, strides, activation, attention)
                )
                inputs = features
            stages.append(tuple(blocks))
        return tuple(stages)


def _squeeze(hidden: int) -> Callable[..., nn.Module]:
    """Section 5.3: a quarter of the hidden channels inside, a hard sigmoid for the gate."""
    return functools.partial(
        SqueezeExcitation,
        squeeze_features=make_divisible(hidden // 4),
        gate=nn.hard_sigmoid,
        kernel_init=he_normal_fan_out,
    )


def mobilenet_v3(variant: str, **overrides: Any) -> MobileNetV3:
    """Builds a MobileNetV3 backbone by name.

    Args:
      variant: a key of :data:`MOBILENET_V3_VARIANTS`.
      **overrides: fields of :class:`MobileNetV3` to set or replace.

    Returns:
      The module, without parameters.

    Raises:
      ValueError: for an unknown variant.

    References:
      Howard et al. 2019, *Searching for MobileNetV3*, tables 1 and 2. As torchvision's: biases in the
      squeeze-and-excitation, kernels from fan-out He initialisation.

    >>> mobilenet_v3("mobilenet_v3_small").channels
    {'c1': 16, 'c2': 16, 'c3': 24, 'c4': 48, 'c5': 96}
    """
    fields = find_variant("MobileNetV3 variant", variant, MOBILENET_V3_VARIANTS)
    return MobileNetV3(**{**fields, **overrides})
