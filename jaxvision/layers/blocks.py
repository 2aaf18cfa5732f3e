"""Blocks that more than one network is built of."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers.conv import Conv, ConvTranspose
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops.arithmetic import same_padding
from jaxvision.ops.windows import Padding, Size


class ConvNormAct(nn.Module):
    """Convolution, normalisation and activation: submodules ``conv`` and ``norm``.

    Attributes:
      features: number of output channels.
      kernel_size: a number or ``(height, width)``.
      strides: step of the window.
      padding: as :class:`Conv`; None keeps the image's size at stride 1 (odd kernels only).
      dilation: distance of neighbouring kernel taps.
      groups: number of independent groups of channels.
      norm: makes the normalisation from ``dtype`` and ``name``, such as ``BatchNorm`` or
        ``functools.partial(BatchNorm, axis_name="data")``; None leaves it out.
      activation: elementwise function; None leaves it out.
      use_bias: whether the convolution has a bias; None means only without a normalisation, which would
        cancel it.
      kernel_init: initialiser of the kernel.
      dtype: dtype of the computation.
    """

    features: int
    kernel_size: Size = 3
    strides: Size = 1
    padding: Padding | None = None
    dilation: Size = 1
    groups: int = 1
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    use_bias: bool | None = None
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H', W', features]``.

        Raises:
          ValueError: as :class:`Conv`; or if ``padding`` is None and the kernel's size is even.
        """
        x = Conv(
            self.features,
            self.kernel_size,
            self.strides,
            self._padding(),
            self.dilation,
            self.groups,
            use_bias=self.norm is None if self.use_bias is None else self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name="norm")(x, train=train)
        return x if self.activation is None else self.activation(x)

    def _padding(self) -> Padding:
        if self.padding is not None:
            return self.padding
        return same_padding(self.kernel_size, dilation=self.dilation)


class ConvTransposeNormAct(nn.Module):
    """Transposed convolution, normalisation and activation: submodules ``conv`` and ``norm``.

    Attributes:
      features: number of output channels.
      kernel_size: a number or ``(height, width)``.
      strides: enlargement of the image.
      padding: rows and columns cut off the output, as :class:`ConvTranspose`.
      norm: makes the normalisation from ``dtype`` and ``name``; None leaves it out.
      activation: elementwise function; None leaves it out.
      use_bias: whether the convolution has a bias; None means only without a normalisation, which would
        cancel it.
      kernel_init: initialiser of the kernel.
      dtype: dtype of the computation.
    """

    features: int
    kernel_size: Size
    strides: Size = 1
    padding: Padding = 0
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    use_bias: bool | None = None
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H', W', features]``.

        Raises:
          ValueError: as :class:`ConvTranspose`.
        """
        x = ConvTranspose(
            self.features,
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=self.norm is None if self.use_bias is None else self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        if self.norm is not None:
            x = self.norm(dtype=self.dtype, name="norm")(x, train=train)
        return x if self.activation is None else self.activation(x)
