"""A folder of pictures annotated with labelme: one JSON file of shapes a picture.

How a mask is made of shapes, which is labelme's own way:

* shapes are drawn in the order of the file, later over earlier: a shape inside another must come after it;
  :mod:`jaxvision.data.polygons` says which pixels a shape covers. ``group_id`` and ``flags`` play no part;
* a ``mask`` (of labelme's AI tools) is a small picture laid at the first of its two points;
* the label ``__ignore__`` is void (255), ``_background_`` is index 0. Pixels without a shape are background.

The picture is the one embedded as ``imageData``, or else the file ``imagePath``, relative to the JSON file,
with slashes of either kind; if it is not there, the file of that name beside the JSON file.

References:
  labelme, ``labelme/utils/shape.py``: https://github.com/wkentaro/labelme
"""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.core import VOID, name_some
from jaxvision.data.file_lists import Problems, find_folder, read_lines, require_unique
from jaxvision.data.image_files import decode_flags, decode_image, read_image
from jaxvision.data.json_fields import checked, entry, read_json_object, shown
from jaxvision.data.polygons import Points, draw_shape, read_points
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["BACKGROUND", "IGNORE", "LabelmeFolder"]

BACKGROUND = "_background_"
"""labelme's label of pixels without a shape."""
IGNORE = "__ignore__"
"""labelme's label of pixels that do not count."""


class LabelmeFolder(SegmentationFolder):
    """Pictures with a labelme JSON file each.

    Every JSON file in the folder is a record; its name is that of the file. Pictures without one are not
    annotated yet and are left alone. A file without shapes is a picture of nothing but background.

    Args:
      root: the folder with the JSON files; folders in it are not searched.
      labels: a file of one label a line, index 0 first; ``__ignore__`` is passed over, and ``_background_``
        put first if it is not named. By default ``labels.txt`` or ``classes.txt`` in the folder, and where
        there is neither, ``_background_`` and then the labels found, sorted as text.
      unlabelled: what pixels without a shape are; with "void" there is no ``_background_`` unless named.
      skip_broken: leaves out broken files, and keeps what is wrong with them in ``broken``.

    Raises:
      FileNotFoundError: if the folder or the file of labels is missing.
      ValueError: if there is no JSON file, or, unless they are skipped, with a line for each that is broken:
        no labelme file, a label that is not listed, no picture, a picture that another file annotates too.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        labels: str | Path | None = None,
        unlabelled: Literal["background", "void"] = "background",
        skip_broken: bool = False,
    ) -> None:
        root, problems = find_folder(Path(root)), Problems(skip=skip_broken)
        listed = _listed_labels(root, labels, unlabelled)
        files = _json_files(root)
        pairs, found = [], set()
        owners: dict[str, Path] = {}
        for path in files:
            try:
                content = read_json_object(path)
                names = _labels_of(content, path, listed)
                image = _find_picture(content, path)
                owner = owners.setdefault(os.path.abspath(image), path)
                if owner != path:
                    raise ValueError(f"{path}: annotates {image.name} as {owner.name} does; keep one of them")
            except (ValueError, OSError) as error:
                problems.add(str(error))
                continue
            found |= names
            pairs.append((path.stem, image, path))
        problems.stop(len(files), what="labelme files")
        background = {BACKGROUND} if unlabelled == "background" else set()
        collected = sorted((found | background) - {IGNORE}, key=lambda name: (name != BACKGROUND, name))
        super().__init__(pairs, class_names=listed or collected, broken=problems.found)
        self._indices = {name: index for index, name in enumerate(self.class_names)} | {IGNORE: VOID}
        self._unlabelled = 0 if unlabelled == "background" else VOID

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image uint8 [H, W, 3] and the mask uint8 [H, W] of a record."""
        _, picture, path = self.pairs[index]
        content = read_json_object(path)
        if picture == path:
            image = decode_image(_bytes_of(content, "imageData", str(path)), f"{path}: imageData")
        else:
            image = read_image(picture)
        return image, self._drawn(content, path, image.shape[:2])

    def _drawn(self, content: Mapping[str, Any], path: Path, size: tuple[int, int]) -> np.ndarray:
        _check_size(content, size, path)
        canvas = Image.new("L", size[::-1], self._unlabelled)
        draw = ImageDraw.Draw(canvas)
        for number, shape in enumerate(_shapes(content, path)):
            where = f"{path}: shapes[{number}]"
            label = _label(shape, where)
            if label not in self._indices:
                raise ValueError(f"{where}: label {shown(label)} is new; open the folder anew")
            kind = shape.get("shape_type")
            # Null, or missing, in files of old versions.
            kind = "polygon" if kind is None else checked(kind, "a text", f"{where}: shape_type")
            points = read_points(entry(shape, "points", "a list", where), size, f"{where}: points")
            if kind == "mask":
                _lay_mask(canvas, shape, points, value=self._indices[label], where=where)
            else:
                draw_shape(draw, kind, points, value=self._indices[label], size=size, where=where)
        return np.array(canvas)


