"""Initialisers of kernels: functions ``(key, shape, dtype) -> array`` as in ``jax.nn.initializers``.

Those without options are such functions themselves (``kernel_init=lecun_normal``), those with options return
one (``kernel_init=xavier_uniform(gain=2.0)``). All are equal in distribution to their namesakes in
``torch.nn.init``; ``jax.nn.initializers`` has other forms under the same names (truncated ``he_normal``).

Fans: a kernel ``[kh, kw, Cin, Cout]`` (any number of axes in front, ``[Cin, Cout]`` for a linear layer) has
``fan_in = kh kw Cin`` and ``fan_out = kh kw Cout``. With groups the kernel's own sizes count, ``[kh, kw,
Cin / groups, Cout]``, as in PyTorch. Of a transposed convolution, too, ``fan_in`` is what comes from the
kernel's input channels, where PyTorch counts its output channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

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


def activation_gain(nonlinearity: str, *, negative_slope: float = 0.01) -> float:
    """Factor of a kernel's deviation that makes up for a nonlinearity, ``torch.nn.init.calculate_gain``.

    Args:
      nonlinearity: "linear" or "sigmoid" (1), "tanh" (5 / 3), "relu" (sqrt 2), "leaky_relu"
        (``sqrt(2 / (1 + negative_slope^2))``) or "selu" (3 / 4).
      negative_slope: of "leaky_relu".

    Returns:
      The gain.

    Raises:
      ValueError: if the nonlinearity is none of these.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equation 15, for the ReLUs; the others are PyTorch's
      table. Under SELU 3 / 4 is PyTorch's compromise: the paper's own networks need 1,
      :func:`lecun_normal`.

    >>> activation_gain("leaky_relu", negative_slope=1.0)
    1.0
    """
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + negative_slope**2)),
        "selu": 3 / 4,
    }
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity: expected one of {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform(*, gain: float = 1.0) -> Initializer:
    """Uniform with variance ``2 gain^2 / (fan_in + fan_out)``, ``torch.nn.init.xavier_uniform_``.

    The mean of the two fans is between what keeps the variance of activations and what keeps that of
    gradients where the nonlinearity is nearly linear.

    Args:
      gain: see :func:`activation_gain`.

    Returns:
      The initialiser.

    References:
      Glorot and Bengio 2010, *Understanding the Difficulty of Training Deep Feedforward Neural Networks*,
      equation 16.

    >>> bool(abs(xavier_uniform()(jax.random.key(0), (50, 100))).max() < 0.2)
    True
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")


def xavier_normal(*, gain: float = 1.0) -> Initializer:
    """Normal with variance ``2 gain^2 / (fan_in + fan_out)``, ``torch.nn.init.xavier_normal_``.

    Not truncated.

    Args:
      gain: see :func:`activation_gain`.

    Returns:
      The initialiser.

    References:
      Glorot and Bengio 2010, equation 12.

    >>> xavier_normal()(jax.random.key(0), (3, 3, 8, 4)).shape
    (3, 3, 8, 4)
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "normal")


def he_normal(*, mode: Literal["fan_in", "fan_out"] = "fan_in", negative_slope: float = 0.0) -> Initializer:
    """Normal with variance ``2 / ((1 + negative_slope^2) fan)``, ``torch.nn.init.kaiming_normal_``.

    Not truncated. :func:`he_normal_fan_in` and :func:`he_normal_fan_out` are the two forms for ReLU.

    Args:
      mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
      negative_slope: of the leaky ReLU that follows; 0 for ReLU, 1 for a linear layer.

    Returns:
      The initialiser.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equations 10, 14 and 15.

    >>> he_normal(mode="fan_out")(jax.random.key(0), (3, 3, 8, 4)).shape
    (3, 3, 8, 4)
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "normal")


def he_uniform(*, mode: Literal["fan_in", "fan_out"] = "fan_in", negative_slope: float = 0.0) -> Initializer:
    """Uniform with variance ``2 / ((1 + negative_slope^2) fan)``, ``torch.nn.init.kaiming_uniform_``.

    ``negative_slope=math.sqrt(5)`` is what ``torch.nn.Conv2d`` and ``Linear`` start with: ±``1 /
    sqrt(fan_in)``.

    Args:
      mode: as :func:`he_normal`.
      negative_slope: as :func:`he_normal`.

    Returns:
      The initialiser.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equations 10, 14 and 15.

    >>> bool(abs(he_uniform(negative_slope=5**0.5)(jax.random.key(0), (4, 9))).max() < 0.5)
    True
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "uniform")


def lecun_normal(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Normal with variance ``1 / fan_in``; not truncated. Keeps the variance through linear layers and SELU.

    References:
      LeCun et al. 1998, *Efficient BackProp*, equation 16.
    """
    return jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")(key, shape, dtype)


