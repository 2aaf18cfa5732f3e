"""Shapes drawn on an image by hand -> pixels, as labelme draws them.

The rules, for coordinates (x, y) in pixels with x to the right and y down, by Pillow's ``ImageDraw``:

* ``polygon``: filled, and its outline is drawn one pixel wide; at least 3 points;
* ``oriented_rectangle``: as a polygon of 4 points;
* ``rectangle``: filled, both corners included; 2 opposite corners in any order;
* ``circle``: filled; its centre and a point on it;
* ``line``, ``linestrip``: a line 10 pixels wide through 2, or at least 2, points;
* ``point``, ``points``: a filled circle of 5 pixels radius round 1, or each of at least 1, point.

What lies outside of the image is cut off.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from PIL import ImageDraw

from jaxvision.data.json_fields import checked, shown

__all__ = ["LINE_WIDTH", "POINT_RADIUS", "SHAPES", "draw_shape", "read_points"]

LINE_WIDTH = 10
"""Width of lines in pixels, labelme's."""
POINT_RADIUS = 5
"""Radius of points in pixels, labelme's."""
_FAR = 10  # sides of the image; a coordinate further out is a mistake, and drawing there takes for ever

Points = list[tuple[float, float]]

SHAPES: Mapping[str, tuple[int, int | None]] = {
    "polygon": (3, None),
    "oriented_rectangle": (4, 4),
    "rectangle": (2, 2),
    "circle": (2, 2),
    "line": (2, 2),
    "linestrip": (2, None),
    "point": (1, 1),
    "points": (1, None),
}
"""Least and greatest number of points of each kind of shape."""


def read_points(value: Any, size: tuple[int, int], where: str) -> Points:
    """The points of a shape, checked.

    Args:
      value: a list of lists of x and y, as it stands in a JSON file.
      size: height and width of the image.
      where: names the file and the shape in messages.

    Raises:
      ValueError: if it is something else, if a coordinate is no finite number, or if it is further outside of
        the image than ten times its longer side.
    """
    far = _FAR * max(size)
    points = []
    for number, pair in enumerate(checked(value, "a list", where)):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{where}[{number}]: got {shown(pair)}, expected [x, y]; draw the shape anew")
        x, y = (float(checked(coordinate, "a finite number", f"{where}[{number}]")) for coordinate in pair)
        if not (-far <= x <= size[1] + far and -far <= y <= size[0] + far):
            raise ValueError(
                f"{where}[{number}]: ({x:g}, {y:g}) is far outside of the image of {size[1]}x{size[0]} "
                "(width x height); draw the shape anew, on this image"
            )
        points.append((x, y))
    return points


def draw_shape(
    draw: ImageDraw.ImageDraw, kind: str, points: Points, *, value: int, size: tuple[int, int], where: str
) -> None:
    """Draws a shape over what is there.

    Args:
      draw: of a grey picture.
      kind: a key of ``SHAPES``.
      points: of the shape.
      value: of its pixels.
      size: height and width of the picture.
      where: names the file and the shape in messages.

    Raises:
      ValueError: if the kind is unknown, the points are too few or too many, or the whole shape lies outside
        of the picture.
    """
    if kind not in SHAPES:
        raise ValueError(f"{where}: shape_type {kind!r}, expected one of {', '.join(SHAPES)}, mask")
    least, most = SHAPES[kind]
    if len(points) < least or (most is not None and len(points) > most):
        wanted = str(least) if most == least else f"at least {least}"
        raise ValueError(
            f"{where}: a {kind} of {len(points)} point(s), expected {wanted}; draw the shape anew"
        )
    margin = {"circle": math.dist(points[0], points[-1]), "point": POINT_RADIUS, "points": POINT_RADIUS}.get(
        kind, LINE_WIDTH / 2 if kind.startswith("line") else 0
    )
    margin += 1  # coordinates are rounded when they are drawn
    xs, ys = zip(*(points[:1] if kind == "circle" else points), strict=True)
    if (
        max(xs) + margin < 0
        or min(xs) - margin > size[1]
        or max(ys) + margin < 0
        or min(ys) - margin > size[0]
    ):
        raise ValueError(
            f"{where}: the whole {kind} lies outside of the image of {size[1]}x{size[0]} (width x height); "
            "remove it, or draw it on this image"
        )
    _DRAWN[kind](draw, points, value)


def _polygon(draw: ImageDraw.ImageDraw, points: Points, value: int) -> None:
    draw.polygon(points, outline=value, fill=value)


def _rectangle(draw: ImageDraw.ImageDraw, points: Points, value: int) -> None:
    (left, right), (top, bottom) = (sorted(side) for side in zip(*points, strict=True))
    draw.rectangle([left, top, right, bottom], outline=value, fill=value)


def _disc(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, value: int) -> None:
    x, y = centre
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=value, fill=value)


def _circle(draw: ImageDraw.ImageDraw, points: Points, value: int) -> None:
    _disc(draw, points[0], math.dist(*points), value)


def _line(draw: ImageDraw.ImageDraw, points: Points, value: int) -> None:
    draw.line(points, fill=value, width=LINE_WIDTH)


def _discs(draw: ImageDraw.ImageDraw, points: Points, value: int) -> None:
    for point in points:
        _disc(draw, point, POINT_RADIUS, value)


_DRAWN: Mapping[str, Callable[[ImageDraw.ImageDraw, Points, int], None]] = {
    "polygon": _polygon,
    "oriented_rectangle": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "line": _line,
    "linestrip": _line,
    "point": _discs,
    "points": _discs,
}
