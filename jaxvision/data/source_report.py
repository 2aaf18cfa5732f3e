"""What a source of segmentation records holds: classes, pixels, sizes, broken files."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxvision.core import VOID
from jaxvision.data.class_counts import MaskCounts
from jaxvision.data.records import Record, Source

__all__ = [
    "BrokenRecord",
    "ReportCounts",
    "SourceReport",
    "check_source",
    "format_report",
    "list_broken",
    "report_source",
    "require_foreground",
]


class BrokenRecord(NamedTuple):
    """A record that cannot be read.

    Attributes:
      position: in the source; None for one that was left out when the source was opened.
      reason: file, what is wrong, remedy.
    """

    position: int | None
    reason: str


class SourceReport(NamedTuple):
    """What was found in the records of a source.

    Attributes:
      readable: positions of the records that can be read.
      pixels: number of pixels of each class name, and at the end of "void" ("void (255)" where a class has
        that name).
      images: number of images in which each of them occurs.
      sizes: number of images of each (height, width), most frequent first.
      broken: the records that cannot be read.
    """

    readable: tuple[int, ...]
    pixels: Mapping[str, int]
    images: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    broken: tuple[BrokenRecord, ...]

    @property
    def only_zero_and_void(self) -> bool:
        """Whether masks of several classes hold nothing but index 0 and 255: often a mask of 0 and 255."""
        first, *others, void = self.pixels.values()
        del first
        return void > 0 and bool(others) and not any(others)


class ReportCounts:
    """Counts from which a report is made, record by record.

    Args:
      class_names: by index.
      broken: of records that were left out when the source was opened.
    """

    def __init__(self, class_names: Sequence[str], *, broken: Sequence[str] = ()) -> None:
        self._names = tuple(class_names)
        self._masks = MaskCounts()
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._readable: list[int] = []
        self._broken = [BrokenRecord(None, reason) for reason in broken]

    @property
    def broken(self) -> int:
        """Number of broken records so far."""
        return len(self._broken)

    def add(self, index: int, record: Record) -> None:
        """Counts a record that could be read."""
        mask = record["mask"]
        self._masks.add(mask)
        self._sizes[mask.shape] += 1
        self._readable.append(index)

    def add_broken(self, index: int, error: Exception) -> None:
        """Notes a record that could not be read."""
        self._broken.append(BrokenRecord(index, str(error)))

    def report(self) -> SourceReport:
        """What was found so far."""
        names = (*self._names, "void (255)" if "void" in self._names else "void")
        positions = [*range(len(self._names)), VOID]
        return SourceReport(
            readable=tuple(self._readable),
            pixels={name: int(self._masks.pixels[i]) for name, i in zip(names, positions, strict=True)},
            images={name: int(self._masks.images[i]) for name, i in zip(names, positions, strict=True)},
            sizes=dict(self._sizes.most_common()),
            broken=tuple(self._broken),
        )


def report_source(source: Source, *more: Source) -> SourceReport:
    """Reads every record of a source and reports what is there, broken or not.

    Args:
      source: a folder reader, or any source of records with ``image`` and ``mask``.
      more: others of the same classes, whose positions count on.

    Returns:
      The report. Classes are named by index where the source has no ``class_names``. A class with 0 pixels is
      worth a look.
    """
    names = getattr(source, "class_names", None) or [str(index) for index in range(VOID)]
    sources = (source, *more)
    left_out = [reason for part in sources for reason in getattr(part, "broken", ())]
    counts = ReportCounts(names, broken=list(dict.fromkeys(left_out)))  # parts of one folder share theirs
    everything = ((part, index) for part in sources for index in range(len(part)))
    for position, (part, index) in enumerate(everything):
        try:
            record = part[index]
        except (ValueError, OSError) as error:
            counts.add_broken(position, error)
        else:
            counts.add(position, record)
    return counts.report()


def check_source(source: Source, *, skip_broken: bool = False) -> SourceReport:
    """Reads every record of a source, and stops with all that are broken at once.

    Args:
      source: a folder reader, or any source of records with ``image`` and ``mask``.
      skip_broken: reports broken records instead of raising.

    Returns:
      The report, see :func:`report_source`.

    Raises:
      ValueError: with one line for each broken file, unless they are skipped; or if all masks hold nothing
        but 0 and 255.
    """
    report = report_source(source)
    if report.broken and not skip_broken:
        raise ValueError(list_broken(report))
    require_foreground(report)
    return report


def require_foreground(report: SourceReport) -> None:
    """Notices the commonest mistake: masks of two classes that were saved as 0 and 255.

    Raises:
      ValueError: if there are two classes or more, and the masks hold nothing but index 0 and void.
    """
    if report.only_zero_and_void:
        raise ValueError(
            "all masks hold nothing but 0 and 255, and 255 is void: if 255 was meant as a class, "
            "save it as its index (1) instead"
        )


def list_broken(report: SourceReport) -> str:
    """How many records are broken, then one line for each."""
    total = len(report.readable) + len(report.broken)
    listing = "\n".join(f"  {broken.reason}" for broken in report.broken)
    return f"{len(report.broken)} of {total} records are broken:\n{listing}"


def format_report(report: SourceReport) -> str:
    """The report as a table of text: a line a class, then sizes, classes that do not occur, broken records.

    Shares are of all pixels, void included.
    """
    total = max(sum(report.pixels.values()), 1)
    count = len(report.readable)
    rows = [("class", "pixels", "share", "images")]
    rows += [
        (name, str(pixels), f"{100 * pixels / total:.2f} %", str(report.images[name]))
        for name, pixels in report.pixels.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [f"{count} images, {len(report.pixels) - 1} classes"]
    lines += [
        f"  {row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]
    sizes = [f"{width}x{height} ({number})" for (height, width), number in report.sizes.items()]
    more = f" and {len(sizes) - 5} more" if len(sizes) > 5 else ""
    lines.append(f"sizes (width x height): {', '.join(sizes[:5]) or 'none'}{more}")
    absent = [name for name, pixels in list(report.pixels.items())[:-1] if not pixels]
    if absent:
        lines.append(f"in no image: {', '.join(absent)}")
    if report.broken:
        lines.append(list_broken(report))
    return "\n".join(lines)
