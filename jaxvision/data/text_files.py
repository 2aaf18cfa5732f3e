"""Text on disk: own files and folders, and the Penn Treebank in the layout of Mikolov's copy."""

import codecs
import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Document", "TextFiles", "penn_treebank", "read_text"]

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")
"""Endings of the files that are read from a folder."""


class Document(NamedTuple):
    """A piece of text.

    Attributes:
      name: of the file, or of the file and the line.
      text: as it is there.
    """

    name: str
    text: str


def read_text(path: str | Path, *, encoding: str = "utf-8") -> str:
    """Reads a text file whole; a byte order mark is left out.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not of that encoding, with the place of the first wrong byte; or if there is no
        such encoding.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such text file; check the path")
    return _decode(path.read_bytes(), str(path), encoding)


def _decode(data: bytes, name: str, encoding: str) -> str:
    try:
        is_utf8 = codecs.lookup(encoding).name == "utf-8"
    except LookupError as error:
        raise ValueError(f"encoding: no encoding is called {encoding!r}; try utf-8 or latin-1") from error
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        looks = "UTF-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else None
        byte, line = data[error.start], data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name}: byte 0x{byte:02x} at offset {error.start} (line {line}) is not {encoding.upper()}"
            f"{f'; the file looks like {looks}' if looks else ''}; give its encoding (such as "
            f"{looks or 'latin-1'}), or convert it: iconv -f {looks or 'LATIN1'} -t UTF-8 FILE > NEW"
        ) from error
    return text.removeprefix("\ufeff") if is_utf8 else text


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """The documents of files and folders, read one file at a time, any number of times in the same order.

    Attributes:
      paths: text files, or folders of which all files that end in :data:`TEXT_SUFFIXES` are taken, at any
        depth, in the order of their names; hidden ones are passed over.
      by: ``"file"`` for one document a file, ``"line"`` for one a line that is not blank.
      encoding: of the files.

    Raises:
      FileNotFoundError: if there is no such file or folder.
      ValueError: if a folder holds no text file, or while reading, if a file is not of that encoding.
    """

    paths: Sequence[str | Path]
    by: str = "file"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.by not in ("file", "line"):
            raise ValueError(f"by: expected 'file' or 'line', got {self.by!r}")
        if not self.files():
            raise ValueError("paths: got none, expected text files or folders")

    def files(self) -> list[Path]:
        """The files, in order."""
        return [file for path in self.paths for file in _files(Path(path))]

    def __iter__(self) -> Iterator[Document]:
        for file in self.files():
            text = read_text(file, encoding=self.encoding)
            if self.by == "file":
                yield Document(str(file), text)
                continue
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    yield Document(f"{file}:{number}", line.strip())


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: no such file or folder; check the path")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in TEXT_SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise ValueError(
            f"{path}: no text in this folder, expected files ending in {', '.join(TEXT_SUFFIXES)}"
        )
    return found


def penn_treebank(root: str | Path, part: str, *, end: str | None = "<eos>") -> list[list[str]]:
    """The words of a part of the Penn Treebank as Mikolov prepared it, sentence by sentence.

    Args:
      root: a folder or a zip file that holds ``ptb.train.txt``, ``ptb.valid.txt`` and ``ptb.test.txt``, at
        any depth.
      part: ``"train"``, ``"valid"`` or ``"test"``.
      end: put at the end of each sentence; None for nothing.

    Returns:
      Lists of tokens: lower-case words, ``N`` for numbers, ``<unk>`` for the words that are not among the ten
      thousand most frequent. 929,589 / 73,760 / 82,430 tokens with the ends.

    Raises:
      FileNotFoundError: if there is no such folder, or no such file in it.
      ValueError: for another part, or a file that is no zip file.

    References:
      Mikolov et al. 2010, *Recurrent neural network based language model*.
    """
    if part not in ("train", "valid", "test"):
        raise ValueError(f"part: expected 'train', 'valid' or 'test', got {part!r}")
    root, name = Path(root), f"ptb.{part}.txt"
    tail = [] if end is None else [end]
    return [line.split() + tail for line in _read_member(root, name).splitlines() if line.strip()]


def _read_member(root: Path, name: str) -> str:
    """The text of the first file of that name below a folder or in a zip file."""
    if root.is_dir():
        found = sorted(root.rglob(name))
        if found:
            return read_text(found[0])
    elif root.is_file():
        try:
            with zipfile.ZipFile(root) as archive:
                for member in archive.namelist():
                    # A copy packed on a Mac holds ._ptb.train.txt beside it.
                    if member.rpartition("/")[2] == name:
                        return _decode(archive.read(member), f"{root}/{member}", "utf-8")
        except zipfile.BadZipFile as error:
            raise ValueError(f"{root}: not a whole zip file ({error}); give the folder or its zip") from error
    else:
        raise FileNotFoundError(f"{root}: no such folder or zip file; check the path")
    raise FileNotFoundError(
        f"{root}: no {name} in it, expected ptb.train.txt, ptb.valid.txt and ptb.test.txt"
    )
