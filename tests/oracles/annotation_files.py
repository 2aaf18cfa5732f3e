"""Tiny folders in the formats of segmentation data, written as their tools write them."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_photo(path: Path, size: tuple[int, int] = (24, 32), grey: int = 90) -> None:
    """A picture of one grey, of (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (grey, grey, grey)).save(path)


def write_array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def png_text(array: np.ndarray) -> str:
    """A PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def shape(label: str, points: list, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(
    picture: str | None, shapes: list[dict], size: tuple[int, int] = (24, 32), **more: Any
) -> dict[str, Any]:
    """A labelme file as an object."""
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
        **more,
    }


SQUARE = [[2.0, 3.0], [10.0, 3.0], [10.0, 9.0], [2.0, 9.0]]
TRIANGLE = [[12.5, 4.0], [28.0, 6.5], [20.0, 21.0]]


def write_labelme(root: Path, count: int = 1) -> Path:
    """Pictures a0.jpg, a1.jpg, ... each with a car, and a road in every second one."""
    for number in range(count):
        write_photo(root / f"a{number}.jpg")
        shapes = [shape("car", SQUARE)] + [shape("road", TRIANGLE)] * (number % 2)
        write_json(root / f"a{number}.json", labelme(f"a{number}.jpg", shapes))
    return root


def coco(**lists: Any) -> dict[str, Any]:
    """An instances file of one image of 24 x 32 with a polygon and a crowd."""
    content = {
        "info": {"year": 2017, "contributor": "Zoë"},
        "licenses": [],
        "images": [{"id": 7, "file_name": "one.jpg", "height": 24, "width": 32}],
        "categories": [{"id": 90, "name": "brush"}, {"id": 3, "name": "car"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 90,
                "iscrowd": 0,
                "segmentation": [[2, 3, 10, 3, 10, 9, 2, 9]],
            },
        ],
    }
    return {**content, **lists}


def write_coco(root: Path, content: dict[str, Any], part: str = "val2017", kind: str = "instances") -> Path:
    """COCO's layout with pictures for all images that are listed as (24, 32)."""
    for image in content["images"]:
        write_photo(root / part / image["file_name"])
    path = root / "annotations" / f"{kind}_{part}.json"
    write_json(path, content)
    return path


def panoptic_png(ids: np.ndarray) -> np.ndarray:
    """Segment ids [H, W] as colours [H, W, 3]."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def write_panoptic(root: Path, ids: np.ndarray, segments: list[dict], part: str = "val2017") -> Path:
    content = coco(annotations=[{"image_id": 7, "file_name": "one.png", "segments_info": segments}])
    path = write_coco(root, content, part, "panoptic")
    write_array(path.with_suffix("") / "one.png", panoptic_png(ids))
    return path


def write_cityscapes(
    root: Path, name: str = "aachen_000000_000019", split: str = "train", size: tuple[int, int] = (24, 32)
) -> Path:
    """An image and its polygons; returns the file of polygons."""
    city = name.split("_")[0]
    write_photo(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", size)
    path = root / "gtFine" / split / city / f"{name}_gtFine_polygons.json"
    objects = [
        {"label": "road", "polygon": [[0, 12], [31, 12], [31, 23], [0, 23]]},
        {"label": "cargroup", "polygon": [[4, 8], [12, 8], [12, 16], [4, 16]]},
        {"label": "license plate", "polygon": [[5, 14], [8, 14], [8, 15], [5, 15]]},
    ]
    write_json(path, {"imgHeight": size[0], "imgWidth": size[1], "objects": objects})
    return path
