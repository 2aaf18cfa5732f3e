"""Word vectors on disk: word2vec's text and binary formats, and GloVe's text. Numpy only.

* word2vec text: a line ``V D``, then a line a word: the word and D numbers, apart by blanks;
* GloVe text: the same without the first line;
* word2vec binary: a line ``V D``, then for each word its UTF-8 bytes, a blank and D little-endian float32;
  the authors' program puts a line end behind each, gensim does not.

A word that comes again, as one does in GloVe's largest file, keeps its first vector; a warning is logged.

References:
  Mikolov et al. 2013, https://code.google.com/archive/p/word2vec; Pennington, Socher and Manning 2014,
  *GloVe: Global Vectors for Word Representation*.
"""

import gzip
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from jaxvision.core import name_some, write_atomically

__all__ = ["WordVectors", "read_word_vectors", "write_word_vectors"]

_LOGGER = logging.getLogger(__name__)
_FORMATS = ("text", "binary", "glove")
_LONGEST_WORD = 4096  # bytes; beyond, what is read is no word


class WordVectors(NamedTuple):
    """Words and their vectors.

    Attributes:
      words: V different words.
      vectors: float32 ``[V, D]``.
    """

    words: tuple[str, ...]
    vectors: np.ndarray


def read_word_vectors(
    path: str | os.PathLike[str], *, format: str | None = None, limit: int | None = None
) -> WordVectors:
    """Reads a file of word vectors; a name that ends in ``.gz`` is unpacked on the way.

    Args:
      path: the file.
      format: ``"text"``, ``"binary"`` or ``"glove"``. By default binary for ``.bin``; else text, which has a
        first line of two numbers, or GloVe's, which has none.
      limit: read the first words only, in published files the most frequent; by default all.

    Returns:
      The words in the order of the file. Of one that comes again the first vector is kept, as gensim does,
      and a warning is logged that says how many were left out.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for another format; or, with the place in the file, if it is cut off, a vector has another
        length than the others or a number that is not finite, or there are not as many words as the first
        line says.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of word vectors; check the path")
    if format not in (*_FORMATS, None):
        raise ValueError(f"format: expected one of {', '.join(_FORMATS)}, got {format!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit: got {limit}, expected 1 or more")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as opened:
        file: Any = opened
        try:
            if format == "binary" or (format is None and ".bin" in path.suffixes[-2:]):
                return _read_binary(path, file, limit)
            return _read_text(path, file, format, limit)
        except (EOFError, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: not a whole gzip file ({error}); fetch it again") from error


def write_word_vectors(
    path: str | os.PathLike[str], words: Sequence[str], vectors: np.ndarray, *, format: str = "text"
) -> None:
    """Writes word vectors, whole or not at all; text has the shortest digits that give the same float32.

    Args:
      path: the file; folders on the way are made.
      words: V different words without blanks.
      vectors: ``[V, D]``, written as float32.
      format: ``"text"``, ``"binary"`` or ``"glove"``.

    Raises:
      ValueError: for another format, a word that comes twice, is empty or holds a blank, or if there is not
        one vector a word.
    """
    if format not in _FORMATS:
        raise ValueError(f"format: expected one of {', '.join(_FORMATS)}, got {format!r}")
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(f"vectors: expected [{len(words)}, D], one a word, got {list(vectors.shape)}")
    bad = [repr(word) for word in words if word.split() != [word]]
    if bad:
        raise ValueError(f"words: {name_some(bad)} cannot be written, for blanks end a word; replace them")
    if len(set(words)) != len(words):
        raise ValueError(f"words: {name_some(_repeated(words))} twice, expected each word once")

    def write(file: BinaryIO) -> None:
        if format != "glove":
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            if format == "binary":
                file.write(f"{word} ".encode() + vector.astype("<f4").tobytes())
            else:
                file.write(f"{word} {' '.join(vector.astype(str))}\n".encode())

    write_atomically(Path(path), write)


def _repeated(words: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [word for word in words if word in seen or seen.add(word)]  # type: ignore[func-returns-value]


def _header(line: bytes) -> tuple[int, int] | None:
    """V and D, if a line holds these two."""
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        return None
    return int(parts[0]), int(parts[1])


class _Rows:
    """Words and vectors as they are read; of a word that comes again the first vector stays."""

    def __init__(self, path: Path, limit: int | None) -> None:
        self._path = path
        self._limit = limit
        self._places: dict[str, str] = {}
        self._vectors: list[np.ndarray] = []
        self._left_out: list[str] = []

    @property
    def full(self) -> bool:
        """Whether there are as many words as were asked for."""
        return len(self._vectors) == self._limit

    def add(self, word: bytes, vector: np.ndarray, place: str) -> None:
        try:
            text = word.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._path}: {place}: {word[:40]!r} is not UTF-8; convert it") from error
        if text in self._places:
            self._left_out.append(text)
            return
        self._places[text] = place
        self._vectors.append(vector)

    def finish(self, told: int | None) -> WordVectors:
        """All words; ``told`` is how many the first line tells, if it does."""
        found = len(self._vectors) + len(self._left_out)
        if told is not None and (found > told or (found < told and not self.full)):
            raise ValueError(
                f"{self._path}: {found} words, but its first line tells {told}; the file is cut off, or two "
                "were joined"
            )
        if not found:
            raise ValueError(f"{self._path}: no word vector in it")
        if self._left_out:
            names = name_some([repr(word) for word in self._left_out])
            _LOGGER.warning(
                "%s: %d left out that came again: %s; each word keeps its first vector",
                *(self._path, len(self._left_out), names),
            )
        vectors = np.stack(self._vectors)  # [V, D]
        broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(broken):
            word, place = list(self._places.items())[broken[0]]
            raise ValueError(
                f"{self._path}: {place}: the vector of {word!r} has a number that is not finite; leave the "
                "word out, or make the file again"
            )
        return WordVectors(tuple(self._places), vectors)


def _read_text(path: Path, file: BinaryIO, format: str | None, limit: int | None) -> WordVectors:
    first = file.readline()
    header = None if format == "glove" else _header(first)
    if header is None and format == "text":
        raise ValueError(f"{path}: line 1 is {first[:60]!r}, expected how many words and how many values")
    lines = _lines(file, first if header is None else None)
    size, rows = None if header is None else header[1], _Rows(path, limit)
    for number, line in lines:
        if rows.full:
            break
        parts = line.rstrip().split(b" ")
        size = len(parts) - 1 if size is None else size
        if len(parts) <= size or size < 1:
            raise ValueError(
                f"{path}: line {number}: {len(parts) - 1} values behind {parts[0][:40]!r}, expected "
                f"{size or 1}; the file is cut off or no file of word vectors"
            )
        try:
            vector = np.array(parts[-size:], np.float32)
        except ValueError as error:
            raise ValueError(f"{path}: line {number}: {error}; expected a word and {size} numbers") from error
        # A few words of GloVe's largest file hold blanks.
        rows.add(b" ".join(parts[:-size]), vector, f"line {number}")
    return rows.finish(None if header is None else header[0])


def _lines(file: BinaryIO, first: bytes | None) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers; blank ones, as at the end, are left out."""
    if first is not None and first.strip():
        yield 1, first
    for number, line in enumerate(file, start=2):
        if line.strip():
            yield number, line


