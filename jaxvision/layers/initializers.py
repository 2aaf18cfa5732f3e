"""Initialisers of kernels: functions ``(key, shape, dtype) -> array`` as in ``jax.nn.initializers``."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

Initializer: TypeAlias = Callable[..., Any]
"""A function ``(key, shape, dtype) -> array``."""


def he_normal_fan_in(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Normal with variance ``2 / (kh kw Cin)``: keeps the variance of activations through ReLU layers.

    Not truncated, unlike ``jax.nn.initializers.he_normal``: this is the form of the paper, of U-Net
    (Ronneberger et al. 2015, section 3) and of ``torch.nn.init.kaiming_normal_``.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equation 10.
    """
    return jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")(key, shape, dtype)


def he_normal_fan_out(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Normal with variance ``2 / (kh kw Cout)``: keeps the variance of gradients through ReLU layers.

    Not truncated: ``torch.nn.init.kaiming_normal_(mode="fan_out")``, which torchvision's VGG and ResNet use.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equation 14.
    """
    return jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")(key, shape, dtype)


def bilinear_kernel(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Transposed-convolution kernel that enlarges each channel by bilinear interpolation.

    With kernel size ``2 f - f % 2``, stride ``f`` and padding ``ceil((f - 1) / 2)`` the layer starts as
    bilinear upsampling by ``f``; a class map of one channel a class keeps its channels apart.

    Args:
      key: not used; every call gives the same kernel.
      shape: ``[kh, kw, Cin, Cout]``. The filter lies on the diagonal ``Cin == Cout``, zeros elsewhere; with
        ``Cout == 1`` (one group a channel) every channel has it.
      dtype: of the result.

    Returns:
      Array of ``shape``.

    Raises:
      ValueError: if the shape is none of these.

    References:
      Long et al. 2015, *Fully Convolutional Networks for Semantic Segmentation*, section 3.3; the values are
      those of Caffe's "bilinear" filler.

    >>> bilinear_kernel(jax.random.key(0), (4, 4, 1, 1))[0, :, 0, 0]
    Array([0.0625, 0.1875, 0.1875, 0.0625], dtype=float32)
    """
    del key
    if len(shape) != 4 or (shape[2] != shape[3] and shape[3] != 1):
        raise ValueError(
            f"bilinear_kernel: expected a shape [kh, kw, C, C] or, with groups=C, [kh, kw, C, 1], got "
            f"{list(shape)}; interpolation maps each channel to itself"
        )
    rows, columns = _hat(shape[0]), _hat(shape[1])
    channels = np.ones((shape[2], 1)) if shape[3] == 1 else np.eye(shape[2])
    return jnp.asarray(rows[:, None, None, None] * columns[:, None, None] * channels, dtype)


def _hat(size: int) -> np.ndarray:
    """The linear interpolation filter of ``size`` taps, ``[size]``."""
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    return 1 - np.abs(np.arange(size) - center) / factor
