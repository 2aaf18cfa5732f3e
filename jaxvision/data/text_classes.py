"""Texts with one class each: a CSV or TSV file, a folder a class, or sentences of Python's documentation.

A reader is a random-access source: ``len(source)`` records, ``source[index]`` is a dict of

* ``text`` str;
* ``label`` int32 [], the class index;
* ``name`` str, the line or the path that the text comes from.

``source.labels`` int32 [N] and ``source.class_names`` tell all classes beforehand.
"""

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxvision.core import name_some
from jaxvision.data.classification_sources import (
    LabelledRecords,
    check_class_names,
    class_indices,
    labelled_rows,
    ordered_classes,
)
from jaxvision.data.python_text import python_documentation
from jaxvision.data.splits import stratified_split
from jaxvision.data.text_files import TEXT_SUFFIXES, read_text
from jaxvision.data.text_tokens import split_sentences

__all__ = [
    "PYTHON_THEMES",
    "CsvTexts",
    "LabelledTexts",
    "TextFolder",
    "python_sentences",
]

PYTHON_THEMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "files": (
            *("fileinput", "filecmp", "glob", "gzip", "bz2", "lzma", "os", "pathlib", "posixpath", "shutil"),
            *("tarfile", "tempfile", "zipfile"),
        ),
        "imports": ("importlib", "modulefinder", "pkgutil", "runpy", "zipimport"),
        "language": ("topics",),
        "mail": ("email", "imaplib", "mailbox", "poplib", "smtplib"),
        "markup": ("html", "xml"),
        "numbers": (
            *("_pydecimal", "colorsys", "fractions", "heapq", "numbers", "random", "statistics"),
            *("_pydatetime", "calendar", "datetime"),
        ),
        "parallel": (
            "_threading_local",
            "asyncio",
            "concurrent",
            "multiprocessing",
            "queue",
            "sched",
            "threading",
        ),
        "testing": (
            "bdb",
            "cProfile",
            "doctest",
            "pdb",
            "profile",
            "timeit",
            "trace",
            "tracemalloc",
            "unittest",
        ),
        "web": (
            "ftplib",
            "http",
            "ipaddress",
            "socket",
            "socketserver",
            "ssl",
            "urllib",
            "wsgiref",
            "xmlrpc",
        ),
    }
)
"""Python's documentation by theme: packages and modules of its library, or the language reference."""

_LEAST_WORDS = 4  # of a sentence of python_sentences; shorter ones are headings and scraps of code


