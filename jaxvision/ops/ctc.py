"""Transcripts out of the logits of a network trained with CTC (``optax.ctc_loss``).

At each step the network names a label or the blank. A path of such names stands for the transcript that is
left when repeats are merged and then blanks removed; a transcript is as probable as all its paths together.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_layout


class Transcripts(NamedTuple):
    """Decoded label sequences, best first.

    Attributes:
      labels: int32 ``[N, L]``, or ``[N, B, L]`` of B candidates; -1 behind the end.
      lengths: int32 ``[N]`` or ``[N, B]``.
      log_probabilities: float32 ``[N]`` or ``[N, B]``; minus infinity where there is no such candidate.
    """

    labels: jax.Array
    lengths: jax.Array
    log_probabilities: jax.Array


def ctc_greedy_decode(logits: jax.Array, *, where: jax.Array | None = None, blank: int = 0) -> Transcripts:
    """The transcript of the most probable path: the best label of each step, merged.

    Args:
      logits: ``[N, T, K]``, floating, of ``K - 1`` labels and the blank.
      where: bool ``[N, T]``, true where there is a step; other steps are passed over. The opposite of the
        paddings of ``optax.ctc_loss``.
      blank: the blank's place among the ``K``.

    Returns:
      Labels ``[N, T]``, lengths ``[N]``, and the log probability of the path, which is less than that of the
      transcript.

    Raises:
      ValueError: if shapes do not fit, ``where`` is not bool or ``blank`` is no label.

    References:
      Graves et al. 2006, *Connectionist Temporal Classification*, section 3.2, best path decoding.

    >>> path = jnp.array([[1, 1, 0, 1, 2, 0]])
    >>> ctc_greedy_decode(9.0 * jax.nn.one_hot(path, 3)).labels
    Array([[ 1,  1,  2, -1, -1, -1]], dtype=int32)
    """
    alive = _check(logits, where, blank)
    scores = _log_probabilities(logits)
    best = scores.argmax(-1).astype(jnp.int32)  # [N, T]
    # The label before, of the steps there are: padding in the middle neither parts nor joins.
    _, before = lax.scan(_last_named, jnp.full(best.shape[0], blank, jnp.int32), (best.T, alive.T))
    keeps = alive & (best != blank) & (best != before.T)
    places = jnp.where(keeps, jnp.cumsum(keeps, 1) - 1, best.shape[1])
    rows = jnp.arange(best.shape[0])[:, None]
    labels = jnp.full(best.shape, -1, jnp.int32).at[rows, places].set(best, mode="drop")
    total = jnp.where(alive, scores.max(-1), 0).sum(1)
    return Transcripts(labels, keeps.sum(1, dtype=jnp.int32), total)


def _last_named(before: jax.Array, moment: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    best, alive = moment
    return jnp.where(alive, best, before), before


def ctc_beam_search(
    logits: jax.Array,
    *,
    beam_size: int,
    where: jax.Array | None = None,
    blank: int = 0,
    max_length: int | None = None,
) -> Transcripts:
    """The most probable transcripts, by a search over prefixes that keeps the best ones at each step.

    Each prefix has the probability of all its paths so far that are within the beam, those that end in a
    blank apart from those that end in its last label. With a beam as large as the number of transcripts the
    result is exact. Nothing prunes labels at a step: the cost is ``T (B K + B^2 L)`` a sequence.

    Args:
      logits: ``[N, T, K]``, as :func:`ctc_greedy_decode`.
      beam_size: ``B``, number of prefixes that are kept.
      where: bool ``[N, T]``, as :func:`ctc_greedy_decode`.
      blank: the blank's place among the ``K``.
      max_length: ``L``, longest transcript that is considered; by default ``T``.

    Returns:
      Labels ``[N, B, L]``, lengths ``[N, B]`` and log probabilities ``[N, B]``, best first.

    Raises:
      ValueError: as :func:`ctc_greedy_decode`; or if ``beam_size`` or ``max_length`` is below 1.

    References:
      Graves 2012, *Supervised Sequence Labelling with Recurrent Neural Networks*, section 7.5; Hannun et al.
      2014, *First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs*,
      algorithm 1, without a language model.

    >>> likely = jnp.log(jnp.array([[[0.6, 0.4], [0.6, 0.4]]]))  # the best path is blank, blank: 0.36
    >>> found = ctc_beam_search(likely, beam_size=2)
    >>> found.labels[0]
    Array([[ 1, -1],
           [-1, -1]], dtype=int32)
    >>> [round(probability, 2) for probability in jnp.exp(found.log_probabilities[0]).tolist()]
    [0.64, 0.36]
    """
    alive = _check(logits, where, blank)
    length = logits.shape[1] if max_length is None else max_length
    if beam_size < 1 or (max_length is not None and max_length < 1):
        raise ValueError(f"beam_size, max_length: expected at least 1, got {beam_size} and {max_length}")

    def search(scores: jax.Array, alive: jax.Array) -> Transcripts:
        """Of one sequence, ``[T, K]``."""
        nothing = jnp.full(beam_size, -jnp.inf, scores.dtype)
        first = _Beam(
            jnp.full((beam_size, length), -1, jnp.int32),
            jnp.full(beam_size, -1, jnp.int32).at[0].set(0),
            nothing.at[0].set(0),
            nothing,
        )

        def step(beam: _Beam, moment: tuple[jax.Array, jax.Array]) -> tuple[_Beam, None]:
            scores, alive = moment
            new = _extend(beam, scores, blank)
            return jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, beam), None

        beam, _ = lax.scan(step, first, (scores, alive))
        total = jnp.logaddexp(beam.ends_blank, beam.ends_label)
        order = jnp.argsort(-total)
        lengths = jnp.maximum(beam.lengths[order], 0)
        return Transcripts(beam.labels[order], lengths, total[order])

    return jax.vmap(search)(_log_probabilities(logits), alive)


class _Beam(NamedTuple):
    """Prefixes ``[B, L]``, -1 behind their end, and log probabilities ``[B]`` of their two kinds of paths.

    A place without a prefix has length -1 and minus infinity twice.
    """

    labels: jax.Array
    lengths: jax.Array
    ends_blank: jax.Array
    ends_label: jax.Array


def _extend(beam: _Beam, scores: jax.Array, blank: int) -> _Beam:
    """The best prefixes after one more step, of log probabilities ``[K]``."""
    (size, length), count = beam.labels.shape, scores.shape[0]
    # A place without a prefix has no last label, like the empty prefix.
    at = jnp.arange(length)[None, :] == beam.lengths[:, None] - 1  # [B, L]
    last = jnp.where(at, beam.labels, -1).max(1)
    total = jnp.logaddexp(beam.ends_blank, beam.ends_label)
    stays_blank = total + scores[blank]
    stays_label = jnp.where(last >= 0, beam.ends_label + scores[jnp.maximum(last, 0)], -jnp.inf)

    # Every label behind every prefix: a repeat needs a blank between.
    repeats = last[:, None] == jnp.arange(count)[None, :]  # [B, K]
    grown = jnp.where(repeats, beam.ends_blank[:, None], total[:, None]) + scores[None, :]
    grown = grown.at[:, blank].set(-jnp.inf)
    grown = jnp.where((beam.lengths < length)[:, None], grown, -jnp.inf)

    # Prefix i with one label more may be prefix j of the beam already: then it is added there.
    without_last = jnp.where(at, -1, beam.labels)
    follows = (without_last[None, :, :] == beam.labels[:, None, :]).all(-1)  # [B, B]: i, j
    follows &= beam.lengths[None, :] == beam.lengths[:, None] + 1
    follows &= (beam.lengths[:, None] >= 0) & (last[None, :] >= 0)
    joining = jnp.where(follows, grown[:, jnp.maximum(last, 0)], -jnp.inf)  # [B, B]
    stays_label = jnp.logaddexp(stays_label, jax.nn.logsumexp(joining, 0))
    taken = jnp.zeros((size, count), bool).at[:, jnp.maximum(last, 0)].max(follows)
    grown = jnp.where(taken, -jnp.inf, grown)

    candidates = jnp.concatenate([jnp.logaddexp(stays_blank, stays_label), grown.ravel()])
    best, chosen = lax.top_k(candidates, size)
    is_grown = chosen >= size
    source = jnp.where(is_grown, (chosen - size) // count, chosen)
    label = (chosen - size) % count
    ends = jnp.arange(length)[None, :] == beam.lengths[source][:, None]
    labels = jnp.where(ends & is_grown[:, None], label[:, None], beam.labels[source])
    exists = best > -jnp.inf
    return _Beam(
        jnp.where(exists[:, None], labels, -1).astype(jnp.int32),
        jnp.where(exists, beam.lengths[source] + is_grown, -1).astype(jnp.int32),
        jnp.where(is_grown, -jnp.inf, stays_blank[source]),
        jnp.where(is_grown, best, stays_label[source]),
    )


def _log_probabilities(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


def _check(logits: jax.Array, where: jax.Array | None, blank: int) -> jax.Array:
    """Checks the arguments; returns the mask of the steps, ``[N, T]``."""
    check_layout("logits", logits, "N T K", remedy="add a batch axis")
    check_floating(logits=logits)
    if not 0 <= blank < logits.shape[-1]:
        raise ValueError(f"blank: expected from 0 to {logits.shape[-1] - 1}, got {blank}")
    if where is None:
        return jnp.ones(logits.shape[:2], bool)
    if where.shape != logits.shape[:2] or where.dtype != jnp.bool_:
        raise ValueError(
            f"where: expected bool [N, T], here {list(logits.shape[:2])}, got {where.dtype} "
            f"{list(where.shape)}; sequence_mask makes it of lengths"
        )
    return where
