"""Inception block of GoogLeNet: convolutions of three sizes and a pooling, side by side."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.layers.blocks import ConvNormAct
from jaxvision.layers.initializers import Initializer, he_normal_fan_in
from jaxvision.layers.norm import BatchNorm
from jaxvision.ops import max_pool


class InceptionBlock(nn.Module):
    """Four branches whose outputs are concatenated: 1x1; 1x1, 3x3; 1x1, 5x5; 3x3 max pooling, 1x1.

    Submodules, each a :class:`ConvNormAct`: ``branch1x1``; ``reduce3x3``, ``branch3x3``; ``reduce5x5``,
    ``branch5x5``; ``pool_projection``. The fields are the columns of the paper's table 1.

    Attributes:
      features1x1: column "#1x1".
      reduce3x3: column "#3x3 reduce".
      features3x3: column "#3x3".
      reduce5x5: column "#5x5 reduce".
      features5x5: column "#5x5".
      pool_features: column "pool proj".
      kernel_size: of ``branch5x5``; 3 for torchvision's weights, which were trained so by mistake.
      norm: makes a normalisation from ``dtype`` and ``name``; None leaves it out, as the paper, which
        predates it. torchvision's has ``epsilon=1e-3``.
      activation: elementwise function after each convolution.
      kernel_init: initialiser of the kernels, about which the paper says nothing.
      dtype: dtype of the computation.

    References:
      Szegedy et al. 2015, *Going Deeper with Convolutions*, figure 2b and table 1.
    """

    features1x1: int
    reduce3x3: int
    features3x3: int
    reduce5x5: int
    features5x5: int
    pool_features: int
    kernel_size: int = 5
    norm: Callable[..., nn.Module] | None = BatchNorm
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    kernel_init: Initializer = he_normal_fan_in
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps images ``[N, H, W, C]`` to ``[N, H, W, F]``, F the sum of the four branches' features.

        Raises:
          ValueError: if ``x`` is not a batch of images, or ``kernel_size`` is even.
        """
        conv = functools.partial(
            ConvNormAct,
            norm=self.norm,
            activation=self.activation,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
        )
        y1 = conv(self.features1x1, 1, name="branch1x1")(x, train=train)
        y3 = conv(self.reduce3x3, 1, name="reduce3x3")(x, train=train)
        y3 = conv(self.features3x3, 3, name="branch3x3")(y3, train=train)
        y5 = conv(self.reduce5x5, 1, name="reduce5x5")(x, train=train)
        y5 = conv(self.features5x5, self.kernel_size, name="branch5x5")(y5, train=train)
        pooled = max_pool(x, 3, strides=1, padding=1)  # [N, H, W, C]
        pooled = conv(self.pool_features, 1, name="pool_projection")(pooled, train=train)
        return jnp.concatenate([y1, y3, y5, pooled], axis=-1)
