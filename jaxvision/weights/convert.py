"""Published weights to Flax variables: one function for all families, which insists on a bijection."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvision.core import flatten_paths, unflatten_paths


class Rule(NamedTuple):
    """How one kind of published tensor becomes one kind of leaf.

    Attributes:
      pattern: regular expression that must match the whole source key.
      path: path of the leaf from the collection down, such as ``"params/head/kernel"``; ``\\1`` or
        ``\\g<name>`` stands for a group of the pattern. Several paths where one tensor holds several
        leaves; the layout then cuts it into as many.
      layout: name of the change of layout, a key of :data:`LAYOUTS`.
      spatial: ``(height, width)`` of the map that was flattened in front of a fully connected layer;
        used by ``"linear_after_flatten"`` and ``"linear_to_conv"`` only.
    """

    pattern: str
    path: str | tuple[str, ...]
    layout: str = "identity"
    spatial: tuple[int, int] = (1, 1)


def _unflatten_linear(weight: np.ndarray, spatial: tuple[int, int]) -> np.ndarray:
    """[O, C * H * W] as PyTorch flattens it -> [H, W, C, O]."""
    height, width = spatial
    return weight.reshape(weight.shape[0], -1, height, width).transpose(2, 3, 1, 0)


def _linear_after_flatten(weight: np.ndarray, spatial: tuple[int, int]) -> np.ndarray:
    """[O, C * H * W] -> [H * W * C, O]: we flatten maps that have their channels last."""
    return _unflatten_linear(weight, spatial).reshape(-1, weight.shape[0])


def _class_and_grid(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[1, 1 + S S, C], positions of a class token and of a square grid -> [1, C] and [S, S, C]."""
    _, count, channels = table.shape
    side = math.isqrt(count - 1)
    return table[0, :1], table[0, 1:].reshape(side, side, channels)


LAYOUTS: Mapping[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray | tuple[np.ndarray, ...]]] = {
    "identity": lambda weight, spatial: weight,
    "conv": lambda weight, spatial: weight.transpose(2, 3, 1, 0),  # OIHW -> HWIO
    "conv3d": lambda weight, spatial: weight.transpose(2, 3, 4, 1, 0),  # OITHW -> THWIO
    "transposed_conv": lambda weight, spatial: weight.transpose(2, 3, 0, 1),  # IOHW -> HWIO, not flipped
    "linear": lambda weight, spatial: weight.transpose(1, 0),  # OI -> IO
    "linear_after_flatten": _linear_after_flatten,
    "linear_to_conv": _unflatten_linear,  # O(CHW) -> HWIO: the same numbers as a convolution
    "token": lambda weight, spatial: weight.reshape(weight.shape[-1]),  # [1, 1, C] -> [C]
    "gain": lambda weight, spatial: weight.reshape(weight.shape[0]),  # [C, 1, 1, 1] -> [C]
    "heads": lambda weight, spatial: weight.reshape(weight.shape[1:]),  # [1, H, C] -> [H, C]
    "scalar": lambda weight, spatial: weight.reshape(()),  # [1] -> []
    "row": lambda weight, spatial: weight.reshape(weight.shape[1]),  # [1, C] -> [C]
    # Query, key and value in one matrix (3 O)I -> three IO; in one bias [3 O] -> three [O].
    "packed_linear": lambda weight, spatial: tuple(part.T for part in np.split(weight, 3)),
    "packed_bias": lambda weight, spatial: tuple(np.split(weight, 3)),
    "class_and_grid_positions": lambda weight, spatial: _class_and_grid(weight),
}
"""What a :class:`Rule` can do to an array, by name: PyTorch's layout to ours.

Every entry takes (weight, spatial); O and I are output and input channels. Those
that return a tuple are for rules with as many paths.
"""

BOOKKEEPING = (r"(.*\.)?num_batches_tracked",)
"""Patterns of the keys of counters that PyTorch saves beside the weights and that no forward pass reads."""


