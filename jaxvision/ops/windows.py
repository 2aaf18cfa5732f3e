"""Sizes, strides and paddings of sliding windows: one reading of the arguments for every op that slides.

Ops slide over one, two or three axes: sequences ``[N, T, C]``, images ``[N, H, W, C]`` and video
``[N, T, H, W, C]``. How many is told by the kernel's rank or, for an op without a kernel, by the window: a
number means an image, a tuple has one entry an axis (``(3,)`` slides over a sequence).
"""

from collections.abc import Sequence
from typing import TypeAlias

import jax

from jaxvision.core import check_layout

Size: TypeAlias = int | Sequence[int]
"""One number for all axes, or one an axis: ``(height, width)``."""

Padding: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]]
"""Zeros around the image: one number for all sides, one an axis ``(height, width)`` for both of its sides, or
one a side ``((top, bottom), (left, right))``."""

Sizes: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]

LAYOUTS = {1: "N T C", 2: "N H W C", 3: "N T H W C"}
"""What is slid over, by the number of axes."""

_AXES = {1: "(time,)", 2: "(height, width)", 3: "(time, height, width)"}


def window_rank(name: str, *windows: Size) -> int:
    """How many axes a window slides over: 2 for numbers, else the length that the tuples have.

    Raises:
      ValueError: if it is not 1, 2 or 3, or two tuples differ in length.

    >>> window_rank("window", 3), window_rank("window", (3, 3, 3)), window_rank("window", 2, (5,))
    (2, 3, 1)
    """
    ranks = {len(window) for window in windows if not isinstance(window, int)} or {2}
    if len(ranks) > 1 or not ranks <= _AXES.keys():
        raise ValueError(
            f"{name}: expected an integer or one integer for each of 1, 2 or 3 axes, got "
            f"{' and '.join(map(repr, windows))}"
        )
    return ranks.pop()


def check_slid_over(name: str, x: jax.Array, rank: int, *, cause: str) -> None:
    """Checks that an array is a batch of what a window of ``rank`` axes slides over.

    Args:
      name: what the caller calls the array.
      x: any shape and dtype.
      rank: 1, 2 or 3.
      cause: what asks for that rank, such as ``"the window 2 slides over"``; the layout is put after it.

    Raises:
      ValueError: if its rank is not ``rank + 2``.

    >>> import jax.numpy as jnp
    >>> check_slid_over("x", jnp.zeros((8, 8, 3)), 2, cause="the window 2 slides over")
    Traceback (most recent call last):
    ValueError: x: expected [N, H, W, C], got [8, 8, 3]; the window 2 slides over [N, H, W, C]
    """
    layout = LAYOUTS[rank]
    check_layout(name, x, layout, remedy=f"{cause} [{', '.join(layout.split())}]")


def as_sizes(name: str, value: Size, *, rank: int = 2, least: int = 1) -> Sizes:
    """Reads a :data:`Size` as one integer an axis.

    Raises:
      ValueError: if it is not one or ``rank`` integers, or one is below ``least``.

    >>> as_sizes("strides", 2)
    (2, 2)
    """
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or not all(isinstance(number, int) and number >= least for number in sizes):
        raise ValueError(f"{name}: expected an integer or {_AXES[rank]}, integers >= {least}, got {value!r}")
    return sizes


def as_padding(padding: Padding, *, rank: int = 2) -> tuple[Pair, ...]:
    """Reads a :data:`Padding` as ``(before, after)`` of each axis.

    Raises:
      ValueError: if it has another form (``"SAME"`` too: with a stride of 2 it is not what published
        weights were trained with) or a negative entry.

    >>> as_padding(1)
    ((1, 1), (1, 1))
    >>> as_padding((1, 0))
    ((1, 1), (0, 0))
    >>> as_padding(((0, 1), (0, 1)))
    ((0, 1), (0, 1))
    """
    axes = (padding,) * rank if isinstance(padding, int) else padding
    try:
        if isinstance(axes, str) or len(axes) != rank:
            raise ValueError
        first, last = zip(*(as_sizes("padding", axis, least=0) for axis in axes), strict=True)
        return tuple(zip(first, last, strict=True))
    except (TypeError, ValueError) as error:
        each = "((top, bottom), (left, right))" if rank == 2 else "(before, after) of each axis"
        raise ValueError(
            f"padding: expected an integer, {_AXES[rank]} or {each}, none negative, got {padding!r}; write "
            "the numbers out"
        ) from error


def window_output_size(size: int, window: int, stride: int, padding: Pair, dilation: int) -> int:
    """Number of positions of a window along one axis, ``floor((n + lo + hi - d(k-1) - 1) / s) + 1``.

    >>> window_output_size(224, 7, 2, (3, 3), 1)
    112
    """
    return (size + sum(padding) - dilation * (window - 1) - 1) // stride + 1
