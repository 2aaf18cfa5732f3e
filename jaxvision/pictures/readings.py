"""A sheet of pictures of words, with what was read in each."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.pictures.sheets import INK, LINE, MARGIN, PAPER, fit_picture, sheet_font, shortened

__all__ = ["readings_sheet"]

_WRONG, _RIGHT = (190, 30, 30), (20, 110, 50)


def readings_sheet(
    images: Sequence[np.ndarray],
    readings: Sequence[str],
    *,
    truths: Sequence[str] | None = None,
    columns: int = 4,
    cell: int = 200,
) -> np.ndarray:
    """A grid of pictures; below each what was read: green if it is the truth, red with the truth if not.

    Args:
      images: uint8 [H, W, 3] each, of any sizes.
      readings: one a picture.
      truths: one a picture; by default unknown, and readings are black.
      columns: pictures in a row.
      cell: width in pixels that each picture is scaled to fit in.

    Returns:
      uint8 [height, width, 3]. Without pictures it is one line that says so.

    Raises:
      ValueError: if the numbers do not fit, or ``columns`` or ``cell`` is too small.
    """
    if len(readings) != len(images) or (truths is not None and len(truths) != len(images)):
        raise ValueError(
            f"got {len(images)} images, {len(readings)} readings and "
            f"{'no' if truths is None else len(truths)} truths, expected one of each a picture"
        )
    if columns < 1 or cell < 32:
        raise ValueError(f"got {columns} columns of {cell} pixels, expected at least 1 of at least 32")
    pictures = [fit_picture(image, cell) for image in images]
    height = max((picture.height for picture in pictures), default=0)
    rows = -(-len(images) // columns)
    step = (cell + MARGIN, height + LINE + MARGIN)  # width, height
    sheet = Image.new("RGB", (MARGIN + columns * step[0], MARGIN + (rows * step[1] if rows else LINE)), PAPER)
    draw = ImageDraw.Draw(sheet)
    if not rows:
        draw.text((MARGIN, LINE // 2), "no pictures", fill=INK, font=sheet_font(), anchor="lm")
    for number, (picture, reading) in enumerate(zip(pictures, readings, strict=True)):
        left, top = MARGIN + number % columns * step[0], MARGIN + number // columns * step[1]
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + height - picture.height))
        text, colour = _caption(reading, None if truths is None else truths[number])
        place = (left + cell // 2, top + height + LINE // 2)
        draw.text(place, shortened(text, cell), fill=colour, font=sheet_font(), anchor="mm")
    return np.asarray(sheet)


def _caption(reading: str, truth: str | None) -> tuple[str, tuple[int, int, int]]:
    shown = reading or "(nothing)"
    if truth is None:
        return shown, INK
    return (shown, _RIGHT) if reading == truth else (f"{shown}, not {truth}", _WRONG)