def lecun_uniform(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Uniform with variance ``1 / fan_in``.

    References:
      LeCun et al. 1998, *Efficient BackProp*, equation 16.
    """
    return jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")(key, shape, dtype)


def orthogonal(*, gain: float = 1.0) -> Initializer:
    """Random orthogonal matrix times ``gain``, ``torch.nn.init.orthogonal_``.

    A kernel ``[..., Cin, Cout]`` is the matrix ``[kh kw Cin, Cout]``, its rows in row-major order.
    Whichever of the two are fewer, rows or columns, are orthonormal. The matrix is uniform over all such
    (QR of a normal one, signs fixed by R's diagonal): PyTorch's order of the rows, ``Cin kh kw``, gives the
    same distribution, and so do the singular vectors of a normal matrix, which other libraries offer as an
    SVD initialiser.

    Args:
      gain: see :func:`activation_gain`.

    Returns:
      The initialiser.

    References:
      Saxe et al. 2014, *Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear Neural
      Networks*, section 3.

    >>> kernel = orthogonal()(jax.random.key(0), (3, 3, 2, 4)).reshape(18, 4)
    >>> bool(jnp.allclose(kernel.T @ kernel, jnp.eye(4), atol=1e-5))
    True
    """
    draw = jax.nn.initializers.orthogonal(gain)

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        wide = jnp.promote_types(dtype, jnp.float32)  # there is no QR decomposition in bfloat16
        return draw(key, shape, wide).astype(dtype)

    return init


def truncated_normal(
    *, mean: float = 0.0, stddev: float = 1.0, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """Normal, drawn again outside ``[lower, upper]``, ``torch.nn.init.trunc_normal_``.

    The limits are values, not multiples of the deviation: with ``stddev=0.02``, as Transformers have it, ±2
    cuts nothing. ``stddev`` is that before the cut: at two deviations 0.88 of it is left.

    Args:
      mean: of the distribution that is cut.
      stddev: of the distribution that is cut.
      lower: smallest value.
      upper: largest value.

    Returns:
      The initialiser.

    Raises:
      ValueError: if ``stddev`` is not positive or the limits are not in order.

    >>> bool(abs(truncated_normal(stddev=5.0)(jax.random.key(0), (100,))).max() <= 2)
    True
    """
    if stddev <= 0 or lower >= upper:
        raise ValueError(f"expected stddev > 0 and lower < upper, got {stddev}, {lower} and {upper}")

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        limits = (lower - mean) / stddev, (upper - mean) / stddev
        values = mean + stddev * jax.random.truncated_normal(key, *limits, shape, dtype)
        return values.clip(lower, upper)  # the product may round past a limit

    return init


def sparse(*, sparsity: float, stddev: float = 0.01) -> Initializer:
    """Normal with a share of zeros: each input goes to few outputs, ``torch.nn.init.sparse_``.

    Of each input's weights, a row of ``[Cin, Cout]``, ``ceil(sparsity Cout)`` at random places are zero. For
    linear layers only, as in PyTorch.

    Args:
      sparsity: share of zeros, from 0 to 1.
      stddev: deviation of the others.

    Returns:
      The initialiser; a shape of other than two axes is a ValueError.

    Raises:
      ValueError: if ``sparsity`` is outside [0, 1].

    References:
      Martens 2010, *Deep Learning via Hessian-Free Optimization*, section 5.

    >>> (sparse(sparsity=0.7)(jax.random.key(0), (3, 10)) == 0).sum(1)
    Array([7, 7, 7], dtype=int32)
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity: expected the share of zeros, from 0 to 1, got {sparsity}")

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        if len(shape) != 2:
            raise ValueError(f"sparse: expected a shape [Cin, Cout], got {list(shape)}")
        place_key, value_key = jax.random.split(key)
        ranks = jax.random.permutation(
            place_key, jnp.broadcast_to(jnp.arange(shape[1]), shape), axis=1, independent=True
        )
        values = stddev * jax.random.normal(value_key, shape, dtype)
        return jnp.where(ranks < math.ceil(sparsity * shape[1]), 0, values)

    return init


def identity(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Ones on the diagonal of ``[Cin, Cout]``, ``torch.nn.init.eye_``: a linear layer starts as the identity.

    Raises:
      ValueError: if the shape has other than two axes; :func:`dirac` is for convolutions.
    """
    del key
    if len(shape) != 2:
        raise ValueError(
            f"identity: expected a shape [Cin, Cout], got {list(shape)}; convolutions have dirac"
        )
    return jnp.eye(shape[0], shape[1], dtype=dtype)


def dirac(*, groups: int = 1) -> Initializer:
    """A one at the centre of the kernel of each channel, ``torch.nn.init.dirac_``.

    With padding ``k // 2`` and stride 1 the convolution starts as the identity; channels past the smaller
    of the two numbers, input and output, are zero. With groups this holds in each group.

    Args:
      groups: of the convolution.

    Returns:
      The initialiser; the shape must be ``[kt, Cin, Cout]``, ``[kh, kw, Cin / groups, Cout]`` or
      ``[kt, kh, kw, Cin / groups, Cout]`` and ``groups`` divide ``Cout``, else it is a ValueError.

    References:
      Zagoruyko and Komodakis 2017, *DiracNets*, section 2; without its learned scale.

    >>> dirac()(jax.random.key(0), (3, 1, 1))[:, 0, 0]
    Array([0., 1., 0.], dtype=float32)
    """

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        del key
        if not 3 <= len(shape) <= 5 or groups < 1 or shape[-1] % groups:
            raise ValueError(
                f"dirac: expected a shape [kh, kw, Cin / groups, Cout] of {groups} group(s), or one of 1 "
                f"or 3 window axes, got {list(shape)}"
            )
        kernel = np.zeros(shape)
        centre = tuple(size // 2 for size in shape[:-2])
        kernel[centre] = np.tile(np.eye(shape[-2], shape[-1] // groups), groups)
        return jnp.asarray(kernel, dtype)

    return init


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
