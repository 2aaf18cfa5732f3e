"""Activation functions with PyTorch's defaults, and its derivatives where a curve has a kink.

All are elementwise on arrays of any shape and keep shape and dtype, except :func:`maxout` and :func:`glu`,
which make the last axis smaller, and the two softmax functions, which normalise along an axis. Most are
``jax.nn``'s own; they are written out here where ``jax.nn`` differs from PyTorch:

* :func:`gelu` is exact unless asked otherwise (``jax.nn.gelu`` approximates by default);
* :func:`leaky_relu` has the derivative ``negative_slope`` at 0 (``jax.nn``: 1);
* :func:`hard_tanh` has the derivative 0 at its two kinks (``jax.nn``: 1) and movable limits;
* :func:`softmax` and :func:`log_softmax` sum in float32 whatever the input is.

Where a derivative does not exist, the docstring says which value is returned.
"""

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating
from jaxvision.ops.pooling import channel_max_pool


def sigmoid(x: jax.Array) -> jax.Array:
    """Logistic function ``1 / (1 + exp(-x))``.

    >>> sigmoid(jnp.array([0.0, -200.0, 200.0]))
    Array([0.5, 0. , 1. ], dtype=float32)
    """
    return jax.nn.sigmoid(x)


def log_sigmoid(x: jax.Array) -> jax.Array:
    """Logarithm of the logistic function, ``-log(1 + exp(-x))``, finite for every finite ``x``.

    >>> log_sigmoid(jnp.array([-200.0, 200.0]))
    Array([-200.,   -0.], dtype=float32)
    """
    return jax.nn.log_sigmoid(x)


def tanh(x: jax.Array) -> jax.Array:
    """Hyperbolic tangent.

    >>> tanh(jnp.array([0.0, -200.0]))
    Array([ 0., -1.], dtype=float32)
    """
    return jnp.tanh(x)


def soft_sign(x: jax.Array) -> jax.Array:
    """``x / (1 + |x|)``.

    >>> soft_sign(jnp.array([-1.0, 3.0]))
    Array([-0.5 ,  0.75], dtype=float32)
    """
    return jax.nn.soft_sign(x)


def relu(x: jax.Array) -> jax.Array:
    """Rectified linear unit ``max(x, 0)``; the derivative at 0 is 0.

    References:
      Nair and Hinton 2010, *Rectified Linear Units Improve Restricted Boltzmann Machines*.

    >>> relu(jnp.array([-1.0, 2.0]))
    Array([0., 2.], dtype=float32)
    """
    return jax.nn.relu(x)


def relu6(x: jax.Array) -> jax.Array:
    """``min(max(x, 0), 6)``; the derivative at 0 and at 6 is 0.

    References:
      Krizhevsky 2010, *Convolutional Deep Belief Networks on CIFAR-10*; MobileNet's activation.

    >>> relu6(jnp.array([-1.0, 2.0, 7.0]))
    Array([0., 2., 6.], dtype=float32)
    """
    return jax.nn.relu6(x)


def leaky_relu(x: jax.Array, *, negative_slope: float = 0.01) -> jax.Array:
    """``x`` above 0, ``negative_slope * x`` below; the derivative at 0 is ``negative_slope``.

    References:
      Maas et al. 2013, *Rectifier Nonlinearities Improve Neural Network Acoustic Models*.

    >>> leaky_relu(jnp.array([-1.0, 2.0]), negative_slope=0.25)
    Array([-0.25,  2.  ], dtype=float32)
    """
    return jnp.where(x > 0, x, negative_slope * x)


def prelu(x: jax.Array, slope: jax.Array) -> jax.Array:
    """``x`` above 0, ``slope * x`` below, with a slope that is learned.

    At 0 the derivative with respect to ``x`` is the slope. :class:`jaxvision.layers.PReLU` holds the slope.

    Args:
      x: ``[..., C]``, floating.
      slope: ``[]`` or ``[1]``, one for all channels, or ``[C]``.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``slope`` has another shape.

    References:
      He et al. 2015, *Delving Deep into Rectifiers*, equation 1.

    >>> prelu(jnp.array([[-1.0, -1.0], [2.0, 2.0]]), jnp.array([0.5, 0.25]))
    Array([[-0.5 , -0.25],
           [ 2.  ,  2.  ]], dtype=float32)
    """
    check_floating(x=x, slope=slope)
    if slope.size != 1 and slope.shape != x.shape[-1:]:
        raise ValueError(
            f"slope: expected [] for one slope or [{x.shape[-1]}] for one a channel of x {list(x.shape)}, "
            f"got {list(slope.shape)}"
        )
    wide = jnp.broadcast_to(slope.reshape(-1) if x.ndim else slope.reshape(()), x.shape)
    return jnp.where(x > 0, x, wide.astype(x.dtype) * x)


