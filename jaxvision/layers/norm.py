"""Normalisation layers with PyTorch's conventions, all called ``norm(x, train=train)``."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from jaxvision.core import check_floating
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.normalization import group_norm, layer_norm, rms_norm


class BatchNorm(nn.Module):
    """Batch normalisation: each channel over the batch and the pixels, then scaled and shifted.

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

    References:
      Ioffe and Szegedy 2015, *Batch Normalization*, algorithms 1 and 2.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    axis_name: str | None = None
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None, train: bool) -> jax.Array:
        """Normalises ``[..., C]``.

        Args:
          x: activations, floating; every axis but the last is averaged over.
          where: True where an element counts in the statistics, bool ``[...]``, such as the real nodes of a
            padded graph; None for everywhere. Of fewer than two elements the running variance is biased.
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
            center, variance, count = _batch_statistics(wide, axis_name, where)
            if not self.is_initializing():
                if isinstance(count, int) and count < 2:
                    raise ValueError(
                        f"x: expected at least two elements a channel for a variance, got {list(x.shape)}"
                        "; use a larger batch or image, or train=False"
                    )
                rest = count - 1 if isinstance(count, int) else jnp.maximum(count - 1, 1)
                unbiased = variance * (count / rest)
                mean.value = (1 - self.momentum) * mean.value + self.momentum * center
                var.value = (1 - self.momentum) * var.value + self.momentum * unbiased
        else:
            center, variance = mean.value, var.value
        factor = scale * lax.rsqrt(variance + self.epsilon)
        offset = bias - center * factor
        y = wide * jnp.broadcast_to(factor, wide.shape) + jnp.broadcast_to(offset, wide.shape)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


def _batch_statistics(
    x: jax.Array, axis_name: str | None, where: jax.Array | None
) -> tuple[jax.Array, jax.Array, Any]:
    """Mean and biased variance of each channel, and the number of elements they are of.

    The variance does not change with the point that the squares are taken around, once the mean's own
    distance from it is subtracted. So that point may be a constant for differentiation, which is exact at
    every order and saves the gradient a pass over the activations.
    """
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    if where is not None:
        return _masked_statistics(x, axis_name, where)
    mean = x.mean(axes)  # [C]
    if axis_name is not None:
        mean = lax.pmean(mean, axis_name)
        count *= lax.axis_size(axis_name)
    point = lax.stop_gradient(mean)
    square = jnp.square(x - jnp.broadcast_to(point, x.shape)).mean(axes)
    if axis_name is not None:
        square = lax.pmean(square, axis_name)
    return mean, square - jnp.square(mean - point), count


def _masked_statistics(
    x: jax.Array, axis_name: str | None, where: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same of the elements where ``where`` is True, whatever the others hold."""
    there = jnp.broadcast_to(where[..., None], x.shape)
    axes = tuple(range(x.ndim - 1))

    def over_devices(total: jax.Array) -> jax.Array:
        return total if axis_name is None else lax.psum(total, axis_name)

    count = over_devices(where.sum(dtype=x.dtype))
    divisor = jnp.maximum(count, 1)
    mean = over_devices(jnp.where(there, x, 0).sum(axes)) / divisor  # [C]
    distance = jnp.where(there, x - jnp.broadcast_to(mean, x.shape), 0)
    return mean, over_devices(jnp.square(distance).sum(axes)) / divisor, count


