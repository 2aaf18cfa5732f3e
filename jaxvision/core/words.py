"""Lists in messages, cut short, and names that are looked up."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["find_variant", "name_some"]


def name_some(names: Sequence[str], *, limit: int = 5) -> str:
    """The first names, and how many more there are.

    >>> name_some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def find_variant(kind: str, variant: str, table: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The fields of a variant in the table of its family.

    Args:
      kind: what is looked up, for the message, such as ``"ResNet variant"``.
      variant: a key of the table.
      table: fields by variant.

    Returns:
      The fields.

    Raises:
      ValueError: for an unknown variant, with the nearest ones, or all if none is near.

    >>> find_variant("ResNet variant", "resnet18", {"resnet18": {"blocks": (2, 2, 2, 2)}})
    {'blocks': (2, 2, 2, 2)}
    """
    if variant not in table:
        close = difflib.get_close_matches(variant, table) or list(table)
        raise ValueError(f"unknown {kind} {variant!r}; did you mean one of {close}?")
    return table[variant]
