"""Folders of images and masks of indices: the VOC layout, the CamVid layout, and plain images/ + masks/.

A reader is a random-access source: ``len(folder)`` records, ``folder[index]`` reads one as a dict of

* ``image`` uint8 [H, W, 3] (:func:`jaxvision.data.image_files.read_image` says what is converted);
* ``mask`` uint8 [H, W], class indices, 255 = void;
* ``name`` str, the file name without its ending.

What can be known from names is checked when a reader is made: folders, lists, pairs. Pixels are checked when
a record is read; :func:`jaxvision.data.check_source` reads all of them at once and reports every broken file.
"""

import operator
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import VOID, name_some
from jaxvision.data.file_lists import (
    Problems,
    files_by_stem,
    listed_names,
    listed_pairs,
    names_of_part,
    read_lines,
    require_partners,
    stem_of,
)
from jaxvision.data.image_files import read_image, read_mask

__all__ = [
    "CAMVID_CLASSES",
    "VOC_CLASSES",
    "CamVidFolder",
    "ImageMaskFolder",
    "SegmentationFolder",
    "VOCSegmentation",
]

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train"),
    "tv monitor",
)
"""The 21 classes of PASCAL VOC (Everingham et al. 2010) by index."""

CAMVID_CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian"),
    "bicyclist",
)
"""The 11 classes of CamVid (Brostow et al. 2009) as grouped for SegNet (Badrinarayanan et al. 2017)."""


class SegmentationFolder:
    """Pairs of image and annotation files; what the readers of all layouts have in common.

    A reader of masks that are no files of class indices overrides ``read_mask_of``.

    Args:
      pairs: (name, image file, file that holds the mask) of each record.
      class_names: names by class index.
      void: value in the mask files that stands for void (255 always does as well).
      broken: what is wrong with the records that were left out.

    Attributes:
      pairs: as above.
      class_names: as above.
      broken: as above, one text each.

    Raises:
      ValueError: if there is no pair, no class, more than 255 classes or two of one name.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[str, Path, Path]],
        *,
        class_names: Sequence[str],
        void: int = VOID,
        broken: Sequence[str] = (),
    ) -> None:
        self.pairs = tuple(pairs)
        self.class_names = tuple(class_names)
        self.broken = tuple(broken)
        self._void = void
        if not self.pairs:
            raise ValueError(
                "no pair of image and mask, expected at least one; look at the list or the folder"
                + "".join(f"\n  {problem}" for problem in self.broken[:5])
            )
        where = self.pairs[0][2].parent
        if not 1 <= self.num_classes <= VOID:
            raise ValueError(f"{where}: class_names: got {self.num_classes} names, expected 1 to {VOID}")
        twice = sorted({name for name in self.class_names if self.class_names.count(name) > 1})
        if twice:
            raise ValueError(
                f"{where}: class_names: {name_some(twice)} more than once; give each class its own name"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.class_names)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each record."""
        return tuple(name for name, _, _ in self.pairs)

    def picture_of(self, index: int) -> Path:
        """The file that holds the picture of a record."""
        return self.pairs[index][1]

    def read_pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image uint8 [H, W, 3] and the mask uint8 [H, W] of a record."""
        image = read_image(self.pairs[index][1])
        return image, self.read_mask_of(index, image.shape[:2])

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W].

        Args:
          index: of the record.
          size: height and width of its image.
        """
        del size  # of use to masks that are drawn
        return read_mask(self.pairs[index][2], num_classes=self.num_classes, void=self._void)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[operator.index(index)]
        name, image_path, mask_path = self.pairs[index]
        image, mask = self.read_pair(index)
        if image.shape[:2] != mask.shape:
            height, width = image.shape[:2]
            raise ValueError(
                f"{mask_path}: the mask is {mask.shape[1]}x{mask.shape[0]} (width x height) but its "
                f"image {image_path.name} is {width}x{height}, expected one size; resize one of them "
                "(a picture with an EXIF orientation is turned upright: its mask must be upright too)"
            )
        return {"image": image, "mask": mask, "name": name}


