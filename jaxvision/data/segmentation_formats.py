"""All formats of segmentation data by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from jaxvision.data.ade20k import ADE20KFolder
from jaxvision.data.camvid_colours import open_camvid
from jaxvision.data.cityscapes import CityscapesFolder
from jaxvision.data.coco_layout import CocoKind, open_coco
from jaxvision.data.file_lists import read_lines
from jaxvision.data.labelme import LabelmeFolder
from jaxvision.data.segmentation_folders import VOC_CLASSES, ImageMaskFolder, VOCSegmentation
from jaxvision.data.selection import SegmentationSource, Selection, split_by_hash
from jaxvision.data.source_report import SourceReport, report_source
from jaxvision.data.voc_augmented import open_voc_augmented

__all__ = ["FormatOptions", "SegmentationFormat", "open_parts", "open_split", "without_broken"]

SegmentationFormat = Literal["ade20k", "camvid", "cityscapes", "coco", "folder", "labelme", "voc", "voc_aug"]
"""The layouts of folders that can be read."""


class FormatOptions(NamedTuple):
    """What can be said of a folder; only some formats take some of it.

    Attributes:
      labels: a file of class names, one a line: for labelme, folder and voc, which have defaults too.
      annotations: which of COCO's; None takes the first that is there.
      coarse: Cityscapes' coarse annotations instead of the fine ones.
      val_fraction: share of "val" where the data has no parts of its own.
      seed: of that split.
      skip_broken: leaves out what is broken, and keeps the reasons in ``broken``.
    """

    labels: Path | None = None
    annotations: CocoKind | None = None
    coarse: bool = False
    val_fraction: float = 0.2
    seed: int = 0
    skip_broken: bool = False


def open_parts(
    kind: SegmentationFormat, root: str | Path, options: FormatOptions
) -> tuple[SegmentationSource, SegmentationSource]:
    """The part to train on and the part to validate on.

    Where the data has no parts of its own (labelme; folder without lists) it is split by a hash of the names.

    Args:
      kind: the format.
      root: the folder.
      options: see there.

    Raises:
      FileNotFoundError: if the folder, or a part of its layout, is missing.
      ValueError: if its files do not fit together, or an option does not fit the format.
    """
    if kind == "labelme":
        whole = open_split(kind, root, None, options)
        return split_by_hash(whole, val_fraction=options.val_fraction, seed=options.seed)
    return open_split(kind, root, "train", options), open_split(kind, root, "val", options)


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
    skip = options.skip_broken
    if kind == "labelme":
        if split is not None:
            raise ValueError(f"labelme has no part {split!r}: a folder is one part")
        return LabelmeFolder(root, labels=options.labels, skip_broken=skip)
    if kind == "folder":
        names = None if options.labels is None else read_lines(options.labels)
        share, seed = options.val_fraction, options.seed
        return ImageMaskFolder(
            root, split=split, class_names=names, val_fraction=share, seed=seed, skip_broken=skip
        )
    if split is None:
        raise ValueError(f"{kind} comes in parts: name one, such as 'train' or 'val'")
    annotations: Literal["gtFine", "gtCoarse"] = "gtCoarse" if options.coarse else "gtFine"
    openers: Mapping[str, Callable[[], SegmentationSource]] = {
        "ade20k": lambda: ADE20KFolder(root, split, skip_broken=skip),
        "camvid": lambda: open_camvid(root, split, skip_broken=skip),
        "cityscapes": lambda: CityscapesFolder(root, split, annotations=annotations, skip_broken=skip),
        "coco": lambda: open_coco(root, split, annotations=options.annotations, skip_broken=skip),
        "voc": lambda: _open_voc(root, split, options),
        "voc_aug": lambda: open_voc_augmented(root, split, skip_broken=skip),
    }
    return openers[kind]()


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


def _check_options(kind: str, options: FormatOptions) -> None:
    if options.labels is not None and kind not in ("labelme", "folder", "voc"):
        raise ValueError(f"labels: {kind} has classes of its own; leave the file of labels out")
    if options.annotations is not None and kind != "coco":
        raise ValueError(f"annotations: {options.annotations!r} is COCO's, and this is {kind}; leave it out")
    if options.coarse and kind != "cityscapes":
        raise ValueError(f"coarse: only cityscapes has coarse annotations, and this is {kind}; leave it out")
