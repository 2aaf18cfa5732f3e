"""labelme's own way from shapes to a mask, restated from ``labelme/utils/shape.py`` (6.3)."""

import math

import numpy as np
from PIL import Image, ImageDraw


def shape_to_mask(size: tuple[int, int], points: list, kind: str | None) -> np.ndarray:
    """bool [H, W] of one shape, each on a picture of its own."""
    picture = Image.fromarray(np.zeros(size, np.uint8))
    draw = ImageDraw.Draw(picture)
    corners = [tuple(point) for point in points]
    if kind == "circle":
        (cx, cy), (px, py) = corners
        radius = math.sqrt((cx - px) ** 2 + (cy - py) ** 2)
        draw.ellipse(((cx - radius, cy - radius), (cx + radius, cy + radius)), outline=1, fill=1)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = corners
        low, high = (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
        draw.rectangle((low, high), outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(xy=corners, fill=1, width=10)
    elif kind == "point":
        ((cx, cy),) = corners
        draw.ellipse(((cx - 5, cy - 5), (cx + 5, cy + 5)), outline=1, fill=1)
    else:
        draw.polygon(xy=corners, outline=1, fill=1)
    return np.array(picture, bool)


def shapes_to_label(
    size: tuple[int, int], shapes: list[dict], values: dict[str, int], *, rest: int = 0
) -> np.ndarray:
    """int [H, W]: each shape's mask takes the value of its label, later over earlier, over ``rest``."""
    classes = np.full(size, rest, np.int32)
    for shape in shapes:
        if shape["shape_type"] == "mask":
            covered = np.zeros(size, bool)
            (x1, y1), (x2, y2) = np.asarray(shape["points"]).astype(int)
            covered[y1 : y2 + 1, x1 : x2 + 1] = shape["flags"]
        else:
            covered = shape_to_mask(size, shape["points"], shape["shape_type"])
        classes[covered] = values[shape["label"]]
    return classes
