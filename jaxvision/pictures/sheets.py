"""What sheets of pictures have in common: measures, colours, the font, pictures fitted into cells."""

import numpy as np
from PIL import Image, ImageFont

MARGIN = 8
LINE = 22  # height of a line of text in pixels
INK, PAPER = (20, 20, 20), (255, 255, 255)


def sheet_font() -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    """The font of titles and captions, which ships with Pillow."""
    return ImageFont.load_default(size=14)


def shortened(text: str, width: float) -> str:
    """The text, cut short and with an ellipsis if it is wider than so many pixels."""
    font = sheet_font()
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def fit_picture(array: np.ndarray, cell: int) -> Image.Image:
    """Scales so that the longer side is ``cell``: by nearest neighbour upwards, antialiased downwards.

    Args:
      array: uint8 [H, W, 3].
      cell: pixels.
    """
    height, width = array.shape[:2]
    scale = cell / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    return Image.fromarray(array).resize(size, method)