def _read_binary(path: Path, file: BinaryIO, limit: int | None) -> WordVectors:
    first = file.readline(80)
    header = _header(first)
    if header is None:
        raise ValueError(
            f"{path}: it starts with {first[:40]!r}, expected the numbers of words and of their values; "
            "is it a text file?"
        )
    count, size = header
    data: Any = file.read() if path.suffix == ".gz" else None
    if data is None and count:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    place = 0 if path.suffix == ".gz" else len(first)
    rows = _Rows(path, limit)
    for number in range(1, count + 1):
        if rows.full:
            break
        blank = data.find(b" ", place, place + _LONGEST_WORD)
        end = blank + 1 + 4 * size
        if blank < 0 or end > len(data):
            raise ValueError(
                f"{path}: cut off in word {number} of {count}, at byte {place} of {len(data)}; fetch or "
                "write it again"
            )
        # A copy, so that the file is not held open by its vectors.
        vector = np.frombuffer(data[blank + 1 : end], "<f4").astype(np.float32)
        rows.add(data[place:blank].lstrip(b"\n"), vector, f"word {number}")
        place = end
    rest = data[place : place + 40] if data is not None and limit is None else b""
    if rest.strip(b"\n"):
        raise ValueError(
            f"{path}: more than the {count} words of {size} values that its first line tells; that "
            "line is wrong, or the file is of another format"
        )
    return rows.finish(count)
