"""CamVid as published: masks of colours, and a table of the 32 classes that the colours stand for.

References:
  Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, ECCV 2008.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.file_lists import (
    Problems,
    files_by_stem,
    find_folder,
    hash_split,
    listed_names,
    paired,
    read_lines,
)
from jaxvision.data.image_files import VOID, read_colours
from jaxvision.data.segmentation_folders import CamVidFolder, SegmentationFolder

__all__ = ["CamVidColours", "open_camvid", "read_colour_table"]

_TABLES = ("class_dict.csv", "label_colors.txt")
_WHOLE = ("701_StillsRaw_full", "LabeledApproved_full")
_MASK_END = "_L"


class CamVidColours(SegmentationFolder):
    """Images and masks of colours, with ``class_dict.csv`` or ``label_colors.txt`` in the root.

    Two layouts: ``<split>/`` and ``<split>_labels/``, or, as published, ``701_StillsRaw_full/`` and
    ``LabeledApproved_full/``, of which the list ``<split>.txt`` gives the names of a part; without lists they
    are split in "train" and "val" by a hash of their names. The mask of ``<name>`` is ``<name>_L`` or
    ``<name>``. A class named "void" (in any case) is void and gets no index.

    Args:
      root: the folder.
      split: the part.
      unlisted_is_void: whether a colour that is not in the table is void instead of an error.
      val_fraction: share of "val" where there are no lists.
      seed: another seed gives another split.
      skip_broken: leaves out images without mask and masks without image, and keeps them in ``broken``.

    Attributes:
      palette: the colours of the classes, uint8 [256, 3]; black for void and all else.

    Raises:
      FileNotFoundError: if a folder or the table is missing.
      ValueError: if the table has another form, a folder is empty, or, unless they are skipped, an image has
        no mask or a mask no image.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        unlisted_is_void: bool = False,
        val_fraction: float = 0.2,
        seed: int = 0,
        skip_broken: bool = False,
    ) -> None:
        root, problems = find_folder(Path(root)), Problems(skip=skip_broken)
        colours = read_colour_table(root)
        whole = not (root / split).is_dir() and (root / _WHOLE[0]).is_dir()
        folders = (root / _WHOLE[0], root / _WHOLE[1]) if whole else (root / split, root / f"{split}_labels")
        images = files_by_stem(folders[0])
        masks = {
            stem.removesuffix(_MASK_END) if stem.removesuffix(_MASK_END) in images else stem: path
            for stem, path in files_by_stem(folders[1]).items()
        }
        # The published images are more than the masks' 701 in some copies of the data: masks lead.
        names = sorted(masks if whole else images.keys() | masks.keys())
        if whole and (root / f"{split}.txt").is_file():
            names = listed_names(root / f"{split}.txt")
        elif whole:
            names = hash_split(names, split, val_fraction=val_fraction, seed=seed)
        pairs = paired([(name, name) for name in names], images, masks, folders, problems)
        void = next((name for name in colours if name.lower() == "void"), None)
        classes = [name for name in colours if name != void]
        super().__init__(pairs, class_names=classes, broken=problems.found)
        self.palette = np.zeros((VOID + 1, 3), np.uint8)
        self.palette[: len(classes)] = [colours[name] for name in classes]
        self._keys = _keys(np.array([colours[name] for name in colours]))
        self._values = np.array([VOID if name == void else classes.index(name) for name in colours], np.uint8)
        self._unlisted_is_void = unlisted_is_void

    def read_mask_of(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """The mask of a record, uint8 [H, W]."""
        path = self.pairs[index][2]
        keys = _keys(read_colours(path))
        order = np.argsort(self._keys)
        place = order[np.minimum(np.searchsorted(self._keys, keys, sorter=order), len(order) - 1)]
        known = self._keys[place] == keys
        if not self._unlisted_is_void and not known.all():
            wrong, counts = np.unique(keys[~known], return_counts=True)
            names = name_some(
                [
                    f"({key >> 16}, {key >> 8 & 255}, {key & 255}) ({count} px)"
                    for key, count in zip(wrong.tolist(), counts.tolist(), strict=True)
                ]
            )
            raise ValueError(
                f"{path}: colours that are not in the table of classes: {names}; add them to it, save the "
                "mask without smoothing, or take unlisted_is_void=True"
            )
        return np.where(known, self._values[place], VOID).astype(np.uint8)


def open_camvid(root: str | Path, split: str, *, skip_broken: bool = False) -> SegmentationFolder:
    """:class:`CamVidFolder` of 11 classes or :class:`CamVidColours` of 32, whichever the folder is.

    Raises:
      FileNotFoundError: if a part of it is missing.
      ValueError: see there.
    """
    root = find_folder(Path(root))
    if not (root / f"{split}annot").is_dir() and any((root / name).is_file() for name in _TABLES):
        return CamVidColours(root, split, skip_broken=skip_broken)
    return CamVidFolder(root, split, skip_broken=skip_broken)


def read_colour_table(root: Path) -> Mapping[str, tuple[int, int, int]]:
    """The colour of each class of a folder, RGB, in the order of its table.

    ``class_dict.csv`` has a heading, then lines of name, r, g and b; a line of ``label_colors.txt`` is three
    numbers and a name.

    Raises:
      FileNotFoundError: if there is neither table.
      ValueError: if a line has another form, or a name or a colour comes twice.
    """
    path = next((root / name for name in _TABLES if (root / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{root}: neither {' nor '.join(_TABLES)} is in it; add the table of classes")
    colours: dict[str, tuple[int, int, int]] = {}
    for number, line in enumerate(read_lines(path)):
        if path.suffix == ".csv":
            if number == 0:  # the heading
                continue
            name, *cells = line.rsplit(",", maxsplit=3)
        else:
            *cells, name = line.split(maxsplit=3)
        if len(cells) != 3 or not all(cell.strip().isdecimal() and int(cell) < 256 for cell in cells):
            raise ValueError(f"{path}: line {line!r}, expected a name and a colour of three numbers 0..255")
        red, green, blue = map(int, cells)
        name, colour = name.strip(), (red, green, blue)
        if name in colours or colour in colours.values():
            raise ValueError(
                f"{path}: line {line!r}: the name or the colour was there before; remove one line"
            )
        colours[name] = colour
    return colours


def _keys(colours: np.ndarray) -> np.ndarray:
    """Colours [..., 3] as one number each, int64 [...]."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