def convert(
    source: Mapping[str, Any], rules: Sequence[Rule], target: Any, *, ignore: Sequence[str] = ()
) -> dict[str, Any]:
    """Converts published weights to variables with the structure of ``target``.

    The rules must make a bijection: each source key is matched by exactly one rule or by ``ignore``, each
    leaf of ``target`` is filled exactly once, and shapes are equal. Nothing is skipped, cropped or guessed.

    Args:
      source: arrays by name, as :func:`jaxvision.weights.read_weights` returns them.
      rules: the table of the family.
      target: tree of arrays or of ``jax.ShapeDtypeStruct``, such as
        ``jax.eval_shape(model.init, key, images)``; it gives the shapes and dtypes, its values are not read.
      ignore: regular expressions of source keys to leave out, such as :data:`BOOKKEEPING`.

    Returns:
      Nested dicts of numpy arrays, with the paths, shapes and dtypes of ``target``.

    Raises:
      ValueError: for a key that no rule or more than one rule matches, a path that ``target`` lacks or
        that two keys fill, a shape that differs (key, path and both shapes are named), a leaf left empty.

    >>> source = {"fc.weight": np.zeros((10, 3), np.float32)}
    >>> target = {"params": {"head": {"kernel": jax.ShapeDtypeStruct((3, 10), np.float32)}}}
    >>> variables = convert(source, [Rule(r"fc\\.weight", "params/head/kernel", "linear")], target)
    >>> variables["params"]["head"]["kernel"].shape
    (3, 10)
    """
    leaves = flatten_paths(target)
    filled: dict[str, np.ndarray] = {}
    filled_by: dict[str, str] = {}
    # Compiled here: a table may have more rules than re remembers, which would compile anew for each key.
    patterns = [(rule, re.compile(rule.pattern)) for rule in rules]
    for key, value in source.items():
        if any(re.fullmatch(pattern, key) for pattern in ignore):
            continue
        rule, paths = _match(key, patterns)
        for path in paths:
            if path not in leaves:
                raise ValueError(
                    f"source key {key!r} goes to {path!r}, which the model does not have; build the model "
                    "that the weights are of (variant, normalisation, number of classes) or ignore the key"
                )
            if path in filled_by:
                raise ValueError(
                    f"source keys {filled_by[path]!r} and {key!r} both fill {path!r}; fix the rules"
                )
            filled_by[path] = key
        filled |= _change_layout(key, np.asarray(value), rule, {path: leaves[path] for path in paths})
    missing = [path for path in leaves if path not in filled]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(leaves)} leaves are not in the source, the first are {missing[:5]}; "
            "the weights are of another variant, or a rule is missing"
        )
    return unflatten_paths({path: filled[path] for path in leaves})


def match_keys(keys: Iterable[str], rules: Sequence[Rule]) -> dict[str, tuple[Rule, tuple[str, ...]]]:
    """What :func:`convert` would make of the names of tensors.

    Args:
      keys: source keys.
      rules: the table.

    Returns:
      The rule and the paths of each key that exactly one rule matches; other keys are left out.

    >>> rules = [Rule(r"fc\\.weight", "params/head/kernel", "linear")]
    >>> [(key, paths) for key, (_, paths) in match_keys(["fc.weight", "conv1.weight"], rules).items()]
    [('fc.weight', ('params/head/kernel',))]
    """
    patterns = [(rule, re.compile(rule.pattern)) for rule in rules]
    found = {}
    for key in keys:
        with contextlib.suppress(ValueError):
            found[key] = _match(key, patterns)
    return found


def _match(key: str, patterns: Sequence[tuple[Rule, re.Pattern[str]]]) -> tuple[Rule, tuple[str, ...]]:
    """The one rule that matches a key, and the paths that it gives."""
    matches = [(rule, match) for rule, pattern in patterns if (match := pattern.fullmatch(key))]
    if len(matches) != 1:
        found = [rule.pattern for rule, _ in matches]
        raise ValueError(
            f"source key {key!r}: expected exactly one rule to match, got {len(found)} {found}; "
            "use the table of the weights' family, or name the key in ignore"
        )
    rule, match = matches[0]
    templates = (rule.path,) if isinstance(rule.path, str) else rule.path
    return rule, tuple(match.expand(template) for template in templates)


def _change_layout(
    key: str, value: np.ndarray, rule: Rule, leaves: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """One source tensor in the layouts and dtypes of the leaves, by path, that it holds."""
    if rule.layout not in LAYOUTS:
        raise ValueError(f"rule {rule.pattern!r}: unknown layout {rule.layout!r}, one of {sorted(LAYOUTS)}")
    try:
        changed = LAYOUTS[rule.layout](value, rule.spatial)
    except ValueError as error:
        wanted = " and ".join(f"{path!r} {list(leaf.shape)}" for path, leaf in leaves.items())
        raise ValueError(
            f"source key {key!r} {list(value.shape)} cannot take layout {rule.layout!r} to become {wanted}; "
            "the weights are of another variant, or the rule is wrong"
        ) from error
    parts = changed if isinstance(changed, tuple) else (changed,)
    if len(parts) != len(leaves):
        raise ValueError(
            f"rule {rule.pattern!r}: layout {rule.layout!r} gives {len(parts)} arrays for the paths "
            f"{list(leaves)}; give one path an array"
        )
    results = {}
    for part, (path, leaf) in zip(parts, leaves.items(), strict=True):
        if part.shape != tuple(leaf.shape):
            raise ValueError(
                f"source key {key!r} {list(value.shape)} gives {list(part.shape)} ({rule.layout}), but "
                f"{path!r} is {list(leaf.shape)}; build the model with the sizes of the weights"
            )
        results[path] = np.asarray(part, jax.dtypes.canonicalize_dtype(leaf.dtype), order="C")
    return results
