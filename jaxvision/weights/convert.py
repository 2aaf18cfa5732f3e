"""Published weights to Flax variables: one function for all families, which insists on a bijection."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvision.core import flatten_paths, unflatten_paths


class Rule(NamedTuple):
    """How one kind of published tensor becomes one kind of leaf.

    Attributes:
      pattern: regular expression that must match the whole source key.
      path: path of the leaf from the collection down, such as ``"params/head/kernel"``; ``\\1`` or
        ``\\g<name>`` stands for a group of the pattern.
      layout: name of the change of layout, a key of :data:`LAYOUTS`.
      spatial: ``(height, width)`` of the map that was flattened in front of a fully connected layer;
        used by ``"linear_after_flatten"`` and ``"linear_to_conv"`` only.
    """

    pattern: str
    path: str
    layout: str = "identity"
    spatial: tuple[int, int] = (1, 1)


def _unflatten_linear(weight: np.ndarray, spatial: tuple[int, int]) -> np.ndarray:
    """[O, C * H * W] as PyTorch flattens it -> [H, W, C, O]."""
    height, width = spatial
    return weight.reshape(weight.shape[0], -1, height, width).transpose(2, 3, 1, 0)


def _linear_after_flatten(weight: np.ndarray, spatial: tuple[int, int]) -> np.ndarray:
    """[O, C * H * W] -> [H * W * C, O]: we flatten maps that have their channels last."""
    return _unflatten_linear(weight, spatial).reshape(-1, weight.shape[0])


# PyTorch's layout -> ours. Every entry takes (weight, spatial); O and I are output and input channels.
LAYOUTS: Mapping[str, Callable[[np.ndarray, tuple[int, int]], np.ndarray]] = {
    "identity": lambda weight, spatial: weight,
    "conv": lambda weight, spatial: weight.transpose(2, 3, 1, 0),  # OIHW -> HWIO
    "transposed_conv": lambda weight, spatial: weight.transpose(2, 3, 0, 1),  # IOHW -> HWIO, not flipped
    "linear": lambda weight, spatial: weight.transpose(1, 0),  # OI -> IO
    "linear_after_flatten": _linear_after_flatten,
    "linear_to_conv": _unflatten_linear,  # O(CHW) -> HWIO: the same numbers as a convolution
}

# Counters that PyTorch saves beside the weights and that no forward pass reads.
BOOKKEEPING = (r"(.*\.)?num_batches_tracked",)


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
    for key, value in source.items():
        if any(re.fullmatch(pattern, key) for pattern in ignore):
            continue
        rule, path = _match(key, rules)
        if path not in leaves:
            raise ValueError(
                f"source key {key!r} goes to {path!r}, which the model does not have; build the model that "
                "the weights are of (variant, normalisation, number of classes) or ignore the key"
            )
        if path in filled:
            raise ValueError(f"source keys {filled_by[path]!r} and {key!r} both fill {path!r}; fix the rules")
        filled[path] = _change_layout(key, np.asarray(value), rule, path, leaves[path])
        filled_by[path] = key
    missing = [path for path in leaves if path not in filled]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(leaves)} leaves are not in the source, the first are {missing[:5]}; "
            "the weights are of another variant, or a rule is missing"
        )
    return unflatten_paths({path: filled[path] for path in leaves})


def _match(key: str, rules: Sequence[Rule]) -> tuple[Rule, str]:
    """The one rule that matches a key, and the path that it gives."""
    matches = [(rule, match) for rule in rules if (match := re.fullmatch(rule.pattern, key))]
    if len(matches) != 1:
        found = [rule.pattern for rule, _ in matches]
        raise ValueError(
            f"source key {key!r}: expected exactly one rule to match, got {len(found)} {found}; "
            "use the table of the weights' family, or name the key in ignore"
        )
    rule, match = matches[0]
    return rule, match.expand(rule.path)


def _change_layout(key: str, value: np.ndarray, rule: Rule, path: str, leaf: Any) -> np.ndarray:
    """One source tensor in the layout and dtype of its leaf."""
    if rule.layout not in LAYOUTS:
        raise ValueError(f"rule {rule.pattern!r}: unknown layout {rule.layout!r}, one of {sorted(LAYOUTS)}")
    try:
        result = LAYOUTS[rule.layout](value, rule.spatial)
    except ValueError as error:
        raise ValueError(
            f"source key {key!r} {list(value.shape)} cannot take layout {rule.layout!r} to become {path!r} "
            f"{list(leaf.shape)}; the weights are of another variant, or the rule is wrong"
        ) from error
    if result.shape != tuple(leaf.shape):
        raise ValueError(
            f"source key {key!r} {list(value.shape)} gives {list(result.shape)} ({rule.layout}), but {path!r}"
            f" is {list(leaf.shape)}; build the model with the sizes of the weights"
        )
    return np.ascontiguousarray(result, dtype=jax.dtypes.canonicalize_dtype(leaf.dtype))
