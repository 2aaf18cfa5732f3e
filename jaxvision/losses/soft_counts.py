"""What region losses are made of: how much probability falls on a class, and how much of that rightly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer, check_same_shape, expand_where


class SoftCounts(NamedTuple):
    """Sums over the elements of an image, or of a batch.

    Attributes:
      overlap: float32 [N, K] (or [N] of a single mask; without N over a batch), probability that a class is
        given where it is true.
      predicted: float32, probability that it is given anywhere (or its square, see ``squared``).
      true: float32, number of elements where it is true.
      stray: bool [N] (or [] over a batch), whether a counted label is no class.
    """

    overlap: jax.Array
    predicted: jax.Array
    true: jax.Array
    stray: jax.Array

    def guarded(self, losses: jax.Array) -> jax.Array:
        """The losses, nan where a label is no class."""
        stray = lax.expand_dims(self.stray, range(self.stray.ndim, losses.ndim))
        return jnp.where(stray, jnp.nan, losses)


def class_counts(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None,
    over_batch: bool,
    where: jax.Array | None,
    squared: bool = False,
) -> SoftCounts:
    """Soft counts of every class under a softmax.

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements are left out.
      over_batch: sums over the images too.
      where: bool, the shape of ``labels`` or its leading axes; False is left out.
      squared: sums squares of the probabilities in ``predicted``.

    Returns:
      [N, K] each, or [K].

    Raises:
      ValueError: if shapes or dtypes do not fit.
    """
    check_images(logits, labels)
    mask = counted_elements(labels, ignore_index=ignore_index, where=where)
    axes = summed_axes(labels.ndim, over_batch=over_batch)
    hit = class_hits(labels, logits.shape[-1], mask).astype(jnp.float32)  # [N, ..., K]
    probabilities = masked_softmax(logits, mask)  # [N, ..., K]
    return SoftCounts(
        jnp.sum(probabilities * hit, axis=axes),
        jnp.sum(jnp.square(probabilities) if squared else probabilities, axis=axes),
        jnp.sum(hit, axis=axes),
        stray_images(labels, logits.shape[-1], mask, axes),
    )


def mask_counts(
    logits: jax.Array,
    labels: jax.Array,
    *,
    over_batch: bool,
    where: jax.Array | None,
    squared: bool = False,
) -> SoftCounts:
    """Soft counts of one foreground mask under a sigmoid.

    Args:
      logits: floating [N, ...]; computed in float32.
      labels: [N, ...], bool, integer or floating, in [0, 1].
      over_batch: sums over the images too.
      where: bool, the shape of ``labels`` or its leading axes; False is left out.
      squared: sums squares in ``predicted`` and ``true``.

    Returns:
      [N] each, or [].

    Raises:
      ValueError: if shapes or dtypes do not fit.
    """
    check_floating(logits=logits)
    check_same_shape(logits=logits, labels=labels)
    check_rank(labels)
    mask = expand_where(where, labels.shape)
    axes = summed_axes(labels.ndim, over_batch=over_batch)
    probabilities = jax.nn.sigmoid(jnp.where(mask, logits.astype(jnp.float32), 0.0)) * mask
    targets = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    power = 2 if squared else 1
    return SoftCounts(
        jnp.sum(probabilities * targets, axis=axes),
        jnp.sum(probabilities**power, axis=axes),
        jnp.sum(targets**power, axis=axes),
        jnp.any((targets < 0) | (targets > 1), axis=axes),
    )


def counted_elements(labels: jax.Array, *, ignore_index: int | None, where: jax.Array | None) -> jax.Array:
    """Which elements count: bool, the shape of ``labels``."""
    mask = expand_where(where, labels.shape)
    return mask if ignore_index is None else mask & (labels != ignore_index)


def class_hits(labels: jax.Array, num_classes: int, mask: jax.Array) -> jax.Array:
    """One-hot labels, False where the mask is: bool [..., K]."""
    classes = lax.broadcasted_iota(jnp.int32, (*labels.shape, num_classes), labels.ndim)
    return (classes == labels.astype(jnp.int32)[..., None]) & mask[..., None]


def masked_softmax(logits: jax.Array, mask: jax.Array) -> jax.Array:
    """Probabilities, 0 with zero gradients where the mask is False, whatever the logits are there.

    Args:
      logits: floating [..., K].
      mask: bool [...].

    Returns:
      float32 [..., K].
    """
    # Masked before the softmax, not after: 0 times the gradient of a nan is nan.
    scores = jnp.where(mask[..., None], logits.astype(jnp.float32), 0.0)
    return jax.nn.softmax(scores, axis=-1) * mask[..., None]


def stray_images(labels: jax.Array, num_classes: int, mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Whether a counted label is outside [0, K), any over the axes."""
    return jnp.any(mask & ((labels < 0) | (labels >= num_classes)), axis=axes)


def summed_axes(rank: int, *, over_batch: bool) -> tuple[int, ...]:
    """The axes of the labels that a loss sums over: all but the first, or all."""
    return tuple(range(0 if over_batch else 1, rank))


def check_images(logits: jax.Array, labels: jax.Array) -> None:
    """Checks logits [N, ..., K] against labels [N, ...].

    Raises:
      ValueError: if shapes or dtypes do not fit.
    """
    check_floating(logits=logits)
    check_integer(labels=labels)
    if logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"expected logits [N, ..., K] and labels [N, ...] of equal leading axes, got logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}; classes are the last axis (channels last)"
        )
    check_rank(labels)


def check_not_negative(**options: float) -> None:
    """Raises a ValueError that names the first option below 0."""
    for name, value in options.items():
        if value < 0:
            raise ValueError(f"{name}: expected a number >= 0, got {value}")


def check_rank(labels: jax.Array) -> None:
    """Raises a ValueError unless labels are [N, ...] with an axis beside N."""
    if labels.ndim < 2:
        raise ValueError(
            f"labels: expected [N, ...] of rank 2 or more, got rank {labels.ndim}; add a batch axis"
        )
