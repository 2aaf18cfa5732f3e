"""What the mask of an annotation file must be, worked out from what the file holds, by other code than ours.

Each gives the mask, and where that is sure: near the outline of COCO's polygons the rule of rasterisation
decides, which other tests look at.
"""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from oracles.labelme_masks import shapes_to_label
from PIL import Image, ImageDraw

VOID = 255
Expected = tuple[np.ndarray, np.ndarray]


def labelme_mask(content: dict[str, Any], source: Any, record: dict[str, Any], *, rest: int = 0) -> Expected:
    """The shapes in the order of the file, over pixels of the value ``rest``."""
    size = record["image"].shape[:2]
    values = {name: index for index, name in enumerate(source.class_names)} | {"__ignore__": VOID}
    shapes = []
    for shape in content["shapes"]:
        kind = shape.get("shape_type") or "polygon"
        shapes.append({**shape, "shape_type": kind})
        if kind == "mask":
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
                shapes[-1]["flags"] = np.asarray(picture) > 0
    return shapes_to_label(size, shapes, values, rest=rest), np.ones(size, bool)


def cityscapes_mask(content: dict[str, Any], source: Any, record: dict[str, Any]) -> Expected:
    """The polygons in the order of the file; what is no class of the benchmark is void."""
    size = record["image"].shape[:2]
    canvas = Image.new("L", size[::-1], VOID)
    for shape in content["objects"]:
        name = shape["label"].removesuffix("group")
        if shape.get("deleted") or name == "license plate":  # what is under a plate stays
            continue
        value = source.class_names.index(name) if name in source.class_names else VOID
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in shape["polygon"]], fill=value)
    return np.array(canvas), np.ones(size, bool)


def coco_mask(content: dict[str, Any], source: Any, record: dict[str, Any], *, background: bool) -> Expected:
    """One class a pixel; void where classes meet, and in a crowd alone."""
    size = record["image"].shape[:2]
    numbers = sorted(category["id"] for category in content["categories"])
    (number,) = (
        image["id"] for image in content["images"] if Path(image["file_name"]).stem == record["name"]
    )
    votes = np.zeros((len(numbers), *size), bool)
    crowd, sure = np.zeros(size, bool), np.ones(size, bool)
    for annotation in content["annotations"]:
        if not isinstance(annotation, dict) or annotation.get("image_id") != number:
            continue
        region, known = _region(annotation["segmentation"], size)
        sure &= known
        if annotation.get("iscrowd"):
            crowd |= region
        else:
            votes[numbers.index(annotation["category_id"])] |= region
    count = votes.sum(0)
    first = votes.argmax(0) + background
    mask = np.where(count == 1, first, np.where(count > 1, VOID, 0 if background else VOID))
    return np.where((count == 0) & crowd, VOID, mask), sure


def panoptic_mask(content: dict[str, Any], ids: np.ndarray, source: Any, record: dict[str, Any]) -> Expected:
    """The class of each segment; 0 and crowds are void."""
    numbers = sorted(category["id"] for category in content["categories"])
    mask = np.full(ids.shape, VOID)
    (annotation,) = content["annotations"]
    for segment in annotation["segments_info"]:
        if not segment.get("iscrowd"):
            mask[ids == segment["id"]] = numbers.index(segment["category_id"])
    return mask, np.ones(ids.shape, bool)


def _region(segmentation: Any, size: tuple[int, int]) -> Expected:
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        counts = _unpacked(counts) if isinstance(counts, str) else counts
        flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)  # column by column
        return flat.reshape(size[::-1]).T, np.ones(size, bool)
    region, sure = np.zeros(size, bool), np.ones(size, bool)
    for polygon in segmentation:
        inside, known = _polygon(np.reshape(polygon, (-1, 2)).astype(float), size)
        region |= inside
        sure &= known
    return region, sure


def _polygon(corners: np.ndarray, size: tuple[int, int]) -> Expected:
    """Pixels whose centre lies inside, by the count of edges to the right; sure off the edges."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside, nearest = np.zeros(size, bool), np.full(size, np.inf)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        if dy:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + dx * (y - y0) / dy)
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
    return inside, nearest > 1


def _unpacked(text: str) -> list[int]:
    """COCO's packed run lengths: five bits a character, differences to the run before the last."""
    counts: list[int] = []
    number = shift = 0
    for code in text.encode():
        number |= ((code - 48) & 31) << shift
        shift += 5
        if not (code - 48) & 32:
            if (code - 48) & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    return counts
