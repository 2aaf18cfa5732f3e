"""Convolution layers: parameters and bias around :mod:`jaxvision.ops.convolution`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops.convolution import convolution, transposed_convolution
from jaxvision.ops.windows import Padding, Size, as_pair


class Conv(nn.Module):
    """Two-dimensional convolution of ``[N, H, W, Cin]``, as ``torch.nn.Conv2d``.

    Parameters, float32: ``kernel`` ``[kh, kw, Cin / groups, features]`` (a torch weight transposed by
    ``(2, 3, 1, 0)``) and ``bias`` ``[features]``.

    Attributes:
      features: number of output channels.
      kernel_size: a number or ``(height, width)``.
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
        """Convolves images ``[N, H, W, Cin]`` to ``[N, H', W', features]``.

        Raises:
          ValueError: as :func:`jaxvision.ops.convolution`.
        """
        check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
        if self.groups < 1 or x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups: expected a divisor of {x.shape[-1]} input and {self.features} output channels, got "
                f"{self.groups}"
            )
        shape = (*as_pair("kernel_size", self.kernel_size), x.shape[-1] // self.groups, self.features)
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
        return y if bias is None else y + bias[None, None, None]


class ConvTranspose(nn.Module):
    """Two-dimensional transposed convolution of ``[N, H, W, Cin]``, as ``torch.nn.ConvTranspose2d``.

    Parameters, float32: ``kernel`` ``[kh, kw, Cin, features / groups]`` (a torch weight transposed by
    ``(2, 3, 0, 1)``, not flipped) and ``bias`` ``[features]``.

    Attributes:
      features: number of output channels.
      kernel_size: a number or ``(height, width)``.
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
        """Enlarges images ``[N, H, W, Cin]`` to ``[N, H', W', features]``.

        Raises:
          ValueError: as :func:`jaxvision.ops.transposed_convolution`.
        """
        check_layout("x", x, "N H W C", remedy="images are [N, H, W, C]")
        if self.groups < 1 or x.shape[-1] % self.groups or self.features % self.groups:
            raise ValueError(
                f"groups: expected a divisor of {x.shape[-1]} input and {self.features} output channels, got "
                f"{self.groups}"
            )
        shape = (*as_pair("kernel_size", self.kernel_size), x.shape[-1], self.features // self.groups)
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
        return y if bias is None else y + bias[None, None, None]
