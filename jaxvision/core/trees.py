"""Parameter trees by path: ``{"stem_conv": {"kernel": x}}`` is ``{"stem_conv/kernel": x}``."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax


def flatten_paths(tree: Any) -> dict[str, Any]:
    """Flattens any pytree to ``{"a/b/c": leaf}``, in the tree's own order.

    >>> flatten_paths({"head": {"kernel": 1, "bias": 2}})
    {'head/bias': 2, 'head/kernel': 1}
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Builds nested dicts from ``{"a/b/c": leaf}``; the inverse of :func:`flatten_paths` for nested dicts.

    Raises:
      ValueError: if one path is a leaf and also a prefix of another.

    >>> unflatten_paths({"head/kernel": 1, "head/bias": 2})
    {'head': {'kernel': 1, 'bias': 2}}
    """
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"path {path!r} goes through {parent!r}, which is already a leaf")
        if name in node:
            raise ValueError(f"path {path!r} is given twice, or is a prefix of another path")
        node[name] = leaf
    return tree


def map_paths(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Maps ``function(path, leaf)`` over a pytree; the result has the tree's structure.

    With more trees of that structure, ``function(path, leaf, *leaves_of_the_others)``.

    >>> map_paths(lambda path, leaf: path, {"head": {"bias": 0}})
    {'head': {'bias': 'head/bias'}}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(jax.tree_util.keystr(path, simple=True, separator="/"), *leaves),
        tree,
        *rest,
    )


def count_parameters(tree: Any) -> int:
    """Number of scalars in a tree of arrays, or of the shapes that ``jax.eval_shape`` gives."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