class LayerNorm(nn.Module):
    """Layer normalisation: each pixel or token over its channels, as ``torch.nn.LayerNorm(C)``.

    Channels are last here, so that this is also the ``LayerNorm2d`` of ConvNeXt and Swin. Parameters,
    float32: ``scale`` and ``bias`` ``[C]``. For several axes at once, as ``torch.nn.LayerNorm([H, W, C])``,
    there is ``GroupNorm(num_groups=1)``, whose parameters are one a channel.

    Attributes:
      epsilon: added to the variance.
      use_scale: whether to scale.
      use_bias: whether to shift.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.
      dtype: dtype of the result; by default that of the input. Statistics are float32 at least.

    References:
      Ba et al. 2016, *Layer Normalization*, equation 3.
    """

    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises ``[..., C]``, in training as in evaluation.

        Raises:
          ValueError: if ``x`` is not floating.
        """
        check_floating(x=x)
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32) if self.use_scale else None
        bias = self.param("bias", self.bias_init, x.shape[-1:], jnp.float32) if self.use_bias else None
        y = layer_norm(_widen(x), scale, bias, epsilon=self.epsilon)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


class RMSNorm(nn.Module):
    """Divides each pixel or token by the root mean square of its channels, as ``torch.nn.RMSNorm(C)``.

    Parameter, float32: ``scale`` ``[C]``.

    Attributes:
      epsilon: added to the mean square. PyTorch's own default is that of the dtype, 1.2e-7 for float32.
      use_scale: whether to scale.
      scale_init: initialiser of the scale.
      dtype: dtype of the result; by default that of the input. Sums are float32 at least.

    References:
      Zhang and Sennrich 2019, *Root Mean Square Layer Normalization*, equation 4.
    """

    epsilon: float = 1e-6
    use_scale: bool = True
    scale_init: Initializer = nn.initializers.ones_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises ``[..., C]``, in training as in evaluation.

        Raises:
          ValueError: if ``x`` is not floating.
        """
        check_floating(x=x)
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32) if self.use_scale else None
        y = rms_norm(_widen(x), scale, epsilon=self.epsilon)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


class GroupNorm(nn.Module):
    """Group normalisation: each sample over its pixels and groups of channels, as ``torch.nn.GroupNorm``.

    Parameters, float32: ``scale`` and ``bias`` ``[C]``.

    Attributes:
      num_groups: number of groups of neighbouring channels; must divide their number.
      epsilon: added to the variance.
      use_scale: whether to scale.
      use_bias: whether to shift.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.
      dtype: dtype of the result; by default that of the input. Statistics are float32 at least.

    References:
      Wu and He 2018, *Group Normalization*, equation 7; 32 groups are its table 3's best number.
    """

    num_groups: int = 32
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises ``[N, ..., C]``, with any number of axes between, in training as in evaluation.

        Raises:
          ValueError: as :func:`jaxvision.ops.group_norm`.
        """
        check_floating(x=x)
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32) if self.use_scale else None
        bias = self.param("bias", self.bias_init, x.shape[-1:], jnp.float32) if self.use_bias else None
        y = group_norm(_widen(x), scale, bias, num_groups=self.num_groups, epsilon=self.epsilon)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


class InstanceNorm(nn.Module):
    """Instance normalisation: each channel of a sample over its pixels, as ``torch.nn.InstanceNorm2d``.

    No parameters by default, as in PyTorch; ``use_scale`` and ``use_bias`` together are its ``affine``. The
    statistics are always those of the input: ``track_running_stats``, off by default there, is left out.

    Attributes:
      epsilon: added to the variance.
      use_scale: whether to scale: parameter ``scale`` ``[C]``, float32.
      use_bias: whether to shift: parameter ``bias`` ``[C]``, float32.
      scale_init: initialiser of the scale.
      bias_init: initialiser of the bias.
      dtype: dtype of the result; by default that of the input. Statistics are float32 at least.

    References:
      Ulyanov et al. 2016, *Instance Normalization: The Missing Ingredient for Fast Stylization*, equation 3.
    """

    epsilon: float = 1e-5
    use_scale: bool = False
    use_bias: bool = False
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises ``[N, ..., C]``, with at least one axis between, in training as in evaluation.

        Raises:
          ValueError: if ``x`` is not floating, or has only one pixel, which would be normalised to zero.
        """
        check_floating(x=x)
        if math.prod(x.shape[1:-1]) == 1:
            raise ValueError(
                f"x: expected [N, ..., C] with at least two pixels, got {list(x.shape)}; one pixel less its "
                "own mean is zero. Use another norm here"
            )
        scale = self.param("scale", self.scale_init, x.shape[-1:], jnp.float32) if self.use_scale else None
        bias = self.param("bias", self.bias_init, x.shape[-1:], jnp.float32) if self.use_bias else None
        y = group_norm(_widen(x), scale, bias, num_groups=x.shape[-1], epsilon=self.epsilon)
        return y.astype(x.dtype if self.dtype is None else self.dtype)


def _widen(x: jax.Array) -> jax.Array:
    """``x`` in float32 at least, so that a ``dtype`` wider than the input's gets all its digits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
