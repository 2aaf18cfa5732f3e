"""Lovász losses: the IoU itself, extended from sets of wrong pixels to sizes of errors."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_same_shape, expand_where
from jaxvision.losses.soft_counts import (
    check_images,
    check_rank,
    class_hits,
    counted_elements,
    masked_softmax,
    stray_images,
    summed_axes,
)


def lovasz_softmax_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Lovász-softmax loss of each class, one value an image and class.

    .. math::
        \ell_k = \sum_i e_{\pi_i k} \left(J(\pi_1 \dots \pi_i) - J(\pi_1 \dots \pi_{i-1})\right), \qquad
        e_{ik} = |[y_i = k] - p_{ik}|

    with the elements :math:`\pi` in the order of falling errors, and J(S) the Jaccard loss of class k when
    the elements of S are wrong and all others right.

    The mean over the classes that an image contains (the authors' ``classes="present"``) takes
    ``where=present_classes(labels, K)`` in the reduction; without it all classes count (their "all"). The
    price is a sort of the elements of each class.

    Args:
      logits: floating [N, ..., K]; computed in float32.
      labels: integer [N, ...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements are left out.
      over_batch: takes all images as one (the authors' ``per_image=False``), which is closer to the IoU of a
        data set; the sort is then of the arrays given: the global batch under a sharded ``jit``, the device's
        own under ``pmap``.
      where: bool, the shape of ``labels`` or its leading axes; False is left out.

    Returns:
      float32 [N, K], or [K] if ``over_batch``; **nan** where a counted label is outside [0, K). An image
      without any valid element costs 0. Of equal errors the earlier element comes first: the value does not
      depend on it, the gradient among them does.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Berman, Rannen Triki, Blaschko 2018, "The Lovász-Softmax loss", equations 8, 9 and 11 and algorithm 1.
      The differences of J are written out instead of being taken of rounded numbers.

    >>> logits = jnp.log(jnp.array([[[0.8, 0.2], [0.4, 0.6]]]))
    >>> loss = lovasz_softmax_loss(logits, jnp.array([[0, 1]]))  # errors 0.2 and 0.4 of either class
    >>> [round(float(value), 3) for value in loss[0]]  # 0.4 / 2 + 0.2 / 2; the one true pixel is all
    [0.3, 0.4]
    """
    check_images(logits, labels)
    mask = counted_elements(labels, ignore_index=ignore_index, where=where)
    hit = class_hits(labels, logits.shape[-1], mask)  # [N, ..., K]
    errors = jnp.abs(hit - masked_softmax(logits, mask))  # [N, ..., K], 0 where not counted
    by_class = [jnp.moveaxis(array, -1, 0) for array in (errors, hit)]  # [K, N, ...]
    rows = (logits.shape[-1], *((1,) if over_batch else labels.shape[:1]), -1)
    errors, hit = (array.reshape(_filled(rows, array)) for array in by_class)  # [K, N, P]
    counted = jnp.broadcast_to(mask.reshape(hit.shape[1:]), hit.shape)
    loss = _extension(errors, hit, counted).T  # [N, K]
    stray = stray_images(labels, logits.shape[-1], mask, summed_axes(labels.ndim, over_batch=over_batch))
    if over_batch:
        return jnp.where(stray, jnp.nan, loss[0])
    return jnp.where(stray[:, None], jnp.nan, loss)


