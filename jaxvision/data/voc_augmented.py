"""PASCAL VOC with the masks of the Semantic Boundaries Dataset (SBD), as PNG or as SBD's own .mat files.

References:
  Hariharan et al., Semantic Contours from Inverse Detectors, ICCV 2011 (SBD).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvision.core import VOID
from jaxvision.data.file_lists import (
    Problems,
    files_by_stem,
    find_folder,
    listed_names,
    paired,
    read_lines,
    require_unique,
    stem_of,
)
from jaxvision.data.segmentation_folders import VOC_CLASSES, SegmentationFolder

__all__ = ["SBDFolder", "VOCAugmented", "open_voc_augmented"]

_TRAIN_LISTS = ("trainaug", "train_aug")


class VOCAugmented(SegmentationFolder):
    """VOC's folder with ``SegmentationClassAug/``: 10,582 images to train on instead of 1,464.

    A mask that is not in ``SegmentationClassAug`` is taken from ``SegmentationClass``. A line of a list is a
    name, or the paths of an image and its mask, of which only the file names count.

    Args:
      root: the folder, e.g. ``VOCdevkit/VOC2012``.
      split: a list in ``ImageSets/Segmentation``; "train" is ``trainaug.txt`` or ``train_aug.txt``.
      skip_broken: leaves out listed names without image or mask, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty or has a line of another form, or, unless they are skipped, it names an
        image or mask that is missing.
    """

    def __init__(self, root: str | Path, split: str, *, skip_broken: bool = False) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        image_folder, mask_folder = root / "JPEGImages", root / "SegmentationClassAug"
        images, masks = files_by_stem(image_folder), files_by_stem(mask_folder)
        if (root / "SegmentationClass").is_dir():
            masks = {**files_by_stem(root / "SegmentationClass"), **masks}
        lists = root / "ImageSets" / "Segmentation"
        names = _TRAIN_LISTS if split == "train" else (split,)
        present = [name for name in names if (lists / f"{name}.txt").is_file()]
        stems = _pairs_of_stems(lists / f"{[*present, names[0]][0]}.txt")
        pairs = paired(stems, images, masks, (image_folder, mask_folder), problems)
        super().__init__(pairs, class_names=VOC_CLASSES, broken=problems.found)


class SBDFolder(SegmentationFolder):
    """SBD as published (``benchmark_RELEASE``): img/, cls/ with a .mat file a picture, train.txt, val.txt.

    SBD's own lists are not VOC's: its ``train.txt`` has images of VOC's ``val.txt``. To score on VOC's, train
    on a list without them, such as the ``train_noval.txt`` that torchvision fetches, put beside the others.

    Args:
      root: the folder with ``img``, or the one that holds it as ``dataset``.
      split: a list there, e.g. "train", "val" or "train_noval".
      skip_broken: leaves out listed names without image or mask, and keeps them in ``broken``.

    Raises:
      FileNotFoundError: if a folder or the list is missing.
      ValueError: if the list is empty, or, unless they are skipped, it names an image or mask that is
        missing.
    """

    def __init__(self, root: str | Path, split: str, *, skip_broken: bool = False) -> None:
        root, problems = Path(root), Problems(skip=skip_broken)
        if (root / "dataset" / "cls").is_dir():
            root = root / "dataset"
        names = listed_names(root / f"{split}.txt")
        images, masks = files_by_stem(root / "img"), files_by_stem(root / "cls", suffixes=(".mat",))
        stems = [(name, name) for name in names]
        pairs = paired(stems, images, masks, (root / "img", root / "cls"), problems)
        super().__init__(pairs, class_names=VOC_CLASSES, broken=problems.found)

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        path = self.pairs[index][2]
        mask = _read_mat(path)
        wrong = mask[(mask >= self.num_classes) & (mask != VOID)]
        if wrong.size:
            raise ValueError(
                f"{path}: class index out of range: {wrong.max()}, expected 0..{self.num_classes - 1} or "
                f"{VOID} for void; take the file that came with the data"
            )
        return mask


def open_voc_augmented(root: str | Path, split: str, *, skip_broken: bool = False) -> SegmentationFolder:
    """:class:`VOCAugmented` or :class:`SBDFolder`, whichever the folder is.

    Raises:
      FileNotFoundError: if it is neither, or a part of it is missing.
      ValueError: see there.
    """
    root = find_folder(Path(root))
    if (root / "SegmentationClassAug").is_dir():
        return VOCAugmented(root, split, skip_broken=skip_broken)
    if (root / "cls").is_dir() or (root / "dataset" / "cls").is_dir():
        return SBDFolder(root, split, skip_broken=skip_broken)
    raise FileNotFoundError(
        f"{root}: neither SegmentationClassAug/ (masks as PNG) nor cls/ (SBD's .mat files) is in it; "
        "check the root"
    )


def _pairs_of_stems(path: Path) -> list[tuple[str, str]]:
    stems = []
    for line in read_lines(path):
        words: Sequence[str] = line.split()
        if len(words) > 2:
            raise ValueError(f"{path}: line {line!r}, expected a name, or an image path and a mask path")
        stems.append((stem_of(words[0]), stem_of(words[-1])))
    require_unique([image for image, _ in stems], path)
    return stems


def _read_mat(path: Path) -> np.ndarray:
    """GTcls.Segmentation of one of SBD's files: uint8 [H, W]."""
    from scipy.io import loadmat

    try:
        mask = loadmat(path, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except PermissionError:
        raise
    except Exception as error:  # scipy raises almost anything on a damaged file
        raise ValueError(
            f"{path}: no file of SBD, expected GTcls with Segmentation ({type(error).__name__}: {error}); "
            "copy it anew"
        ) from error
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(
            f"{path}: Segmentation is {getattr(mask, 'dtype', type(mask))}, expected uint8 [H, W]; "
            "copy it anew"
        )
    return mask
