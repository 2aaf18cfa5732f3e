"""A sheet of the pictures that a classifier is most wrong about."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.pictures.sheets import INK, LINE, MARGIN, PAPER, fit_picture, sheet_font, shortened

__all__ = ["mistakes_sheet", "worst_mistakes"]

_WRONG, _RIGHT = (190, 30, 30), (20, 110, 50)


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, *, limit: int = 24) -> np.ndarray:
    """Positions of the images that are predicted wrong, the surest mistakes first.

    Args:
      probabilities: floating [N, K].
      labels: integer [N]; a label outside [0, K) is passed over.
      limit: how many at most.

    Returns:
      int64 [n]; of equal confidence the earlier image comes first.

    Raises:
      ValueError: if the shapes do not fit.

    >>> probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8]])
    >>> worst_mistakes(probabilities, np.array([1, 1, 1])).tolist()
    [1, 0]
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"got probabilities {list(probabilities.shape)} and labels {list(labels.shape)}, expected [N, K] "
            "and [N]"
        )
    known = (labels >= 0) & (labels < probabilities.shape[1])
    wrong = np.flatnonzero(known & (probabilities.argmax(axis=1) != labels))
    order = np.argsort(-probabilities[wrong].max(axis=1), kind="stable")
    return wrong[order][:limit]


def mistakes_sheet(
    images: Sequence[np.ndarray],
    labels: np.ndarray,
    probabilities: np.ndarray,
    *,
    class_names: Sequence[str],
    columns: int = 6,
    cell: int = 160,
) -> np.ndarray:
    """A grid of pictures; below each, in red the prediction, in green the truth, with their probabilities.

    Args:
      images: uint8 [H, W, 3] each, of any sizes.
      labels: integer [N], the truth.
      probabilities: floating [N, K].
      class_names: K names; those too long for a cell are cut short.
      columns: pictures in a row.
      cell: width and height in pixels that each picture is scaled to fit in.

    Returns:
      uint8 [height, width, 3]. Without pictures it is one line that says so: a network may make no mistake.

    Raises:
      ValueError: if the lengths do not fit, or ``columns`` or ``cell`` is too small.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    if labels.shape != (len(images),) or probabilities.shape != (len(images), len(class_names)):
        raise ValueError(
            f"got {len(images)} images, labels {list(labels.shape)}, probabilities "
            f"{list(probabilities.shape)} and {len(class_names)} class names, expected N, [N], [N, K] and K"
        )
    if columns < 1 or cell < 32:
        raise ValueError(f"got {columns} columns of {cell} pixels, expected at least 1 of at least 32")
    rows = -(-len(images) // columns)
    step = (cell + MARGIN, cell + 2 * LINE + MARGIN)  # width, height
    sheet = Image.new("RGB", (MARGIN + columns * step[0], MARGIN + LINE + rows * step[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    left = MARGIN
    for word, colour in (("prediction", _WRONG), ("truth", _RIGHT)) if rows else (("no mistakes", INK),):
        draw.text((left, LINE // 2), word, fill=colour, font=sheet_font(), anchor="lm")
        left += int(sheet_font().getlength(word)) + 2 * MARGIN
    for number, (image, label, row) in enumerate(zip(images, labels, probabilities, strict=True)):
        left = MARGIN + number % columns * step[0]
        top = LINE + number // columns * step[1]
        picture = fit_picture(image, cell)
        sheet.paste(picture, (left + (cell - picture.width) // 2, top + (cell - picture.height) // 2))
        predicted = int(row.argmax())
        for line, (index, colour) in enumerate(((predicted, _WRONG), (int(label), _RIGHT))):
            text = _caption(class_names[index], float(row[index]), cell)
            middle = top + cell + line * LINE + LINE // 2
            draw.text((left + cell // 2, middle), text, fill=colour, font=sheet_font(), anchor="mm")
    return np.asarray(sheet)


def _caption(name: str, probability: float, width: int) -> str:
    """Name and probability, the name cut short until both fit."""
    share = f" ({100 * probability:.0f} %)"
    return shortened(name, width - sheet_font().getlength(share)) + share
