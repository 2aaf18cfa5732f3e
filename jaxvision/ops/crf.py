"""Linear-chain conditional random fields: the probability of a path of tags, and the most probable path.

A path of tags ``y`` of a sequence with scores ``s`` has the score

    start[y_1] + sum_t s[t, y_t] + sum_t transitions[y_t, y_(t+1)] + end[y_T]

and the probability ``exp(score) / Z``, where ``Z`` sums over all paths.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer, check_layout


class CRFParams(NamedTuple):
    """Scores of neighbouring tags, and of the tags at both ends.

    Attributes:
      transitions: ``[K, K]``, of a tag (row) in front of another (column).
      start: ``[K]``.
      end: ``[K]``.
    """

    transitions: jax.Array
    start: jax.Array
    end: jax.Array


class BestPaths(NamedTuple):
    """What :func:`crf_decode` finds.

    Attributes:
      tags: int32 ``[N, T]``, -1 in the padding.
      scores: float32 ``[N]``, of the whole path.
    """

    tags: jax.Array
    scores: jax.Array


def crf_log_partition(scores: jax.Array, params: CRFParams, *, where: jax.Array) -> jax.Array:
    """Logarithm of the sum over all paths, by the forward algorithm; 0 for a sequence without a step.

    Args:
      scores: ``[N, T, K]``, floating; what is in the padding does not matter.
      params: of K tags.
      where: bool ``[N, T]``: true for the steps, which come first.

    Returns:
      float32 ``[N]``.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Lafferty, McCallum and Pereira 2001, *Conditional Random Fields*, section 3; Rabiner 1989, *A Tutorial
      on Hidden Markov Models*, equations 19 to 21, in logarithms.

    >>> free = CRFParams(jnp.zeros((2, 2)), jnp.zeros(2), jnp.zeros(2))
    >>> paths = jnp.exp(crf_log_partition(jnp.zeros((1, 3, 2)), free, where=jnp.ones((1, 3), bool)))
    >>> int(paths[0].round())  # 2 ** 3 paths
    8
    """
    scores, params = _check(scores, params, where)
    if scores.shape[1] == 0:
        return jnp.zeros(scores.shape[0], scores.dtype)

    def step(alpha: jax.Array, moment: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        now, alive = moment  # [N, K], [N]
        moved = alpha[:, :, None] + jnp.expand_dims(params.transitions, 0)  # [N, K, K]
        new = jax.nn.logsumexp(moved, axis=1) + now
        return jnp.where(alive[:, None], new, alpha), None

    first = scores[:, 0] + params.start[None, :]
    alpha, _ = lax.scan(step, first, (scores[:, 1:].swapaxes(0, 1), where[:, 1:].T))
    total = jax.nn.logsumexp(alpha + params.end[None, :], axis=1)
    return jnp.where(where[:, 0], total, 0.0)


def crf_path_score(scores: jax.Array, tags: jax.Array, params: CRFParams, *, where: jax.Array) -> jax.Array:
    """The score of given paths; 0 for a sequence without a step.

    Args:
      scores: ``[N, T, K]``, floating.
      tags: integers ``[N, T]``, from 0 to ``K - 1``; what is in the padding does not matter.
      params: of K tags.
      where: bool ``[N, T]``: true for the steps, which come first.

    Returns:
      float32 ``[N]``; nan for a tag out of range.

    Raises:
      ValueError: if shapes or dtypes do not fit.
    """
    scores, params = _check(scores, params, where)
    check_layout("tags", tags, f"{scores.shape[0]} {scores.shape[1]}")
    check_integer(tags=tags)
    num_tags = scores.shape[-1]
    if scores.shape[1] == 0:
        return jnp.zeros(scores.shape[0], scores.dtype)
    inside = (tags >= 0) & (tags < num_tags)
    safe = jnp.where(inside & where, tags, 0).astype(jnp.int32)
    of_steps = jnp.take_along_axis(scores, safe[..., None], axis=2)[..., 0]  # [N, T]
    total = jnp.where(where, of_steps, 0).sum(1)
    pairs = where[:, :-1] & where[:, 1:]
    total += jnp.where(pairs, params.transitions[safe[:, :-1], safe[:, 1:]], 0).sum(1)
    last = jnp.maximum(where.sum(1) - 1, 0)
    ends = params.end[jnp.take_along_axis(safe, last[:, None], axis=1)[:, 0]]
    total = jnp.where(where[:, 0], total + params.start[safe[:, 0]] + ends, 0.0)
    return jnp.where((inside | ~where).all(1), total, jnp.nan)


def crf_log_likelihood(
    scores: jax.Array, tags: jax.Array, params: CRFParams, *, where: jax.Array
) -> jax.Array:
    """Logarithm of the probability of given paths, float32 ``[N]``; 0 for a sequence without a step.

    Args:
      scores: ``[N, T, K]``, floating.
      tags: integers ``[N, T]``.
      params: of K tags.
      where: bool ``[N, T]``: true for the steps, which come first.

    Raises:
      ValueError: as :func:`crf_path_score`.

    References:
      As :func:`crf_log_partition`; Lample et al. 2016, *Neural Architectures for Named Entity Recognition*,
      section 2.2.
    """
    path = crf_path_score(scores, tags, params, where=where)
    return path - crf_log_partition(scores, params, where=where)


def crf_decode(scores: jax.Array, params: CRFParams, *, where: jax.Array) -> BestPaths:
    """The most probable path of each sequence, by Viterbi's algorithm; of equal ones that of lower tags.

    Args:
      scores: ``[N, T, K]``, floating.
      params: of K tags.
      where: bool ``[N, T]``: true for the steps, which come first.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Viterbi 1967, *Error Bounds for Convolutional Codes*; Rabiner 1989, equations 32 to 35.

    >>> free = CRFParams(jnp.array([[0.0, -9.0], [0.0, 0.0]]), jnp.zeros(2), jnp.zeros(2))
    >>> scores = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])  # 0 then 1 is best, but may not be
    >>> crf_decode(scores, free, where=jnp.ones((1, 2), bool)).tags
    Array([[1, 1]], dtype=int32)
    """
    scores, params = _check(scores, params, where)
    count, length, num_tags = scores.shape
    if length == 0:
        return BestPaths(jnp.zeros((count, 0), jnp.int32), jnp.zeros(count, scores.dtype))
    stay = jnp.broadcast_to(jnp.arange(num_tags, dtype=jnp.int32)[None, :], (count, num_tags))

    def forward(best: jax.Array, moment: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        now, alive = moment
        moved = best[:, :, None] + jnp.expand_dims(params.transitions, 0)  # [N, K, K]
        new, before = moved.max(axis=1) + now, moved.argmax(axis=1).astype(jnp.int32)
        alive = alive[:, None]
        return jnp.where(alive, new, best), jnp.where(alive, before, stay)

    first = scores[:, 0] + params.start[None, :]
    best, pointers = lax.scan(forward, first, (scores[:, 1:].swapaxes(0, 1), where[:, 1:].T))
    total = best + params.end[None, :]  # [N, K]
    last = total.argmax(axis=1).astype(jnp.int32)

    def back(tag: jax.Array, pointer: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.take_along_axis(pointer, tag[:, None], axis=1)[:, 0], tag

    begin, rest = lax.scan(back, last, pointers, reverse=True)  # [N], [T - 1, N]
    tags = jnp.concatenate([begin[None, :], rest]).T  # [N, T]
    path_scores = jnp.where(where[:, 0], total.max(axis=1), 0.0)
    return BestPaths(jnp.where(where, tags, -1), path_scores)


def _check(scores: jax.Array, params: CRFParams, where: jax.Array) -> tuple[jax.Array, CRFParams]:
    """Checks the arguments; scores in float32 at least, and zero in the padding."""
    check_layout("scores", scores, "N T K", remedy="add a batch axis")
    check_floating(scores=scores)
    num_tags = scores.shape[-1]
    check_layout("transitions", params.transitions, f"{num_tags} {num_tags}")
    check_layout("start", params.start, f"{num_tags}")
    check_layout("end", params.end, f"{num_tags}")
    if where.shape != scores.shape[:2] or where.dtype != jnp.bool_:
        raise ValueError(
            f"where: expected bool [N, T], here {list(scores.shape[:2])}, got {where.dtype} "
            f"{list(where.shape)}; sequence_mask makes it of lengths"
        )
    wide = jnp.promote_types(scores.dtype, jnp.float32)
    return jnp.where(where[..., None], scores.astype(wide), 0), CRFParams(
        *(jnp.asarray(p, wide) for p in params)
    )
