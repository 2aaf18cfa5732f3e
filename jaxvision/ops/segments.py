"""Reductions over segments: rows of one array that belong together by an index, such as a node's edges.

All take ``values [E, ...]`` and the segment of each row, ``segment_ids [E]``, and return ``[S, ...]`` with
one row a segment. Rows may come in any order; those where ``where`` is False count for nothing, whatever they
hold, nan included. A row whose segment is outside ``0 .. S - 1`` counts for nothing either.

With a ``plan`` (see :func:`jaxvision.ops.plan_segments`) a reduction is made of gathers instead of a scatter,
which is what a CPU is fast at; the numbers are the same but for the order of their sums.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer
from jaxvision.ops.gather_plans import GatherPlan, plan_size, reduce_by_plan, take_rows


def segment_sum(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
) -> jax.Array:
    """Sum of the rows of each segment; zeros for one without rows.

    Args:
      values: ``[E, ...]``, floating.
      segment_ids: segment of each row ``[E]``, integers.
      num_segments: number of segments S.
      where: True where a row counts ``[E]``, bool; None for everywhere.
      indices_are_sorted: whether ``segment_ids`` ascend, which some platforms use. If they do not although
        this says so, the result is undefined.
      plan: of these segments, made of the same ``segment_ids`` and ``where``; None for a scatter. Without
        forward-mode derivatives.

    Returns:
      ``[S, ...]`` in the dtype of ``values``; summed in float32 at least.

    Raises:
      ValueError: if shapes do not fit, or a dtype is wrong.

    >>> segment_sum(jnp.array([1.0, 2.0, 4.0]), jnp.array([2, 0, 2]), 3)
    Array([2., 0., 5.], dtype=float32)
    """
    _check(values, segment_ids, num_segments, where, plan)
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    if plan is not None:
        total = _planned_sum(wide, segment_ids, where, plan)
    else:
        total = scatter_sum(_masked(wide, where), segment_ids, num_segments, indices_are_sorted)
    return total.astype(values.dtype)


def segment_mean(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
) -> jax.Array:
    """Mean of the rows of each segment; zeros for one without rows. Arguments as :func:`segment_sum`.

    >>> segment_mean(jnp.array([1.0, 2.0, 4.0]), jnp.array([2, 0, 2]), 3)
    Array([2. , 0. , 2.5], dtype=float32)
    """
    options: dict[str, Any] = {"where": where, "indices_are_sorted": indices_are_sorted, "plan": plan}
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    total = segment_sum(wide, segment_ids, num_segments, **options)
    count = segment_sum(jnp.ones(segment_ids.shape, wide.dtype), segment_ids, num_segments, **options)
    return (total / _expand(jnp.maximum(count, 1), total)).astype(values.dtype)


def segment_std(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
) -> jax.Array:
    """Standard deviation of the rows of each segment, of the population (divided by their number).

    Zero for a segment without rows and for one whose rows are equal; there the derivative, which does not
    exist, is zero too. The squares are of distances from the mean, so that a large mean costs no digits;
    PyTorch Geometric's subtracts the square of the mean from the mean square, and gives 0 below 0.0032.

    Arguments as :func:`segment_sum`.

    >>> segment_std(jnp.array([1.0, 2.0, 4.0]), jnp.array([2, 0, 2]), 3)
    Array([0. , 0. , 1.5], dtype=float32)
    """
    options: dict[str, Any] = {"where": where, "indices_are_sorted": indices_are_sorted, "plan": plan}
    wide = _masked(values.astype(jnp.promote_types(values.dtype, jnp.float32)), where)
    mean = segment_mean(wide, segment_ids, num_segments, **options)
    # The derivative of the mean square by its centre is zero at the mean.
    distance = wide - lax.stop_gradient(_rows_of(mean, segment_ids))
    variance = segment_mean(jnp.square(distance), segment_ids, num_segments, **options)
    positive = variance > 0
    root = jnp.sqrt(jnp.where(positive, variance, 1))
    return jnp.where(positive, root, 0).astype(values.dtype)


def segment_max(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
    empty: float = 0.0,
) -> jax.Array:
    """Largest value of each segment; zeros for one without rows, as in PyTorch Geometric.

    The derivative is shared evenly between equal largest values, as in ``torch.scatter_reduce``. (That one
    counts the zero it starts from among them, even with ``include_self=False``, so that where the maximum
    is 0 its shares are smaller than ours.) Arguments as :func:`segment_sum`; ``empty`` is the
    value of a segment without rows.

    >>> segment_max(jnp.array([-1.0, -2.0, -4.0]), jnp.array([2, 0, 2]), 3)
    Array([-2.,  0., -1.], dtype=float32)
    """
    _check(values, segment_ids, num_segments, where, plan)
    if plan is not None:
        return _planned_max(values, segment_ids, where, plan, empty)
    return _scatter_max(values, segment_ids, num_segments, where, indices_are_sorted, empty)


def segment_min(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
) -> jax.Array:
    """Smallest value of each segment; zeros for one without rows. All else as :func:`segment_max`.

    >>> segment_min(jnp.array([-1.0, -2.0, -4.0]), jnp.array([2, 0, 2]), 3)
    Array([-2.,  0., -4.], dtype=float32)
    """
    options: dict[str, Any] = {"where": where, "indices_are_sorted": indices_are_sorted, "plan": plan}
    return 0 - segment_max(-values, segment_ids, num_segments, **options)


def segment_softmax(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    *,
    where: jax.Array | None = None,
    indices_are_sorted: bool = False,
    plan: GatherPlan | None = None,
) -> jax.Array:
    """Softmax among the rows of each segment, for each of their trailing elements.

    Arguments as :func:`segment_sum`.

    Returns:
      ``[E, ...]`` in the dtype of ``values``: positive numbers whose sum over a segment is 1, and zeros where
      a row does not count.

    >>> segment_softmax(jnp.array([5.0, 200.0, 5.0]), jnp.array([2, 0, 2]), 3)
    Array([0.5, 1. , 0.5], dtype=float32)
    """
    options: dict[str, Any] = {"where": where, "indices_are_sorted": indices_are_sorted, "plan": plan}
    inside = (segment_ids >= 0) & (segment_ids < num_segments)
    counted = inside if where is None else inside & where
    wide = _masked(values.astype(jnp.promote_types(values.dtype, jnp.float32)), counted)
    largest = segment_max(lax.stop_gradient(wide), segment_ids, num_segments, **options)
    powers = _masked(jnp.exp(wide - _rows_of(largest, segment_ids)), counted)
    total = segment_sum(powers, segment_ids, num_segments, **options)
    divisors = jnp.where(_expand(counted, powers), _rows_of(total, segment_ids), 1)
    return (powers / divisors).astype(values.dtype)


def scatter_sum(
    values: jax.Array, segment_ids: jax.Array, num_segments: int, indices_are_sorted: bool
) -> jax.Array:
    """The sums as one scatter: what GPU and TPU do well."""
    zeros = jnp.zeros((num_segments, *values.shape[1:]), values.dtype)
    return zeros.at[_positive(segment_ids, num_segments)].add(
        values, mode="drop", indices_are_sorted=indices_are_sorted
    )


@jax.custom_vjp
def _planned_sum(
    values: jax.Array, segment_ids: jax.Array, where: jax.Array | None, plan: GatherPlan
) -> jax.Array:
    return reduce_by_plan(plan, take_rows(values), jnp.add, 0)


def _planned_sum_forward(
    values: jax.Array, segment_ids: jax.Array, where: jax.Array | None, plan: GatherPlan
) -> tuple[jax.Array, Any]:
    return _planned_sum(values, segment_ids, where, plan), (segment_ids, where)


def _planned_sum_backward(kept: Any, cotangent: jax.Array) -> tuple[jax.Array, None, None, None]:
    segment_ids, where = kept
    return _masked(_rows_of(cotangent, segment_ids), where), None, None, None


_planned_sum.defvjp(_planned_sum_forward, _planned_sum_backward)


def _scatter_max(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    where: jax.Array | None,
    indices_are_sorted: bool,
    empty: float,
) -> jax.Array:
    ids = segment_ids if where is None else jnp.where(where, segment_ids, num_segments)
    ids = _positive(ids, num_segments)
    is_sorted = indices_are_sorted and where is None
    start = jnp.full((num_segments, *values.shape[1:]), -jnp.inf, values.dtype)
    largest = start.at[ids].max(_masked(values, where), mode="drop", indices_are_sorted=is_sorted)
    if empty == -jnp.inf:
        return largest
    some = jnp.zeros(num_segments, bool).at[ids].set(True, mode="drop", indices_are_sorted=is_sorted)
    return jnp.where(_expand(some, largest), largest, empty)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _planned_max(
    values: jax.Array, segment_ids: jax.Array, where: jax.Array | None, plan: GatherPlan, empty: float
) -> jax.Array:
    return reduce_by_plan(plan, take_rows(values), jnp.maximum, empty)


def _planned_max_forward(
    values: jax.Array, segment_ids: jax.Array, where: jax.Array | None, plan: GatherPlan, empty: float
) -> tuple[jax.Array, Any]:
    largest = _planned_max(values, segment_ids, where, plan, empty)
    return largest, (values, segment_ids, where, plan, largest)


def _planned_max_backward(
    empty: float, kept: Any, cotangent: jax.Array
) -> tuple[jax.Array, None, None, None]:
    values, segment_ids, where, plan, largest = kept
    wide = jnp.promote_types(values.dtype, jnp.float32)
    hit = _masked((values == _rows_of(largest, segment_ids)).astype(wide), where)
    count = _planned_sum(hit, segment_ids, where, plan)
    share = cotangent.astype(wide) / jnp.maximum(count, 1)
    return (hit * _rows_of(share, segment_ids)).astype(values.dtype), None, None, None


_planned_max.defvjp(_planned_max_forward, _planned_max_backward)


def _rows_of(segments: jax.Array, segment_ids: jax.Array) -> jax.Array:
    """Each row's segment: ``[S, ...]`` to ``[E, ...]``, zeros where there is no such segment."""
    if segments.shape[0] == 0:
        return jnp.zeros((*segment_ids.shape, *segments.shape[1:]), segments.dtype)
    ids = _positive(segment_ids, segments.shape[0])
    return jnp.asarray(segments).at[ids].get(mode="fill", fill_value=0)


