"""Pictures on disk with one class each: a folder a class, or a CSV file.

A reader is a random-access source: ``len(source)`` records, ``source[index]`` reads one as a dict of

* ``image`` uint8 [H, W, 3] (:func:`jaxvision.data.image_files.read_image` says what is converted);
* ``label`` int32 [], the class index;
* ``name`` str, the path below the root.

``source.labels`` int32 [N] tells all classes without opening a picture. What can be known from names is
checked when a reader is made; a damaged picture is named when it is read.
"""

import csv
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.image_files import IMAGE_SUFFIXES, read_image

__all__ = ["CsvImages", "ImageFolder", "LabelledFiles", "LabelledSource"]


class LabelledSource(Protocol):
    """A source of records with ``image`` and ``label`` that knows its labels beforehand."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], the class of each record."""

    def __len__(self) -> int:
        """Number of records."""

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        """The record at a position."""


class LabelledRecords:
    """What is known of labelled records before one is read; the sources here add how it is read.

    Args:
      class_names: names by class index.
      labels: int32 [N], the class of each record.
    """

    def __init__(self, class_names: tuple[str, ...], labels: np.ndarray) -> None:
        self._class_names = class_names
        self._labels = labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class index."""
        return self._class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self._class_names)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], the class of each record."""
        return self._labels

    def __len__(self) -> int:
        return len(self._labels)


class LabelledFiles(LabelledRecords):
    """Picture files with a class each; what the two layouts below have in common.

    Args:
      root: the folder that the names are relative to.
      names: path of each picture below the root, with ``/`` between folders.
      labels: class index of each picture.
      class_names: names by class index.

    Raises:
      ValueError: if there is no picture, or there are fewer than 2 classes, or two of one name.
    """

    def __init__(
        self, root: str | Path, names: Sequence[str], labels: Sequence[int], *, class_names: Sequence[str]
    ) -> None:
        super().__init__(check_class_names(class_names, str(root)), np.asarray(labels, np.int32))
        self._root = Path(root)
        self._names = tuple(names)
        if not self._names:
            raise ValueError(
                f"{root}: no picture in it, expected files ending in {', '.join(IMAGE_SUFFIXES)}"
            )

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        name = self._names[index]
        return {"image": read_image(self._root / name), "label": self._labels[index], "name": name}


class ImageFolder(LabelledFiles):
    """The layout of torchvision's ImageFolder: ``root/<class>/.../<picture>``, at any depth below the class.

    Classes are the folders in the root, in the order of their names as text ("10" comes before "2").
    Pictures are files of a known ending (``IMAGE_SUFFIXES``, in any case); other files, hidden files and
    hidden folders are passed over. Links to folders are followed.

    Args:
      root: the folder that holds one folder a class.
      class_names: names by index where the order, or the set, is not that of the folders: those of the
        training part for a test part that lacks some of its classes. Then a class may have no folder.

    Raises:
      FileNotFoundError: if there is no such folder.
      ValueError: if there are fewer than 2 classes, a class without a picture, or a folder whose name is not
        in ``class_names``.
    """

    def __init__(self, root: str | Path, *, class_names: Sequence[str] | None = None) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root}: no such folder, expected one that holds a folder for each class"
            )
        folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not _hidden(path.name))
        if class_names is None:
            class_names = folders
            _check_folders(root, folders)
        existing = set(folders)
        unknown = sorted(existing - set(class_names))
        if unknown:
            raise ValueError(
                f"{root}: {name_some(unknown)}: no such class, expected folders named like "
                f"{name_some(class_names)}; rename the folders or give their names in class_names"
            )
        names: list[str] = []
        labels: list[int] = []
        empty = []
        for label, folder in enumerate(class_names):
            found = list(_pictures(root, folder)) if folder in existing else []
            if folder in existing and not found:
                empty.append(folder)
            names += found
            labels += [label] * len(found)
        if empty:
            raise ValueError(
                f"{root}: no picture of class {name_some(empty)}, expected files ending in "
                f"{', '.join(IMAGE_SUFFIXES)}; add pictures or remove the folder"
            )
        super().__init__(root, names, labels, class_names=class_names)


