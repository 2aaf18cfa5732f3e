"""Normalisation of activations over their channels or groups of them, and of kernels.

Means and variances are in float32 at least. A variance does not change with the point that the squares are
taken around, once the mean's own distance from it is subtracted; so that point may be a constant for
differentiation, which is exact at every order and saves the gradient a pass over the activations.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_floating


def layer_norm(
    x: jax.Array, scale: jax.Array | None, bias: jax.Array | None, *, epsilon: float = 1e-5
) -> jax.Array:
    """Normalises each pixel or token over its channels, as ``torch.nn.functional.layer_norm``.

    .. math:: y = \\frac{x - E[x]}{\\sqrt{Var[x] + \\epsilon}} \\; scale + bias

    Args:
      x: ``[..., C]``, floating.
      scale: ``[C]``, or None for 1.
      bias: ``[C]``, or None for 0.
      epsilon: added to the biased variance.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``x`` is not floating, or ``scale`` or ``bias`` is not ``[C]``.

    References:
      Ba et al. 2016, *Layer Normalization*, equation 3; over the last axis only, as Transformers have it.

    >>> layer_norm(jnp.array([1.0, 3.0]), None, None, epsilon=0.0)
    Array([-1.,  1.], dtype=float32)
    """
    wide = _check_operands(x, scale, bias)
    mean = wide.mean(-1, keepdims=True)  # [..., 1]
    point = lax.stop_gradient(mean)
    square = jnp.square(wide - jnp.broadcast_to(point, x.shape)).mean(-1, keepdims=True)
    factor = lax.rsqrt(square - jnp.square(mean - point) + epsilon)
    y = wide * jnp.broadcast_to(factor, x.shape) - jnp.broadcast_to(mean * factor, x.shape)
    return _affine(y, scale, bias).astype(x.dtype)


def rms_norm(x: jax.Array, scale: jax.Array | None, *, epsilon: float = 1e-6) -> jax.Array:
    """Divides each pixel or token by the root mean square of its channels, as ``F.rms_norm`` of torch.

    .. math:: y = \\frac{x}{\\sqrt{E[x^2] + \\epsilon}} \\; scale

    Args:
      x: ``[..., C]``, floating.
      scale: ``[C]``, or None for 1.
      epsilon: added to the mean square. PyTorch's own default is that of the dtype, 1.2e-7 for float32.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``x`` is not floating, or ``scale`` is not ``[C]``.

    References:
      Zhang and Sennrich 2019, *Root Mean Square Layer Normalization*, equation 4; epsilon is added, as in
      every published network.

    >>> rms_norm(jnp.array([1.0, -1.0]), None, epsilon=0.0)
    Array([ 1., -1.], dtype=float32)
    """
    wide = _check_operands(x, scale, None)
    factor = lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)
    return _affine(wide * jnp.broadcast_to(factor, x.shape), scale, None).astype(x.dtype)


def group_norm(
    x: jax.Array,
    scale: jax.Array | None,
    bias: jax.Array | None,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Normalises each sample over its pixels and groups of channels, as ``torch.nn.functional.group_norm``.

    One group is layer normalisation over a whole image; a group a channel is instance normalisation.

    Args:
      x: ``[N, ..., C]``, floating, with any number of axes between.
      scale: ``[C]``, or None for 1.
      bias: ``[C]``, or None for 0.
      num_groups: divides ``C``; neighbouring channels make a group.
      epsilon: added to the biased variance.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``x`` is not floating or has one axis, ``scale`` or ``bias`` is not ``[C]``, or
        ``num_groups`` does not divide ``C``.

    References:
      Wu and He 2018, *Group Normalization*, equations 1, 2 and 7.

    >>> group_norm(jnp.array([[[1.0, 10.0], [3.0, 30.0]]]), None, None, num_groups=2, epsilon=0.0)
    Array([[[-1., -1.],
            [ 1.,  1.]]], dtype=float32)
    """
    wide = _check_operands(x, scale, bias)
    channels = x.shape[-1]
    if x.ndim < 2:
        raise ValueError(f"x: expected [N, ..., C], got {list(x.shape)}; add a batch axis")
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"num_groups: expected a divisor of the {channels} channels, got {num_groups}")
    pixels = tuple(range(1, x.ndim - 1))

    def pool(values: jax.Array) -> jax.Array:
        """``[N, ..., C] -> [N, groups, 1]``; pixels first, which leaves the channels side by side."""
        return values.mean(pixels).reshape(-1, num_groups, channels // num_groups).mean(-1, keepdims=True)

    def spread(values: jax.Array) -> jax.Array:
        """``[N, groups, 1] -> [N, 1, ..., C]``."""
        wide = jnp.broadcast_to(values, (*values.shape[:2], channels // num_groups))
        return wide.reshape(-1, *(1,) * len(pixels), channels)

    mean = pool(wide)
    point = lax.stop_gradient(mean)
    square = pool(jnp.square(wide - jnp.broadcast_to(spread(point), x.shape)))
    factor = spread(lax.rsqrt(square - jnp.square(mean - point) + epsilon))
    factor = _affine(factor, scale, None)
    offset = _affine(-spread(mean) * factor, None, bias)
    return (wide * jnp.broadcast_to(factor, x.shape) + jnp.broadcast_to(offset, x.shape)).astype(x.dtype)


def weight_standardize(kernel: jax.Array, *, epsilon: float = 1e-10) -> jax.Array:
    """Gives the kernel of each output channel zero mean and unit variance.

    .. math:: \\hat W_o = \\frac{W_o - E[W_o]}{\\sqrt{Var[W_o] + \\epsilon}}

    Args:
      kernel: ``[..., Cin, Cout]``, floating; the mean is over all axes but the last.
      epsilon: added to the biased variance: 1e-10 in BiT's networks, 1e-6 in timm's ``StdConv2d``.

    Returns:
      Array of the shape and dtype of ``kernel``.

    Raises:
      ValueError: if ``kernel`` is not floating or has fewer than two axes.

    References:
      Qiao et al. 2019, *Micro-Batch Training with Batch-Channel Normalization and Weight Standardization*,
      section 3.

    >>> weight_standardize(jnp.array([[1.0, 10.0], [3.0, 30.0]]))
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    """
    centred, variance = _centre_kernel(kernel)
    factor = lax.rsqrt(variance + epsilon)
    return (centred * jnp.broadcast_to(factor, kernel.shape)).astype(kernel.dtype)


def scaled_weight_standardize(
    kernel: jax.Array, *, gain: jax.Array | None = None, epsilon: float = 1e-4
) -> jax.Array:
    """Gives the kernel of each output channel zero mean and variance ``1 / fan_in``, times a gain.

    .. math:: \\hat W_o = g_o \\frac{W_o - E[W_o]}{\\sqrt{\\max(Var[W_o] \\; n, \\epsilon)}}

    ``n`` is the number of inputs of an output. Activations then keep their variance without a
    normalisation layer, up to the gain of the nonlinearity.

    Args:
      kernel: ``[..., Cin, Cout]``, floating; the mean is over all axes but the last.
      gain: ``[Cout]``, learned; None for 1.
      epsilon: least value of the biased variance times ``n``. timm's ``ScaledStdConv2d`` adds 1e-6 to the
        variance instead.

    Returns:
      Array of the shape and dtype of ``kernel``.

    Raises:
      ValueError: if ``kernel`` is not floating or has fewer than two axes, or ``gain`` is not ``[Cout]``.

    References:
      Brock et al. 2021, *Characterizing signal propagation to close the performance gap in unnormalized
      ResNets*, "Scaled Weight Standardization"; Brock et al. 2021, *High-Performance Large-Scale Image
      Recognition Without Normalization*, equation 1; epsilon is that of their code.

    >>> scaled_weight_standardize(jnp.array([[1.0, 10.0], [3.0, 30.0]])).round(4)
    Array([[-0.7071, -0.7071],
           [ 0.7071,  0.7071]], dtype=float32)
    """
    centred, variance = _centre_kernel(kernel)
    fan_in = math.prod(kernel.shape[:-1])
    factor = lax.rsqrt(jnp.maximum(variance * fan_in, epsilon))
    if gain is not None:
        _check_channels("gain", gain, kernel.shape[-1])
        factor = factor * gain.astype(factor.dtype).reshape(factor.shape)
    return (centred * jnp.broadcast_to(factor, kernel.shape)).astype(kernel.dtype)


def local_response_norm(
    x: jax.Array, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> jax.Array:
    """Divides each element by its neighbours over channels, as ``torch.nn.functional.local_response_norm``.

    .. math:: y_c = x_c \\left(k + \\frac{\\alpha}{n} \\sum_{|i - c| \\le n / 2} x_i^2\\right)^{-\\beta}

    Args:
      x: ``[..., C]``, floating.
      size: number ``n`` of neighbouring channels, the element's own included; of an even number one more lies
        before it than behind it. What is outside of the channels counts as zeros.
      alpha: weight of the mean square.
      beta: exponent.
      bias: the constant ``k``.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``x`` is not floating or ``size`` is below 1.

    References:
      Krizhevsky et al. 2012, *ImageNet Classification with Deep Convolutional Neural Networks*, section 3.3,
      whose sum is not divided by ``n`` and whose ``k`` is 2; here it is PyTorch's and Caffe's form.

    >>> local_response_norm(jnp.array([1.0, 1.0]), size=1, alpha=3.0, beta=0.5)
    Array([0.5, 0.5], dtype=float32)
    """
    check_floating(x=x)
    if size < 1:
        raise ValueError(f"size: expected at least 1 channel, got {size}")
    wide = _widen(x)
    window = (*(1 for _ in x.shape[:-1]), size)
    pads = (*((0, 0) for _ in x.shape[:-1]), (size // 2, (size - 1) // 2))
    squares = lax.reduce_window(
        jnp.square(wide), np.zeros((), wide.dtype), lax.add, window, (1,) * x.ndim, pads
    )
    return (wide * (bias + alpha / size * squares) ** -beta).astype(x.dtype)


def _centre_kernel(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The kernel less its mean, and its variance ``[1, ..., Cout]``, of each output channel."""
    check_floating(kernel=kernel)
    if kernel.ndim < 2:
        raise ValueError(f"kernel: expected [..., Cin, Cout], got {list(kernel.shape)}")
    wide, axes = _widen(kernel), tuple(range(kernel.ndim - 1))
    centred = wide - jnp.broadcast_to(wide.mean(axes, keepdims=True), kernel.shape)
    return centred, jnp.square(centred).mean(axes, keepdims=True)


def _affine(y: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    if scale is not None:
        y = y * jnp.broadcast_to(scale.astype(y.dtype), y.shape)
    if bias is not None:
        y = y + jnp.broadcast_to(bias.astype(y.dtype), y.shape)
    return y


def _check_operands(x: jax.Array, scale: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    """Checks the operands; returns ``x`` in float32 at least."""
    check_floating(x=x)
    for name, values in (("scale", scale), ("bias", bias)):
        if values is not None:
            _check_channels(name, values, x.shape[-1])
    return _widen(x)


def _check_channels(name: str, values: jax.Array, channels: int) -> None:
    if values.shape != (channels,):
        raise ValueError(f"{name}: expected [{channels}], one a channel, got {list(values.shape)}")


def _widen(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