class VOCSegmentation(SegmentationFolder):
    """The layout of PASCAL VOC: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<split>.txt.

    The list holds one name a line. Images that are not in the list are left alone, as in VOC, where only
    some have masks.

    Args:
      root: the folder that holds the three, e.g. ``VOCdevkit/VOC2012``.
      split: which list, e.g. "train", "val" or "trainval".
      class_names: other classes than VOC's, for a folder of your own in this layout.
      skip_broken: leaves out listed names without image or mask, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty or names an image or mask that is missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        class_names: Sequence[str] = VOC_CLASSES,
        skip_broken: bool = False,
    ) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        names = listed_names(root / "ImageSets" / "Segmentation" / f"{split}.txt")
        stems = [(name, name) for name in names]
        pairs = listed_pairs(stems, root / "JPEGImages", root / "SegmentationClass", problems)
        super().__init__(pairs, class_names=class_names, broken=problems.found)


class CamVidFolder(SegmentationFolder):
    """The layout of CamVid as prepared for SegNet: train/, trainannot/, train.txt, and so for val and test.

    A line of the list is a name, or the paths of an image and its mask, of which only the file names count:
    the lists that go with SegNet hold paths of another machine. Files may be .png or .jpg, whatever ending
    the list gives. Masks hold 0..10, and 11 for void, which is read as 255.

    Args:
      root: the folder that holds them.
      split: "train", "val" or "test".
      class_names: other classes than CamVid's; the value after the last one is void.
      skip_broken: leaves out listed names without image or mask, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty, has a line of another form, or names a file that is missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        class_names: Sequence[str] = CAMVID_CLASSES,
        skip_broken: bool = False,
    ) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        list_path = root / f"{split}.txt"
        stems = []
        for line in read_lines(list_path):
            words = line.split()
            if len(words) > 2:
                raise ValueError(
                    f"{list_path}: line {line!r}, expected a name, or an image path and a mask path"
                )
            stems.append((stem_of(words[0]), stem_of(words[-1])))
        pairs = listed_pairs(stems, root / split, root / f"{split}annot", problems)
        super().__init__(pairs, class_names=class_names, void=len(class_names), broken=problems.found)


class ImageMaskFolder(SegmentationFolder):
    """Plain folders images/ and masks/, matched by file name without the ending.

    Args:
      root: the folder that holds both.
      split: "train", "val", or another that ``<split>.txt`` in the root lists; None takes all. Without a
        ``val.txt``, what ``train.txt`` lists, or else all that no list has, is split in "train" and "val"
        by a hash of names and seed, the same on every machine.
      class_names: names by index; by default the lines of ``classes.txt`` in the root.
      val_fraction: share of the images that go to "val" where it has no list.
      seed: another seed gives another split.
      void: value in the masks that stands for void, beside 255.
      skip_broken: leaves out images without mask, masks without image and listed names without either, and
        keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder is missing, or there are neither ``class_names`` nor ``classes.txt``.
      ValueError: if a folder is empty, an image has no mask or a mask no image, two files share a name, or
        the split is unknown or empty.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None = None,
        class_names: Sequence[str] | None = None,
        val_fraction: float = 0.2,
        seed: int = 0,
        void: int = VOID,
        skip_broken: bool = False,
    ) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        images, masks = files_by_stem(root / "images"), files_by_stem(root / "masks")
        require_partners(images.keys() - masks.keys(), "image without mask", root / "masks", problems)
        require_partners(masks.keys() - images.keys(), "mask without image", root / "images", problems)
        if class_names is None:
            if not (root / "classes.txt").is_file():
                raise FileNotFoundError(
                    f"{root / 'classes.txt'}: no such file; write one class name a line, the first for "
                    "index 0, or give class_names"
                )
            class_names = read_lines(root / "classes.txt")
        names = sorted(images.keys() & masks.keys())
        if split is not None:
            names = names_of_part(root, split, names, val_fraction=val_fraction, seed=seed)
            require_partners(
                set(names) - images.keys(), "name without image", root / f"{split}.txt", problems
            )
            names = [name for name in names if name in images and name in masks]
        pairs = [(name, images[name], masks[name]) for name in names]
        super().__init__(pairs, class_names=class_names, void=void, broken=problems.found)