class CsvImages(LabelledFiles):
    """A CSV file with a header, one line a picture: its path below a root and its class.

    Args:
      path: the CSV file, in UTF-8.
      root: the folder that the paths are relative to.
      image_column: header of the column of paths.
      label_column: header of the column of classes: names, or integers.
      class_names: names by class index; the column then holds these names, or indices 0..K-1. By default
        the classes are the values that occur: integers in the order of their values (whatever the first
        one is), else names in the order of the text.

    Raises:
      FileNotFoundError: if the CSV file, the root or a picture is missing; the line is named.
      ValueError: if a column is missing, a line lacks a value, a class is unknown, a picture has two
        classes, or there is no line; the line is named.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        root: str | Path,
        image_column: str = "image",
        label_column: str = "label",
        class_names: Sequence[str] | None = None,
    ) -> None:
        path, root = Path(path), Path(root)
        for needed, exists in ((path, path.is_file()), (root, root.is_dir())):
            if not exists:
                raise FileNotFoundError(f"{needed}: no such {'file' if needed is path else 'folder'}")
        rows = [
            (line, name.replace("\\", "/"), text)
            for line, name, text in labelled_rows(path, image_column, label_column, kind="image")
        ]
        seen: dict[str, tuple[int, str]] = {}
        for line, name, text in rows:
            if not (root / name).is_file():
                raise FileNotFoundError(f"{path}, line {line}: {root / name}: no such file; check the root")
            first_line, first = seen.setdefault(name, (line, text))
            if first != text:
                raise ValueError(
                    f"{path}, line {line}: {name} is of class {text!r}, and of class {first!r} in line "
                    f"{first_line}, expected one class a picture"
                )
        if class_names is None:
            class_names = ordered_classes({text for _, _, text in rows})
        index_of = class_indices(path, rows, tuple(class_names))
        names = [name for _, name, _ in rows]
        labels = [index_of[text] for _, _, text in rows]
        super().__init__(root, names, labels, class_names=class_names)


def check_class_names(class_names: Sequence[str], where: str) -> tuple[str, ...]:
    """The names as a tuple.

    Args:
      class_names: names by index.
      where: what holds the classes, for the message.

    Raises:
      ValueError: if there are fewer than 2, or two are equal.
    """
    names = tuple(class_names)
    if len(names) < 2:
        raise ValueError(
            f"{where}: {len(names)} class ({name_some(names) or 'none'}), expected at least 2 to tell apart"
        )
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"{where}: class names given twice: {name_some(twice)}, expected each once")
    return names


def _check_folders(root: Path, folders: Sequence[str]) -> None:
    if len(folders) >= 2:
        return
    loose = sum(_is_picture(path.name) for path in root.iterdir() if path.is_file())
    raise ValueError(
        f"{root}: {len(folders)} class folder ({name_some(folders) or 'none'}) and {loose} pictures beside "
        "it, expected a folder for each of 2 or more classes, with its pictures inside"
    )


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _is_picture(name: str) -> bool:
    return not _hidden(name) and name.lower().endswith(IMAGE_SUFFIXES)


def _pictures(root: Path, folder: str) -> Iterator[str]:
    """Paths of all pictures of a class below the root, in a fixed order."""
    for parent, children, files in os.walk(root / folder, onerror=_stop, followlinks=True):
        children[:] = sorted(child for child in children if not _hidden(child))
        place = Path(parent).relative_to(root).as_posix()
        yield from (f"{place}/{name}" for name in sorted(files) if _is_picture(name))


def _stop(error: OSError) -> None:
    raise error  # os.walk would pass over a folder that may not be read


def labelled_rows(
    path: Path, value_column: str, label_column: str, *, kind: str, delimiter: str = ","
) -> list[tuple[int, str, str]]:
    """The lines of a CSV file that are not blank.

    Args:
      path: of the file, in UTF-8.
      value_column: header of the column of what is classified.
      label_column: header of the column of classes.
      kind: what is classified, for messages: "image" or "text".
      delimiter: between fields.

    Returns:
      Number of the line, value and label of each.

    Raises:
      ValueError: if a column is missing, a line lacks a value, there is no line, or it is no such file.
    """
    try:
        rows = list(_rows(path, value_column, label_column, kind, delimiter))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}; expected a CSV file in UTF-8") from error
    if not rows:
        noun = "picture" if kind == "image" else kind
        raise ValueError(f"{path}: no line below the header, expected one a {noun}")
    return rows


def _rows(
    path: Path, value_column: str, label_column: str, kind: str, delimiter: str
) -> Iterator[tuple[int, str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark at the start
        reader = csv.DictReader(file, delimiter=delimiter)
        header = [column.strip() for column in reader.fieldnames or []]
        missing = [column for column in (value_column, label_column) if column not in header]
        if missing:
            raise ValueError(
                f"{path}, line 1: no column {' and no column '.join(map(repr, missing))}, the header holds "
                f"{', '.join(map(repr, header)) or 'nothing'}; give {kind}_column and label_column"
            )
        reader.fieldnames = header
        for row in reader:
            values = [(row[column] or "").strip() for column in (value_column, label_column)]
            if not all(values):
                raise ValueError(
                    f"{path}, line {reader.line_num}: {kind} {values[0]!r} and label {values[1]!r}, "
                    "expected both"
                )
            yield reader.line_num, values[0], values[1]


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and str(int(text)) == text


def ordered_classes(texts: set[str]) -> list[str]:
    """The values of a column of classes by index: integers by their values, else names in order."""
    return sorted(texts, key=int) if all(map(_is_integer, texts)) else sorted(texts)


def class_indices(
    path: Path, rows: Sequence[tuple[int, str, str]], class_names: tuple[str, ...]
) -> dict[str, int]:
    """Index of each class by the text in the file: names, or else indices, for the whole file alike.

    Raises:
      ValueError: for a text that is neither; the line is named.
    """
    by_name = {name: index for index, name in enumerate(class_names)}
    by_index = {str(index): index for index in range(len(class_names))}
    table = by_name if any(text in by_name for _, _, text in rows) else by_index
    for line, _, text in rows:
        if text not in table:
            raise ValueError(
                f"{path}, line {line}: unknown class {text!r}, expected one of {name_some(class_names)}, "
                f"or indices 0..{len(class_names) - 1} throughout; check class_names"
            )
    return table
