"""Lists in messages, cut short."""

from collections.abc import Sequence

__all__ = ["name_some"]


def name_some(names: Sequence[str], *, limit: int = 5) -> str:
    """The first names, and how many more there are.

    >>> name_some(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
