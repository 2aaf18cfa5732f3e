"""What counts and what does not: the label of void pixels, and validity masks."""

import jax
import jax.numpy as jnp
from jax import lax

VOID = 255
"""Label of pixels that belong to no class: without loss, and not counted."""


def expand_where(where: jax.Array | None, shape: tuple[int, ...]) -> jax.Array:
    """Broadcasts a validity mask over the trailing axes of an array of values.

    Args:
      where: bool, the leading axes of ``shape`` (``[N]`` marks whole images, ``[N, H, W]`` pixels), or
        None for all valid.
      shape: the shape of the values.

    Returns:
      bool ``shape``.

    Raises:
      ValueError: if ``where`` is not boolean or not the leading axes of ``shape``.

    >>> import jax.numpy as jnp
    >>> expand_where(jnp.array([True, False]), (2, 3)).tolist()
    [[True, True, True], [False, False, False]]
    """
    if where is None:
        return jnp.ones(shape, bool)
    if where.dtype != jnp.bool_:
        raise ValueError(f"where: expected a boolean mask, got {where.dtype}; compare it with 0 first")
    if where.shape != shape[: where.ndim]:
        raise ValueError(
            f"where: expected {list(shape)} or its leading axes, got {list(where.shape)}; "
            "mask either whole examples or single values"
        )
    return jnp.broadcast_to(lax.expand_dims(where, range(where.ndim, len(shape))), shape)
