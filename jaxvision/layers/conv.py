"""Convolution layers: parameters and bias around :mod:`jaxvision.ops.convolution`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops.convolution import convolution, transposed_convolution
from jaxvision.ops.windows import Padding, Size, Sizes, as_sizes, check_slid_over, window_rank


class Conv(nn.Module):
    """Convolution of sequences, images or video, as ``torch.nn.Conv1d``, ``Conv2d`` and ``Conv3d``.

    Parameters, float32: ``kernel`` ``[kh, kw, Cin / groups, features]`` (a torch weight with its axes moved:
    ``(2, 3, 1, 0)`` for an image) and ``bias`` ``[features]``.

    Attributes:
      features: number of output channels.
      kernel_size: a number for an image, or one an axis: ``(time,)`` for a sequence, ``(height, width)`` for
        an image, ``(time, height, width)`` for video.
      strides: step of the window.
      padding: zeros around the image: a number, ``(height, width)`` or ``((top, bottom), (left, right))``.
      dilation: distance of neighbouring kernel taps.
      groups: number of independent groups of channels.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result; by default that of the input and the parameters
        together.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = he_normal_fan_in
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves ``[N, H, W, Cin]`` to ``[N, H', W', features]``; ``[N, T, Cin]`` and video likewise.

        Raises:
          ValueError: as :func:`jaxvision.ops.convolution`.
        """
        window = kernel_window(x, self.kernel_size, self.features, self.groups)
        shape = (*window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = convolution(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return add_bias(y, bias)


class ConvTranspose(nn.Module):
    """Transposed convolution, as ``torch.nn.ConvTranspose1d``, ``ConvTranspose2d`` and ``ConvTranspose3d``.

    Parameters, float32: ``kernel`` ``[kh, kw, Cin, features / groups]`` (a torch weight with its
    first two axes moved to the end, not flipped) and ``bias`` ``[features]``.

    Attributes:
      features: number of output channels.
      kernel_size: a number for an image, or one an axis, as :class:`Conv`.
      strides: enlargement of the image.
      padding: rows and columns cut off the output: a number, ``(height, width)`` or one a side.
      output_padding: rows and columns added at the bottom and right.
      dilation: distance of neighbouring kernel taps.
      groups: number of independent groups of channels.
      use_bias: whether to add a bias.
      kernel_init: initialiser of the kernel.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result; by default that of the input and the parameters
        together.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    output_padding: Size = 0
    dilation: Size = 1
    groups: int = 1
    use_bias: bool = True
    kernel_init: Initializer = he_normal_fan_in
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Enlarges ``[N, H, W, Cin]`` to ``[N, H', W', features]``; ``[N, T, Cin]`` and video likewise.

        Raises:
          ValueError: as :func:`jaxvision.ops.transposed_convolution`.
        """
        window = kernel_window(x, self.kernel_size, self.features, self.groups)
        shape = (*window, x.shape[-1], self.features // self.groups)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = transposed_convolution(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return add_bias(y, bias)


def kernel_window(x: jax.Array, kernel_size: Size, features: int, groups: int) -> Sizes:
    """Checks the input of a convolution layer; returns the size of its kernel, one number an axis.

    Raises:
      ValueError: if the input is not what a kernel of that size slides over, or the groups do not divide.
    """
    rank = window_rank("kernel_size", kernel_size)
    check_slid_over("x", x, rank, cause=f"a kernel of size {kernel_size} slides over")
    if groups < 1 or x.shape[-1] % groups or features % groups:
        raise ValueError(
            f"groups: expected a divisor of {x.shape[-1]} input and {features} output channels, got {groups}"
        )
    return as_sizes("kernel_size", kernel_size, rank=rank)


def add_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    """``[..., C]`` plus ``[C]``, or as it is without a bias."""
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
