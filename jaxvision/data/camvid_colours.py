"""CamVid as published: masks of colours, and a table of the 32 classes that the colours stand for.

References:
  Brostow et al., Segmentation and Recognition Using Structure from Motion Point Clouds, ECCV 2008.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from jaxvision.core import VOID, name_some
from jaxvision.data.file_lists import (
    Problems,
    files_by_stem,
    find_folder,
    names_of_part,
    paired,
    read_lines,
)
from jaxvision.data.image_files import read_colours
from jaxvision.data.segmentation_folders import CAMVID_CLASSES, CamVidFolder, SegmentationFolder
from jaxvision.pictures import camvid_palette

__all__ = [
    "CAMVID_GROUPS",
    "CamVidColours",
    "has_colour_table",
    "open_camvid",
    "read_colour_table",
    "table_palette",
]

CAMVID_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sky": ("Sky",),
        "building": ("Building", "Archway", "Bridge", "Tunnel", "Wall"),
        "pole": ("Column_Pole", "TrafficCone"),
        "road": ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
        "pavement": ("Sidewalk", "ParkingBlock", "RoadShoulder"),
        "tree": ("Tree", "VegetationMisc"),
        "sign": ("SignSymbol", "Misc_Text", "TrafficLight"),
        "fence": ("Fence",),
        "car": ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
        "pedestrian": ("Pedestrian", "Animal", "CartLuggagePram", "Child"),
        "bicyclist": ("Bicyclist", "MotorcycleScooter"),
    }
)
"""The classes of the published table in each of the 11 that are scored; "Void" alone is in none.

Badrinarayanan et al. 2017 (SegNet, section 4.1) name the 11, but not what is in them. The groups are those
that MathWorks' documentation ("Semantic Segmentation Using Deep Learning", ``camvidPixelLabelIDs``) gives for
SegNet's protocol, and the authors of SFRSeg (https://github.com/tanmaysingha/SFRSeg) for theirs; others leave
the rare classes void.
"""

_GROUP_OF = {name: group for group, names in CAMVID_GROUPS.items() for name in names}
_TABLES = ("class_dict.csv", "label_colors.txt")
_WHOLE = ("701_StillsRaw_full", "LabeledApproved_full")
_MASK_END = "_L"


class CamVidColours(SegmentationFolder):
    """Images and masks of colours, with ``class_dict.csv`` or ``label_colors.txt`` in the root.

    Two layouts: ``<split>/`` and ``<split>_labels/``, or, as published, ``701_StillsRaw_full/`` and
    ``LabeledApproved_full/``, of which the list ``<split>.txt`` gives the names of a part; without
    ``val.txt`` those to train on, or all, are split in "train" and "val" by a hash of their names. The mask
    of ``<name>`` is ``<name>_L`` or ``<name>``. A class named "void" (in any case) is void and gets no index.

    Args:
      root: the folder.
      split: the part.
      grouped: whether the classes are the 11 of :data:`CAMVID_GROUPS` instead of all in the table.
      unlisted_is_void: whether a colour that is not in the table is void instead of an error.
      val_fraction: share of "val" where it has no list.
      seed: another seed gives another split.
      skip_broken: leaves out images without mask and masks without image, and keeps them in ``broken``.

    Attributes:
      palette: the colours of the classes, uint8 [256, 3]: those of the table, black for void and all else;
        or those of :func:`jaxvision.pictures.camvid_palette` of the 11.

    Raises:
      FileNotFoundError: if a folder or the table is missing.
      ValueError: if the table has another form, a class in it is in none of the groups that are asked for, a
        folder is empty, or, unless they are skipped, an image has no mask or a mask no image.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        grouped: bool = False,
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
        if whole:
            names = names_of_part(root, split, names, val_fraction=val_fraction, seed=seed)
        pairs = paired([(name, name) for name in names], images, masks, folders, problems)
        class_of = _class_of(colours, root, grouped=grouped)
        classes = CAMVID_CLASSES if grouped else tuple(name for name in class_of.values() if name is not None)
        super().__init__(pairs, class_names=classes, broken=problems.found)
        self.palette = camvid_palette() if grouped else table_palette(colours)
        self._keys = _keys(np.array(list(colours.values())))
        indices = {name: index for index, name in enumerate(classes)}
        values = [VOID if name is None else indices[name] for name in class_of.values()]
        self._values = np.array(values, np.uint8)
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
                "mask without smoothing, or make such pixels void by unlisted_is_void"
            )
        return np.where(known, self._values[place], VOID).astype(np.uint8)


def open_camvid(
    root: str | Path,
    split: str,
    *,
    grouped: bool = False,
    unlisted_is_void: bool = False,
    val_fraction: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
) -> SegmentationFolder:
    """:class:`CamVidFolder` of 11 classes or :class:`CamVidColours`, whichever the folder is.

    Args:
      root: the folder.
      split: the part.
      grouped: 11 classes in any case.
      unlisted_is_void: of masks of colours, see there.
      val_fraction: share of "val" of the published layout where it has no list.
      seed: of that split.
      skip_broken: leaves out broken files, and keeps the reasons in ``broken``.

    Raises:
      FileNotFoundError: if a part of it is missing.
      ValueError: see there.
    """
    root = find_folder(Path(root))
    if not has_colour_table(root):
        return CamVidFolder(root, split, skip_broken=skip_broken)
    return CamVidColours(
        root,
        split,
        grouped=grouped,
        unlisted_is_void=unlisted_is_void,
        val_fraction=val_fraction,
        seed=seed,
        skip_broken=skip_broken,
    )


def has_colour_table(root: Path) -> bool:
    """Whether a folder of CamVid has a table of colours, and no masks of indices."""
    return any((root / name).is_file() for name in _TABLES) and not any(root.glob("*annot"))


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


def table_palette(colours: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """The colours of the classes of a table but void, by index: uint8 [256, 3], black for all else."""
    palette = np.zeros((VOID + 1, 3), np.uint8)
    classes = [colour for name, colour in colours.items() if name.lower() != "void"]
    palette[: len(classes)] = classes
    return palette


def _keys(colours: np.ndarray) -> np.ndarray:
    """Colours [..., 3] as one number each, int64 [...]."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def _class_of(colours: Mapping[str, object], root: Path, *, grouped: bool) -> dict[str, str | None]:
    """The class of each name in a table of colours; None for void."""
    names = [name for name in colours if name.lower() != "void"]
    unknown = [name for name in names if grouped and name not in _GROUP_OF]
    if unknown:
        raise ValueError(
            f"{root}: {name_some(unknown)} in the table of classes: none of CamVid's, which are grouped in "
            f"{len(CAMVID_GROUPS)}; correct the names, or take the classes as they are"
        )
    return {name: None if name not in names else _GROUP_OF[name] if grouped else name for name in colours}
