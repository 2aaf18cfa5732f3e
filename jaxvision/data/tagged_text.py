"""Sentences whose tokens have tags: CoNLL's columns, and the characters of Python's own source text."""

import io
import keyword
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvision.data.python_text import library_files
from jaxvision.data.text_files import read_text

__all__ = ["TaggedSentence", "python_code_lines", "read_conll"]

CODE_KINDS = ("COMMENT", "KEYWORD", "NAME", "NUMBER", "OPERATOR", "STRING")
"""What the characters of a line of Python belong to, after ``tokenize``."""

_PART = {"train": range(8), "val": range(8, 9), "test": range(9, 10)}  # of ten files
_LONGEST = 160  # characters of a line of code; longer ones are tables
_KINDS = {
    tokenize.COMMENT: "COMMENT",
    tokenize.NUMBER: "NUMBER",
    tokenize.OP: "OPERATOR",
    tokenize.STRING: "STRING",
}


class TaggedSentence(NamedTuple):
    """Tokens in a row, with a tag each.

    Attributes:
      name: of the file, and the line that it begins at.
      tokens: as they are there.
      tags: as many.
    """

    name: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def read_conll(
    path: str | Path, *, token_column: int = 0, tag_column: int = -1, encoding: str = "utf-8"
) -> list[TaggedSentence]:
    """Reads a file of columns: one token a line, sentences apart by blank lines.

    Columns are apart by tabs if the file has any, else by blanks. Lines of ``-DOCSTART-`` part sentences too;
    comments of CoNLL-U (a ``#`` in front of a line without a tab, in a file that has tabs) are passed over.

    Args:
      path: the file.
      token_column: of the tokens, from 0.
      tag_column: of the tags; -1 is the last.
      encoding: of the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not of that encoding, holds no token, or a line lacks a column (it is named).
    """
    text = read_text(path, encoding=encoding)
    separator = "\t" if "\t" in text else None
    found: list[TaggedSentence] = []
    rows: list[tuple[int, list[str]]] = []

    def close() -> None:
        if rows:
            columns = [row for _, row in rows]
            tokens, tags = (tuple(row[place] for row in columns) for place in (token_column, tag_column))
            found.append(TaggedSentence(f"{path}:{rows[0][0]}", tokens, tags))
            rows.clear()

    least = max(token_column + 1 if token_column >= 0 else -token_column, 2)
    least = max(least, tag_column + 1 if tag_column >= 0 else -tag_column)
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            close()
            continue
        if separator is not None and line.startswith("#") and separator not in line:
            continue
        columns = [column.strip() for column in line.split(separator)]
        if len(columns) < least or not columns[token_column] or not columns[tag_column]:
            raise ValueError(
                f"{path}, line {number}: {line.strip()[:60]!r} has {len(columns)} columns, expected at least "
                f"{least}, with a token in column {token_column} and a tag in column {tag_column}"
            )
        rows.append((number, columns))
    close()
    if not found:
        raise ValueError(f"{path}: no token in it, expected lines of a token and its tag")
    return found


def python_code_lines(split: str, *, most: int = 10000) -> list[TaggedSentence]:
    """Lines of the source text of Python's library: tokens are characters, tags what they belong to.

    Tags are ``B-`` and ``I-`` of :data:`CODE_KINDS`, after Python's own ``tokenize``, and ``O`` for blanks;
    one and the same character may be of a name, a string or a comment. Lines with a part of a token that goes
    over several lines (docstrings) are left out, and those that hold operators alone. The parts have
    different files, which are read in a fixed random order until there are enough lines. The text changes a
    little with the release of Python.

    Args:
      split: ``"train"``, ``"val"`` or ``"test"``: 8, 1 and 1 of ten files.
      most: lines to take.

    Raises:
      ValueError: for another split, a number below 1, or if this Python has no source.
    """
    if split not in _PART:
        raise ValueError(f"split: got {split!r}, expected 'train', 'val' or 'test'")
    if most < 1:
        raise ValueError(f"most: got {most}, expected at least 1")
    files = list(library_files())
    if not files:
        raise ValueError(
            "python_code_lines: the source of the standard library is not there; give CoNLL files"
        )
    found: list[TaggedSentence] = []
    for place in np.random.default_rng(0).permutation(len(files)):
        if place % 10 in _PART[split] and len(found) < most:
            name, source = files[place]
            found += _tag_lines(str(name), source)
    return found[:most]


def _tag_lines(name: str, source: bytes) -> Iterator[TaggedSentence]:
    try:
        tokens = list(tokenize.tokenize(io.BytesIO(source).readline))
        lines = io.TextIOWrapper(io.BytesIO(source), tokenize.detect_encoding(io.BytesIO(source).readline)[0])
        text = lines.read().split("\n")
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return
    tags: dict[int, list[str]] = {}
    spanned: set[int] = set()
    for token in tokens:
        (row, begin), (last, end) = token.start, token.end
        if row != last:
            spanned |= {*range(row, last + 1)} if token.type not in (tokenize.NEWLINE, tokenize.NL) else set()
            continue
        kind = _kind(token)
        if kind is None:
            # Parts of an f-string, which newer releases cut up, are no token of this table.
            if token.type not in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
                spanned.add(row)
            continue
        line = tags.setdefault(row, ["O"] * len(text[row - 1]))
        line[begin:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - begin - 1)
    for row, line in sorted(tags.items()):
        kinds = {tag[2:] for tag in line}
        characters = text[row - 1].rstrip()
        if row not in spanned and len(characters) <= _LONGEST and kinds - {"", "OPERATOR"}:
            begin = len(characters) - len(characters.lstrip())
            yield TaggedSentence(
                f"{name}:{row}", tuple(characters[begin:]), tuple(line[begin : len(characters)])
            )


def _kind(token: tokenize.TokenInfo) -> str | None:
    if token.type == tokenize.NAME:
        return "KEYWORD" if keyword.iskeyword(token.string) else "NAME"
    return _KINDS.get(token.type)


def tags_of(sentences: Sequence[TaggedSentence]) -> tuple[str, ...]:
    """The different tags of sentences, in order, ``O`` first."""
    tags = sorted({tag for sentence in sentences for tag in sentence.tags} - {"O"})
    return ("O", *tags) if any("O" in sentence.tags for sentence in sentences) else tuple(tags)
