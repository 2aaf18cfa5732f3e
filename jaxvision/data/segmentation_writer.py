"""Any segmentation source -> a folder that other programs read: the layout of VOC, or images/ and masks/."""

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from jaxvision.core import name_some, write_atomically
from jaxvision.data.selection import SegmentationSource
from jaxvision.data.source_report import ReportCounts, SourceReport, list_broken, require_foreground
from jaxvision.pictures import write_palette_png, write_png

__all__ = ["Layout", "write_segmentation"]

Layout = Literal["voc", "folder"]
_IMAGES = {"voc": "JPEGImages", "folder": "images"}
_MASKS = {"voc": "SegmentationClass", "folder": "masks"}
_CLASSES = {"voc": "class_names.txt", "folder": "classes.txt"}
_LISTS = {"voc": "ImageSets/Segmentation", "folder": "."}
_ORIENTATION = 0x0112  # EXIF's tag
# What a folder that was written here may hold at its top: only such a folder is ever replaced.
_OWN = {*_IMAGES.values(), *_MASKS.values(), *_CLASSES.values(), "ImageSets"}
_OWN |= {"train.txt", "val.txt", "test.txt"}


def write_segmentation(
    parts: Mapping[str, SegmentationSource],
    out: str | Path,
    *,
    palette: np.ndarray,
    layout: Layout = "voc",
    skip_broken: bool = False,
    overwrite: bool = False,
) -> SourceReport:
    """Writes sources as one folder, which is there whole or not at all.

    * ``voc``: ``JPEGImages/<name>.jpg``, ``SegmentationClass/<name>.png``, a list
      ``ImageSets/Segmentation/<part>.txt`` for each part, ``class_names.txt``. A JPEG stays as it is, byte
      for byte, unless its EXIF orientation would turn it (not every reader does); other pictures become JPEG
      of quality 95.
    * ``folder``: ``images/<name>.jpg`` of what is such a JPEG already and ``.png`` of all else,
      ``masks/<name>.png``, ``<part>.txt``, ``classes.txt``.

    Masks are PNGs with a palette: class indices, 255 for void.

    Args:
      parts: sources of the same classes by the name of their list, such as "train" and "val".
      out: the folder to write.
      palette: colours of the masks, uint8 [256, 3].
      layout: see above.
      skip_broken: writes the records that can be read, and reports the others.
      overwrite: replaces a folder that is not empty, if it holds nothing but such a layout.

    Returns:
      What the sources hold, and which records were broken; positions count through the parts in order.

    Raises:
      ValueError: if the folder is not empty, the parts differ in classes or share a name, the masks hold
        nothing but 0 and void (:func:`jaxvision.data.source_report.require_foreground`), no record of a part
        can be read, or, unless they are skipped, with a line for each broken record. Nothing is written then.
    """
    out = Path(out).resolve()
    _check_target(out, parts, overwrite)
    classes = _check_parts(parts)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        report, names = _write_records(parts, temporary, palette, layout, skip_broken)
        _write_lines(temporary / _CLASSES[layout], classes)
        for part, listed in names.items():
            _write_lines(temporary / _LISTS[layout] / f"{part}.txt", listed)
        _put_in_place(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _write_records(
    parts: Mapping[str, SegmentationSource], folder: Path, palette: np.ndarray, layout: Layout, skip: bool
) -> tuple[SourceReport, dict[str, list[str]]]:
    """Writes what can be read; once a record is broken that may not be, the others are only looked at."""
    first, *_ = parts.values()
    left_out = [reason for source in parts.values() for reason in source.broken]
    counts = ReportCounts(first.class_names, broken=list(dict.fromkeys(left_out)))
    names: dict[str, list[str]] = {part: [] for part in parts}
    everything = [(part, source, index) for part, source in parts.items() for index in range(len(source))]
    for position, (part, source, index) in enumerate(everything):
        try:
            record = source[index]
        except (ValueError, OSError) as error:
            counts.add_broken(position, error)
            continue
        counts.add(position, record)
        names[part].append(record["name"])
        if skip or not counts.broken:
            _write_image(folder / _IMAGES[layout], record, source.picture_of(index), layout)
            write_palette_png(folder / _MASKS[layout] / f"{record['name']}.png", record["mask"], palette)
    report = counts.report()
    if report.broken and not skip:
        raise ValueError(f"{list_broken(report)}\nnothing was written; mend them, or skip broken records")
    empty = [part for part, listed in names.items() if not listed]
    if empty:
        raise ValueError(
            f"{list_broken(report)}\nnothing was written, as none is left for {', '.join(empty)}; mend some "
            "of them, or split the images in another way"
        )
    require_foreground(report)
    return report, names


def _write_image(folder: Path, record: Mapping[str, Any], picture: Path, layout: Layout) -> None:
    name = record["name"]
    if _is_plain_jpeg(picture):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, folder / f"{name}.jpg")
    elif layout == "folder":
        write_png(folder / f"{name}.png", record["image"])
    else:
        image = Image.fromarray(record["image"])
        write_atomically(
            folder / f"{name}.jpg", lambda file: image.save(file, format="JPEG", quality=95, subsampling=0)
        )


def _is_plain_jpeg(path: Path) -> bool:
    """Whether every program shows a file the way it was read here: an upright JPEG, grey or RGB."""
    try:
        with Image.open(path) as picture:
            upright = picture.getexif().get(_ORIENTATION, 1) == 1
            return picture.format == "JPEG" and picture.mode in ("RGB", "L") and upright
    except Image.UnidentifiedImageError:  # the file that a picture is embedded in
        return False


def _check_target(out: Path, parts: Mapping[str, SegmentationSource], overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file, expected a folder to write; name another")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and not overwrite:
        raise ValueError(
            f"{out}: is not empty ({name_some(held)}); name another folder, or allow to overwrite"
        )
    foreign = [name for name in held if name not in _OWN]
    if foreign:
        raise ValueError(
            f"{out}: holds more than such a layout ({name_some(foreign)}) and is not overwritten; name "
            "another folder, or move them away"
        )
    for source in parts.values():
        if held and out in source.picture_of(0).resolve().parents:
            raise ValueError(f"{out}: the pictures to convert are in it; name another folder")


def _check_parts(parts: Mapping[str, SegmentationSource]) -> tuple[str, ...]:
    """The classes of all parts."""
    classes, *others = {tuple(source.class_names): None for source in parts.values()}
    if others:
        raise ValueError(f"the parts {', '.join(parts)} differ in their classes, expected the same for all")
    names = [name for source in parts.values() for name in source.names]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{name_some(twice)}: more than one record of that name; rename the files")
    for text in (*classes, *names):
        if text.strip() != text or len(text.splitlines()) != 1 or not text.isprintable():
            raise ValueError(f"{text!r}: cannot be a line of a list; rename the class or the file")
    return classes


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    write_atomically(path, lambda file: file.write("".join(f"{line}\n" for line in lines).encode()))


def _put_in_place(folder: Path, out: Path) -> None:
    """Renames a folder; what was there before is kept until then."""
    if not out.exists():
        os.rename(folder, out)
        return
    before = out.with_name(f".{out.name}.{os.getpid()}.old")
    os.rename(out, before)
    try:
        os.rename(folder, out)
    except OSError:
        os.rename(before, out)
        raise
    shutil.rmtree(before)
