"""The layout of the ADE20K scene parsing benchmark: images/<split>/ and annotations/<split>/.

References:
  Zhou et al., Scene Parsing through ADE20K Dataset, CVPR 2017; the 150 classes of the 2016 challenge, in the
  order of its ``objectInfo150.txt``, each by its first name.
"""

from pathlib import Path

import numpy as np

from jaxvision.core import VOID
from jaxvision.data.file_lists import Problems, files_by_stem, read_lines, require_partners
from jaxvision.data.image_files import read_mask
from jaxvision.data.segmentation_folders import SegmentationFolder

__all__ = ["ADE20K_CLASSES", "ADE20KFolder"]

ADE20K_CLASSES = (
    *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass"),
    *("cabinet", "sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair"),
    *("car", "water", "painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair"),
    *("seat", "fence", "desk", "rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box"),
    *("column", "signboard", "chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace"),
    *("refrigerator", "grandstand", "path", "stairs", "runway", "case", "pool table", "pillow"),
    *("screen door", "stairway", "river", "bridge", "bookcase", "blind", "coffee table", "toilet"),
    *("flower", "book", "hill", "bench", "countertop", "stove", "palm", "kitchen island", "computer"),
    *("swivel chair", "boat", "bar", "arcade machine", "hovel", "bus", "towel", "light", "truck", "tower"),
    *("chandelier", "awning", "streetlight", "booth", "television receiver", "airplane", "dirt track"),
    *("apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle", "buffet", "poster", "stage"),
    *("van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything", "swimming pool"),
    *("stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven", "ball", "food"),
    *("step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher"),
    *("screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan"),
    *("pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock"),
    "flag",
)
"""The 150 classes by index; index 0 is value 1 of the files."""

_FOLDERS = {"train": "training", "val": "validation"}


class ADE20KFolder(SegmentationFolder):
    """ADE20K with 150 classes: value 0 of the files, "other objects", is void, and 1 to 150 are 0 to 149.

    Class names are those of ``objectInfo150.txt`` where it lies in the root (the first of several names of a
    class), else the same ones built in.

    Args:
      root: the folder ``ADEChallengeData2016``.
      split: "train" or "training", "val" or "validation".
      skip_broken: leaves out images without mask and masks without image, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder is missing.
      ValueError: if a folder is empty, ``objectInfo150.txt`` has another form, or, unless they are skipped,
        an image has no mask or a mask no image.
    """

    def __init__(self, root: str | Path, split: str, *, skip_broken: bool = False) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        folder = _FOLDERS.get(split, split)
        image_folder, mask_folder = root / "images" / folder, root / "annotations" / folder
        images, masks = files_by_stem(image_folder), files_by_stem(mask_folder)
        require_partners(images.keys() - masks.keys(), "image without mask", mask_folder, problems)
        require_partners(masks.keys() - images.keys(), "mask without image", image_folder, problems)
        pairs = [(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
        table = root / "objectInfo150.txt"
        names = _read_names(table) if table.is_file() else ADE20K_CLASSES
        super().__init__(pairs, class_names=names, broken=problems.found)

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        path = self.pairs[index][2]
        values = read_mask(path, num_classes=self.num_classes + 1)
        return np.where((values == 0) | (values == VOID), VOID, values - np.uint8(1)).astype(np.uint8)


def _read_names(path: Path) -> list[str]:
    """Names of the table's lines: index, shares and counts, then names; of several the first is taken."""
    names: list[str] = []
    for number, line in enumerate(read_lines(path)):
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if number == 0 and not cells[0].isdecimal():
            continue
        if len(cells) < 2 or cells[0] != str(len(names) + 1):
            raise ValueError(
                f"{path}: line {line!r}, expected {len(names) + 1} first and a name last, with tabs between; "
                "take the file that came with the data"
            )
        names.append(cells[-1].replace(";", ",").split(",")[0].strip())
    return names
