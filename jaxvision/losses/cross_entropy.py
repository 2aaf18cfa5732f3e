"""Cross entropy of class indices, of class probabilities and of independent binary labels."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer, check_layout, check_same_shape, expand_where


def cross_entropy_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Softmax cross entropy of class indices, one value an element, as torch's ``reduction="none"``.

    .. math::
        \ell = -\sum_k q_k w_k \log\operatorname{softmax}(x)_k, \qquad
        q_k = (1 - \epsilon)\,[k = y] + \epsilon / K

    The weighted mean of torch is a sum over a sum, so that it can be taken over several batches and devices::

        losses = cross_entropy_loss(logits, labels, class_weights=w, ignore_index=255)
        weights = cross_entropy_weights(labels, class_weights=w, ignore_index=255)
        mean = losses.sum() / weights.sum()          # or sum_term(losses, weights=weights).mean()

    Args:
      logits: floating [..., K]; computed in float32.
      labels: integer [...], in [0, K) or ``ignore_index``.
      ignore_index: label whose elements cost 0 and get no gradient.
      class_weights: floating [K], w; constants, through which no gradient flows.
      label_smoothing: epsilon in [0, 1].
      where: bool, the shape of ``labels`` or its leading axes; False costs 0 and gets no gradient,
        whatever the logits are (nan included).

    Returns:
      float32 [...]. A label outside [0, K) that is not ignored costs **nan**: torch raises there, but
      a compiled function cannot, and a silent clip would train on wrong labels.

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``label_smoothing`` is outside [0, 1].

    References:
      Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7 (label smoothing); the
      combination with class weights is that of ``torch.nn.functional.cross_entropy``.

    >>> import jax.numpy as jnp
    >>> logits = jnp.array([[2.0, 0.0], [0.0, 0.0], [9.0, 9.0]])
    >>> print(cross_entropy_loss(logits, jnp.array([0, 1, 255]), ignore_index=255).round(4))
    [0.1269 0.6931 0.    ]
    """
    _check_classes(logits, labels, class_weights)
    _check_smoothing(label_smoothing)
    num_classes = logits.shape[-1]
    logits = logits.astype(jnp.float32)
    counted = _counted(labels, ignore_index, where)
    in_range = (labels >= 0) & (labels < num_classes)
    classes = jnp.where(in_range, labels, 0).astype(jnp.int32)

    valid = counted & in_range
    loss = negative_log_likelihood(logits, classes, valid)
    weights = jnp.ones(num_classes)
    if class_weights is not None:
        weights = lax.stop_gradient(class_weights.astype(jnp.float32))
        loss = loss * weights[classes]
    if label_smoothing > 0.0:
        spread = label_smoothing / num_classes * weights
        loss = (1.0 - label_smoothing) * loss + _spread_likelihood(logits, spread, valid)
    return jnp.where(counted, jnp.where(in_range, loss, jnp.nan), 0.0)


