"""Reports what is in annotated images, and converts them to a folder of masks.

What a folder holds, what is broken included; nothing is written:

    python -m jaxvision.data.convert cityscapes cityscapes

From a folder of labelme files to the layout of PASCAL VOC:

    python -m jaxvision.data.convert labelme my_labelme --out my_voc

From COCO to plain images/ and masks/ (these two layouts alone are written), without what is broken:

    python -m jaxvision.data.convert coco coco --out coco_masks --layout folder --skip-broken

From CamVid's masks of 32 colours to the 11 classes that are scored:

    python -m jaxvision.data.convert camvid CamVid --out camvid11 --grouped
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxvision.core import refuse_unread
from jaxvision.data.coco_layout import CocoKind
from jaxvision.data.segmentation_formats import (
    FormatOptions,
    SegmentationFormat,
    open_parts,
    open_split,
    palette_of,
)
from jaxvision.data.segmentation_writer import Layout, write_segmentation
from jaxvision.data.selection import SegmentationSource, split_by_hash
from jaxvision.data.source_report import format_report, report_source

__all__ = ["Conversion", "convert", "main"]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is converted, and into what."""

    kind: Annotated[SegmentationFormat, tyro.conf.Positional]
    """The format of the folder."""
    root: Annotated[Path, tyro.conf.Positional]
    """The folder."""
    out: Path | None = None
    """The folder to write: new, or empty; by default nothing is written, and all that is there reported."""
    layout: Layout = "voc"
    """voc: JPEGImages, SegmentationClass, ImageSets; folder: images, masks."""
    split: str | None = None
    """Take only this part of the data, and split it by a hash of the names; by default its train and val, and
    its test where that has masks."""
    val_fraction: float = 0.2
    """Share of val where data is split by a hash."""
    seed: int = 0
    """Another seed gives another split."""
    labels: Path | None = None
    """A file of class names, one a line, for labelme, folder and voc."""
    unlabelled: Literal["background", "void"] = "background"
    """What pixels without a shape of labelme are."""
    annotations: CocoKind | None = None
    """Which of COCO's annotations; by default the first that is there."""
    coarse: bool = False
    """Take the coarse annotations of Cityscapes."""
    drawn: bool = False
    """Draw the polygons of Cityscapes even if there are masks."""
    grouped: bool = False
    """Take the 11 classes of CamVid that are scored instead of all those of its masks of colours."""
    unlisted_is_void: bool = False
    """Take a colour that is not in CamVid's table of colours for void, instead of stopping."""
    skip_broken: bool = False
    """Leave out what is broken and list it at the end, instead of stopping."""
    overwrite: bool = False
    """Replace a folder that was written before."""


def convert(options: Conversion) -> str:
    """Converts, and returns the report; without a folder to write, the report alone, of what is broken too.

    Raises:
      FileNotFoundError: if the folder, or a part of its layout, is missing.
      ValueError: for options that only a folder to write reads, if there is none; of such a folder, if
        something is broken and not skipped, with a line for each, if the masks hold nothing but 0 and 255,
        or if the folder is not empty. Nothing is written then.
    """
    if options.out is None:
        names = ("layout", "skip_broken", "overwrite")
        refuse_unread(options, names, why="nothing reads without --out", remedy="give --out FOLDER")
        return format_report(report_source(*_open(options).values()))
    parts = _open(options)
    report = write_segmentation(
        parts,
        options.out,
        palette=palette_of(options.kind, root=options.root, grouped=options.grouped),
        layout=options.layout,
        skip_broken=options.skip_broken,
        overwrite=options.overwrite,
    )
    sizes, start = [], 0
    for part, source in parts.items():
        positions = range(start, start + len(source))
        sizes.append(f"{sum(position in positions for position in report.readable)} {part}")
        start = positions.stop
    return f"{format_report(report)}\n{options.out}: {options.layout} layout of {', '.join(sizes)} images"


def main(arguments: Sequence[str]) -> int:
    """Converts or reports, as the command line says; returns the exit code."""
    options = tyro.cli(
        Conversion, args=arguments, prog="python -m jaxvision.data.convert", description=__doc__
    )
    try:
        print(convert(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _open(options: Conversion) -> dict[str, SegmentationSource]:
    # Broken files are always gathered here, so that an error lists those of all parts at once.
    chosen = FormatOptions(
        **{name: getattr(options, name) for name in FormatOptions._fields if name != "skip_broken"},
        skip_broken=True,
    )
    if options.split is None:
        return open_parts(options.kind, options.root, chosen)
    whole = open_split(options.kind, options.root, options.split, chosen)
    train, val = split_by_hash(whole, val_fraction=options.val_fraction, seed=options.seed)
    return {"train": train, "val": val}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
