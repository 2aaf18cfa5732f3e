"""Batch normalisation (Ioffe and Szegedy 2015) with PyTorch's conventions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxvision.core import check_floating
from jaxvision.layers.initializers import Initializer


class BatchNorm(nn.Module):
    """Normalises each channel over the batch and the pixels, then scales and shifts it.

    Parameters, float32: ``scale`` and ``bias`` ``[C]``. State, collection ``"batch_stats"``, float32:
    ``mean`` and ``var`` ``[C]``. As ``torch.nn.BatchNorm2d`` (Linen's own layer differs in both points):

    * ``momentum`` is the weight of the new batch, ``running <- (1 - momentum) running + momentum batch``;
    * the running variance is unbiased (divided by ``n - 1``), while the batch itself is normalised by the
      biased variance. ``n`` counts the elements over all devices where statistics are synced.

    Attributes:
      momentum: weight of the new batch in the running statistics.
      epsilon: added to the variance.
      axis_name: axis of ``pmap`` or ``vmap`` over which the statistics are averaged; None keeps them local
        to the device. Under a sharded ``jit`` they are global without it.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.
      dtype: dtype of the result; by default that of the input. Statistics are float32 at least.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    axis_name: str | None = None
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises ``[..., C]``.

        Args:
          x: activations, floating; every axis but the last is averaged over.
          train: normalise by the statistics of this batch and update the running ones (``batch_stats`` must
            be mutable), or normalise by the running ones.

        Returns:
          Array of the shape of ``x``.

        Raises:
          ValueError: if ``x`` is not floating, or ``train`` and there is only one element a channel.
        """
        check_floating(x=x)
        channels = x.shape[-1]
        scale = self.param("scale", self.scale_init, (channels,), jnp.float32)
        bias = self.param("bias", self.bias_init, (channels,), jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            center, variance, count = _batch_statistics(wide, axis_name)
            if not self.is_initializing():
                if count < 2:
                    raise ValueError(
                        f"x: expected at least two elements a channel for a variance, got {list(x.shape)}"
                        "; use a larger batch or image, or train=False"
                    )
                unbiased = variance * (count / (count - 1))
                mean.value = (1 - self.momentum) * mean.value + self.momentum * center
                var.value = (1 - self.momentum) * var.value + self.momentum * unbiased
        else:
            center, variance = mean.value, var.value
        factor = scale * lax.rsqrt(variance + self.epsilon)
        offset = bias - center * factor
        y = wide * jnp.broadcast_to(factor, wide.shape) + jnp.broadcast_to(offset, wide.shape)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


def _batch_statistics(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array, int]:
    """Mean and biased variance of each channel, and the number of elements they are of.

    The variance does not change with the point that the squares are taken around, once the mean's own
    distance from it is subtracted. So that point may be a constant for differentiation, which is exact at
    every order and saves the gradient a pass over the activations.
    """
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    mean = x.mean(axes)  # [C]
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
        count *= lax.axis_size(axis_name)
    point = lax.stop_gradient(mean)
    square = jnp.square(x - jnp.broadcast_to(point, x.shape)).mean(axes)
    if axis_name is not None:
        square = lax.pmean(square, axis_name)
    return mean, square - jnp.square(mean - point), count
