"""Numbers a pixel as pictures: heat maps laid over an image, feature maps, kernels, and sheets of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.pictures.sheets import INK, LINE, MARGIN, PAPER, fit_picture, sheet_font, shortened

__all__ = [
    "channel_pictures",
    "colour_values",
    "heatmap_overlay",
    "kernel_pictures",
    "sections_sheet",
    "strongest_channels",
]

_SMALL = 14  # height of a caption in pixels


def colour_values(values: np.ndarray, *, colours: str = "viridis") -> np.ndarray:
    """Colours for numbers, from the least to the greatest.

    Args:
      values: floating ``[H, W]``. Equal ones all get the first colour.
      colours: name of a colour map of matplotlib; ``"gray"`` for none.

    Returns:
      uint8 ``[H, W, 3]``.

    Raises:
      ValueError: for another shape, a number that is not finite, or an unknown name.
    """
    from matplotlib import colormaps

    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"values: got {list(values.shape)}, expected finite numbers [H, W]")
    if colours not in colormaps:
        raise ValueError(
            f"unknown colours {colours!r}; expected a colour map of matplotlib, such as 'viridis'"
        )
    return colormaps[colours](_stretch(values), bytes=True)[..., :3]


def heatmap_overlay(
    image: np.ndarray, heat: np.ndarray, *, alpha: float = 0.5, colours: str = "turbo"
) -> np.ndarray:
    """Lays a heat map over an image, in its colours where it is hot and thinner where it is not.

    Args:
      image: uint8 ``[H, W, 3]``.
      heat: floating ``[h, w]``, not negative, resized bilinearly to the image and divided by its maximum.
      alpha: share of the colour where the map has its maximum, 0..1; elsewhere half of that at least.
      colours: name of a colour map of matplotlib.

    Returns:
      uint8 ``[H, W, 3]``. Of a map of zeros the image as it is.

    Raises:
      ValueError: for other shapes, or ``alpha`` outside of 0..1.
    """
    if image.ndim != 3 or image.dtype != np.uint8 or heat.ndim != 2:
        raise ValueError(
            f"got an image {image.dtype} {list(image.shape)} and heat {list(heat.shape)}, expected uint8 "
            "[H, W, 3] and [h, w]"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: got {alpha}, expected 0..1")
    if heat.max() <= 0:
        return image
    size = (image.shape[1], image.shape[0])
    wide = Image.fromarray(np.ascontiguousarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR)
    share = np.asarray(wide) / heat.max()
    weight = (alpha * (0.5 + 0.5 * share))[..., None]  # [H, W, 1]
    mixed = (1 - weight) * image + weight * colour_values(share, colours=colours)
    return np.rint(mixed).astype(np.uint8)


def strongest_channels(
    maps: np.ndarray, count: int, *, order: Literal["energy", "first"] = "energy"
) -> np.ndarray:
    """Channels worth looking at.

    Args:
      maps: floating ``[H, W, C]``.
      count: how many at most.
      order: ``"energy"`` for those with the largest variance over the pixels, or ``"first"``.

    Returns:
      Indices, int64 ``[n]``; of equal variance the earlier channel comes first.

    >>> strongest_channels(np.array([[[0.0, 3.0, 1.0], [0.0, -3.0, 2.0]]]), 2).tolist()
    [1, 2]
    """
    if order == "first":
        return np.arange(min(count, maps.shape[-1]))
    return np.argsort(-maps.astype(np.float64).var((0, 1)), kind="stable")[:count]


def channel_pictures(
    maps: np.ndarray, channels: Sequence[int], *, colours: str = "viridis"
) -> list[np.ndarray]:
    """A picture of each channel, stretched from its own least to its own greatest value.

    Args:
      maps: floating ``[H, W, C]``.
      channels: indices.
      colours: name of a colour map of matplotlib.

    Returns:
      uint8 ``[H, W, 3]`` each.
    """
    return [colour_values(maps[..., index], colours=colours) for index in channels]


def kernel_pictures(kernel: np.ndarray) -> list[np.ndarray]:
    """A picture of each kernel of a first convolution: grey is zero, full colour the kernel's largest number.

    Args:
      kernel: floating ``[h, w, 3, C]`` of colour images (RGB) or ``[h, w, 1, C]`` of grey ones.

    Returns:
      C pictures, uint8 ``[h, w, 3]``.

    Raises:
      ValueError: for another shape.
    """
    if kernel.ndim != 4 or kernel.shape[2] not in (1, 3):
        raise ValueError(
            f"kernel: got {list(kernel.shape)}, expected [h, w, 3, C] or [h, w, 1, C] of a first convolution"
        )
    largest = np.maximum(np.abs(kernel).max((0, 1, 2), keepdims=True), np.finfo(np.float32).tiny)
    shown = np.rint(127.5 + 127.5 * kernel / largest).astype(np.uint8)
    return [np.broadcast_to(shown[..., index], (*shown.shape[:2], 3)) for index in range(shown.shape[-1])]


def sections_sheet(
    sections: Sequence[tuple[str, Sequence[tuple[str, np.ndarray]]]], *, columns: int, cell: int
) -> np.ndarray:
    """A sheet of pictures under headings.

    Args:
      sections: (heading, [(caption, uint8 ``[H, W, 3]``), ...]) of each; where no caption of a section has a
        letter, there is no line for them.
      columns: pictures in a row.
      cell: width and height in pixels that each picture is scaled to fit in.

    Returns:
      uint8 ``[height, width, 3]``.

    Raises:
      ValueError: if there is no picture, or ``columns`` or ``cell`` is too small.
    """
    if not any(pictures for _, pictures in sections) or columns < 1 or cell < 8:
        raise ValueError(
            f"got {len(sections)} sections, {columns} columns and cells of {cell} pixels, expected at least "
            "one picture, 1 column and 8 pixels"
        )
    width = MARGIN + columns * (cell + MARGIN)
    blocks = [_section(heading, pictures, columns, cell, width) for heading, pictures in sections]
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks) + MARGIN), PAPER)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return np.asarray(sheet)


def _section(
    heading: str, pictures: Sequence[tuple[str, np.ndarray]], columns: int, cell: int, width: int
) -> Image.Image:
    """A heading and rows of pictures with captions below."""
    under = _SMALL + 2 if any(caption for caption, _ in pictures) else 0
    placed = [(caption, fit_picture(array, cell)) for caption, array in pictures]
    rows = [placed[start : start + columns] for start in range(0, len(placed), columns)]
    heights = [max(picture.height for _, picture in row) for row in rows]
    above = MARGIN // 2 + LINE
    block = Image.new("RGB", (width, above + sum(heights) + len(rows) * (under + MARGIN)), PAPER)
    draw = ImageDraw.Draw(block)
    text = shortened(heading, width - 2 * MARGIN)
    draw.text((MARGIN, MARGIN // 2 + LINE // 2), text, fill=INK, font=sheet_font(), anchor="lm")
    top = above
    for row, height in zip(rows, heights, strict=True):
        for column, (caption, picture) in enumerate(row):
            left = MARGIN + column * (cell + MARGIN)
            block.paste(picture, (left + (cell - picture.width) // 2, top + (height - picture.height) // 2))
            middle = (left + cell // 2, top + height + under // 2)
            draw.text(middle, shortened(caption, cell), fill=INK, font=sheet_font(), anchor="mm")
        top += height + under + MARGIN
    return block


def _stretch(values: np.ndarray) -> np.ndarray:
    """From 0 to 1; equal values are all 0."""
    low, high = float(values.min()), float(values.max())
    return np.zeros(values.shape) if high <= low else (values - low) / (high - low)
