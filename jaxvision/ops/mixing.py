"""Mixtures of the images of a batch, and of their labels alike: mixup and CutMix.

Both are pure, on the device, and cost one pass over the batch. The partner of image i is image N - 1 - i: the
batch is shuffled, so any fixed partner is a random one, and on many devices reversing a sharded batch is one
exchange between pairs of devices, where a random permutation would have to gather the whole batch on each.
One factor is drawn for the whole batch. (timm's batch mode does both in the same way; torchvision's partner
is image i - 1.)
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_layout

__all__ = ["cutmix", "mixup"]


def mixup(
    key: jax.Array, images: jax.Array, targets: jax.Array, *, alpha: float
) -> tuple[jax.Array, jax.Array]:
    r"""Blends each image, and its target, with its partner's.

    .. math:: \lambda \sim \operatorname{Beta}(\alpha, \alpha), \quad
        \tilde x_i = \lambda x_i + (1 - \lambda) x_{N-1-i}, \quad
        \tilde t_i = \lambda t_i + (1 - \lambda) t_{N-1-i}

    Args:
      key: for the factor.
      images: floating [N, ...]; blended in float32.
      targets: floating [N, K], class probabilities (``one_hot(labels, K)``).
      alpha: of the Beta distribution, static; 0 returns the batch as it is. 0.1 to 0.4 in the paper for
        ImageNet, 1 for CIFAR-10.

    Returns:
      Images and targets of the shapes and dtypes that came in.

    Raises:
      ValueError: if a dtype or shape does not fit, or ``alpha`` is negative.

    References:
      Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", equations 1 and 2.

    >>> images, targets = jnp.array([[0.0], [8.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> mixed, probabilities = mixup(jax.random.key(0), images, targets, alpha=1.0)
    >>> bool(jnp.allclose(mixed[:, 0], 8 * probabilities[:, 1]))
    True
    """
    _check(images, targets, alpha)
    if alpha == 0:
        return images, targets
    share = jax.random.beta(key, alpha, alpha, dtype=jnp.float32)
    return _blend(images, share), _blend(targets, share)


def cutmix(
    key: jax.Array, images: jax.Array, targets: jax.Array, *, alpha: float
) -> tuple[jax.Array, jax.Array]:
    r"""Replaces one box of each image by its partner's, and the same share of its target.

    .. math:: \lambda \sim \operatorname{Beta}(\alpha, \alpha), \quad
        \tilde t_i = (1 - s)\, t_i + s\, t_{N-1-i}, \quad s = \frac{\text{pixels in the box}}{H W}

    The box has the sides :math:`H\sqrt{1 - \lambda}` and :math:`W\sqrt{1 - \lambda}`, rounded down to even
    numbers, about a centre drawn from all pixels, and is cut off at the edges: s is the share of what is left
    of it, not :math:`1 - \lambda`.

    Args:
      key: for the size and the place of the box, one for the whole batch.
      images: [N, H, W, C], or [N, T, H, W, C], where all frames have the same box.
      targets: floating [N, K], class probabilities (``one_hot(labels, K)``).
      alpha: of the Beta distribution, static; 0 returns the batch as it is. 1 in the paper.

    Returns:
      Images and targets of the shapes and dtypes that came in.

    Raises:
      ValueError: if a dtype or shape does not fit, or ``alpha`` is negative.

    References:
      Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
      Features", section 3.1 and algorithm A1, with the sides as in torchvision and timm.
    """
    _check(images, targets, alpha)
    if images.ndim not in (4, 5):
        raise ValueError(f"images: expected [N, H, W, C] or [N, T, H, W, C], got {list(images.shape)}")
    if alpha == 0:
        return images, targets
    height, width = images.shape[-3:-1]
    share_key, *place_keys = jax.random.split(key, 3)
    side = jnp.sqrt(1.0 - jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32))
    rows, columns = (
        _interval(place_key, side, length)
        for place_key, length in zip(place_keys, (height, width), strict=True)
    )
    box = rows[:, None] & columns[None, :]  # [H, W]
    mixed = jnp.where(jnp.broadcast_to(box[..., None], images.shape), images[::-1], images)
    share = 1.0 - jnp.mean(box, dtype=jnp.float32)
    return mixed, _blend(targets, share)


def _interval(key: jax.Array, side: jax.Array, length: int) -> jax.Array:
    """bool [length]: an interval of about ``side * length`` about a random centre, cut off at the ends."""
    half = jnp.floor(0.5 * side * length).astype(jnp.int32)
    centre = jax.random.randint(key, (), 0, length)
    position = lax.iota(jnp.int32, length)
    return (position >= centre - half) & (position < centre + half)


def _blend(values: jax.Array, share: jax.Array) -> jax.Array:
    """``share`` of each row and the rest of its partner's."""
    wide = values.astype(jnp.float32)
    return (share * wide + (1.0 - share) * wide[::-1]).astype(values.dtype)


def _check(images: jax.Array, targets: jax.Array, alpha: float) -> None:
    check_floating(images=images, targets=targets)
    check_layout("targets", targets, f"{images.shape[0] if images.ndim else 'N'} K", remedy="one_hot(labels)")
    if alpha < 0:
        raise ValueError(f"alpha: expected 0 or more, got {alpha}")