def elu(x: jax.Array, *, alpha: float = 1.0) -> jax.Array:
    """Exponential linear unit: ``x`` above 0, ``alpha * (exp(x) - 1)`` below; the derivative at 0 is alpha.

    References:
      Clevert et al. 2016, *Fast and Accurate Deep Network Learning by Exponential Linear Units*, section 3.

    >>> elu(jnp.array([-200.0, 2.0]), alpha=0.5)
    Array([-0.5,  2. ], dtype=float32)
    """
    return jax.nn.elu(x, alpha)


def selu(x: jax.Array) -> jax.Array:
    """Self-normalising unit ``1.0507 * elu(x, alpha=1.6733)``: zero mean and unit variance are a fixed point.

    It needs weights of variance ``1 / fan_in``: :func:`jaxvision.layers.lecun_normal`. The derivative at 0 is
    the one from the left, 1.7581.

    References:
      Klambauer et al. 2017, *Self-Normalizing Neural Networks*, equation 2; the constants to all their
      digits.

    >>> selu(jnp.array([-200.0, 0.0])).round(2)
    Array([-1.76,  0.  ], dtype=float32)
    """
    return jax.nn.selu(x)


def celu(x: jax.Array, *, alpha: float = 1.0) -> jax.Array:
    """``max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)``: an ELU whose derivative is continuous.

    References:
      Barron 2017, *Continuously Differentiable Exponential Linear Units*, equation 2.

    >>> celu(jnp.array([-200.0, 2.0]), alpha=0.5)
    Array([-0.5,  2. ], dtype=float32)
    """
    return jax.nn.celu(x, alpha)


def gelu(x: jax.Array, *, approximate: bool = False) -> jax.Array:
    """Gaussian error linear unit ``x * Phi(x)`` with the normal distribution function ``Phi``.

    Args:
      x: any shape, floating.
      approximate: replace ``Phi`` by ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2``, PyTorch's
        ``approximate="tanh"``. Published weights go with one of the two: BERT and ViT with the exact form,
        GPT-2 with the approximation.

    References:
      Hendrycks and Gimpel 2016, *Gaussian Error Linear Units*, section 2.

    >>> gelu(jnp.array([-1.0, 0.0, 1.0])).round(2)
    Array([-0.16,  0.  ,  0.84], dtype=float32)
    """
    return jax.nn.gelu(x, approximate=approximate)


def silu(x: jax.Array) -> jax.Array:
    """Sigmoid linear unit ``x * sigmoid(x)``, also called swish.

    References:
      Elfwing et al. 2018, *Sigmoid-Weighted Linear Units*; Ramachandran et al. 2017, *Searching for
      Activation Functions* (swish with beta = 1).

    >>> silu(jnp.array([0.0, 200.0]))
    Array([  0., 200.], dtype=float32)
    """
    return jax.nn.silu(x)


def hard_sigmoid(x: jax.Array) -> jax.Array:
    """``relu6(x + 3) / 6``; the derivative at -3 and at 3 is 0.

    References:
      Howard et al. 2019, *Searching for MobileNetV3*, section 5.2.

    >>> hard_sigmoid(jnp.array([-3.0, 0.0, 3.0]))
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return jax.nn.hard_sigmoid(x)


def hard_tanh(x: jax.Array, *, lower: float = -1.0, upper: float = 1.0) -> jax.Array:
    """``x`` clipped to ``[lower, upper]``; the derivative at both ends is 0.

    >>> hard_tanh(jnp.array([-2.0, 0.5, 2.0]))
    Array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return jnp.where(x >= upper, upper, jnp.where(x <= lower, lower, x))


