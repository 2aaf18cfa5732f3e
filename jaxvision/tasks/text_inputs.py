"""The texts that a user gives to a script, on the command line or in files."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxvision.data import Document, TextFiles, ordered_array_batches

_LONGEST_NAME = 60  # characters of a text that stand for it


def gather_texts(
    paths: Sequence[Path], texts: Sequence[str], *, by: Literal["file", "line"], encoding: str
) -> tuple[list[Document], int]:
    """The texts of a command line and of files and folders, each with a name.

    A file that is not of the encoding is named on standard error and left out.

    Args:
      paths: text files, or folders of them.
      texts: given as they are; their names are their first words.
      by: what of a file is a text.
      encoding: of the files.

    Returns:
      The texts, and the number of files that could not be read.

    Raises:
      FileNotFoundError: for a path that is not there.
      ValueError: if nothing is given, a folder holds no text file, or a given text is empty.
    """
    if not paths and not texts:
        raise ValueError('nothing to predict; give --text "..." or text files or folders')
    found, broken = [], 0
    for text in texts:
        if not text.strip():
            raise ValueError("--text: got an empty text, expected words")
        found.append(Document(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…", text))
    files = TextFiles(paths).files() if paths else []
    for file in files:
        try:
            found += list(TextFiles([file], by=by, encoding=encoding))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            broken += 1
    return found, broken


def predict_rows(
    predict: Callable[[Any], Any], arrays: dict[str, np.ndarray], *, batch_size: int
) -> list[np.ndarray]:
    """Runs a compiled network over rows in batches of one size, and gives one result a row.

    Args:
      predict: ``{name: [batch_size, ...]}`` to an array ``[batch_size, ...]``.
      arrays: ``[N, ...]`` each.
      batch_size: rows at once.

    Raises:
      ValueError: if ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected 1 or more")
    rows: list[np.ndarray] = []
    if not all(len(array) for array in arrays.values()):
        return rows
    for batch in ordered_array_batches(arrays, batch_size=batch_size):
        where = batch.pop("where")
        rows += list(np.asarray(predict(batch))[where])
    return rows