def lovasz_hinge_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    over_batch: bool = False,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Lovász hinge loss of a foreground mask, one value an image.

    .. math::
        \ell = \sum_i \max(e_{\pi_i}, 0) \left(J(\pi_1 \dots \pi_i) - J(\pi_1 \dots \pi_{i-1})\right), \qquad
        e_i = 1 - (2 g_i - 1) x_i

    in the notation of :func:`lovasz_softmax_loss`.

    Args:
      logits: floating [N, ...], x, one score an element; computed in float32.
      labels: [N, ...], g: bool, integer or floating, 0 or 1.
      over_batch: takes all images as one (see :func:`lovasz_softmax_loss`).
      where: bool, the shape of ``labels`` or its leading axes; False is left out. A void label is masked
        here: ``where=labels != 255``.

    Returns:
      float32 [N], or [] if ``over_batch``; **nan** where a counted label is neither 0 nor 1. An image
      without any valid element costs 0.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Berman, Rannen Triki, Blaschko 2018, "The Lovász-Softmax loss", equations 8 and 10; Yu and Blaschko
      2015. The hinge is cut off at 0, as in the authors' code.

    >>> lovasz_hinge_loss(jnp.array([[2.0, -0.5]]), jnp.array([[1, 1]]))  # errors -1 and 1.5
    Array([0.75], dtype=float32)
    """
    check_floating(logits=logits)
    check_same_shape(logits=logits, labels=labels)
    check_rank(labels)
    mask = expand_where(where, labels.shape)
    targets = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    scores = jnp.where(mask, logits.astype(jnp.float32), 0.0)
    errors = 1.0 - (2.0 * targets - 1.0) * scores  # [N, ...]
    rows = (*((1,) if over_batch else labels.shape[:1]), -1)
    errors, hit, counted = (x.reshape(_filled(rows, x)) for x in (errors, targets > 0.5, mask))  # [N, P]
    loss = _extension(errors, hit, counted, hinge=True)
    axes = summed_axes(labels.ndim, over_batch=over_batch)
    stray = jnp.any((targets != 0) & (targets != 1), axis=axes)
    return jnp.where(stray, jnp.nan, loss[0] if over_batch else loss)


def _extension(errors: jax.Array, hit: jax.Array, counted: jax.Array, *, hinge: bool = False) -> jax.Array:
    """Errors times the growth of the Jaccard loss in their order; sums over the last axis [..., P]."""
    if errors.shape[-1] == 0:
        return jnp.zeros(errors.shape[:-1])
    place = lax.broadcasted_iota(jnp.int32, errors.shape, errors.ndim - 1)
    # What is not counted comes last, where it changes nothing.
    keys = jnp.where(counted, -lax.stop_gradient(errors), jnp.inf)
    # An element's place and whether its class is true go in one number: each array more slows the sort.
    _, packed = lax.sort((keys, 2 * place + hit), num_keys=1, is_stable=True)
    order = packed >> 1
    growth = _growth((packed & 1) == 1)
    # Back to the order of the elements: the sum is linear in the errors, and its gradient is plain.
    weights = lax.platform_dependent(order, growth, cpu=_scattered, default=_sorted_back)
    errors = jax.nn.relu(errors) if hinge else errors
    return jnp.sum(jnp.where(counted, errors, 0.0) * weights, axis=-1)


def _growth(hit: jax.Array) -> jax.Array:
    """How much the Jaccard loss grows when each element, in order, turns wrong: [..., P].

    With I true elements still right and a union of U, a true one that turns wrong takes 1 / U from the IoU
    I / U, and a false one I / (U - 1) - I / U.
    """
    true = jnp.sum(hit, axis=-1, keepdims=True, dtype=jnp.int32)
    seen = jnp.cumsum(hit, axis=-1, dtype=jnp.int32)
    place = lax.broadcasted_iota(jnp.int32, hit.shape, hit.ndim - 1)
    right = (true - seen).astype(jnp.float32)
    union = (true + place + 1 - seen).astype(jnp.float32)
    growth = jnp.where(hit, 1.0 / union, right / (union * jnp.maximum(union - 1.0, 1.0)))
    # Of a class without a true element the first wrong one costs all: 0 of 0 becomes 0 of 1.
    return jnp.where(true == 0, (place == 0).astype(jnp.float32), growth)


def _scattered(order: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.put_along_axis(jnp.zeros_like(values), order, values, axis=-1, inplace=False)


def _sorted_back(order: jax.Array, values: jax.Array) -> jax.Array:
    return lax.sort((order, values), num_keys=1)[1]


def _filled(rows: tuple[int, ...], array: jax.Array) -> tuple[int, ...]:
    """The shape with its last axis worked out, which reshape cannot do where another axis is 0."""
    size = 1
    for axis in rows[:-1]:
        size *= axis
    return (*rows[:-1], array.size // size if size else 0)