def _json_files(root: Path) -> list[Path]:
    files = sorted(path for path in root.glob("*.json") if not path.name.startswith("."))
    if not files:
        below = sorted({path.parent.name for path in root.glob("*/*.json")})
        remedy = f"give a folder in it: {name_some(below)}" if below else "expected labelme's, one a picture"
        raise ValueError(f"{root}: no JSON file in it; {remedy}")
    return files


def _listed_labels(root: Path, labels: str | Path | None, unlabelled: str) -> list[str] | None:
    """Class names by index of the file of labels; None where there is none."""
    path = None if labels is None else Path(labels)
    for name in ("labels.txt", "classes.txt"):
        if path is None and (root / name).is_file():
            path = root / name
    if path is None:
        return None
    lines = read_lines(path)
    require_unique(lines, path)
    names = [line for line in lines if line != IGNORE]
    if BACKGROUND in names[1:]:
        raise ValueError(
            f"{path}: {BACKGROUND} is not the first class, expected it to be index 0; move it up"
        )
    if unlabelled == "background" and BACKGROUND not in names:
        names.insert(0, BACKGROUND)
    return names


def _shapes(content: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    shapes = entry(content, "shapes", "a list", f"{path} (expected a file of labelme)")
    return [checked(shape, "an object", f"{path}: shapes[{number}]") for number, shape in enumerate(shapes)]


def _label(shape: Mapping[str, Any], where: str) -> str:
    label = entry(shape, "label", "a text", where)
    if not label.strip():
        raise ValueError(f"{where}: the label is empty; name the shape, or remove it")
    return label


def _labels_of(content: Mapping[str, Any], path: Path, listed: Sequence[str] | None) -> set[str]:
    """The labels of a file, each of which must be listed where there is a list."""
    found = set()
    for number, shape in enumerate(_shapes(content, path)):
        where = f"{path}: shapes[{number}]"
        label = _label(shape, where)
        if listed is not None and label not in listed and label != IGNORE:
            raise ValueError(
                f"{where}: label {shown(label)} is not among the {len(listed)} listed: {name_some(listed)}; "
                f"add it to the file of labels, or relabel the shape (as {IGNORE}, say)"
            )
        found.add(label)
    return found


def _find_picture(content: Mapping[str, Any], path: Path) -> Path:
    """The file with the picture; the JSON file itself where the picture is embedded."""
    if content.get("imageData") is not None:
        checked(content["imageData"], "a text", f"{path}: imageData")
        return path
    relative = entry(content, "imagePath", "a text", str(path)).replace("\\", "/")
    beside = path.parent / relative.rsplit("/", 1)[-1]
    for picture in (path.parent / relative, beside):
        if os.path.isfile(picture):  # unlike Path.is_file it takes any text
            return picture
    raise ValueError(
        f"{path}: imagePath {shown(relative)}: no such picture; put it beside the JSON file, or correct the "
        "path"
    )


def _check_size(content: Mapping[str, Any], size: tuple[int, int], path: Path) -> None:
    for key, length in zip(("imageHeight", "imageWidth"), size, strict=True):
        if content.get(key) is None:  # not written by old versions
            continue
        stated = checked(content[key], "an integer", f"{path}: {key}")
        if stated != length:
            raise ValueError(
                f"{path}: {key} is {stated} but the picture is {size[1]}x{size[0]} (width x height); the "
                "shapes were drawn on a picture of another size or another way up: restore it"
            )


def _bytes_of(owner: Mapping[str, Any], key: str, where: str) -> bytes:
    try:
        text = entry(owner, key, "a text", where).replace("\r", "").replace("\n", "")
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{where}: {key} is no base64 ({error}); save the file anew in labelme") from error


def _lay_mask(
    canvas: Image.Image, shape: Mapping[str, Any], points: Points, *, value: int, where: str
) -> None:
    if len(points) != 2:
        raise ValueError(f"{where}: a mask of {len(points)} point(s), expected 2 corners; draw it anew")
    flags = decode_flags(_bytes_of(shape, "mask", where), f"{where}: mask")
    (left, top), (right, bottom) = ((int(x), int(y)) for x, y in points)
    expected = (bottom - top + 1, right - left + 1)
    if flags.shape != expected:
        raise ValueError(
            f"{where}: the mask is {flags.shape[1]}x{flags.shape[0]} (width x height) but its corners are "
            f"those of {expected[1]}x{expected[0]}; draw it anew"
        )
    canvas.paste(value, (left, top), Image.fromarray(flags))
