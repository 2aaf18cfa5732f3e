"""What a COCO annotation file lists, but for its regions: classes, images, where the annotations stand."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.data.file_lists import Problems, find_folder, stem_of
from jaxvision.data.json_fields import checked, entry, shown
from jaxvision.data.json_spans import scan_items

__all__ = ["CocoImage", "CocoIndex", "read_index"]

Note = Callable[[Mapping[str, Any], str], Any]


class CocoImage(NamedTuple):
    """An image and its annotations.

    Attributes:
      name: file name without ending.
      path: the picture.
      size: height and width, as listed; None where they are not.
      spans: int64 [n, 2], where its annotations stand in the file, in its order.
      notes: what was noted of each annotation.
    """

    name: str
    path: Path
    size: tuple[int, int] | None
    spans: np.ndarray
    notes: tuple[Any, ...]


class CocoIndex(NamedTuple):
    """The lists of a file.

    Attributes:
      class_names: in the order of the category ids.
      index_of: class index by category id.
      images: that have a picture and no broken annotation, in the order of their names.
    """

    class_names: tuple[str, ...]
    index_of: dict[int, int]
    images: tuple[CocoImage, ...]


def read_index(path: Path, image_folder: Path, problems: Problems, *, note: Note) -> CocoIndex:
    """Reads a file of annotations once.

    Args:
      path: the JSON file.
      image_folder: with the pictures; a folder in ``file_name`` is looked for in it, and without.
      problems: gets what is wrong with images and annotations; an image with a broken annotation is left out,
        as its mask would lack it. Only where an annotation names no image, it is not known which lacks it.
      note: called with an annotation and its place; what it returns is kept.

    Raises:
      FileNotFoundError: if the file or the folder is missing.
      ValueError: if the file is no such file, a category is broken, or there are none.
    """
    find_folder(image_folder)
    tables = _Tables(note)
    for item in scan_items(path, ("categories", "images", "annotations")):
        where = f"{path}: {item.key}[{item.position}]"
        try:
            tables.add(item.key, checked(item.value, "an object", where), item.span, where)
        except ValueError as error:
            if item.key == "categories":
                raise
            problems.add(str(error))
    if not tables.categories or not tables.images:
        empty = "images" if tables.categories else "categories"
        listing = "".join(f"\n  {problem}" for problem in problems.found[:5])
        raise ValueError(f"{path}: {empty} has no entry, expected at least one; export it anew{listing}")
    ids = sorted(tables.categories)
    return CocoIndex(
        class_names=tuple(tables.categories[number] for number in ids),
        index_of={number: index for index, number in enumerate(ids)},
        images=tuple(_with_pictures(tables, path, image_folder, problems)),
    )


class _Tables:
    """What a file lists, by id."""

    def __init__(self, note: Note) -> None:
        self.categories: dict[int, str] = {}
        self.images: dict[int, tuple[str, tuple[int, int] | None]] = {}
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self.notes: dict[int, list[Any]] = {}
        self.broken: set[int] = set()
        self._note = note

    def add(self, key: str, value: Mapping[str, Any], span: tuple[int, int], where: str) -> None:
        """Enters an item of one of the lists."""
        if key == "annotations":
            self._add_annotation(value, span, where)
            return
        number = entry(value, "id", "an integer", where)
        if number in (self.categories if key == "categories" else self.images):
            raise ValueError(f"{where}: the id {number} was there before; give each its own")
        if key == "categories":
            name = entry(value, "name", "a text", where)
            if name in self.categories.values():
                raise ValueError(f"{where}: the name {shown(name)} was there before; give each its own")
            self.categories[number] = name
            return
        size = None
        if value.get("height") is not None and value.get("width") is not None:
            size = tuple(entry(value, side, "an integer", where) for side in ("height", "width"))
        self.images[number] = (entry(value, "file_name", "a text", where), size)

    def _add_annotation(self, value: Mapping[str, Any], span: tuple[int, int], where: str) -> None:
        number = entry(value, "image_id", "an integer", where)
        try:
            note = self._note(value, where)
        except ValueError:
            self.broken.add(number)
            raise
        self.spans.setdefault(number, []).append(span)
        self.notes.setdefault(number, []).append(note)


def _with_pictures(tables: _Tables, path: Path, folder: Path, problems: Problems) -> Iterator[CocoImage]:
    for number in sorted((tables.spans.keys() | tables.broken) - tables.images.keys()):
        problems.add(
            f"{path}: annotations of the image id {number}, which is not listed; list it or remove them"
        )
    here = {picture.name for picture in os.scandir(folder)}
    owners: dict[str, int] = {}
    stems = Counter(stem_of(file_name) for file_name, _ in tables.images.values())
    for number, (file_name, size) in sorted(tables.images.items(), key=lambda item: item[1][0]):
        if number in tables.broken:
            continue
        file_name = file_name.replace("\\", "/")
        shared = stems[stem_of(file_name)] > 1  # pictures of one name in several folders
        name = stem_of(file_name.replace("/", "_") if shared else file_name)
        picture = _find_picture(file_name, folder, here, anywhere=not shared)
        if picture is None:
            problems.add(
                f"{path}: {shown(file_name)} (image id {number}): no such picture in {folder}; add it, or "
                "take it off the list"
            )
        elif owners.setdefault(name, number) != number:
            problems.add(
                f"{path}: the images {owners[name]} and {number} share the name {shown(name)}; rename one"
            )
        else:
            spans = np.array(tables.spans.get(number, []), np.int64).reshape(-1, 2)
            yield CocoImage(name, picture, size, spans, tuple(tables.notes.get(number, ())))


def _find_picture(file_name: str, folder: Path, here: Collection[str], *, anywhere: bool) -> Path | None:
    """A picture by its path, or, if it may be anywhere, by its name alone."""
    if "/" in file_name and os.path.isfile(folder / file_name):
        return folder / file_name
    base = file_name.rsplit("/", 1)[-1]
    return folder / base if base in here and (anywhere or base == file_name) else None
