"""Inverted residual blocks: wide inside, narrow outside (MobileNetV2, MobileNetV3, EfficientNet's MBConv)."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.dropout import DropPath
from jaxvision.layers.initializers import Initializer, he_normal_fan_out
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.windows import Padding, Size


def make_divisible(features: float, *, divisor: int = 8) -> int:
    """Rounds a number of channels to a multiple of ``divisor``, never below 90 % of it.

    Args:
      features: number of channels after a width multiplier, positive.
      divisor: what the result is a multiple of, and at least.

    Returns:
      The number of channels.

    References:
      Sandler et al. 2018, the authors' code of MobileNetV2, which MobileNetV3 and EfficientNet follow.

    >>> make_divisible(32 * 0.75), make_divisible(18), make_divisible(11)
    (24, 24, 16)
    """
    rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * features else rounded


class InvertedResidual(nn.Module):
    """Expands by a 1x1 convolution, filters each channel by itself, and projects to few channels linearly.

    The input is added where the stride is 1 and the number of channels stays. Submodules: ``expand``,
    ``depthwise``, ``attention``, ``project``; ``expand`` is left out where it would not change the number
    of channels.

    ==================  ==============================================================================
    network             fields
    ==================  ==============================================================================
    MobileNetV2         ``activation=nn.relu6``, ``expansion`` 6 (1 in the first block)
    MobileNetV3         ``hidden_features`` of the paper's tables, ``kernel_size`` 3 or 5, ``activation``
                        ``nn.relu`` or ``nn.hard_swish``, ``attention=functools.partial(SqueezeExcitation,
                        squeeze_features=make_divisible(hidden // 4), gate=nn.hard_sigmoid)``,
                        ``norm=functools.partial(BatchNorm, epsilon=1e-3, momentum=0.01)``
    EfficientNet        ``kernel_size`` 3 or 5, ``activation=nn.silu``,
                        ``attention=functools.partial(SqueezeExcitation, activation=nn.silu,
                        squeeze_features=inputs // 4)``: of the block's input, not of what it is expanded to
    ==================  ==============================================================================

    Attributes:
      features: number of output channels.
      strides: step of the depthwise convolution.
      kernel_size: of the depthwise convolution, odd.
      padding: of the depthwise convolution, as :class:`Conv`; None keeps the image's size at stride 1.
      dilation: of the depthwise convolution.
      expansion: hidden channels per input channel, rounded to a whole number of channels.
      hidden_features: number of hidden channels, in place of ``expansion``.
      norm: makes a normalisation from ``dtype`` and ``name``.
      activation: elementwise function after the expansion and after the depthwise convolution.
      attention: makes from ``dtype`` and ``name`` what reweights the hidden channels after the depthwise
        convolution; None leaves it out.
      drop_path_rate: probability that training drops the branch of a sample, where the input is added; a
        ``"dropout"`` key must then be in ``rngs``.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Sandler et al. 2018, *MobileNetV2: Inverted Residuals and Linear Bottlenecks*, table 1 and figure 4d;
      Howard et al. 2019, *Searching for MobileNetV3*, figure 4; Tan and Le 2019, *EfficientNet*, section 4.
    """

    features: int
    strides: int = 1
    kernel_size: Size = 3
    padding: Padding | None = None
    dilation: int = 1
    expansion: float = 6.0
    hidden_features: int | None = None
    norm: Callable[..., nn.Module] = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu6
    attention: Callable[..., nn.Module] | None = None
    drop_path_rate: float = 0.0
    kernel_init: Initializer = he_normal_fan_out
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, ceil(H / strides), ceil(W / strides), features]``.

        Raises:
          ValueError: if ``x`` is not a batch of images, or ``padding`` is None and the kernel's
            size is even.
        """
        inputs, hidden = x.shape[-1], self.hidden_features
        if hidden is None:
            hidden = round(inputs * self.expansion)
        conv = functools.partial(ConvNormAct, norm=self.norm, kernel_init=self.kernel_init, dtype=self.dtype)
        y = x
        if hidden != inputs:
            # [N, H, W, hidden]
            y = conv(hidden, 1, activation=self.activation, name="expand")(y, train=train)
        y = conv(
            hidden,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation,
            groups=hidden,
            activation=self.activation,
            name="depthwise",
        )(y, train=train)  # [N, H', W', hidden]
        if self.attention is not None:
            y = self.attention(dtype=self.dtype, name="attention")(y, train=train)
        y = conv(self.features, 1, activation=None, name="project")(y, train=train)  # [N, H', W', features]
        if self.strides != 1 or inputs != self.features:
            return y
        return x.astype(y.dtype) + DropPath(self.drop_path_rate, name="drop_path")(y, train=train)
