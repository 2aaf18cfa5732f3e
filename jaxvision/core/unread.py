"""Options that nothing would read beside what else is chosen."""

import dataclasses
from collections.abc import Iterable
from typing import Any


def refuse_unread(options: Any, names: Iterable[str], *, prefix: str = "", why: str, remedy: str) -> None:
    """Refuses options that would do nothing, without a word.

    Args:
      options: a dataclass.
      names: its fields that are not read; each has a plain default.
      prefix: of the options in the script, such as ``"model."``.
      why: after "which": ``"is not read beside --model.cell none"``.
      remedy: after "leave it out, or".

    Raises:
      ValueError: if one of the fields differs from its default.

    >>> @dataclasses.dataclass
    ... class Options:
    ...     layers: int = 1
    >>> refuse_unread(Options(), ["layers"], why="is not read", remedy="give a cell")
    >>> refuse_unread(Options(2), ["layers"], why="is not read", remedy="give a cell")
    Traceback (most recent call last):
    ValueError: --layers: got 2, which is not read; leave it out, or give a cell
    """
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    for name in names:
        given = getattr(options, name)
        if given != defaults[name]:
            option = f"--{prefix}{name.replace('_', '-')}"
            raise ValueError(f"{option}: got {given}, which {why}; leave it out, or {remedy}")