class LabelledTexts(LabelledRecords):
    """Texts in memory.

    Args:
      texts: N of them.
      labels: class index of each.
      class_names: names by class index.
      names: of each text, by default its position.

    Raises:
      ValueError: if there is no text, not one label and name a text, a label that is no class, or there are
        fewer than 2 classes or two of one name.
    """

    def __init__(
        self,
        texts: Sequence[str],
        labels: Sequence[int],
        *,
        class_names: Sequence[str],
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(check_class_names(class_names, "class_names"), np.asarray(labels, np.int32))
        self._texts = tuple(texts)
        self._names = tuple(names) if names is not None else tuple(map(str, range(len(self._texts))))
        if not self._texts:
            raise ValueError("texts: got none, expected at least one")
        if not len(self._texts) == len(self._labels) == len(self._names):
            raise ValueError(
                f"texts: got {len(self._texts)} with {len(self._labels)} labels and {len(self._names)} "
                "names, expected one of each a text"
            )
        if self._labels.min() < 0 or self._labels.max() >= len(self._class_names):
            raise ValueError(
                f"labels: got {self._labels.min()} to {self._labels.max()}, expected 0 to "
                f"{len(self._class_names) - 1}"
            )

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        return {"text": self._texts[index], "label": self._labels[index], "name": self._names[index]}


class CsvTexts(LabelledTexts):
    """A file with a header, one line a text: its columns of the text and of the class.

    Args:
      path: the file, in UTF-8; apart by tabs if it ends in .tsv or .tab, else by commas.
      text_column: header of the column of texts.
      label_column: header of the column of classes: names, or integers.
      class_names: names by class index, of the training part for a test part; the column then holds these
        names, or indices 0..K-1. By default the values that occur.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if a column is missing, a line lacks a text or a class, a class is unknown, there is no
        line, or the file is not UTF-8; the line is named.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        text_column: str = "text",
        label_column: str = "label",
        class_names: Sequence[str] | None = None,
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
        delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
        rows = labelled_rows(path, text_column, label_column, kind="text", delimiter=delimiter)
        if class_names is None:
            class_names = ordered_classes({label for _, _, label in rows})
        names = check_class_names(class_names, str(path))
        index_of = class_indices(path, rows, names)
        super().__init__(
            [text for _, text, _ in rows],
            [index_of[label] for _, _, label in rows],
            class_names=names,
            names=[f"{path}:{line}" for line, _, _ in rows],
        )


class TextFolder(LabelledTexts):
    """``root/<class>/.../<text file>``, one text a file, at any depth below the class.

    Classes are the folders in the root, in the order of their names. Texts are files that end in .txt, .text,
    .md or .rst; hidden ones are passed over. All are read when the source is made.

    Args:
      root: the folder that holds one folder a class.
      class_names: names by index of the training part for a test part; a class may then have no folder.
      encoding: of the files.

    Raises:
      FileNotFoundError: if there is no such folder.
      ValueError: if there are fewer than 2 classes, a class has no text, a folder is not in ``class_names``,
        a file is empty, or one is not of that encoding (its place is named).
    """

    def __init__(
        self, root: str | Path, *, class_names: Sequence[str] | None = None, encoding: str = "utf-8"
    ) -> None:
        root = Path(root)
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root}: no such folder, expected one that holds a folder for each class"
            )
        folders = sorted(path.name for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
        names = check_class_names(folders if class_names is None else class_names, str(root))
        unknown = sorted(set(folders) - set(names))
        if unknown:
            raise ValueError(
                f"{root}: {name_some(unknown)}: no such class, expected folders named like {name_some(names)}"
            )
        texts, labels, paths = [], [], []
        for label, name in enumerate(names):
            files = _texts_below(root / name) if name in folders else []
            if name in folders and not files:
                raise ValueError(
                    f"{root}: no text of class {name}, expected files ending in {', '.join(TEXT_SUFFIXES)}; "
                    "add some or remove the folder"
                )
            for file in files:
                text = read_text(file, encoding=encoding)
                if not text.strip():
                    raise ValueError(f"{file}: an empty text; remove the file")
                texts.append(text)
                labels.append(label)
                paths.append(file.relative_to(root).as_posix())
        super().__init__(texts, labels, class_names=names, names=paths)


def python_sentences(*, test_share: float = 0.15) -> dict[str, LabelledTexts]:
    """Sentences of the documentation that comes with Python, and which theme of it each belongs to.

    Themes are those of :data:`PYTHON_THEMES`: the docstrings of a package such as asyncio, or the language
    reference. A part has whole documents (docstrings, topics), so that no sentence of a document that was
    trained on is tested. The text changes a little with the release of Python.

    Args:
      test_share: share of the documents of a theme that go to test, and as many to val.

    Returns:
      The parts ``"train"``, ``"val"`` and ``"test"``.

    Raises:
      ValueError: if this Python has no documentation.
    """
    theme_of = {module: theme for theme, modules in PYTHON_THEMES.items() for module in modules}
    documents = []
    for document in python_documentation():
        module = document.name.split(":")[0].split("/")[0].removesuffix(".py")
        if module in theme_of:
            documents.append((document, theme_of[module]))
    classes = tuple(sorted({theme for _, theme in documents}))
    labels = np.array([classes.index(theme) for _, theme in documents], np.int32)
    rest, test = stratified_split(labels, test_share, rng=np.random.default_rng(0))
    train, val = stratified_split(labels[rest], test_share / (1 - test_share), rng=np.random.default_rng(1))
    parts = {}
    for split, chosen in (("train", rest[train]), ("val", rest[val]), ("test", test)):
        texts, found, names = [], [], []
        for index in chosen:
            document, theme = documents[index]
            for sentence in split_sentences(document.text):
                if len(sentence.split()) >= _LEAST_WORDS:
                    texts.append(" ".join(sentence.split()))
                    found.append(classes.index(theme))
                    names.append(document.name)
        parts[split] = LabelledTexts(texts, found, class_names=classes, names=names)
    return parts


def _texts_below(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in TEXT_SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
