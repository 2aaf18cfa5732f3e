"""Hard examples: the elements of a batch that a loss is worth taking of."""

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, expand_where
from jaxvision.losses.cross_entropy import cross_entropy_loss
from jaxvision.losses.soft_counts import check_rank


def hard_examples(
    losses: jax.Array, count: int | jax.Array, *, least: float | None = None, where: jax.Array | None = None
) -> jax.Array:
    """Marks the elements of the greatest losses, over the whole array.

    Args:
      losses: floating [...], unreduced.
      count: how many at least; all if there are fewer. Equal losses are marked together.
      least: marks every element of a greater loss too; None marks ``count`` alone. A nan is always marked.
      where: bool, the shape of ``losses`` or its leading axes; False is never marked.

    Returns:
      bool [...], through which no gradient flows.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Shrivastava, Gupta, Girshick 2016, "Training Region-based Object Detectors with Online Hard Example
      Mining", section 4 (without its non-maximum suppression, which pixels have no use for). The bound is
      found by halving intervals of counts instead of a sort, so that under a sharded ``jit`` devices exchange
      32 counts and no pixels.

    >>> hard_examples(jnp.array([0.1, 3.0, 0.2, 2.0]), 1, least=0.15).tolist()
    [False, True, True, True]
    """
    check_floating(losses=losses)
    mask = expand_where(where, losses.shape)
    losses = lax.stop_gradient(losses.astype(jnp.float32))
    ranks = _ranks(losses)
    hard = ranks >= _largest_bound(ranks, mask, jnp.asarray(count, jnp.int32))
    if least is not None:
        hard = hard | ~(losses <= least)  # so nan is among them
    return hard & mask


def hard_pixels(
    logits: jax.Array,
    labels: jax.Array,
    *,
    threshold: float = 0.7,
    min_kept: int = 100_000,
    ignore_index: int | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Marks the pixels that the network gives their own class too little probability.

    A pixel is hard if :math:`p_y < ` ``threshold``, and the ``min_kept`` least sure ones an image always are:
    as many over the batch as images times ``min_kept``. The loss of hard pixels alone::

        hard = hard_pixels(logits, labels, ignore_index=255)
        losses = cross_entropy_loss(logits, labels, ignore_index=255)
        mean = sum_term(losses, where=hard).mean()

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      threshold: probability in (0, 1].
      min_kept: pixels an image, >= 0.
      ignore_index: label that is never hard.
      where: bool, the shape of ``labels`` or its leading axes; False is never hard, and an image that is all
        False adds nothing to the number kept.

    Returns:
      bool [N, ...], through which no gradient flows. A label outside [0, K) that is not ignored is hard, so
      that its nan is seen.

    Raises:
      ValueError: if shapes or dtypes do not fit, or an option is out of its range.

    References:
      Shrivastava, Gupta, Girshick 2016; for pixels with a threshold and a least number as in mmsegmentation's
      ``OHEMPixelSampler``, which leaves out the easiest pixel where there are no more than the least number:
      here all are kept then.

    >>> logits = jnp.log(jnp.array([[[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]]]))
    >>> hard_pixels(logits, jnp.zeros((1, 3), jnp.int32), min_kept=1).tolist()
    [[False, True, False]]
    """
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold: expected a probability in (0, 1], got {threshold}")
    if min_kept < 0:
        raise ValueError(f"min_kept: expected a number >= 0, got {min_kept}")
    check_rank(labels)
    losses = cross_entropy_loss(logits, labels, ignore_index=ignore_index, where=where)  # -log p_y
    mask = expand_where(where, labels.shape)
    images = jnp.sum(jnp.any(mask, axis=range(1, labels.ndim)), dtype=jnp.int32)
    if ignore_index is not None:
        mask = mask & (labels != ignore_index)
    kept = jnp.minimum(images, (2**31 - 1) // max(min_kept, 1)) * min_kept
    return hard_examples(losses, kept, least=-math.log(threshold), where=mask)


def _ranks(values: jax.Array) -> jax.Array:
    """uint32 in the order of the float32 values; nan above all."""
    bits = lax.bitcast_convert_type(values, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    ordered = jnp.where(bits >= sign, ~bits, bits | sign)
    return jnp.where(jnp.isnan(values), jnp.uint32(2**32 - 1), ordered)


def _largest_bound(ranks: jax.Array, mask: jax.Array, count: jax.Array) -> jax.Array:
    """The greatest bound that at least ``count`` masked ranks reach, found bit by bit; 0 if too few do."""

    def add_bit(step: int, bound: jax.Array) -> jax.Array:
        raised = bound | (jnp.uint32(1 << 31) >> step.astype(jnp.uint32))  # type: ignore[attr-defined]
        reached = jnp.sum((ranks >= raised) & mask, dtype=jnp.int32)
        return jnp.where(reached >= count, raised, bound)

    bound = lax.fori_loop(0, 32, add_bit, jnp.uint32(0))
    return jnp.where(count > 0, bound, jnp.uint32(2**32 - 1))
