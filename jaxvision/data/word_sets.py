"""Questions to word vectors: pairs of words with people's scores, and analogies."""

import csv
from pathlib import Path

from jaxvision.data.text_files import read_text

__all__ = ["read_analogies", "read_word_pairs"]


def read_word_pairs(path: str | Path) -> list[tuple[str, str, float]]:
    """Pairs of words with a score each, in the layout of WordSim-353: commas, tabs or blanks between.

    Args:
      path: of the file. Lines that start with ``#`` are left out, and so is a first line without a number.
        The score is the first number behind the two words.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a line that is no pair, with its number; or if there is none.
    """
    pairs: list[tuple[str, str, float]] = []
    lines = [line for line in enumerate(read_text(path).splitlines(), start=1) if line[1].strip()]
    lines = [(number, line) for number, line in lines if not line.startswith("#")]
    for place, (number, line) in enumerate(lines):
        separator = next((mark for mark in "\t," if mark in line), None)
        fields = line.split() if separator is None else next(csv.reader([line], delimiter=separator))
        fields = [field.strip() for field in fields]
        score = next((value for value in map(_number, fields[2:]) if value is not None), None)
        if score is None or not all(fields[:2]):
            if place == 0 and len(fields) > 2:
                continue  # a heading
            raise ValueError(f"{path}: line {number} is {line[:80]!r}, expected two words and a number")
        pairs.append((fields[0], fields[1], score))
    if not pairs:
        raise ValueError(f"{path}: no pair of words with a score in it")
    return pairs


def read_analogies(path: str | Path) -> dict[str, list[tuple[str, str, str, str]]]:
    """Analogies in the layout of ``questions-words.txt``: four words a line, sections under ``: name``.

    Returns:
      Questions by section; those before the first heading under ``""``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for a line that is neither, with its number; or if there is no question.
    """
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    name = ""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.startswith(":"):
            name = line[1:].strip()
        elif line.strip():
            words = line.split()
            if len(words) != 4:
                raise ValueError(
                    f"{path}: line {number} is {line[:80]!r}, expected four words, or ': ' and the "
                    "name of a section"
                )
            sections.setdefault(name, []).append((words[0], words[1], words[2], words[3]))
    if not sections:
        raise ValueError(f"{path}: no analogy in it")
    return sections


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
