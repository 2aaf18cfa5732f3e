"""Our variables back to the names and layouts of the library that the rules read: the inverse of convert.

A rule says which key becomes which path. To go back, its path becomes the regular expression (a group of the
pattern is one of the path) and its pattern the template that the groups are put into.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxvision.core import flatten_paths, name_some
from jaxvision.weights.convert import LAYOUTS, Rule

Arrays = Sequence[np.ndarray]


def _flatten_linear(kernel: np.ndarray) -> np.ndarray:
    """[H, W, C, O] -> [O, C * H * W], as PyTorch flattens it."""
    return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)


# Ours -> PyTorch's layout: each undoes the entry of LAYOUTS of its name. Every entry takes the leaves that
# one source tensor holds, and the rule's spatial.
_INVERSE_LAYOUTS: Mapping[str, Callable[[Arrays, tuple[int, int]], np.ndarray]] = {
    "identity": lambda leaves, spatial: leaves[0],
    "conv": lambda leaves, spatial: leaves[0].transpose(3, 2, 0, 1),  # HWIO -> OIHW
    "conv3d": lambda leaves, spatial: leaves[0].transpose(4, 3, 0, 1, 2),  # THWIO -> OITHW
    "transposed_conv": lambda leaves, spatial: leaves[0].transpose(2, 3, 0, 1),  # HWIO -> IOHW
    "linear": lambda leaves, spatial: leaves[0].T,
    "linear_after_flatten": lambda leaves, spatial: _flatten_linear(
        leaves[0].reshape(*spatial, -1, leaves[0].shape[-1])
    ),
    "linear_to_conv": lambda leaves, spatial: _flatten_linear(leaves[0]),
    "token": lambda leaves, spatial: leaves[0].reshape(1, 1, -1),
    "gain": lambda leaves, spatial: leaves[0].reshape(-1, 1, 1, 1),
    "heads": lambda leaves, spatial: leaves[0][None],
    "scalar": lambda leaves, spatial: leaves[0].reshape(1),
    "row": lambda leaves, spatial: leaves[0][None],
    "packed_linear": lambda leaves, spatial: np.concatenate([leaf.T for leaf in leaves]),
    "packed_bias": lambda leaves, spatial: np.concatenate(leaves),
    "class_and_grid_positions": lambda leaves, spatial: np.concatenate(
        [leaves[0], leaves[1].reshape(-1, leaves[1].shape[-1])]
    )[None],
}

# One piece of a pattern that can be turned round: an escaped sign, the opening of a group, or a plain sign.
_TOKEN = re.compile(
    r"\\(?P<escaped>\W)|(?P<group>\((?:\?:|\?P<(?P<name>\w+)>)?)|(?P<plain>[^\\()\[\]{}.*+?|^$])"
)
_REFERENCE = re.compile(r"\\(?:(\d)|g<(\w+)>)")


class _Template(NamedTuple):
    """A pattern as a template of keys.

    Attributes:
      pieces: literal text, and numbers of groups to put in.
      groups: the regular expression of each group, from number 1 on.
      names: numbers of the named groups.
    """

    pieces: tuple[str | int, ...]
    groups: Mapping[int, str]
    names: Mapping[str, int]


def to_state_dict(variables: Any, rules: Sequence[Rule]) -> dict[str, np.ndarray]:
    """Gives variables the names and layouts of the library that the rules read.

    The counters ``num_batches_tracked``, which PyTorch's strict loading asks for beside running statistics,
    are there as zeros. Write the result with :func:`jaxvision.weights.write_safetensors`.

    Args:
      variables: tree of arrays, such as ``{"params": ..., "batch_stats": ...}``.
      rules: the table of the family. Where several rules could have filled a leaf, the first names it; of
        ``(?:a|b)`` in a pattern the first alternative is taken, and what is followed by ``?`` is left out.

    Returns:
      Arrays by key, of the leaves' dtypes.

    Raises:
      ValueError: for a leaf that no rule fills, and for a rule that cannot be turned round.

    >>> rules = [Rule(r"fc\\.weight", "params/head/kernel", "linear")]
    >>> to_state_dict({"params": {"head": {"kernel": np.zeros((3, 10))}}}, rules)["fc.weight"].shape
    (10, 3)
    """
    leaves = flatten_paths(jax.device_get(variables))
    result: dict[str, np.ndarray] = {}
    for key, (rule, paths) in source_keys(leaves, rules).items():
        arrays = [np.asarray(leaves[path]) for path in paths]
        result[key] = np.asarray(_INVERSE_LAYOUTS[rule.layout](arrays, rule.spatial), order="C")
        if key.endswith("running_var"):
            result[key.removesuffix("running_var") + "num_batches_tracked"] = np.zeros((), np.int64)
    return result


def source_keys(paths: Iterable[str], rules: Sequence[Rule]) -> dict[str, tuple[Rule, tuple[str, ...]]]:
    """The names that leaves have in the source library.

    Args:
      paths: of all leaves.
      rules: the table, as for :func:`to_state_dict`.

    Returns:
      By source key, in the order of the paths: its rule, and the paths of the leaves that it holds.

    Raises:
      ValueError: as :func:`to_state_dict`.

    >>> rules = [Rule(r"layer(\\d)\\.weight", r"params/stage\\1/kernel", "conv")]
    >>> list(source_keys(["params/stage2/kernel"], rules))
    ['layer2.weight']
    """
    rest = dict.fromkeys(paths)
    every = set(rest)
    turned = [_turn_round(rule) for rule in rules]
    keys: dict[str, tuple[Rule, tuple[str, ...]]] = {}
    for path in list(rest):
        if path not in rest:
            continue
        candidates = (_key_of(path, rule, *parts) for rule, parts in zip(rules, turned, strict=True))
        found = next((c for c in candidates if c is not None and every.issuperset(c[2])), None)
        if found is None:
            raise ValueError(
                f"{path!r}: no rule fills it, so it has no name there; give the variables of a network that "
                "the table is for"
            )
        key, rule, filled = found
        if key in keys:
            raise ValueError(f"{name_some((*keys[key][1], *filled))} would all be {key!r}; fix the rules")
        keys[key] = rule, filled
        for other in filled:
            rest.pop(other, None)
    return keys


def _turn_round(rule: Rule) -> tuple[_Template, tuple[re.Pattern[str], ...]]:
    """The pattern as a template, and a regular expression of each of the paths."""
    if rule.layout not in _INVERSE_LAYOUTS:
        raise ValueError(
            f"rule {rule.pattern!r}: the layout {rule.layout!r} has no inverse, which {sorted(LAYOUTS)} have"
        )
    template = _read_pattern(rule.pattern)
    paths = (rule.path,) if isinstance(rule.path, str) else rule.path
    return template, tuple(_path_pattern(path, template) for path in paths)


def _read_pattern(pattern: str) -> _Template:
    pieces: list[str | int] = []
    groups: dict[int, str] = {}
    names: dict[str, int] = {}
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        end = pattern.find(")", at)
        # Other groups that begin with a question mark, such as look-aheads, are no groups of a path.
        is_simple = token and not (
            token["group"] and (end < 0 or re.search(r"\(|^\?", pattern[token.end() : end]))
        )
        if token is None or not is_simple:
            raise ValueError(
                f"rule {pattern!r} cannot be turned round at {pattern[at:]!r}: outside of its groups, which "
                "do not nest, a pattern must be plain text; put what varies into a group that the path names"
            )
        at = token.end()
        if not token["group"]:
            pieces.append(token["escaped"] or token["plain"])
            continue
        content, at = pattern[at:end], end + 1
        if token["group"] != "(?:":
            groups[len(groups) + 1] = content
            pieces.append(len(groups))
            if token["name"]:
                names[token["name"]] = len(groups)
        elif pattern[at : at + 1] == "?":
            at += 1
        else:
            pieces.extend(_read_pattern(content.split("|")[0]).pieces)
    return _Template(tuple(pieces), groups, names)


def _path_pattern(path: str, template: _Template) -> re.Pattern[str]:
    """``params/stage\\1`` -> ``params/stage(?P<group1>...)``; a group that comes again must be the same."""
    text, at, seen = "", 0, set()
    for reference in _REFERENCE.finditer(path):
        number = int(reference[1]) if reference[1] else template.names[reference[2]]
        text += re.escape(path[at : reference.start()])
        text += f"(?P=group{number})" if number in seen else f"(?P<group{number}>{template.groups[number]})"
        seen.add(number)
        at = reference.end()
    return re.compile(text + re.escape(path[at:]))


def _key_of(
    path: str, rule: Rule, template: _Template, patterns: Sequence[re.Pattern[str]]
) -> tuple[str, Rule, tuple[str, ...]] | None:
    """The key that a rule takes to this path, with all paths that it fills; None if there is none."""
    match = next((found for pattern in patterns if (found := pattern.fullmatch(path))), None)
    if match is None:
        return None
    values = match.groupdict()
    lost = [piece for piece in template.pieces if isinstance(piece, int) and f"group{piece}" not in values]
    if lost:
        raise ValueError(f"rule {rule.pattern!r}: its group {lost[0]} is not in the path {rule.path!r}")
    key = "".join(values[f"group{piece}"] if isinstance(piece, int) else piece for piece in template.pieces)
    source = re.fullmatch(rule.pattern, key)
    assert source is not None, f"{key!r} was made from {rule.pattern!r}, which does not match it"
    paths = (rule.path,) if isinstance(rule.path, str) else rule.path
    return key, rule, tuple(source.expand(each) for each in paths)