def hard_swish(x: jax.Array) -> jax.Array:
    """``x * relu6(x + 3) / 6``; the derivative at -3 is 0, at 3 it is 1.

    References:
      Howard et al. 2019, *Searching for MobileNetV3*, section 5.2.

    >>> hard_swish(jnp.array([-3.0, 0.0, 3.0]))
    Array([-0.,  0.,  3.], dtype=float32)
    """
    return jax.nn.hard_swish(x)


def softplus(x: jax.Array, *, beta: float = 1.0) -> jax.Array:
    """``log(1 + exp(beta * x)) / beta``, a smooth ReLU.

    PyTorch returns ``x`` itself above ``beta * x = 20``; here the formula holds everywhere, without overflow.
    The two differ by less than 2.1e-9 / ``beta``.

    >>> softplus(jnp.array([-200.0, 0.0, 200.0])).round(4)
    Array([  0.    ,   0.6931, 200.    ], dtype=float32)
    """
    return jax.nn.softplus(beta * x) / beta


def mish(x: jax.Array) -> jax.Array:
    """``x * tanh(softplus(x))``.

    References:
      Misra 2019, *Mish: A Self Regularized Non-Monotonic Activation Function*; YOLOv4's activation.

    >>> mish(jnp.array([-200.0, 0.0, 200.0]))
    Array([ -0.,   0., 200.], dtype=float32)
    """
    return jax.nn.mish(x)


def glu(x: jax.Array, *, axis: int = -1) -> jax.Array:
    """Gated linear unit: one half of ``axis`` times the sigmoid of the other, ``[..., 2 C] -> [..., C]``.

    Raises:
      ValueError: if the size of the axis is odd.

    References:
      Dauphin et al. 2017, *Language Modeling with Gated Convolutional Networks*, equation 1.

    >>> glu(jnp.array([3.0, 0.0]))
    Array([1.5], dtype=float32)
    """
    if x.shape[axis] % 2:
        raise ValueError(
            f"x: expected an even size of axis {axis}, got {list(x.shape)}; it is cut into halves"
        )
    return jax.nn.glu(x, axis)


def maxout(x: jax.Array, pieces: int) -> jax.Array:
    """Maximum over groups of ``pieces`` neighbouring channels: :func:`jaxvision.ops.channel_max_pool`.

    .. math:: y_i = \\max_{j < k} x_{k i + j}

    After a linear layer it is a convex function, piecewise linear in as many pieces; the difference of two
    approximates any continuous function. Where several are equal the derivative goes to the first.
    :class:`jaxvision.layers.Maxout` has the linear layer too.

    Args:
      x: ``[..., C * pieces]``, floating.
      pieces: channels that one output is the maximum of, at least 1.

    Returns:
      ``[..., C]`` in the dtype of ``x``.

    Raises:
      ValueError: if ``pieces`` does not divide the number of channels.

    References:
      Goodfellow et al. 2013, *Maxout Networks*, section 3.

    >>> maxout(jnp.array([1.0, 4.0, 3.0, 2.0]), 2)
    Array([4., 3.], dtype=float32)
    """
    check_floating(x=x)
    if pieces < 1 or x.shape[-1] % pieces:
        raise ValueError(f"pieces: expected a divisor of the {x.shape[-1]} channels of x, got {pieces}")
    return channel_max_pool(x, pieces)


def softmax(x: jax.Array, *, axis: int = -1) -> jax.Array:
    """``exp(x) / sum(exp(x))`` along an axis, from float32 sums.

    Args:
      x: logits, any shape, floating. ``-inf`` gets probability 0; nothing but ``-inf`` gives nan.
      axis: the axis of the classes.

    >>> softmax(jnp.array([200.0, 200.0, -200.0]))
    Array([0.5, 0.5, 0. ], dtype=float32)
    """
    return jax.nn.softmax(_widen(x), axis).astype(x.dtype)


def log_softmax(x: jax.Array, *, axis: int = -1) -> jax.Array:
    """``x - log(sum(exp(x)))`` along an axis, from float32 sums.

    Args:
      x: logits, any shape, floating.
      axis: the axis of the classes.

    >>> log_softmax(jnp.array([200.0, -200.0]))
    Array([   0., -400.], dtype=float32)
    """
    return jax.nn.log_softmax(_widen(x), axis).astype(x.dtype)


def _widen(x: jax.Array) -> jax.Array:
    check_floating(x=x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
