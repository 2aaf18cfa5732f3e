"""COCO-Stuff's pixel maps: PNGs of class indices of 80 things and 91 stuff classes.

References:
  Caesar, Uijlings, Ferrari, COCO-Stuff: Thing and Stuff Classes in Context, CVPR 2018; the list of labels,
  https://github.com/nightrome/cocostuff/blob/master/labels.txt
"""

from pathlib import Path

import numpy as np

from jaxvision.core import VOID, name_some
from jaxvision.data.file_lists import Problems, files_by_stem, require_partners
from jaxvision.data.image_files import read_mask
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["COCO_STUFF_CLASSES", "CocoStuffMaps"]

_LABELS = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat"),
    *("traffic light", "fire hydrant", "street sign", "stop sign", "parking meter", "bench", "bird", "cat"),
    *("dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "hat", "backpack", "umbrella"),
    *("shoe", "eye glasses", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball"),
    *(
        "kite",
        "baseball bat",
        "baseball glove",
        "skateboard",
        "surfboard",
        "tennis racket",
        "bottle",
        "plate",
    ),
    *("wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange"),
    *("broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed"),
    *("mirror", "dining table", "window", "desk", "toilet", "door", "tv", "laptop", "mouse", "remote"),
    *("keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "blender", "book"),
    *("clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush", "hair brush"),
    # Stuff, from id 92 on.
    *("banner", "blanket", "branch", "bridge", "building-other", "bush", "cabinet", "cage", "cardboard"),
    *("carpet", "ceiling-other", "ceiling-tile", "cloth", "clothes", "clouds", "counter", "cupboard"),
    *("curtain", "desk-stuff", "dirt", "door-stuff", "fence", "floor-marble", "floor-other", "floor-stone"),
    *("floor-tile", "floor-wood", "flower", "fog", "food-other", "fruit", "furniture-other", "grass"),
    *("gravel", "ground-other", "hill", "house", "leaves", "light", "mat", "metal", "mirror-stuff", "moss"),
    *("mountain", "mud", "napkin", "net", "paper", "pavement", "pillow", "plant-other", "plastic"),
    *("platform", "playingfield", "railing", "railroad", "river", "road", "rock", "roof", "rug", "salad"),
    *("sand", "sea", "shelf", "sky-other", "skyscraper", "snow", "solid-other", "stairs", "stone", "straw"),
    *("structural-other", "table", "tent", "textile-other", "towel", "tree", "vegetable", "wall-brick"),
    *("wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood", "water-other"),
    *("waterdrops", "window-blind", "window-other", "wood"),
)
# Named when COCO began, and in no published annotation.
_DROPPED = {
    *("street sign", "hat", "shoe", "eye glasses", "plate", "mirror", "window", "desk", "door", "blender"),
    "hair brush",
}

COCO_STUFF_CLASSES = tuple(name for name in _LABELS if name not in _DROPPED)
"""The 171 classes by index: the label ids 1 to 182 without the 11 that COCO dropped."""

_TRAIN_IDS = "_labelTrainIds"


class CocoStuffMaps(SegmentationFolder):
    """Pixel maps of COCO-Stuff: 171 classes, void 255.

    Files ``<name>_labelTrainIds.png`` hold the index, 0 to 170, and are taken where they are there; other
    files hold the label id less 1, 0 to 181, as in ``stuffthingmaps``. Images without a map are left alone,
    as a download of images may hold more.

    Args:
      images: the folder of the pictures.
      masks: the folder of the maps.
      skip_broken: leaves out maps without image, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder is missing.
      ValueError: if a folder is empty, or, unless they are skipped, a map has no image.
    """

    def __init__(self, images: str | Path, masks: str | Path, *, skip_broken: bool = False) -> None:
        problems = Problems(skip=skip_broken)
        pictures, maps = files_by_stem(Path(images)), files_by_stem(Path(masks), suffixes=(".png",))
        indexed = {stem.removesuffix(_TRAIN_IDS): path for stem, path in maps.items() if _TRAIN_IDS in stem}
        chosen = indexed or maps
        require_partners(chosen.keys() - pictures.keys(), "map without image", Path(images), problems)
        pairs = [(name, pictures[name], chosen[name]) for name in sorted(chosen.keys() & pictures.keys())]
        super().__init__(pairs, class_names=COCO_STUFF_CLASSES, broken=problems.found)

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        path = self.pairs[index][2]
        if path.stem.endswith(_TRAIN_IDS):
            return read_mask(path, num_classes=self.num_classes)
        values = read_mask(path, num_classes=len(_LABELS))
        classes = _INDEX_OF_LABEL[values]
        dropped = np.unique(values[(classes == VOID) & (values != VOID)])
        if dropped.size:
            names = name_some([f"{value} ({_LABELS[value]})" for value in dropped])
            raise ValueError(
                f"{path}: {names}, which COCO dropped and no published map holds; a map of 171 classes must "
                f"be named <name>{_TRAIN_IDS}.png"
            )
        return classes


_INDEX_OF_LABEL = np.full(VOID + 1, VOID, np.uint8)
_INDEX_OF_LABEL[[i for i, name in enumerate(_LABELS) if name not in _DROPPED]] = np.arange(171)
