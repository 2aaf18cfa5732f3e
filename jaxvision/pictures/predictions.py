"""A sheet of pictures with what a classifier sees in each."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.pictures.sheets import INK, MARGIN, PAPER, fit_picture, sheet_font, shortened

__all__ = ["predictions_sheet"]

_BAR, _TRACK = (31, 119, 180), (228, 232, 236)
_THICKNESS = 7  # of a bar, in pixels
_LEAST_LINE = 26  # pixels for a name and its bar
_GAP = 12  # between a picture and its bars


def predictions_sheet(
    images: Sequence[np.ndarray],
    probabilities: np.ndarray,
    *,
    class_names: Sequence[str],
    top: int = 5,
    columns: int = 3,
    cell: int = 170,
    bar_width: int = 136,
) -> np.ndarray:
    """A grid of pictures; to the right of each the most probable classes, with a bar for each probability.

    Args:
      images: uint8 [H, W, 3] each, of any sizes.
      probabilities: floating [N, K].
      class_names: K names; those too long for a bar are cut short.
      top: classes beside a picture; all of them if there are fewer.
      columns: pictures in a row.
      cell: width and height in pixels that each picture is scaled to fit in.
      bar_width: pixels of a bar of probability 1.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: if there is no picture, the lengths do not fit, or the cell is too small for the bars.
    """
    probabilities = np.asarray(probabilities)
    if not len(images) or probabilities.shape != (len(images), len(class_names)):
        raise ValueError(
            f"got {len(images)} images, probabilities {list(probabilities.shape)} and {len(class_names)} "
            "class names, expected N > 0, [N, K] and K"
        )
    shown = min(top, len(class_names))
    if shown < 1 or columns < 1 or bar_width < 64 or cell < shown * _LEAST_LINE:
        raise ValueError(
            f"got {shown} classes beside {cell} pixels, bars of {bar_width} and {columns} columns, expected "
            f"at least {_LEAST_LINE} pixels a class, bars of 64 and 1 column"
        )
    rows = -(-len(images) // columns)
    width = cell + _GAP + bar_width + 2 * MARGIN
    size = (MARGIN + columns * width - MARGIN, MARGIN + rows * (cell + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (image, row) in enumerate(zip(images, probabilities, strict=True)):
        left, above = MARGIN + number % columns * width, MARGIN + number // columns * (cell + MARGIN)
        picture = fit_picture(image, cell)
        sheet.paste(picture, (left + (cell - picture.width) // 2, above + (cell - picture.height) // 2))
        best = np.argsort(-row, kind="stable")[:shown]
        for line, index in enumerate(best):
            box = (left + cell + _GAP, above + line * cell // shown, bar_width)
            _draw_bar(draw, box, class_names[index], float(row[index]))
    return np.asarray(sheet)


def _draw_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int], name: str, probability: float) -> None:
    """The name, the share in per cent at the right, and the bar below both."""
    left, above, width = box
    font, share = sheet_font(), f"{100 * probability:.0f} %"
    middle = above + 9
    room = width - int(font.getlength(share)) - MARGIN
    draw.text((left, middle), shortened(name, room), fill=INK, font=font, anchor="lm")
    draw.text((left + width, middle), share, fill=INK, font=font, anchor="rm")
    top, bottom = above + 18, above + 18 + _THICKNESS - 1
    draw.rectangle((left, top, left + width - 1, bottom), fill=_TRACK)
    filled = round(width * probability)
    if filled:
        draw.rectangle((left, top, left + filled - 1, bottom), fill=_BAR)
