"""Learned position codes."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_floating
from jaxvision.layers.initializers import Initializer
from jaxvision.ops.resize import resize


class LearnedPositions(nn.Module):
    """Adds a learned vector to each position.

    Parameters, float32: ``table`` ``[T, C]`` or ``[H, W, C]``; with class tokens also ``class_table``
    ``[class_tokens, C]``, which no interpolation touches.

    Attributes:
      size: positions of the table, ``(T,)`` or ``(H, W)``, without class tokens; None takes those of the
        input. A sequence may be shorter than the table and then has its first rows. A grid must have the
        table's size unless ``interpolate``.
      class_tokens: how many tokens stand before the grid's. Inputs then are sequences, ``[N, class_tokens +
        H W, C]`` with the grid in row-major order.
      interpolate: whether a grid of another size gets the table resized to it, by bicubic interpolation.
      antialias: of the interpolation; see :func:`jaxvision.ops.resize`. timm's ``resample_abs_pos_embed``
        has True, DeiT's and DINO's code False.
      align_corners: of the interpolation; torchvision's ``interpolate_embeddings`` has True.
      table_init: initialiser of the tables.
      dtype: dtype of the result; by default that of the input and the table together.

    References:
      Dosovitskiy et al. 2021, *An Image Is Worth 16x16 Words*, equation 1, section 3.2 (interpolation) and
      appendix D.4.
    """

    size: Sequence[int] | None = None
    class_tokens: int = 0
    interpolate: bool = False
    antialias: bool = False
    align_corners: bool = False
    table_init: Initializer = nn.initializers.normal(0.02)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, grid: Sequence[int] | None = None) -> jax.Array:
        """Adds the table to sequences ``[N, T, C]`` or grids ``[N, H, W, C]``.

        Args:
          x: floating.
          grid: ``(H, W)`` of a sequence with class tokens; by default the table's.

        Raises:
          ValueError: if ``x`` is not floating, has no positions, or has others than the table and is not
            interpolated.
        """
        check_floating(x=x)
        positions, size = self._positions(x, grid)
        shorter = len(size) == 1 == len(positions) and positions[0] <= size[0]
        resized = self.interpolate and len(size) == 2 == len(positions) and min(positions) > 0
        if not positions or not (shorter or resized or positions == size):
            raise ValueError(
                f"x: expected [N, {', '.join(map(str, size)) or '...'}, C], got {list(x.shape)}; make the "
                "table of this size, or let a grid interpolate"
            )
        table = self.param("table", self.table_init, (*size, x.shape[-1]), jnp.float32)
        if positions != size and resized:
            table = resize(
                table[None],
                positions,
                method="bicubic",
                antialias=self.antialias,
                align_corners=self.align_corners,
            )[0]
        table = table[: positions[0]]
        if self.class_tokens:
            shape = (self.class_tokens, x.shape[-1])
            front = self.param("class_table", self.table_init, shape, jnp.float32)
            table = jnp.concatenate(
                [front, table.reshape(math.prod(positions), x.shape[-1])]
            )  # [class_tokens + H W, C]
        x, table = promote_dtype(x, table, dtype=self.dtype)
        return x + jnp.broadcast_to(table[None], x.shape)

    def _positions(self, x: jax.Array, grid: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Positions of the input, without class tokens, and of the table."""
        known = self.size
        if known is None and self.has_variable("params", "table"):
            known = self.get_variable("params", "table").shape[:-1]
        if not self.class_tokens:
            if grid is not None:
                raise ValueError(f"grid: {tuple(grid)} is for class_tokens > 0; the shape of x tells it here")
            return x.shape[1:-1], x.shape[1:-1] if known is None else tuple(known)
        chosen = known if grid is None else grid
        if chosen is None or len(chosen) != 2 or (known is not None and len(known) != 2):
            raise ValueError(
                f"grid: expected (H, W) beside {self.class_tokens} class tokens, got {chosen}; give it or "
                "the size"
            )
        height, width = chosen
        if x.ndim != 3 or x.shape[1] != self.class_tokens + height * width:
            raise ValueError(
                f"x: expected [N, {self.class_tokens} + {height} * {width}, C], got {list(x.shape)}; give "
                "the grid of this input"
            )
        return (height, width), (height, width) if known is None else tuple(known)
