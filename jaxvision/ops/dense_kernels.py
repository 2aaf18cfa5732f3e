"""A fully connected layer over a feature map is a convolution whose window is the whole map."""

import math

import jax

from jaxvision.core import check_layout
from jaxvision.ops.windows import Size, as_sizes


def dense_kernel_to_conv(kernel: jax.Array, size: Size) -> jax.Array:
    """The convolution kernel that does to a feature map what a dense layer does to the flattened map.

    On maps of the given size the convolution, without padding, gives the dense layer's output at its one
    position. On larger maps it gives the output for every window of that size: a classifier becomes a
    network that answers for all positions at the cost of one pass.

    Args:
      kernel: ``[h w C, K]``, of a dense layer on ``x.reshape(N, -1)`` with ``x`` ``[N, h, w, C]``. PyTorch
        flattens ``[C, h, w]``: reshape a torch weight ``[K, C h w]`` to ``[K, C, h, w]`` and move its axes.
      size: of the map, a number or ``(h, w)``.

    Returns:
      ``[h, w, C, K]``, in the dtype of ``kernel``.

    Raises:
      ValueError: if the kernel's rows are no multiple of the map's pixels.

    References:
      Long et al. 2015, *Fully Convolutional Networks for Semantic Segmentation*, section 3.1. Sermanet et al.
      2014, *OverFeat*, section 3.5.

    >>> import jax.numpy as jnp
    >>> dense_kernel_to_conv(jnp.zeros((7 * 7 * 512, 4096)), 7).shape
    (7, 7, 512, 4096)
    """
    check_layout("kernel", kernel, "rows K", remedy="expected the kernel of a dense layer")
    height, width = as_sizes("size", size)
    if kernel.shape[0] % (height * width):
        raise ValueError(
            f"kernel: expected {height} * {width} * C rows for a map of size {[height, width]}, got "
            f"{list(kernel.shape)}; give the size of the map that the dense layer reads"
        )
    return kernel.reshape(height, width, -1, kernel.shape[1])


def conv_kernel_to_dense(kernel: jax.Array) -> jax.Array:
    """The inverse of :func:`dense_kernel_to_conv`.

    Args:
      kernel: ``[h, w, C, K]``, of a convolution whose window is the whole map.

    Returns:
      ``[h w C, K]``, of a dense layer on ``x.reshape(N, -1)``.

    Raises:
      ValueError: if the kernel has not four axes.

    >>> import jax.numpy as jnp
    >>> conv_kernel_to_dense(jnp.zeros((7, 7, 512, 4096))).shape
    (25088, 4096)
    """
    check_layout("kernel", kernel, "h w C K", remedy="expected the kernel of a convolution of images")
    return kernel.reshape(math.prod(kernel.shape[:3]), kernel.shape[3])
