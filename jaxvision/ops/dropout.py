"""Random zeroing of elements, channels or samples; what is left is enlarged so that the mean is kept."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating


def dropout(key: jax.Array, x: jax.Array, *, rate: float) -> jax.Array:
    """Zeroes each element with probability ``rate``, as ``torch.nn.functional.dropout``.

    .. math:: y = x \\; m / (1 - rate), \\quad m \\sim Bernoulli(1 - rate)

    The rate is taken to the nearest of 65536 parts, and what is left enlarged by exactly that: so that two
    elements can share a random word, which are most of the cost on a CPU.

    Args:
      key: JAX key.
      x: any shape, floating.
      rate: probability of zero, from 0 (the identity) to 1 (zeros).

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: if ``x`` is not floating or ``rate`` is outside [0, 1].

    References:
      Srivastava et al. 2014, *Dropout*, section 4; enlarged in training and not shrunk in evaluation, its
      section 10.

    >>> sorted(set(dropout(jax.random.key(0), jnp.ones(100), rate=0.75).tolist()))
    [0.0, 4.0]
    """
    return _drop(key, x, rate, x.shape)


def channel_dropout(key: jax.Array, x: jax.Array, *, rate: float) -> jax.Array:
    """Zeroes whole channels of a sample, as ``dropout1d``, ``dropout2d`` and ``dropout3d`` of torch.

    Neighbouring pixels of a feature map say nearly the same, so that single zeros take little away.

    Args:
      key: JAX key.
      x: ``[N, ..., C]``, floating, with at least one axis between.
      rate: probability of zero, from 0 to 1.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: as :func:`dropout`; or if ``x`` has fewer than three axes.

    References:
      Tompson et al. 2015, *Efficient Object Localization Using Convolutional Networks*, section 3.2
      (SpatialDropout).

    >>> y = channel_dropout(jax.random.key(0), jnp.ones((1, 5, 5, 8)), rate=0.5)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """
    if x.ndim < 3:
        raise ValueError(f"x: expected [N, ..., C] with pixels, got {list(x.shape)}; without any use dropout")
    return _drop(key, x, rate, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))


def drop_path(key: jax.Array, x: jax.Array, *, rate: float) -> jax.Array:
    """Zeroes whole samples: stochastic depth, as ``torchvision.ops.stochastic_depth`` in its "row" mode.

    Applied to the residual branch of a block, which then is the identity for the samples that are dropped.

    Args:
      key: JAX key.
      x: ``[N, ...]``, floating: the branch before it is added.
      rate: probability of zero, from 0 to 1.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: as :func:`dropout`; or if ``x`` has no axis.

    References:
      Huang et al. 2016, *Deep Networks with Stochastic Depth*, equations 2 and 5. Drawn for each sample,
      not for the batch, and enlarged in training instead of shrunk in evaluation.

    >>> y = drop_path(jax.random.key(0), jnp.ones((100, 3)), rate=0.5)
    >>> sorted(set(map(tuple, y.tolist())))
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    if x.ndim < 1:
        raise ValueError("x: expected [N, ...], got []; add a batch axis")
    return _drop(key, x, rate, (x.shape[0], *(1,) * (x.ndim - 1)))


def dropout_nonzero(key: jax.Array, x: jax.Array, nonzero: jax.Array, *, rate: float) -> jax.Array:
    """Zeroes elements of an array that is mostly zeros: :func:`dropout` that draws for the others alone.

    A bag of words of Cora has 1 % of its elements: as many numbers are drawn.

    Args:
      key: JAX key.
      x: any shape, floating.
      nonzero: integers ``[n]``, ascending: positions in ``x.reshape(-1)`` of all elements that are not 0. An
        element that it leaves out comes out as 0.
      rate: probability of zero, from 0 to 1.

    Returns:
      Array of the shape and dtype of ``x``.

    Raises:
      ValueError: as :func:`dropout`.

    >>> y = dropout_nonzero(jax.random.key(0), jnp.array([0.0, 3.0, 0.0, 2.0]), jnp.array([1, 3]), rate=0.5)
    >>> y[0].item(), y[1].item() in (0.0, 6.0), y[3].item() in (0.0, 4.0)
    (0.0, True, True)
    """
    flat = x.reshape(-1)
    kept = _drop(key, flat.at[nonzero].get(mode="promise_in_bounds"), rate, nonzero.shape)
    dropped = jnp.zeros_like(flat).at[nonzero].set(kept, indices_are_sorted=True, unique_indices=True)
    return dropped.reshape(x.shape)


def _drop(key: jax.Array, x: jax.Array, rate: float, mask_shape: tuple[int, ...]) -> jax.Array:
    check_floating(x=x)
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected the probability of zero, from 0 to 1, got {rate}")
    if rate == 0:
        return x
    if rate == 1:
        return jnp.zeros_like(x)
    kept, share = _draw_kept(key, 1 - rate, mask_shape)
    return jnp.where(jnp.broadcast_to(kept, x.shape), x / share, 0)


def _draw_kept(key: jax.Array, share: float, shape: tuple[int, ...]) -> tuple[jax.Array, float]:
    """True for about ``share`` of the elements, and the share that is meant: the nearest of 65536 parts.

    Each random word of 32 bits decides two elements.
    """
    limit = min(max(round(share * 65536), 1), 65535)
    *rows, columns = shape or (1,)
    pairs = (columns + 1) // 2
    words = jax.random.bits(key, (*rows, pairs), jnp.uint32)
    # The barrier keeps XLA from making each word twice, once for either half.
    halves = lax.bitcast_convert_type(lax.optimization_barrier(words), jnp.uint16)  # [*rows, pairs, 2]
    kept = halves.reshape(*rows, 2 * pairs)[..., :columns] < limit
    return kept.reshape(shape), limit / 65536
