"""The layout of Cityscapes: leftImg8bit/<split>/<city>/ and gtFine (or gtCoarse)/<split>/<city>/.

References:
  Cordts et al., The Cityscapes Dataset for Semantic Urban Scene Understanding, CVPR 2016. The table of labels
  is that of the data set's scripts (``cityscapesscripts/helpers/labels.py``), and so is the way polygons are
  drawn (``preparation/json2labelImg.py``).
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from jaxvision.core import VOID, name_some
from jaxvision.data.file_lists import Problems, find_folder, require_partners
from jaxvision.data.image_files import read_mask
from jaxvision.data.json_fields import checked, entry, flag, read_json_object, shown
from jaxvision.data.polygons import read_points
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["CITYSCAPES_CLASSES", "CITYSCAPES_LABELS", "CityscapesFolder"]

CITYSCAPES_LABELS: tuple[tuple[str, int], ...] = (
    *(("unlabeled", VOID), ("ego vehicle", VOID), ("rectification border", VOID), ("out of roi", VOID)),
    *(("static", VOID), ("dynamic", VOID), ("ground", VOID), ("road", 0), ("sidewalk", 1)),
    *(("parking", VOID), ("rail track", VOID), ("building", 2), ("wall", 3), ("fence", 4)),
    *(("guard rail", VOID), ("bridge", VOID), ("tunnel", VOID), ("pole", 5), ("polegroup", VOID)),
    *(("traffic light", 6), ("traffic sign", 7), ("vegetation", 8), ("terrain", 9), ("sky", 10)),
    *(("person", 11), ("rider", 12), ("car", 13), ("truck", 14), ("bus", 15), ("caravan", VOID)),
    *(("trailer", VOID), ("train", 16), ("motorcycle", 17), ("bicycle", 18)),
)
"""(name, index to train on) of each of the 34 label ids, by id; 255 is void."""

CITYSCAPES_CLASSES = tuple(name for name, index in CITYSCAPES_LABELS if index != VOID)
"""The 19 classes by index."""

_INDEX_OF_LABEL = dict(CITYSCAPES_LABELS)
_INDEX_OF_ID = np.full(VOID + 1, VOID, np.uint8)
_INDEX_OF_ID[: len(CITYSCAPES_LABELS)] = [index for _, index in CITYSCAPES_LABELS]
# Not drawn, as its id is negative: a plate keeps the label of what is under it.
_NOT_DRAWN = "license plate"
_IMAGE_END = "_leftImg8bit.png"


class CityscapesFolder(SegmentationFolder):
    """Cityscapes with the 19 classes of its benchmark; all other labels are void.

    The mask of an image is the first of these that is there: ``*_labelTrainIds.png``, ``*_labelIds.png``, and
    ``*_polygons.json``, whose objects are drawn in order, later over earlier, on void, by Pillow's polygon
    fill without an outline; what lies outside of the image is cut off.

    Args:
      root: the folder that holds ``leftImg8bit`` and ``gtFine`` or ``gtCoarse``.
      split: "train", "val", "test" (whose published masks are void), or "train_extra" of gtCoarse.
      annotations: which of the two.
      drawn: takes the polygons even if there are masks.
      skip_broken: leaves out images without mask and masks without image, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder is missing.
      ValueError: if there is no image, or, unless they are skipped, an image has no mask or a mask no image.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        annotations: Literal["gtFine", "gtCoarse"] = "gtFine",
        drawn: bool = False,
        skip_broken: bool = False,
    ) -> None:
        image_root = find_folder(Path(root) / "leftImg8bit" / split)
        mask_root = find_folder(Path(root) / annotations / split)
        problems = Problems(skip=skip_broken)
        images = _files_by_name(image_root, (_IMAGE_END,))
        ends = tuple(
            f"_{annotations}_{kind}" for kind in ("labelTrainIds.png", "labelIds.png", "polygons.json")
        )
        masks = _files_by_name(mask_root, ends[2:] if drawn else ends)
        if not images:
            raise ValueError(f"{image_root}: no image in it, expected <city>/*{_IMAGE_END}")
        require_partners(images.keys() - masks.keys(), "image without mask", mask_root, problems)
        require_partners(masks.keys() - images.keys(), "mask without image", image_root, problems)
        pairs = [(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
        super().__init__(pairs, class_names=CITYSCAPES_CLASSES, broken=problems.found)

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        path = self.pairs[index][2]
        if path.suffix == ".json":
            return _draw_polygons(path, size)
        if path.name.endswith("_labelIds.png"):
            return _INDEX_OF_ID[read_mask(path, num_classes=len(CITYSCAPES_LABELS))]
        return read_mask(path, num_classes=self.num_classes)


def _files_by_name(root: Path, ends: tuple[str, ...]) -> dict[str, Path]:
    """Files of all cities by name without the ending; an earlier ending goes before a later one."""
    files: dict[str, Path] = {}
    for end in ends:
        for path in sorted(root.glob(f"*/*{end}")):
            files.setdefault(path.name.removesuffix(end), path)
    return files


def _draw_polygons(path: Path, size: tuple[int, int]) -> np.ndarray:
    content = read_json_object(path)
    stated = tuple(entry(content, key, "an integer", str(path)) for key in ("imgHeight", "imgWidth"))
    if stated != size:
        raise ValueError(
            f"{path}: imgWidth x imgHeight is {stated[1]}x{stated[0]} but the image is {size[1]}x{size[0]}; "
            "take the image that the polygons belong to"
        )
    canvas = Image.new("L", size[::-1], VOID)
    draw = ImageDraw.Draw(canvas)
    for number, item in enumerate(entry(content, "objects", "a list", str(path))):
        where = f"{path}: objects[{number}]"
        shape: dict[str, Any] = checked(item, "an object", where)
        if flag(shape, "deleted", where):
            continue
        label = entry(shape, "label", "a text", where)
        points = read_points(entry(shape, "polygon", "a list", where), size, f"{where}: polygon")
        if len(points) < 3:
            raise ValueError(
                f"{where}: a polygon of {len(points)} point(s), expected at least 3; draw it anew"
            )
        value = _index_of_label(label, where)
        if value is not None:
            draw.polygon(points, fill=value)
    return np.array(canvas)


def _index_of_label(label: str, where: str) -> int | None:
    """Index of a label, or of that of a group of things; None for one that is not drawn."""
    for name in (label, label.removesuffix("group")):
        if name == _NOT_DRAWN:
            return None
        if name in _INDEX_OF_LABEL:
            return _INDEX_OF_LABEL[name]
    raise ValueError(
        f"{where}: label {shown(label)}, expected one of Cityscapes' ({name_some(list(_INDEX_OF_LABEL))}); "
        "correct it"
    )
