"""A large JSON file read once, item by item; later each item alone, from its place in the file.

An annotation file of half a gigabyte would be several gigabytes of Python objects. Here its text is scanned,
one item alive at a time, and what stays is where each item begins and ends: that is small, and quick to hand
to worker processes.
"""

import json
import re
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxvision.data.json_fields import shown, unique_keys

__all__ = ["JsonItem", "read_items", "scan_items"]

_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_ITEM_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys)


class JsonItem(NamedTuple):
    """An item of a list.

    Attributes:
      key: of the list in the file's object.
      position: in the list.
      value: of the item.
      span: bytes of the file from which to which it stands.
    """

    key: str
    position: int
    value: Any
    span: tuple[int, int]


def scan_items(path: Path, keys: Collection[str]) -> Iterator[JsonItem]:
    """The items of some lists in the object that a JSON file holds, in the order of the file.

    Args:
      path: a file in UTF-8.
      keys: of the lists; what else the object holds is passed over.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not JSON, holds something else than an object, one of the lists is missing, is no
        list or comes twice, or an object in it has a key twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the root and the layout")
    # One character a byte, so that positions in the text are those in the file; undone for each item below.
    with open(path, encoding="latin-1", newline="") as file:
        text = file.read()
    try:
        yield from _scan(text, keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not the JSON file that was expected ({error}); export it anew") from error


def read_items(path: Path, spans: np.ndarray) -> list[Any]:
    """Items by their places.

    Args:
      path: the file that was scanned.
      spans: int64 [n, 2], bytes from which to which each item stands.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if an item is not there any more.
    """
    items = []
    with open(path, "rb") as file:
        for start, end in spans.tolist():
            file.seek(start)
            try:
                items.append(json.loads(file.read(end - start)))
            except ValueError as error:
                raise ValueError(
                    f"{path}: was changed since it was opened ({error}); open it anew"
                ) from error
    return items


def _scan(text: str, keys: Collection[str]) -> Iterator[JsonItem]:
    position = _after(
        text, 3 if text.startswith("\xef\xbb\xbf") else 0, "{"
    )  # a mark of UTF-8 is passed over
    missing = set(keys)
    position = _space(text, position)
    closed = text[position : position + 1] == "}"
    while not closed:
        key, position = _DECODER.raw_decode(text, _space(text, position))
        position = _space(text, _after(text, position, ":"))
        if key in keys:
            if key not in missing:
                raise ValueError(f"{key!r} comes twice")
            missing.remove(key)
            position = yield from _scan_list(text, position, key)
        else:
            _, position = _DECODER.raw_decode(text, position)
        position = _space(text, position)
        closed = text[position : position + 1] == "}"
        position = position if closed else _after(text, position, ",")
    position = _space(text, _after(text, position, "}"))
    if position != len(text):
        raise ValueError(f"something after the end of the object, at byte {position}")
    if missing:
        raise ValueError(f"no list {' and no list '.join(map(repr, sorted(missing)))}")


def _scan_list(text: str, position: int, key: str) -> Generator[JsonItem, None, int]:
    """Yields the items of a list and returns the place behind it."""
    if text[position : position + 1] != "[":
        value, _ = _DECODER.raw_decode(text, position)
        raise ValueError(f"{key}: got {shown(value)}, expected a list")
    position = _space(text, position + 1)
    number = 0
    closed = text[position : position + 1] == "]"
    while not closed:
        value, end = _ITEM_DECODER.raw_decode(text, position)
        source = text[position:end]
        if not source.isascii():
            value = json.loads(source.encode("latin-1"))
        yield JsonItem(key, number, value, (position, end))
        number += 1
        position = _space(text, end)
        closed = text[position : position + 1] == "]"
        position = position if closed else _space(text, _after(text, position, ","))
    return position + 1


def _space(text: str, position: int) -> int:
    """The place of the next character that is no white space."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _after(text: str, position: int, character: str) -> int:
    """The place behind a character that must come next."""
    position = _space(text, position)
    if text[position : position + 1] != character:
        found = text[position : position + 20]
        raise ValueError(f"{found!r} at byte {position}, expected {character!r}")
    return position + 1
