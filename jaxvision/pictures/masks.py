"""Masks as pictures: palette PNGs, overlays, and contact sheets of image, ground truth and prediction."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.core import VOID, write_atomically
from jaxvision.pictures.sheets import INK, LINE, MARGIN, PAPER, fit_picture, sheet_font, shortened

__all__ = ["contact_sheet", "overlay", "write_palette_png", "write_png"]


def write_png(path: str | Path, image: np.ndarray) -> Path:
    """Writes uint8 [H, W, 3] (or [H, W] grey) as PNG; the old file stays until the new one is whole.

    Raises:
      ValueError: if the image is of another dtype or shape.
    """
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or image.ndim < 2:
        raise ValueError(f"image: got {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3] or [H, W]")
    picture = Image.fromarray(image)
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))


def write_palette_png(path: str | Path, mask: np.ndarray, palette: np.ndarray) -> Path:
    """Writes a mask as a PNG of one channel, whose values are the class indices and whose palette shows them.

    Args:
      path: the file; folders on the way are made.
      mask: integers [H, W], 0..255.
      palette: uint8 [256, 3].

    Returns:
      The path.

    Raises:
      ValueError: if the mask is not [H, W], not of integers, or holds a value outside of 0..255.
    """
    picture = Image.fromarray(_checked_mask(mask))
    picture.putpalette(_checked_palette(palette).tobytes())
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))


def overlay(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    palette: np.ndarray,
    alpha: float = 0.5,
    ignore_index: int | None = VOID,
) -> np.ndarray:
    """Lays the mask's colours over the image.

    Args:
      image: uint8 [H, W, 3].
      mask: integers [H, W], 0..255.
      palette: uint8 [256, 3].
      alpha: share of the mask's colour, 0..1.
      ignore_index: the image shows through unchanged where the mask has this value; None for nowhere.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: if the shapes differ, or ``alpha`` is outside of 0..1.

    >>> image = np.full((1, 2, 3), 100, np.uint8)
    >>> overlay(image, np.array([[1, 255]]), palette=np.full((256, 3), 200, np.uint8)).tolist()
    [[[150, 150, 150], [100, 100, 100]]]
    """
    mask = _checked_mask(mask)
    if image.shape != (*mask.shape, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"image: got {image.dtype} {list(image.shape)} for a mask of {list(mask.shape)}, "
            "expected uint8 [H, W, 3] of the mask's size; resize one of them"
        )
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha: got {alpha}, expected 0..1")
    weight = np.where(mask == (-1 if ignore_index is None else ignore_index), 0, np.float32(alpha))
    weight = weight[..., None]  # [H, W, 1]
    mixed = (1 - weight) * image + weight * _checked_palette(palette)[mask]
    return np.rint(mixed).astype(np.uint8)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    class_names: Sequence[str],
    palette: np.ndarray,
    titles: Sequence[str] = ("image", "ground truth", "prediction"),
    captions: Sequence[str] = (),
    cell: int = 224,
) -> np.ndarray:
    """A sheet of images beside their masks, with column titles and a legend of the classes that appear.

    Args:
      rows: for each row one array a column: uint8 [H, W, 3] images are shown as they are, integer [H, W]
        masks in their colours.
      class_names: names by class index.
      palette: uint8 [256, 3].
      titles: one a column.
      captions: a line of text above each row; none by default.
      cell: width and height in pixels that each picture is scaled to fit in.

    Returns:
      uint8 [height, width, 3].

    Raises:
      ValueError: if there is no row, a row's length differs from that of the titles, or there are captions
        but not one a row.
    """
    if not rows:
        raise ValueError("contact_sheet: got no rows, expected at least one")
    for number, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(
                f"contact_sheet: row {number} has {len(row)} pictures, expected {len(titles)}: "
                f"{', '.join(titles)}"
            )
    if captions and len(captions) != len(rows):
        raise ValueError(f"contact_sheet: got {len(captions)} captions for {len(rows)} rows")
    palette = _checked_palette(palette)
    pictures = [[fit_picture(_coloured(array, palette), cell) for array in row] for row in rows]
    heights = [max(picture.height for picture in row) for row in pictures]
    shown = np.unique(np.concatenate([np.unique(array) for row in rows for array in row if array.ndim == 2]))
    width = MARGIN + len(titles) * (cell + MARGIN)
    legend = _legend([int(index) for index in shown], class_names, palette, width)
    height = LINE * (1 + len(captions)) + sum(heights) + MARGIN * (len(rows) + 1) + legend.height
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = LINE + MARGIN // 2
    for column, title in enumerate(titles):
        centre = MARGIN + column * (cell + MARGIN) + cell // 2
        draw.text((centre, top - LINE // 2), title, fill=INK, font=sheet_font(), anchor="mm")
    for number, (line, row_height) in enumerate(zip(pictures, heights, strict=True)):
        if captions:
            text = shortened(captions[number], width - 2 * MARGIN)
            draw.text((MARGIN, top + LINE // 2), text, fill=INK, font=sheet_font(), anchor="lm")
            top += LINE
        for column, picture in enumerate(line):
            left = MARGIN + column * (cell + MARGIN) + (cell - picture.width) // 2
            sheet.paste(picture, (left, top + (row_height - picture.height) // 2))
        top += row_height + MARGIN
    sheet.paste(legend, (0, top))
    return np.asarray(sheet)


def _legend(
    indices: Sequence[int], class_names: Sequence[str], palette: np.ndarray, width: int
) -> Image.Image:
    """Swatches and names of classes, in as many lines as the width needs."""
    font = sheet_font()
    entries = []
    for index in indices:
        name = (
            class_names[index] if index < len(class_names) else "void" if index == VOID else f"class {index}"
        )
        entries.append((name, tuple(int(value) for value in palette[index]), int(font.getlength(name))))
    lines: list[list[tuple[int, str, tuple[int, ...]]]] = [[]]
    left = MARGIN
    for name, colour, length in entries:
        needed = 16 + 6 + length + 2 * MARGIN
        if left + needed > width and lines[-1]:
            lines.append([])
            left = MARGIN
        lines[-1].append((left, name, colour))
        left += needed
    legend = Image.new("RGB", (width, LINE * len(lines) + MARGIN), PAPER)
    draw = ImageDraw.Draw(legend)
    for number, line in enumerate(lines):
        middle = number * LINE + LINE // 2
        for left, name, colour in line:
            draw.rectangle((left, middle - 8, left + 16, middle + 8), fill=colour, outline=INK)
            draw.text((left + 22, middle), name, fill=INK, font=font, anchor="lm")
    return legend


def _coloured(array: np.ndarray, palette: np.ndarray) -> np.ndarray:
    return palette[_checked_mask(array)] if array.ndim == 2 else array


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(f"mask: got {mask.dtype} {list(mask.shape)}, expected integers [H, W]")
    if mask.size and (mask.min() < 0 or mask.max() > VOID):
        raise ValueError(f"mask: got values {mask.min()} to {mask.max()}, expected class indices in 0..255")
    return mask.astype(np.uint8)


def _checked_palette(palette: np.ndarray) -> np.ndarray:
    if palette.shape != (256, 3) or palette.dtype != np.uint8:
        raise ValueError(f"palette: got {palette.dtype} {list(palette.shape)}, expected uint8 [256, 3]")
    return palette
