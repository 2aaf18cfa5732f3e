"""JSON files of annotations -> values of the kind that was expected; errors name the file and the remedy."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["checked", "entry", "flag", "read_json_object", "shown", "unique_keys"]

_KINDS: Mapping[str, tuple[type, ...]] = {
    "an object": (dict,),
    "a list": (list,),
    "a text": (str,),
    "an integer": (int,),
    "a finite number": (int, float),
}
_LARGEST = 2**53  # beyond it a float skips integers; no identifier and no coordinate is there


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, in UTF-8, UTF-16 or UTF-32.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if it is not JSON, an object in it has a key twice, or it is something else than an object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the root and the layout")
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error}); export it anew") from error
    return checked(content, "an object", str(path))


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, for ``object_pairs_hook`` of :mod:`json`, which keeps the last value of a doubled key.

    Raises:
      ValueError: if a key comes twice.
    """
    owner = dict(pairs)
    if len(owner) != len(pairs):
        ((key, count),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {shown(key)} comes {count} times in one object; keep one of them")
    return owner


def entry(owner: Mapping[str, Any], key: str, kind: str, where: str) -> Any:
    """The value of a key that must be there.

    Args:
      owner: an object of a JSON file.
      key: of the value.
      kind: see :func:`checked`.
      where: names the file and the object in messages.

    Raises:
      ValueError: if the key is missing or the value is of another kind.
    """
    if key not in owner:
        raise ValueError(f"{where}: {key!r} is missing, expected {kind}; export the file anew")
    return checked(owner[key], kind, f"{where}: {key}")


def flag(owner: Mapping[str, Any], key: str, where: str) -> bool:
    """Whether a key that may be missing or null is true, or 1.

    Raises:
      ValueError: if it is something else than true, false, 1 and 0.
    """
    value = owner.get(key)
    if value is not None and not (isinstance(value, int) and value in (0, 1)):
        raise ValueError(f"{where}: {key}: got {shown(value)}, expected 0 or 1; export the file anew")
    return bool(value)


def checked(value: Any, kind: str, where: str) -> Any:
    """The value, if it is of the kind that was expected.

    Args:
      value: of a JSON file.
      kind: "an object", "a list", "a text", "an integer" or "a finite number" (of at most 2**53).
      where: names the place in messages.

    Raises:
      ValueError: if it is of another kind; true and false are no numbers.
    """
    fits = isinstance(value, _KINDS[kind])
    if fits and isinstance(value, int | float):  # nan is in no range
        fits = not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST
    if not fits:
        raise ValueError(f"{where}: got {shown(value)}, expected {kind}; export the file anew")
    return value


def shown(value: Any) -> str:
    """A value as it looks in a message: cut short, and the kind alone of lists and objects.

    >>> shown({"a": 1}), shown("word"), shown(None)
    ('an object', "'word'", 'null')
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a very long number"
    return text if len(text) <= 40 else f"{text[:40]}..."
