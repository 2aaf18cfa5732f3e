"""Activations with parameters; those without are functions in :mod:`jaxvision.ops`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxvision.core import check_floating
from jaxvision.layers.initializers import Initializer, lecun_normal
from jaxvision.ops.activations import maxout, prelu


class PReLU(nn.Module):
    """ReLU with a learned slope below zero, as ``torch.nn.PReLU``. Parameter ``slope``, float32.

    Attributes:
      per_channel: one slope a channel, ``[C]``, or one for all, ``[1]``.
      slope_init: initialiser of the slope.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, section 2.1. The paper learns the slopes without weight
      decay, which would pull them towards ReLU: leave ``slope`` out of it.
    """

    per_channel: bool = False
    slope_init: Initializer = nn.initializers.constant(0.25)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[..., C]`` to its own shape and dtype.

        Raises:
          ValueError: if ``x`` is not floating.
        """
        check_floating(x=x)
        channels = x.shape[-1] if self.per_channel else 1
        return prelu(x, self.param("slope", self.slope_init, (channels,), jnp.float32))


class Maxout(nn.Module):
    """Linear layer whose every output is the largest of ``pieces`` linear functions; submodule ``linear``.

    .. math:: y_i = \\max_{j < k} (x^T W_{:, k i + j} + b_{k i + j})

    Attributes:
      features: number of output channels.
      pieces: linear functions an output is the maximum of.
      use_bias: whether the linear functions have a bias.
      kernel_init: initialiser of the kernel ``[Cin, features * pieces]``. The default has variance
        ``1 / Cin``: the larger of two independent normal numbers has the mean square of one of them, so two
        pieces keep the scale of the activations.
      bias_init: initialiser of the bias.
      dtype: dtype of the computation and the result.

    References:
      Goodfellow et al. 2013, *Maxout Networks*, section 3.
    """

    features: int
    pieces: int = 2
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[..., Cin]`` to ``[..., features]``.

        Raises:
          ValueError: if ``x`` is not floating or ``pieces`` is below 1.
        """
        check_floating(x=x)
        if self.pieces < 1:
            raise ValueError(f"pieces: expected at least 1, got {self.pieces}")
        linear = nn.Dense(
            self.features * self.pieces,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
            name="linear",
        )
        return maxout(linear(x), self.pieces)  # [..., features * pieces] -> [..., features]
