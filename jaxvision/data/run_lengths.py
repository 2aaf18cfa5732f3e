"""COCO's encodings of a region -> bool [H, W]: run lengths, packed or not, and polygons.

Runs go down the columns from the left, the first one of pixels outside of the region. They may be a list of
counts, or that list packed in a text: each count is cut in groups of 5 bits, lowest first, in two's
complement, each group a character from "0" on with bit 6 set where more groups follow; from the fourth count
on it is the difference to the count two before.

A polygon is filled by COCO's rule, which differs from that of drawing programs: its edges are walked on a
grid five times finer, and the region starts or ends in a column of pixels where an edge crosses the column's
centre. What lies outside of the image is cut off, and a very thin polygon may have no pixel.

References:
  Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014; the data set's own code,
  https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["fill_polygon", "mask_of_runs", "unpack_runs"]

_FINER = 5  # grid of the edges, per pixel
_MOST_GROUPS = 12  # of 5 bits: more than any image's pixels take


def mask_of_runs(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The region of a list of run lengths, bool [H, W].

    Args:
      runs: pixels outside, inside, outside, ... down the columns.
      size: height and width.

    Raises:
      ValueError: if a run is negative, or they do not add up to the image's pixels.

    >>> mask_of_runs([1, 2, 1], (2, 2)).astype(int).tolist()
    [[0, 1], [1, 0]]
    """
    height, width = size
    if min(runs, default=0) < 0:
        raise ValueError(f"a run of {min(runs)} pixels, expected 0 or more")
    if sum(runs) != height * width:
        raise ValueError(
            f"runs of {sum(runs)} pixels in all, expected {height * width}, those of an image of "
            f"{width}x{height} (width x height)"
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, np.asarray(runs, np.int64)).reshape(width, height).T  # [H, W]


def unpack_runs(text: str) -> list[int]:
    """The run lengths in a packed text.

    Raises:
      ValueError: if a character is none of "0" to "o", or the text ends within a count.

    >>> unpack_runs("121")
    [1, 2, 1]
    """
    runs: list[int] = []
    value = groups = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"a character {character!r} in the packed runs, expected '0' to 'o'")
        value |= (bits & 31) << (5 * groups)
        groups += 1
        if bits & 32:
            if groups > _MOST_GROUPS:
                raise ValueError("a packed run that goes on and on, expected at most 60 bits")
            continue
        if bits & 16:
            value -= 1 << (5 * groups)
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = groups = 0
    if groups:
        raise ValueError("the packed runs end within a count; the text was cut short")
    return runs


def fill_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The region of a polygon by COCO's rule, bool [H, W].

    Args:
      points: float [n, 2], x and y in pixels, n > 2. Time and memory go with the length of the outline.
      size: height and width.

    >>> square = np.array([[1.0, 0.0], [3.0, 0.0], [3.0, 2.0], [1.0, 2.0]])
    >>> fill_polygon(square, (2, 4)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    height, width = size
    x, y = _walk(np.trunc(_FINER * points + 0.5).astype(np.int64))
    step = np.flatnonzero(x[1:] != x[:-1])  # between two columns of the fine grid
    column = (np.minimum(x[step], x[step + 1]) + 0.5) / _FINER - 0.5
    row = (np.minimum(y[step], y[step + 1]) + 0.5) / _FINER - 0.5
    on_centre = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    column = column[on_centre].astype(np.int64)
    row = np.ceil(np.clip(row[on_centre], 0, height)).astype(np.int64)
    # An outline crosses a column an even number of times: inside is after an odd number of crossings.
    crossings = np.bincount(column * (height + 1) + row, minlength=width * (height + 1))
    crossings = crossings.reshape(width, height + 1)[:, :height]  # [W, H]
    return (np.cumsum(crossings, axis=1) % 2 == 1).T  # [H, W]


def _walk(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All points of the fine grid on the outline, in order: x and y, int64 [m]."""
    start, end = corners, np.roll(corners, -1, axis=0)  # [n, 2]
    span = np.abs(end - start)  # [n, 2]
    steep = span[:, 1] > span[:, 0]
    length = span.max(axis=1)
    # Each edge is walked from its lower coordinate on the longer side, so that both directions give the same.
    along = np.where(steep, 1, 0)
    edge = np.arange(len(corners))
    backwards = start[edge, along] > end[edge, along]
    low, high = np.where(backwards[:, None], end, start), np.where(backwards[:, None], start, end)
    across = 1 - along
    slope = (high[edge, across] - low[edge, across]) / np.maximum(length, 1)
    count = length + 1
    of = np.repeat(edge, count)  # [m], the edge of each point
    position = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    position = np.where(backwards[of], length[of] - position, position)
    longer = low[of, along[of]] + position
    shorter = np.trunc(low[of, across[of]] + slope[of] * position + 0.5).astype(np.int64)
    return np.where(steep[of], shorter, longer), np.where(steep[of], longer, shorter)
