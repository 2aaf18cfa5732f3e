"""The confusion matrix: the counts that every segmentation score is made of."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_integer, check_same_shape, expand_where

_BLOCK = 8192  # elements of a product: enough products to fill a device, sums far below 2^24
_HELD = 2**24  # elements of a one-hot matrix that are there at once: 32 MiB


def confusion_matrix(
    labels: jax.Array,
    predictions: jax.Array,
    num_classes: int,
    *,
    ignore_index: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Counts how often each true class is predicted as each class.

    .. math:: n_{ij} = \sum_p [y_p = i]\,[\hat y_p = j]

    Counts add: the matrix of two batches, devices (``psum``) or hosts is the sum of their matrices. Over a
    whole data set add them on the host in 64 bits, ``total += np.asarray(counts, np.int64)``, since int32
    overflows after 2^31 pixels of one class (about 12,000 images of 512 x 340); the scores of
    :mod:`jaxvision.metrics.segmentation` take both kinds.

    Args:
      labels: integer [...], the truth.
      predictions: integer [...], class indices (``jnp.argmax(logits, axis=-1)``).
      num_classes: K, static.
      ignore_index: label whose elements are not counted.
      where: bool, the shape of ``labels`` or its leading axes (``[N]`` for images); False is not counted.

    Returns:
      int32 [K, K], rows = truth, columns = prediction. An element whose label or prediction is outside
      [0, K) is not counted: compare ``counts.sum()`` with the number of elements where that matters.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks", section 4 (:math:`n_{ij}`). Rows and
      columns as ``sklearn.metrics.confusion_matrix``. On a CPU by :func:`scatter_counts`, elsewhere by
      :func:`product_counts`, which are equal.

    >>> import jax.numpy as jnp
    >>> confusion_matrix(jnp.array([0, 0, 1, 255]), jnp.array([0, 1, 1, 0]), 2, ignore_index=255).tolist()
    [[1, 1], [0, 1]]
    """
    check_integer(labels=labels, predictions=predictions)
    check_same_shape(labels=labels, predictions=predictions)
    counted = _in_range(labels, num_classes) & _in_range(predictions, num_classes)
    if ignore_index is not None:
        counted = counted & (labels != ignore_index)
    if where is not None:
        counted = counted & expand_where(where, labels.shape)
    truth, guess = (
        jnp.where(counted, classes.astype(jnp.int32), num_classes).ravel()
        for classes in (labels, predictions)
    )
    return lax.platform_dependent(
        truth,
        guess,
        cpu=functools.partial(scatter_counts, num_classes=num_classes),
        default=functools.partial(product_counts, num_classes=num_classes),
    )


def scatter_counts(truth: jax.Array, guess: jax.Array, *, num_classes: int) -> jax.Array:
    """The confusion matrix one element after the other, which is what a CPU does best.

    0.2 ms for 172,800 pixels on a CPU for any K, where the product of one-hot matrices takes 2.6 ms (K = 11)
    to 92 ms (K = 150).

    Args:
      truth: int32 [P], in [0, K); K for an element that is not counted.
      guess: int32 [P], likewise, K for the same elements.
      num_classes: K, static.

    Returns:
      int32 [K, K].
    """
    cells = truth * num_classes + guess
    cells = jnp.where(truth < num_classes, cells, num_classes**2)  # one bin more, for what is not counted
    ones = jnp.ones(cells.size, jnp.int32)
    counts = jax.ops.segment_sum(ones, cells, num_classes**2 + 1)
    return counts[:-1].reshape(num_classes, num_classes)


def product_counts(truth: jax.Array, guess: jax.Array, *, num_classes: int) -> jax.Array:
    """The confusion matrix as products of one-hot matrices: matrix units take them, and nothing collides.

    A scatter is done one element at a time on a TPU, and on a GPU most elements wait for the few cells of the
    diagonal. Zeros and ones are exact in bfloat16, and a block's sums in float32. Blocks are taken in turns
    of as many as keep the one-hot matrices of a turn within 2 x 32 MiB (under ``vmap``, of each matrix).

    Args:
      truth: int32 [P], in [0, K); K for an element that is not counted.
      guess: int32 [P], likewise, K for the same elements.
      num_classes: K, static.

    Returns:
      int32 [K, K].
    """
    if truth.size == 0:
        return jnp.zeros((num_classes, num_classes), jnp.int32)
    block = min(_BLOCK, truth.size)
    blocks = -(-truth.size // block)
    turns = -(-blocks // max(1, _HELD // (block * num_classes)))
    together = -(-blocks // turns)

    def in_turns(classes: jax.Array) -> jax.Array:
        missing = turns * together * block - classes.size
        return jnp.pad(classes, (0, missing), constant_values=num_classes).reshape(turns, together, block)

    def one_hot(classes: jax.Array) -> jax.Array:
        index = lax.broadcasted_iota(jnp.int32, (together, block, num_classes), 2)
        return (classes[..., None] == index).astype(jnp.bfloat16)  # [B, block, K]

    def count(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
        products = jnp.einsum(
            "bpi,bpj->bij", one_hot(pair[0]), one_hot(pair[1]), preferred_element_type=jnp.float32
        )  # [B, K, K]
        return jnp.sum(products.astype(jnp.int32), axis=0)

    return jnp.sum(lax.map(count, (in_turns(truth), in_turns(guess))), axis=0)


def expand_counted(logits: jax.Array, labels: jax.Array, where: jax.Array | None) -> jax.Array:
    """Which elements count: those whose label is a class and that ``where`` does not leave out.

    Args:
      logits: [..., K].
      labels: integer [...].
      where: bool, the shape of ``labels`` or its leading axes; None for all.

    Returns:
      bool [...].

    Raises:
      ValueError: if the leading axes differ, or ``where`` does not fit.
    """
    if logits.ndim == 0 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"expected logits [..., K] and labels [...] of equal leading axes, got logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}; classes are the last axis"
        )
    counted = _in_range(labels, logits.shape[-1])
    return counted if where is None else counted & expand_where(where, labels.shape)


def _in_range(classes: jax.Array, num_classes: int) -> jax.Array:
    return (classes >= 0) & (classes < num_classes)
