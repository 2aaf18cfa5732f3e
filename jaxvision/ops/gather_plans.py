"""Plans by which a reduction over segments is made of gathers, prepared on the host once a graph.

A CPU scatters rows one after the other but gathers them as fast as memory gives them. So the rows of every
segment are cut into chunks of a few sizes; all chunks of one size are a table of indices, whose columns are
gathered and added up. What chunks give is reduced in the same way until one row a segment is left.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CHUNK_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 16)
"""Sizes of chunks: up to 8 rows are one chunk, more are sixteens, an eight, and the rest."""


class GatherPlan(NamedTuple):
    """How to reduce the rows of every segment by gathers; see :func:`plan_segments`.

    The shapes are those of the segments at hand: a function that is compiled for one plan is compiled anew
    for that of another graph. Plans are for graphs that are used many times.

    Attributes:
      levels: by level and size of a chunk, indices ``[size, chunks]``, int32: at the first level of rows,
        after that of what the level before gave, tables one after the other.
      places: where each segment's result is, ``[S]``, int32: index into the results of all levels one after
        the other; the index after the last is a row that segments without rows have.
    """

    levels: tuple[tuple[jax.Array, ...], ...]
    places: jax.Array


def plan_segments(
    segment_ids: np.ndarray,
    num_segments: int,
    *,
    where: np.ndarray | None = None,
    chunk_sizes: Sequence[int] = CHUNK_SIZES,
) -> GatherPlan:
    """Plans the reductions over segments, on the host.

    Args:
      segment_ids: segment of each row ``[E]``, integers in ``0 .. num_segments - 1``.
      num_segments: number of segments S.
      where: True where a row counts ``[E]``; None for everywhere.
      chunk_sizes: sizes that chunks may have, ascending, with 1 and at least one more. Each stands for as
        many gathers in the program.

    Returns:
      The plan, numpy arrays.

    Raises:
      ValueError: if a segment is out of range, shapes do not fit or the sizes are not such.

    >>> plan = plan_segments(np.array([2, 0, 2]), 3)
    >>> [table.tolist() for table in plan.levels[0]], plan.places.tolist()
    ([[[1]], [[0], [2]]], [0, 2, 1])
    """
    ids = np.asarray(segment_ids)
    rows = np.arange(len(ids)) if where is None else np.flatnonzero(where)
    if where is not None and np.shape(where) != ids.shape:
        raise ValueError(f"where: expected {list(ids.shape)}, one a row, got {list(np.shape(where))}")
    owners = ids[rows]
    if owners.size and not 0 <= owners.min() <= owners.max() < num_segments:
        raise ValueError(
            f"segment_ids: expected 0 to {num_segments - 1}, got {owners.min()} to {owners.max()}; an index "
            "beyond the nodes is an error in the graph"
        )
    sizes = sorted(set(chunk_sizes), reverse=True)
    if len(sizes) < 2 or sizes[-1] != 1:
        raise ValueError(f"chunk_sizes: expected 1 and at least one more, got {list(chunk_sizes)}")
    levels: list[tuple[np.ndarray, ...]] = []
    places, done = np.full(num_segments, -1, np.int64), 0
    while rows.size:
        tables, chunk_owners = _chunks(rows, owners, num_segments, sizes)
        levels.append(tables)
        is_last = np.bincount(chunk_owners, minlength=num_segments)[chunk_owners] == 1
        places[chunk_owners[is_last]] = done + np.flatnonzero(is_last)
        rows, owners = np.flatnonzero(~is_last), chunk_owners[~is_last]
        done += len(chunk_owners)
    places[places < 0] = done
    return GatherPlan(tuple(levels), places.astype(np.int32))  # type: ignore[arg-type]  # numpy until used


def plan_size(plan: GatherPlan) -> int:
    """Number of rows that a plan reduces, those that count."""
    return sum(table.size for table in plan.levels[0]) if plan.levels else 0


def _chunks(
    rows: np.ndarray, owners: np.ndarray, num_segments: int, sizes: Sequence[int]
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Tables of row indices ``[size, chunks]``, and the segment of every chunk, table by table."""
    rows = rows[np.argsort(owners, kind="stable")]
    left = np.bincount(owners, minlength=num_segments)
    starts = np.cumsum(left) - left
    tables, chunk_owners = [], []
    for size in sizes:
        count, left = left // size, left % size
        total = int(count.sum())
        if total == 0:
            continue
        owner = np.repeat(np.arange(num_segments), count)
        nth = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        first = starts[owner] + nth * size
        tables.append(rows[first + np.arange(size)[:, None]].astype(np.int32))
        chunk_owners.append(owner)
        starts = starts + count * size
    return tuple(tables[::-1]), np.concatenate(chunk_owners[::-1])


def reduce_by_plan(
    plan: GatherPlan,
    take: Callable[..., jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    empty: float,
    *,
    extra: Sequence[Sequence[jax.Array]] = (),
) -> jax.Array:
    """Reduces what ``take`` gives for rows.

    Args:
      plan: of the segments.
      take: indices of rows ``[chunks]`` to values ``[chunks, ...]``; with ``extra`` it gets the entries of
        its tables too.
      combine: of two arrays of values, associative.
      empty: result for a segment without rows.
      extra: more tables of the shapes of the first level's.

    Returns:
      ``[S, ...]``.
    """
    if not plan.levels:
        values = take(*(jnp.zeros((0,), jnp.int32) for _ in range(1 + len(extra))))
        return jnp.full((plan.places.shape[0], *values.shape[1:]), empty, values.dtype)
    results = [_level(take, combine, list(zip(plan.levels[0], *extra, strict=True)))]
    for tables in plan.levels[1:]:
        results.append(_level(take_rows(results[-1]), combine, [(table,) for table in tables]))
    rest = jnp.full((1, *results[0].shape[1:]), empty, results[0].dtype)
    every = jnp.concatenate([*results, rest])  # [chunks + 1, ...]
    return every.at[plan.places].get(mode="promise_in_bounds")


def _level(
    take: Callable[..., jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    tables: Sequence[tuple[jax.Array, ...]],
) -> jax.Array:
    """One row a chunk, ``[chunks, ...]``: the columns of a table are combined one after the other."""
    parts = []
    for columns in tables:
        size = columns[0].shape[0]
        rows = (take(*(table[nth] for table in columns)) for nth in range(size))
        parts.append(functools.reduce(combine, rows))
    return jnp.concatenate(parts)


def take_rows(values: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """A function of indices ``[chunks]`` that gives these rows of ``values``."""
    return lambda rows: jnp.asarray(values).at[rows].get(mode="promise_in_bounds")
