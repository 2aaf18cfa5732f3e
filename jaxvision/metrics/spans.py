"""Spans of tagged sequences, such as names: exact matches, counted as the CoNLL shared tasks do."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxvision.core import check_integer, check_layout, check_same_shape
from jaxvision.metrics.classification import ClassScores
from jaxvision.metrics.ratios import Array, divide, widen


class SpanTags(NamedTuple):
    """What tags such as ``B-PER``, ``I-PER`` and ``O`` say of spans.

    Attributes:
      types: names of the kinds of spans, in order.
      kind: int32 ``[K]``, the type of each tag, -1 for a tag outside of spans.
      begins: bool ``[K]``, whether a tag begins a span whatever is in front of it.
    """

    types: tuple[str, ...]
    kind: np.ndarray
    begins: np.ndarray


class SpanCounts(NamedTuple):
    """What :func:`span_counts` counts, int32 ``[types]`` each; fields of batches add.

    Attributes:
      correct: spans of the prediction that are in the truth, with both ends and the type.
      predicted: spans of the prediction.
      true: spans of the truth.
    """

    correct: Array
    predicted: Array
    true: Array


def read_span_tags(tags: Sequence[str]) -> SpanTags | None:
    """Reads the tags of a data set, or tells that they are not of spans.

    Args:
      tags: K names.

    Returns:
      None if a tag is neither ``O`` nor ``B-`` or ``I-`` and a type, or there is no type: parts of speech
      have no spans.

    >>> read_span_tags(["O", "B-PER", "I-PER"]).kind.tolist()
    [-1, 0, 0]
    >>> read_span_tags(["NN", "VB"]) is None
    True
    """
    parts = [tag.split("-", 1) if tag != "O" else ["O", ""] for tag in tags]
    if any(len(part) != 2 or part[0] not in ("O", "B", "I") for part in parts):
        return None
    types = tuple(sorted({kind for prefix, kind in parts if prefix != "O"}))
    if not types:
        return None
    kind = np.array([-1 if prefix == "O" else types.index(name) for prefix, name in parts], np.int32)
    return SpanTags(types, kind, np.array([prefix == "B" for prefix, _ in parts]))


def span_counts(tags: jax.Array, predictions: jax.Array, spans: SpanTags, *, where: jax.Array) -> SpanCounts:
    """Counts the spans of true and predicted tags, and those that are in both.

    A span begins at ``B``, and at an ``I`` that follows another type or nothing; it ends in front of the next
    begin, another type, ``O`` or the end of the sequence. So tags of the schemes IOB1 and IOB2 are both read.

    Args:
      tags: integers ``[N, T]``, the truth.
      predictions: integers ``[N, T]``.
      spans: of the tags.
      where: bool ``[N, T]``, true where there is a token; what is elsewhere does not matter.

    Returns:
      Counts by type.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Tjong Kim Sang and De Meulder 2003, *Introduction to the CoNLL-2003 Shared Task*, section 2.3: a span is
      right only if it is an exact match. Begins and ends as the task's program conlleval.
    """
    check_layout("tags", tags, "N T")
    check_integer(tags=tags, predictions=predictions)
    check_same_shape(tags=tags, predictions=predictions, where=where)
    true_begins, true_ends, true_kinds = _spans(tags, spans, where)
    begins, ends, kinds = _spans(predictions, spans, where)
    both = true_begins & begins & (true_ends == ends) & (true_kinds == kinds)

    def by_type(mask: jax.Array, kinds: jax.Array) -> jax.Array:
        places = jnp.where(mask, kinds, len(spans.types)).ravel()
        counts = jax.ops.segment_sum(jnp.ones(places.size, jnp.int32), places, len(spans.types) + 1)
        return counts[:-1]

    return SpanCounts(by_type(both, kinds), by_type(begins, kinds), by_type(true_begins, true_kinds))


def span_scores(counts: SpanCounts) -> ClassScores:
    """Precision, recall and F1 of each type, from counts or sums of them; 0 where conlleval has 0.

    Returns:
      Scores ``[types]``; a type in neither truth nor prediction has nan.
    """
    xp, correct = widen(counts.correct)
    predicted, true = widen(counts.predicted)[1], widen(counts.true)[1]

    def ratio(denominator: Array) -> Array:
        score = xp.where(denominator == 0, 0.0, divide(xp, correct, denominator))
        return xp.where(true + predicted == 0, xp.nan, score)

    return ClassScores(ratio(predicted), ratio(true), divide(xp, 2 * correct, true + predicted), true)


def _spans(tags: jax.Array, spans: SpanTags, where: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Where spans begin, bool; the place behind the end of the span at each place; its type; ``[N, T]``."""
    length = tags.shape[1]
    safe = jnp.clip(tags, 0, len(spans.kind) - 1)
    kind = jnp.where(where, jnp.asarray(spans.kind)[safe], -1)  # [N, T]
    none = jnp.full((tags.shape[0], 1), -1, kind.dtype)
    before = jnp.concatenate([none, kind[:, :-1]], 1)
    begins = (kind >= 0) & (jnp.asarray(spans.begins)[safe] | (before != kind))
    # A span reaches to the next place that begins one or is outside.
    breaks = begins | (kind < 0)
    places = jnp.broadcast_to(jnp.arange(length)[None, :], tags.shape)
    following = jnp.where(breaks, places, length)
    nearest = lax.cummin(following, axis=1, reverse=True)  # at or behind each place
    last = jnp.full((tags.shape[0], 1), length, nearest.dtype)
    return begins, jnp.concatenate([nearest[:, 1:], last], 1), kind
