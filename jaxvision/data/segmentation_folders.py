"""Folders of images and masks on disk: the VOC layout, the CamVid layout, and plain images/ + masks/.

A reader is a random-access source: ``len(folder)`` records, ``folder[index]`` reads one as a dict of

* ``image`` uint8 [H, W, 3] (:func:`jaxvision.data.image_files.read_image` says what is converted);
* ``mask`` uint8 [H, W], class indices, 255 = void;
* ``name`` str, the file name without its ending.

What can be known from names is checked when a reader is made: folders, lists, pairs. Pixels are checked when
a record is read; :func:`check_source` reads all of them at once and reports every broken file.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.image_files import IMAGE_SUFFIXES, VOID, read_image, read_mask
from jaxvision.data.records import Source

__all__ = [
    "CAMVID_CLASSES",
    "VOC_CLASSES",
    "CamVidFolder",
    "ImageMaskFolder",
    "SegmentationFolder",
    "VOCSegmentation",
    "check_source",
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
    """Pairs of image and mask files; what the three layouts below have in common.

    Args:
      pairs: (name, image file, mask file) of each record.
      class_names: names by class index.
      void: value in the mask files that stands for void (255 always does as well).

    Raises:
      ValueError: if there is no pair, no class, or more than 255 classes.
    """

    def __init__(
        self, pairs: Iterable[tuple[str, Path, Path]], *, class_names: Sequence[str], void: int = VOID
    ) -> None:
        self.pairs = tuple(pairs)
        self.class_names = tuple(class_names)
        self._void = void
        if not self.pairs:
            raise ValueError(
                "no pair of image and mask, expected at least one; look at the list or the folder"
            )
        if not 1 <= self.num_classes <= VOID:
            raise ValueError(f"class_names: got {self.num_classes} names, expected 1 to {VOID}")

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.class_names)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name, image_path, mask_path = self.pairs[operator.index(index)]
        image = read_image(image_path)
        mask = read_mask(mask_path, num_classes=self.num_classes, void=self._void)
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

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty or names an image or mask that is missing.
    """

    def __init__(self, root: str | Path, split: str, *, class_names: Sequence[str] = VOC_CLASSES) -> None:
        root = Path(root)
        names = _listed_names(root / "ImageSets" / "Segmentation" / f"{split}.txt")
        pairs = _listed_pairs(
            [(name, name) for name in names], root / "JPEGImages", root / "SegmentationClass"
        )
        super().__init__(pairs, class_names=class_names)


class CamVidFolder(SegmentationFolder):
    """The layout of CamVid as prepared for SegNet: train/, trainannot/, train.txt, and so for val and test.

    A line of the list is a name, or the paths of an image and its mask, of which only the file names count:
    the lists that go with SegNet hold paths of another machine. Files may be .png or .jpg, whatever ending
    the list gives. Masks hold 0..10, and 11 for void, which is read as 255.

    Args:
      root: the folder that holds them.
      split: "train", "val" or "test".
      class_names: other classes than CamVid's; the value after the last one is void.

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty, has a line of another form, or names a file that is missing.
    """

    def __init__(self, root: str | Path, split: str, *, class_names: Sequence[str] = CAMVID_CLASSES) -> None:
        root = Path(root)
        list_path = root / f"{split}.txt"
        stems = []
        for line in _lines(list_path):
            words = line.split()
            if len(words) > 2:
                raise ValueError(
                    f"{list_path}: line {line!r}, expected a name, or an image path and a mask path"
                )
            stems.append((_stem(words[0]), _stem(words[-1])))
        pairs = _listed_pairs(stems, root / split, root / f"{split}annot")
        super().__init__(pairs, class_names=class_names, void=len(class_names))


