"""Depthwise and depthwise separable convolutions."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.conv import Conv
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.windows import Padding, Size


class DepthwiseConv(nn.Module):
    """Convolution of each channel by itself, as ``torch.nn.Conv2d(C, C * multiplier, groups=C)``.

    Parameters, float32: ``kernel`` ``[kh, kw, 1, C * multiplier]`` and ``bias`` ``[C * multiplier]``. The
    ``multiplier`` outputs of a channel lie side by side.

    Attributes:
      kernel_size: a number for an image, or one an axis, as :class:`Conv`.
      strides: step of the window.
      padding: zeros around the image, as :class:`Conv`.
      dilation: distance of neighbouring kernel taps.
      multiplier: number of filters, and so of outputs, of each channel.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation.
    """

    kernel_size: Size = 3
    strides: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    multiplier: int = 1
    use_bias: bool = True
    kernel_init: Initializer = he_normal_fan_in
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves ``[N, H, W, C]`` to ``[N, H', W', C * multiplier]``; sequences and video likewise.

        Raises:
          ValueError: as :func:`jaxvision.ops.convolution`; or if ``multiplier`` is less than 1.
        """
        if self.multiplier < 1:
            raise ValueError(f"multiplier: expected at least 1 filter a channel, got {self.multiplier}")
        channels = x.shape[-1]
        conv = Conv(
            channels * self.multiplier,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation,
            groups=channels,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
        )
        nn.share_scope(self, conv)  # the parameters are this layer's own
        return conv(x)


class SeparableConv(nn.Module):
    """A depthwise convolution, then a 1x1 convolution over the channels.

    Submodules ``depthwise`` and ``pointwise``, each with ``conv`` and, where it is normalised, ``norm``.
    Three orders of the parts are in use:

    * ``"mobilenet"``: depthwise, norm, activation, pointwise, norm, activation;
    * ``"xception"``: activation, depthwise, pointwise, norm: nothing between the two convolutions;
    * ``"joint"``: depthwise, pointwise, norm, activation: a convolution in two steps, in the place of a whole
      one (segmentation_models.pytorch's DeepLabV3+).

    A convolution has a bias where no norm follows it; never a depthwise one that the pointwise one follows at
    once.

    Attributes:
      features: number of output channels.
      kernel_size: size of the depthwise window, a number for an image, or one an axis.
      strides: step of the depthwise window.
      padding: as :class:`Conv`; None keeps the image's size at stride 1 (odd kernels only).
      dilation: distance of neighbouring taps of the depthwise window.
      multiplier: number of depthwise filters of each channel.
      order: ``"mobilenet"``, ``"xception"`` or ``"joint"``.
      norm: makes the normalisations from ``dtype`` and ``name``; None leaves them out.
      activation: elementwise function; None leaves it out.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Howard et al. 2017, *MobileNets*, figure 3. Chollet 2017, *Xception*, figure 5 and section 4.7.
    """

    features: int
    kernel_size: Size = 3
    strides: Size = 1
    padding: Padding | None = None
    dilation: Size = 1
    multiplier: int = 1
    order: Literal["mobilenet", "xception", "joint"] = "mobilenet"
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H', W', features]``; sequences and video likewise.

        Raises:
          ValueError: as :class:`Conv`; if ``order`` is none of the three; or if ``padding`` is None and the
            kernel's size is even.
        """
        if self.order not in ("mobilenet", "xception", "joint"):
            raise ValueError(f'order: expected "mobilenet", "xception" or "joint", got {self.order!r}')
        between = self.order == "mobilenet"
        if self.order == "xception" and self.activation is not None:
            x = self.activation(x)
        channels = x.shape[-1]
        x = ConvNormAct(
            channels * self.multiplier,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation,
            groups=channels,
            norm=self.norm if between else None,
            activation=self.activation if between else None,
            use_bias=None if between else False,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="depthwise",
        )(x, train=train)
        return ConvNormAct(
            self.features,
            (1,) * (x.ndim - 2),
            norm=self.norm,
            activation=None if self.order == "xception" else self.activation,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="pointwise",
        )(x, train=train)
