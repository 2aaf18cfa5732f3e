"""Label sequences against true ones: edit distance, and counts that add up to error rates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_integer, check_layout
from jaxvision.metrics.ratios import Array, divide, widen


class TranscriptCounts(NamedTuple):
    """What :func:`transcript_counts` counts; fields of batches add.

    Attributes:
      edits: int32 [], insertions, deletions and substitutions.
      labels: int32 [], labels of the truth.
      exact: int32 [], sequences without an edit.
      sequences: int32 [].
    """

    edits: Array
    labels: Array
    exact: Array
    sequences: Array


def edit_distance(
    labels: jax.Array, lengths: jax.Array, true_labels: jax.Array, true_lengths: jax.Array
) -> jax.Array:
    """Levenshtein's distance: the fewest insertions, deletions and substitutions that make one the other.

    Args:
      labels: integers ``[N, L]``; what is behind an end does not matter.
      lengths: integers ``[N]``.
      true_labels: integers ``[N, M]``.
      true_lengths: integers ``[N]``.

    Returns:
      int32 ``[N]``.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Wagner and Fischer 1974, *The String-to-String Correction Problem*; a row of its table at a time, in
      which the step from the left is a running minimum.

    >>> edit_distance(jnp.array([[1, 2, 3]]), jnp.array([3]), jnp.array([[1, 3]]), jnp.array([2]))
    Array([1], dtype=int32)
    """
    check_layout("labels", labels, "N L")
    check_layout("true_labels", true_labels, f"{labels.shape[0]} M")
    check_layout("lengths", lengths, f"{labels.shape[0]}")
    check_layout("true_lengths", true_lengths, f"{labels.shape[0]}")
    check_integer(labels=labels, lengths=lengths, true_labels=true_labels, true_lengths=true_lengths)
    count, width = true_labels.shape
    places = jnp.broadcast_to(jnp.arange(width + 1, dtype=jnp.int32)[None, :], (count, width + 1))

    def step(row: jax.Array, moment: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        """The next row of the table, ``[N, M + 1]``: of one label more."""
        label, alive = moment  # [N]
        other = (label[:, None] != true_labels).astype(jnp.int32)  # [N, M]
        beside = jnp.minimum(row[:, :-1] + other, row[:, 1:] + 1)
        above = jnp.concatenate([row[:, :1] + 1, beside], 1)  # [N, M + 1], without the step from the left
        new = lax.cummin(above - places, axis=1) + places
        return jnp.where(alive[:, None], new, row), None

    alive = jnp.arange(labels.shape[1])[:, None] < lengths[None, :]  # [L, N]
    table, _ = lax.scan(step, places, (labels.T, alive))
    return jnp.take_along_axis(table, true_lengths[:, None], axis=1)[:, 0].astype(jnp.int32)


def transcript_counts(
    labels: jax.Array,
    lengths: jax.Array,
    true_labels: jax.Array,
    true_lengths: jax.Array,
    *,
    where: jax.Array | None = None,
) -> TranscriptCounts:
    """Counts of a batch of sequences.

    Args:
      labels: integers ``[N, L]``, what was read.
      lengths: integers ``[N]``.
      true_labels: integers ``[N, M]``.
      true_lengths: integers ``[N]``.
      where: bool ``[N]``; False is not counted.

    Raises:
      ValueError: as :func:`edit_distance`.
    """
    edits = edit_distance(labels, lengths, true_labels, true_lengths)
    counted = jnp.ones(edits.shape, bool) if where is None else where

    def total(values: jax.Array) -> jax.Array:
        return jnp.where(counted, values.astype(jnp.int32), 0).sum()

    return TranscriptCounts(
        total(edits), total(true_lengths), total(edits == 0), counted.sum(dtype=jnp.int32)
    )


def label_error_rate(counts: TranscriptCounts) -> Array:
    """Edits over true labels: the character error rate, where labels are characters; more than 1 is possible.

    nan without a true label.
    """
    xp, edits = widen(counts.edits)
    return divide(xp, edits, widen(counts.labels)[1])


def sequence_accuracy(counts: TranscriptCounts) -> Array:
    """Share of the sequences that are right as a whole; nan without a sequence."""
    xp, exact = widen(counts.exact)
    return divide(xp, exact, widen(counts.sequences)[1])
