"""Sizes, strides and paddings of sliding windows: one reading of the arguments for every op that slides."""

from collections.abc import Sequence
from typing import TypeAlias

Size: TypeAlias = int | Sequence[int]
"""One number for both axes, or one an axis ``(height, width)``."""

Padding: TypeAlias = int | Sequence[int] | Sequence[Sequence[int]]
"""Zeros around the image: one number for all four sides, one an axis ``(height, width)`` for both of its
sides, or one a side ``((top, bottom), (left, right))``."""

Pair: TypeAlias = tuple[int, int]


def as_pair(name: str, value: Size, *, least: int = 1) -> Pair:
    """Reads a :data:`Size` as ``(height, width)``.

    Raises:
      ValueError: if it is not one or two integers, or one is below ``least``.

    >>> as_pair("strides", 2)
    (2, 2)
    """
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(number, int) and number >= least for number in pair):
        raise ValueError(
            f"{name}: expected an integer or a pair (height, width) of integers >= {least}, got {value!r}"
        )
    return pair


def as_padding(padding: Padding) -> tuple[Pair, Pair]:
    """Reads a :data:`Padding` as ``((top, bottom), (left, right))``.

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
    try:
        if isinstance(padding, str):
            raise ValueError
        rows, columns = (padding, padding) if isinstance(padding, int) else padding
        return as_pair("padding", rows, least=0), as_pair("padding", columns, least=0)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "padding: expected an integer, (height, width) or ((top, bottom), (left, right)), none "
            f"negative, got {padding!r}; write the numbers out"
        ) from error


def window_output_size(size: int, window: int, stride: int, padding: Pair, dilation: int) -> int:
    """Number of positions of a window along one axis, ``floor((n + lo + hi - d(k-1) - 1) / s) + 1``.

    >>> window_output_size(224, 7, 2, (3, 3), 1)
    112
    """
    return (size + sum(padding) - dilation * (window - 1) - 1) // stride + 1
