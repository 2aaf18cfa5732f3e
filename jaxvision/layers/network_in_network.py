"""The block of *Network in Network*: a small perceptron that slides over the image."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.ops.windows import Padding, Size


class MLPConv(nn.Module):
    """A convolution and then 1x1 convolutions, an activation after each.

    Every patch is mapped by the same perceptron, whose first layer is the convolution ``conv`` and whose
    others are ``mlp1``, ``mlp2`` and so on. The network ends in :func:`jaxvision.ops.global_average_pool`
    over one map a class.

    Attributes:
      features: number of channels after each layer, in the paper three: ``(192, 160, 96)``.
      kernel_size: size of the window of the first layer.
      strides: step of the window.
      padding: as :class:`Conv`; None keeps the image's size at stride 1 (odd kernels only).
      norm: makes a normalisation after each convolution from ``dtype`` and ``name``; None, as in the paper,
        leaves it out.
      activation: elementwise function after each layer.
      kernel_init: initialiser of the kernels.
      dtype: dtype of the computation.

    References:
      Lin et al. 2014, *Network in Network*, section 3.1, equation 2, and figure 2.
    """

    features: Sequence[int]
    kernel_size: Size = 3
    strides: Size = 1
    padding: Padding | None = None
    norm: Callable[..., nn.Module] | None = None
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H', W', features[-1]]``; sequences and video likewise.

        Raises:
          ValueError: as :class:`ConvNormAct`; or if ``features`` is empty.
        """
        if not self.features:
            raise ValueError("features: expected the channels of at least one layer, such as (192, 160, 96)")
        pixel = (1,) * (x.ndim - 2)
        for index, features in enumerate(self.features):
            x = ConvNormAct(
                features,
                pixel if index else self.kernel_size,
                1 if index else self.strides,
                0 if index else self.padding,
                norm=self.norm,
                activation=self.activation,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=f"mlp{index}" if index else "conv",
            )(x, train=train)
        return x