class ImageMaskFolder(SegmentationFolder):
    """Plain folders images/ and masks/, matched by file name without the ending.

    Args:
      root: the folder that holds both.
      split: "train" or "val"; None takes all. Where ``<split>.txt`` lies in the root, it lists the names;
        else the images are split by a hash of their names and the seed, the same on every machine.
      class_names: names by index; by default the lines of ``classes.txt`` in the root.
      val_fraction: share of the images that go to "val" where there are no lists.
      seed: another seed gives another split.
      void: value in the masks that stands for void, beside 255.

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
    ) -> None:
        root = Path(root)
        images, masks = _files_by_stem(root / "images"), _files_by_stem(root / "masks")
        _require_partners(images.keys() - masks.keys(), "image without mask", root / "masks")
        _require_partners(masks.keys() - images.keys(), "mask without image", root / "images")
        if class_names is None:
            if not (root / "classes.txt").is_file():
                raise FileNotFoundError(
                    f"{root / 'classes.txt'}: no such file; write one class name a line, the first for "
                    "index 0, or give class_names"
                )
            class_names = _lines(root / "classes.txt")
        names = sorted(images)
        if split is not None and (root / f"{split}.txt").is_file():
            names = _listed_names(root / f"{split}.txt")
            _require_partners(set(names) - images.keys(), "name without image", root / f"{split}.txt")
        elif split is not None:
            names = _hash_split(names, split, val_fraction, seed)
        super().__init__(
            [(name, images[name], masks[name]) for name in names], class_names=class_names, void=void
        )


def check_source(source: Source) -> dict[str, int]:
    """Reads every record of a source and reports all that are broken at once.

    Args:
      source: a folder reader, or any source of records with ``image`` and ``mask``.

    Returns:
      Number of pixels of each class name (of each index, where the source has no ``class_names``), and of
      "void": a class with 0 pixels is worth a look.

    Raises:
      ValueError: with one line for each broken file; or if all masks hold nothing but 0 and 255.
    """
    counts = np.zeros(VOID + 1, np.int64)
    problems = []
    for index in range(len(source)):
        try:
            counts += np.bincount(source[index]["mask"].ravel(), minlength=VOID + 1)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        listing = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} of {len(source)} records are broken:\n{listing}")
    names = getattr(source, "class_names", None) or [str(index) for index in range(VOID)]
    if counts[VOID] and not counts[1:VOID].any() and len(names) > 1:
        raise ValueError(
            "all masks hold nothing but 0 and 255, and 255 is void: if 255 was meant as a class, "
            "save it as its index (1) instead"
        )
    return {name: int(count) for name, count in zip(names, counts[:VOID], strict=False)} | {
        "void": int(counts[VOID])
    }


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such folder; check the root and the layout")
    return path


def _lines(path: Path) -> list[str]:
    """Lines of a text file that are not blank."""
    if not path.is_file():
        _folder(path.parent)
        near = sorted(other.name for other in path.parent.glob("*.txt"))
        raise FileNotFoundError(f"{path}: no such list; the folder holds {', '.join(near) or 'none'}")
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path}: the list is empty, expected one entry a line")
    return lines


def _stem(text: str) -> str:
    """File name without folders, and without the ending where it is a picture's: names may hold dots."""
    name = text.replace("\\", "/").rsplit("/", 1)[-1]
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def _listed_names(path: Path) -> list[str]:
    names = [_stem(line) for line in _lines(path)]
    _require_unique(names, path)
    return names


def _require_unique(names: Iterable[str], path: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: listed more than once: {name_some(twice)}; keep one line each")


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """Picture files of a folder by name without ending; hidden files and other kinds are passed over."""
    files: dict[str, Path] = {}
    for path in sorted(_folder(folder).iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(
                f"{folder}: {files[path.stem].name} and {path.name} share a name; remove one of them"
            )
        files[path.stem] = path
    if not files:
        raise ValueError(f"{folder}: no picture in it, expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    return files


def _listed_pairs(
    stems: Sequence[tuple[str, str]], image_folder: Path, mask_folder: Path
) -> list[tuple[str, Path, Path]]:
    """(image stem, mask stem) of a list -> (name, image file, mask file)."""
    images, masks = _files_by_stem(image_folder), _files_by_stem(mask_folder)
    _require_unique([image for image, _ in stems], image_folder)
    _require_partners(
        {image for image, mask in stems if image not in images and mask in masks},
        "mask without image",
        image_folder,
    )
    _require_partners(
        {mask for image, mask in stems if mask not in masks and image in images},
        "image without mask",
        mask_folder,
    )
    _require_partners(
        {image for image, _ in stems if image not in images}, "listed without image and mask", image_folder
    )
    return [(image, images[image], masks[mask]) for image, mask in stems]


def _require_partners(missing: Iterable[str], what: str, where: Path) -> None:
    names = sorted(missing)
    if names:
        raise ValueError(
            f"{where}: {what}: {name_some(names)}; add the missing files or remove these "
            f"({len(names)} in all)"
        )


def _hash_split(names: Sequence[str], split: str, val_fraction: float, seed: int) -> list[str]:
    if split not in ("train", "val"):
        raise ValueError(
            f"split: got {split!r}, expected 'train' or 'val'; "
            f"another split needs a list {split}.txt in the root"
        )
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction: got {val_fraction}, expected more than 0 and less than 1")
    if len(names) < 2:
        raise ValueError(f"split: got {len(names)} image, expected at least 2 to split; take split=None")
    order = sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())
    held_out = set(order[: min(max(round(val_fraction * len(names)), 1), len(names) - 1)])
    return [name for name in names if (name in held_out) == (split == "val")]