def cross_entropy_weights(
    labels: jax.Array,
    *,
    ignore_index: int | None = None,
    class_weights: jax.Array | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """What each element of :func:`cross_entropy_loss` weighs in torch's mean.

    Args:
      labels: integer [...].
      ignore_index: label that weighs 0.
      class_weights: floating [K]; an element weighs what its label weighs.
      where: bool, the shape of ``labels`` or its leading axes; False weighs 0.

    Returns:
      float32 [...]; nan where a counted label has no class weight.

    Raises:
      ValueError: if shapes or dtypes do not fit.

    >>> import jax.numpy as jnp
    >>> labels = jnp.array([0, 1, 255])
    >>> cross_entropy_weights(labels, ignore_index=255, class_weights=jnp.array([1.0, 3.0])).tolist()
    [1.0, 3.0, 0.0]
    """
    check_integer(labels=labels)
    counted = _counted(labels, ignore_index, where)
    if class_weights is None:
        return counted.astype(jnp.float32)
    check_layout("class_weights", class_weights, "K")
    in_range = (labels >= 0) & (labels < class_weights.shape[0])
    weights = class_weights.astype(jnp.float32)[jnp.where(in_range, labels, 0)]
    return jnp.where(counted, jnp.where(in_range, weights, jnp.nan), 0.0)


def soft_cross_entropy_loss(
    logits: jax.Array,
    targets: jax.Array,
    *,
    class_weights: jax.Array | None = None,
    label_smoothing: float = 0.0,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Softmax cross entropy of class probabilities, one value an element: mixed labels, a teacher's output.

    .. math::
        \ell = -\sum_k w_k q_k \log\operatorname{softmax}(x)_k, \qquad
        q_k = (1 - \epsilon)\, t_k + \epsilon / K

    The mean of torch is over the elements, whatever the class weights: ``losses.mean()``, or
    ``sum_term(losses, where=where).mean()``.

    Args:
      logits: floating [..., K]; computed in float32.
      targets: floating [..., K], t; not normalised here. Gradients flow through them too: put
        ``stop_gradient`` on a teacher's.
      class_weights: floating [K], w; constants, through which no gradient flows.
      label_smoothing: epsilon in [0, 1].
      where: bool, ``[...]`` or its leading axes; False costs 0 and gets no gradient, whatever the logits are
        (nan included).

    Returns:
      float32 [...].

    Raises:
      ValueError: if shapes or dtypes do not fit, or ``label_smoothing`` is outside [0, 1].

    References:
      Equal to ``torch.nn.functional.cross_entropy(..., reduction="none")`` with probabilities as target.

    >>> import jax.numpy as jnp
    >>> loss = soft_cross_entropy_loss(jnp.array([[2.0, 0.0]]), jnp.array([[0.75, 0.25]]))
    >>> round(float(loss[0]), 4)
    0.6269
    """
    check_floating(logits=logits, targets=targets)
    check_same_shape(logits=logits, targets=targets)
    check_layout("logits", logits, "... K")
    _check_smoothing(label_smoothing)
    num_classes = logits.shape[-1]
    if class_weights is not None:
        check_layout("class_weights", class_weights, str(num_classes), remedy="one weight a class")
    mask = expand_where(where, logits.shape[:-1])
    # A masked element is taken out here, not only below: 0 times the gradient of a nan is nan.
    scores = jnp.where(mask[..., None], logits.astype(jnp.float32), 0.0)
    probabilities = (1.0 - label_smoothing) * targets.astype(jnp.float32) + label_smoothing / num_classes
    if class_weights is not None:
        weights = lax.stop_gradient(class_weights.astype(jnp.float32))
        probabilities = probabilities * jnp.broadcast_to(weights, logits.shape)
    loss = -jnp.sum(probabilities * jax.nn.log_softmax(scores, axis=-1), axis=-1)  # [...]
    return jnp.where(mask, loss, 0.0)


def binary_cross_entropy_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    positive_weight: float = 1.0,
    where: jax.Array | None = None,
) -> jax.Array:
    r"""Sigmoid cross entropy of independent binary labels, one value an element.

    .. math:: \ell = -p\, y \log\sigma(x) - (1 - y) \log\sigma(-x)

    Args:
      logits: floating [...]; computed in float32.
      labels: [...], y: bool, integer or floating, in [0, 1] (any value between them is a soft label).
      positive_weight: p, what a positive label weighs (torch's ``pos_weight``).
      where: bool, the shape of ``labels`` or its leading axes; False costs 0 and gets no gradient.
        A void label is masked here: ``where=labels != 255``.

    Returns:
      float32 [...]; **nan** where a counted label is outside [0, 1].

    Raises:
      ValueError: if shapes or dtypes do not fit.

    References:
      Equal to ``torch.nn.functional.binary_cross_entropy_with_logits(..., reduction="none")``.

    >>> import jax.numpy as jnp
    >>> print(binary_cross_entropy_loss(jnp.array([0.0, 3.0]), jnp.array([1, 0])).round(4))
    [0.6931 3.0486]
    """
    check_floating(logits=logits)
    check_same_shape(logits=logits, labels=labels)
    mask = expand_where(where, labels.shape)
    targets = jnp.where(mask, labels.astype(jnp.float32), 0.0)
    scores = jnp.where(mask, logits.astype(jnp.float32), 0.0)
    loss = -positive_weight * targets * jax.nn.log_sigmoid(scores)
    loss = loss - (1.0 - targets) * jax.nn.log_sigmoid(-scores)
    in_range = (targets >= 0) & (targets <= 1)
    return jnp.where(mask, jnp.where(in_range, loss, jnp.nan), 0.0)


@jax.custom_jvp
def negative_log_likelihood(logits: jax.Array, classes: jax.Array, valid: jax.Array) -> jax.Array:
    r"""``-log softmax(logits)[classes]`` where valid, else 0, with a derivative made for the CPU.

    .. math:: \partial\ell / \partial x_k = \operatorname{softmax}(x)_k - [k = y]

    The gradient of a gather is a scatter, and the gradient of a one-hot product keeps the product: both
    slow, or large, for [N, H, W, K]. Written out, the derivative is one fused element-wise pass. It is 0
    at invalid elements even where their logits are nan.

    Args:
      logits: float32 [..., K].
      classes: int32 [...], in [0, K) everywhere.
      valid: bool [...].

    Returns:
      float32 [...].
    """
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(valid, log_normalizer - _pick(logits, classes), 0.0)


@negative_log_likelihood.defjvp
def _negative_log_likelihood_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    logits, classes, valid = primals
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    loss = log_normalizer - _pick(logits, classes)
    hit = lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) == classes[..., None]
    slope = jnp.exp(logits - log_normalizer[..., None]) - hit.astype(logits.dtype)  # [..., K]
    return jnp.where(valid, loss, 0.0), _directional(slope, tangents[0], loss, valid)


@jax.custom_jvp
def _spread_likelihood(logits: jax.Array, spread: jax.Array, valid: jax.Array) -> jax.Array:
    r"""``-sum_k spread_k log softmax(logits)_k`` where valid, else 0; ``spread`` [K] is a constant."""
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    return jnp.where(valid, spread.sum() * log_normalizer - logits @ spread, 0.0)


@_spread_likelihood.defjvp
def _spread_likelihood_jvp(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    logits, spread, valid = primals
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    loss = spread.sum() * log_normalizer - logits @ spread
    targets = jnp.broadcast_to(spread, logits.shape)
    slope = spread.sum() * jnp.exp(logits - log_normalizer[..., None]) - targets  # [..., K]
    return jnp.where(valid, loss, 0.0), _directional(slope, tangents[0], loss, valid)


def _directional(slope: jax.Array, tangent: jax.Array, loss: jax.Array, valid: jax.Array) -> jax.Array:
    # nan is taken out here and put back below, one value an element: a select by a mask broadcast over K
    # is not vectorised on the CPU (twice the time of the whole pass), a select on the array itself is.
    slope = jnp.where(jnp.isnan(slope), 0.0, slope)
    scale = jnp.where(valid, jnp.where(jnp.isnan(loss), jnp.nan, 1.0), 0.0)
    return scale * jnp.sum(slope * tangent, axis=-1)


def _pick(logits: jax.Array, classes: jax.Array) -> jax.Array:
    return jnp.take_along_axis(logits, classes[..., None], axis=-1, mode="promise_in_bounds")[..., 0]


def _check_classes(logits: jax.Array, labels: jax.Array, class_weights: jax.Array | None) -> None:
    check_floating(logits=logits)
    check_integer(labels=labels)
    if logits.ndim == 0 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"expected logits [..., K] and labels [...] of equal leading axes, got logits "
            f"{list(logits.shape)} and labels {list(labels.shape)}; classes are the last axis (channels last)"
        )
    if class_weights is not None:
        check_layout("class_weights", class_weights, str(logits.shape[-1]), remedy="one weight a class")


def _counted(labels: jax.Array, ignore_index: int | None, where: jax.Array | None) -> jax.Array:
    mask = expand_where(where, labels.shape)
    return mask if ignore_index is None else mask & (labels != ignore_index)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: expected a number in [0, 1], got {label_smoothing}")
