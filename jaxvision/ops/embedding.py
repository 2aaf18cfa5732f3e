"""Classes and tokens as vectors: one-hot rows and rows of a table."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import checkify
from jax.typing import DTypeLike

from jaxvision.core import check_floating, check_integer, check_layout


def one_hot(labels: jax.Array, num_classes: int, *, dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Rows with a one at the label, as ``torch.nn.functional.one_hot``.

    A label outside ``[0, num_classes)`` gives a row of zeros, which is what an ignored pixel (-1, 255) should
    count as in a sum; PyTorch raises. Under ``checkify`` nothing is reported either.

    Args:
      labels: integers of any shape.
      num_classes: length of the rows.
      dtype: of the result.

    Returns:
      ``[*labels.shape, num_classes]``.

    Raises:
      ValueError: if ``labels`` are not integers or ``num_classes`` is below 1.

    >>> one_hot(jnp.array([1, 255]), 3)
    Array([[0., 1., 0.],
           [0., 0., 0.]], dtype=float32)
    """
    check_integer(labels=labels)
    if num_classes < 1:
        raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
    return jax.nn.one_hot(labels, num_classes, dtype=dtype)


def embedding_lookup(
    table: jax.Array, ids: jax.Array, *, padding_index: int | None = None, max_norm: float | None = None
) -> jax.Array:
    """Rows of a table, as ``torch.nn.functional.embedding``.

    The gradient of the table is the sum of the cotangents of each gathered row, zeros elsewhere. An index
    outside the table, negative ones included, gives a row of nan that no later layer can hide, and has no
    gradient; under ``checkify`` it is an error that names the index::

        checked = checkify.checkify(embedding_lookup, errors=checkify.user_checks)
        error, rows = jax.jit(checked)(table, ids)
        error.throw()

    Args:
      table: ``[V, C]``, floating.
      ids: integers of any shape, from 0 to ``V - 1``.
      padding_index: a row that is looked up like any other but gets no gradient.
      max_norm: longer rows are shortened to this Euclidean norm. As in PyTorch the shortening is a constant
        for differentiation: the gradient of the table is the row's cotangent as it is. PyTorch also writes
        the shortened rows back; a pure function cannot, and shortens at each look-up.

    Returns:
      ``[*ids.shape, C]`` in the dtype of the table.

    Raises:
      ValueError: if the table is not ``[V, C]`` and floating, ``ids`` are not integers, ``padding_index`` is
        outside the table or ``max_norm`` is not positive.

    >>> embedding_lookup(jnp.array([[3.0, 4.0], [0.5, 0.0]]), jnp.array([0, 1, -1]))
    Array([[3. , 4. ],
           [0.5, 0. ],
           [nan, nan]], dtype=float32)
    """
    check_layout("table", table, "V C")
    check_floating(table=table)
    check_integer(ids=ids)
    size = table.shape[0]
    if padding_index is not None and not 0 <= padding_index < size:
        raise ValueError(f"padding_index: expected a row of the table, 0 to {size - 1}, got {padding_index}")
    if max_norm is not None and max_norm <= 0:
        raise ValueError(f"max_norm: expected a positive number or None, got {max_norm}")
    rows_of = jnp.asarray(ids).astype(
        jnp.promote_types(ids.dtype, jnp.int32)
    )  # a narrow type cannot hold the size
    checkify.debug_check(
        jnp.all((rows_of >= 0) & (rows_of < size)),
        "ids: expected indices from 0 to {last}, got from {low} to {high}",
        last=jnp.asarray(size - 1),
        low=rows_of.min(initial=0),
        high=rows_of.max(initial=0),
    )
    rows_of = jnp.where(rows_of < 0, size, rows_of)  # jnp.take would count from the end
    rows = jnp.take(table, rows_of, axis=0, mode="fill", fill_value=jnp.nan)  # [*ids.shape, C]
    if padding_index is not None:
        rows = jnp.where((rows_of == padding_index)[..., None], lax.stop_gradient(rows), rows)
    return rows if max_norm is None else _shorten(rows, max_norm)


def _shorten(rows: jax.Array, max_norm: float) -> jax.Array:
    """Rows of at most this norm, with the derivative of the rows themselves."""
    constant = lax.stop_gradient(rows)
    wide = constant.astype(jnp.promote_types(rows.dtype, jnp.float32))
    norm = jnp.sqrt(jnp.square(wide).sum(-1, keepdims=True))
    factor = jnp.where(norm > max_norm, max_norm / (norm + 1e-7), 1.0)  # PyTorch's guard of the division
    short = (wide * jnp.broadcast_to(factor, wide.shape)).astype(rows.dtype)
    return short + (rows - constant)
