"""Learned position codes."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_floating
from jaxvision.layers.initializers import Initializer


class LearnedPositions(nn.Module):
    """Adds a learned vector to each position. Parameter ``table`` ``[T, C]`` or ``[H, W, C]``, float32.

    Attributes:
      size: positions of the table, ``(T,)`` or ``(H, W)``; None takes those of the input. A sequence may be
        shorter than the table and then has its first rows. A grid must have the table's size: for images of
        another size, resize the table in the variables.
      table_init: initialiser of the table.
      dtype: dtype of the result; by default that of the input and the table together.

    References:
      Dosovitskiy et al. 2021, *An Image Is Worth 16x16 Words*, equation 1 and appendix D.4.
    """

    size: Sequence[int] | None = None
    table_init: Initializer = nn.initializers.normal(0.02)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Adds the table to sequences ``[N, T, C]`` or grids ``[N, H, W, C]``.

        Raises:
          ValueError: if ``x`` is not floating, has no positions, or has others than the table.
        """
        check_floating(x=x)
        positions = x.shape[1:-1]
        size = positions if self.size is None else tuple(self.size)
        if self.size is None and self.has_variable("params", "table"):
            size = self.get_variable("params", "table").shape[:-1]
        shorter = len(size) == 1 == len(positions) and positions[0] <= size[0]
        if not positions or not (shorter or positions == size):
            raise ValueError(
                f"x: expected [N, {', '.join(map(str, size)) or '...'}, C], got {list(x.shape)}; make the "
                "table of this size, or resize it in the variables"
            )
        table = self.param("table", self.table_init, (*size, x.shape[-1]), jnp.float32)
        x, table = promote_dtype(x, table[: positions[0]], dtype=self.dtype)
        return x + jnp.broadcast_to(table[None], x.shape)