def _positive(ids: jax.Array, size: int) -> jax.Array:
    """Negative indices would count from the end: out of range instead."""
    return jnp.where(ids < 0, size, ids)


def _masked(values: jax.Array, where: jax.Array | None) -> jax.Array:
    return values if where is None else jnp.where(_expand(where, values), values, 0)


def _expand(rows: jax.Array, values: jax.Array) -> jax.Array:
    """``[E]`` as ``[E, ...]`` of the shape of ``values``."""
    return jnp.broadcast_to(rows.reshape(rows.shape + (1,) * (values.ndim - rows.ndim)), values.shape)


def _check(
    values: jax.Array,
    segment_ids: jax.Array,
    num_segments: int,
    where: jax.Array | None,
    plan: GatherPlan | None,
) -> None:
    check_floating(values=values)
    check_integer(segment_ids=segment_ids)
    if values.ndim < 1 or segment_ids.shape != values.shape[:1]:
        raise ValueError(
            f"segment_ids: expected one a row, [E] for values [E, ...], got {list(segment_ids.shape)} for "
            f"{list(values.shape)}"
        )
    if where is not None and (where.shape != segment_ids.shape or where.dtype != bool):
        raise ValueError(
            f"where: expected bool {list(segment_ids.shape)}, one a row, got {where.dtype} "
            f"{list(where.shape)}"
        )
    if plan is not None and (plan.places.shape[0] != num_segments or plan_size(plan) > segment_ids.shape[0]):
        raise ValueError(
            f"plan: expected one of {num_segments} segments and at most {segment_ids.shape[0]} rows, got one "
            f"of {plan.places.shape[0]} and {plan_size(plan)}; make it of the same segments"
        )
