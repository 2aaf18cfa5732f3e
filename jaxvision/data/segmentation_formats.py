"""All formats of segmentation data by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np

from jaxvision.data.ade20k import ADE20KFolder
from jaxvision.data.camvid_colours import has_colour_table, open_camvid, read_colour_table, table_palette
from jaxvision.data.cityscapes import CityscapesFolder
from jaxvision.data.coco_layout import CocoKind, open_coco
from jaxvision.data.file_lists import listed_names, read_lines
from jaxvision.data.labelme import LabelmeFolder
from jaxvision.data.segmentation_folders import VOC_CLASSES, ImageMaskFolder, VOCSegmentation
from jaxvision.data.selection import SegmentationSource, Selection, split_by_hash
from jaxvision.data.source_report import SourceReport, report_source
from jaxvision.data.voc_augmented import open_voc_augmented
from jaxvision.pictures import camvid_palette, cityscapes_palette, digit_scenes_palette, voc_palette

__all__ = [
    "FormatOptions",
    "SegmentationFormat",
    "has_test_part",
    "open_parts",
    "open_split",
    "palette_of",
    "without_broken",
]

SegmentationFormat = Literal["ade20k", "camvid", "cityscapes", "coco", "folder", "labelme", "voc", "voc_aug"]
"""The layouts of folders that can be read."""


class FormatOptions(NamedTuple):
    """What can be said of a folder; only some formats take some of it.

    Attributes:
      labels: a file of class names, one a line: for labelme, folder and voc, which have defaults too.
      unlabelled: what pixels without a shape of labelme are.
      annotations: which of COCO's; None takes the first that is there.
      coarse: Cityscapes' coarse annotations instead of the fine ones.
      drawn: Cityscapes' polygons even if there are masks.
      grouped: the 11 classes of :data:`jaxvision.data.CAMVID_GROUPS` of CamVid's masks of colours, instead of
        all in its table.
      unlisted_is_void: takes a colour that is not in CamVid's table for void.
      val_fraction: share of "val" where the data has no parts of its own.
      seed: of that split.
      skip_broken: leaves out what is broken, and keeps the reasons in ``broken``.
    """

    labels: Path | None = None
    unlabelled: Literal["background", "void"] = "background"
    annotations: CocoKind | None = None
    coarse: bool = False
    drawn: bool = False
    grouped: bool = False
    unlisted_is_void: bool = False
    val_fraction: float = 0.2
    seed: int = 0
    skip_broken: bool = False


_TAKEN_BY: Mapping[str, tuple[SegmentationFormat, ...]] = MappingProxyType(
    {
        "labels": ("labelme", "folder", "voc"),
        "unlabelled": ("labelme",),
        "annotations": ("coco",),
        "coarse": ("cityscapes",),
        "drawn": ("cityscapes",),
        "grouped": ("camvid",),
        "unlisted_is_void": ("camvid",),
    }
)


def open_parts(
    kind: SegmentationFormat,
    root: str | Path,
    options: FormatOptions,
    *,
    parts: Sequence[str] | None = None,
) -> dict[str, SegmentationSource]:
    """The parts of the data: "train" and "val", and "test" where it has one (:func:`has_test_part`).

    Where the data has no parts of its own (labelme; folder and CamVid as published without lists) it is split
    by a hash of the names.

    Args:
      kind: the format.
      root: the folder.
      options: see there.
      parts: which of them to open; by default all.

    Returns:
      The sources by part.

    Raises:
      FileNotFoundError: if the folder, or a part of its layout, is missing.
      ValueError: if its files do not fit together, or an option does not fit the format.
    """
    if parts is None:
        parts = ("train", "val", "test") if has_test_part(kind, root) else ("train", "val")
    if kind != "labelme":
        return {part: open_split(kind, root, part, options) for part in parts}
    if wrong := [part for part in parts if part not in ("train", "val")]:
        raise ValueError(f"labelme has no part {wrong[0]!r}: a folder is divided in 'train' and 'val'")
    whole = open_split(kind, root, None, options)
    train, val = split_by_hash(whole, val_fraction=options.val_fraction, seed=options.seed)
    halves = {"train": train, "val": val}
    return {part: halves[part] for part in parts}


def has_test_part(kind: str, root: str | Path) -> bool:
    """Whether a folder has a part "test" with masks.

    It needs ``test.txt`` in the root of folder and camvid (or CamVid's ``test_labels/``), and of voc a list
    whose first name has a mask, as that of VOC 2007 does. The test masks of the others are not published.

    Args:
      kind: the format.
      root: the folder.
    """
    root = Path(root)
    if kind == "voc":
        path = root / "ImageSets" / "Segmentation" / "test.txt"
        return path.is_file() and (root / "SegmentationClass" / f"{listed_names(path)[0]}.png").is_file()
    listed = (root / "test.txt").is_file()
    return (kind == "folder" and listed) or (kind == "camvid" and (listed or (root / "test_labels").is_dir()))


def open_split(
    kind: SegmentationFormat, root: str | Path, split: str | None, options: FormatOptions
) -> SegmentationSource:
    """One part of the data.

    Args:
      kind: the format.
      root: the folder.
      split: as the format calls it; None takes all, for labelme and folder.
      options: see there.

    Raises:
      FileNotFoundError: if the folder, or a part of its layout, is missing.
      ValueError: if its files do not fit together, or an option or the split does not fit the format.
    """
    root = Path(root)
    _check_options(kind, options)
    skip, share, seed = options.skip_broken, options.val_fraction, options.seed
    if kind == "labelme":
        if split is not None:
            raise ValueError(f"labelme has no part {split!r}: a folder is one part")
        return LabelmeFolder(root, labels=options.labels, unlabelled=options.unlabelled, skip_broken=skip)
    if kind == "folder":
        names = None if options.labels is None else read_lines(options.labels)
        return ImageMaskFolder(
            root, split=split, class_names=names, val_fraction=share, seed=seed, skip_broken=skip
        )
    if split is None:
        raise ValueError(f"{kind} comes in parts: name one, such as 'train' or 'val'")
    annotations: Literal["gtFine", "gtCoarse"] = "gtCoarse" if options.coarse else "gtFine"
    openers: Mapping[str, Callable[[], SegmentationSource]] = {
        "ade20k": lambda: ADE20KFolder(root, split, skip_broken=skip),
        "camvid": lambda: open_camvid(
            root,
            split,
            grouped=options.grouped,
            unlisted_is_void=options.unlisted_is_void,
            val_fraction=share,
            seed=seed,
            skip_broken=skip,
        ),
        "cityscapes": lambda: CityscapesFolder(
            root, split, annotations=annotations, drawn=options.drawn, skip_broken=skip
        ),
        "coco": lambda: open_coco(root, split, annotations=options.annotations, skip_broken=skip),
        "voc": lambda: _open_voc(root, split, options),
        "voc_aug": lambda: open_voc_augmented(root, split, skip_broken=skip),
    }
    return openers[kind]()


def palette_of(kind: str, *, root: Path | None = None, grouped: bool = False) -> np.ndarray:
    """The colours of a format's classes, uint8 [256, 3]: its own where it has some, else VOC's.

    Args:
      kind: the format, or "digits".
      root: the folder, for CamVid's own table of colours where it is there.
      grouped: whether its classes are grouped (:class:`FormatOptions`).
    """
    if kind == "camvid" and root is not None and not grouped and has_colour_table(root):
        return table_palette(read_colour_table(root))
    palettes = {"camvid": camvid_palette, "cityscapes": cityscapes_palette, "digits": digit_scenes_palette}
    return palettes.get(kind, voc_palette)()


def without_broken(source: SegmentationSource) -> tuple[Selection, SourceReport]:
    """Reads every record once, and leaves out those that cannot be read.

    Returns:
      The records that can be read, with the reasons for the others in ``broken``, and the report of all.

    Raises:
      ValueError: if none can be read.
    """
    report = report_source(source)
    reasons = [broken.reason for broken in report.broken]
    return Selection(source, report.readable, broken=reasons), report


def _open_voc(root: Path, split: str, options: FormatOptions) -> VOCSegmentation:
    """VOC's layout; the classes of a folder of one's own are those of ``class_names.txt`` in it."""
    path = root / "class_names.txt" if options.labels is None else options.labels
    names = read_lines(path) if options.labels is not None or path.is_file() else VOC_CLASSES
    return VOCSegmentation(root, split, class_names=names, skip_broken=options.skip_broken)


def _check_options(kind: SegmentationFormat, options: FormatOptions) -> None:
    for name, kinds in _TAKEN_BY.items():
        if kind not in kinds and getattr(options, name) != FormatOptions._field_defaults[name]:
            raise ValueError(
                f"{name}: only {' and '.join(kinds)} can have it, and this is {kind}; leave it out"
            )
