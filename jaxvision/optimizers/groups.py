"""Groups of parameters by path, and the transforms that treat them apart.

A pattern is a shell glob over paths such as ``backbone/stage1_block0/conv1/kernel`` (``*`` also crosses
``/``), and names a leaf or a whole subtree: ``backbone`` means all of ``backbone/...``, ``*/bias`` every
bias, ``backbone/stage[12]*`` two stages.
"""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxvision.core import flatten_paths, map_paths


def path_matches(pattern: str, path: str) -> bool:
    """Whether a pattern names a leaf or a subtree that holds it.

    >>> path_matches("backbone", "backbone/conv1/kernel"), path_matches("*/bias", "head/bias")
    (True, True)
    >>> path_matches("back", "backbone/conv1/kernel")
    False
    """
    return any(fnmatchcase(prefix, pattern) for prefix in _prefixes(path))


def check_patterns(patterns: Sequence[str], params: Any) -> None:
    """Checks that every pattern names something.

    Args:
      patterns: globs.
      params: parameters, or their shapes from ``jax.eval_shape``.

    Raises:
      ValueError: naming a pattern that matches no leaf, and the paths closest to it.

    >>> check_patterns(["backbone"], {"backbone": {"bias": 0}})
    >>> check_patterns(["backbon"], {"backbone": {"bias": 0}})
    Traceback (most recent call last):
    ValueError: pattern 'backbon' matches no parameter; close paths: 'backbone', 'backbone/bias'
    """
    paths = list(flatten_paths(params))
    known = dict.fromkeys(prefix for path in paths for prefix in _prefixes(path))
    for pattern in patterns:
        if not any(path_matches(pattern, path) for path in paths):
            close = difflib.get_close_matches(pattern, known, n=5, cutoff=0.4) or list(known)[:5]
            names = ", ".join(map(repr, close)) or "the tree is empty"
            raise ValueError(f"pattern {pattern!r} matches no parameter; close paths: {names}")


def decay_mask(params: Any) -> Any:
    """Which leaves are decayed: all but norms and biases.

    Args:
      params: parameters, updates or shapes.

    Returns:
      A tree of bools; False for leaves of rank 0 or 1 and for leaves named ``scale`` or ``bias``.

    References:
      Goyal et al. 2017, section 5.3, and He et al. 2019, "Bag of Tricks", section 3.1: no decay of the
      parameters of BatchNorm and of biases.

    >>> import numpy as np
    >>> decay_mask({"conv": {"kernel": np.zeros((3, 3, 1, 1)), "bias": np.zeros(1)}})
    {'conv': {'bias': False, 'kernel': True}}
    """
    return map_paths(
        lambda path, leaf: leaf.ndim > 1 and path.split("/")[-1] not in ("scale", "bias"), params
    )


def frozen_mask(params: Any, patterns: Sequence[str]) -> Any:
    """Which leaves the patterns name, as a tree of bools.

    >>> frozen_mask({"backbone": {"bias": 0}, "head": {"bias": 0}}, ["backbone"])
    {'backbone': {'bias': True}, 'head': {'bias': False}}
    """
    return map_paths(lambda path, _: any(path_matches(pattern, path) for pattern in patterns), params)


def freeze_leaves(
    inner: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """Keeps the named leaves bit-equal, and out of everything that ``inner`` does.

    Frozen leaves have no moments in the state, do not count in the norm that is clipped, and a nan in their
    gradient goes nowhere.

    Args:
      inner: the optimizer of the other leaves.
      patterns: globs; see :func:`check_patterns`, which this does not call (it has no parameters yet).
    """
    frozen = tuple(patterns)
    return optax.chain(
        optax.masked(
            inner, lambda tree: jax.tree.map(lambda is_frozen: not is_frozen, frozen_mask(tree, frozen))
        ),
        optax.masked(optax.stateless(_stand_still), lambda tree: frozen_mask(tree, frozen)),
    )


def scale_by_group(rates: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates by a factor for their path; place it after the learning rate.

    Args:
      rates: pattern -> factor. The first pattern that matches counts; leaves that none matches keep 1.

    >>> transform = scale_by_group({"head": 10.0})
    >>> transform.update({"backbone": 1.0, "head": 1.0}, transform.init({}))[0]
    {'backbone': 1.0, 'head': 10.0}
    """

    def factor(path: str) -> float:
        return next((rate for pattern, rate in rates.items() if path_matches(pattern, path)), 1.0)

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        del params
        return map_paths(lambda path, leaf: leaf * factor(path), updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def layer_rates(layers: Sequence[Sequence[str]], decay: float) -> dict[str, float]:
    r"""Learning-rate factors that fall from the last layer to the first, for :func:`scale_by_group`.

    .. math:: \eta_l = \eta\, \xi^{L - l}

    Args:
      layers: path patterns of each layer, from the first (l = 1) to the last (l = L), which has the factor 1.
      decay: :math:`\xi` in (0, 1].

    Returns:
      Pattern -> factor.

    Raises:
      ValueError: if there is no layer, or ``decay`` is out of its range.

    References:
      Howard and Ruder 2018, "Universal Language Model Fine-tuning", section 3.2 (discriminative fine-tuning,
      there a division by 2.6 a layer); Bao et al. 2022, "BEiT", where fine-tuning has a factor a block.

    >>> layer_rates([["stem_conv", "stem_norm"], ["stage1"], ["head"]], 0.5)
    {'stem_conv': 0.25, 'stem_norm': 0.25, 'stage1': 0.5, 'head': 1.0}
    """
    if not 0.0 < decay <= 1.0:
        raise ValueError(f"layer_decay: expected a number in (0, 1], got {decay}")
    if not layers:
        raise ValueError("layer_decay: the layers of this network are not known; use rates instead")
    last = len(layers) - 1
    return {pattern: decay ** (last - index) for index, layer in enumerate(layers) for pattern in layer}


def add_l1(strength: float) -> optax.GradientTransformation:
    r"""Adds the subgradient of the L1 penalty, :math:`\lambda \operatorname{sign}(p)`, to the gradients.

    The penalty is :math:`\lambda \sum |p|`. For the L2 penalty :math:`\tfrac12 \lambda \sum p^2` (torch's
    coupled ``weight_decay``) put ``optax.add_decayed_weights`` in front of the optimizer.
    """

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, optax.EmptyState]:
        if params is None:
            raise ValueError("add_l1 needs the parameters: call optimizer.update(gradients, state, params)")
        return jax.tree.map(lambda g, p: g + strength * jnp.sign(p).astype(g.dtype), updates, params), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _stand_still(updates: Any, params: Any) -> Any:
    """Updates of -0.0: the one number whose sum with any other, -0.0 too, has the other's bits."""
    del params
    return jax.tree.map(lambda leaf: jnp.full_like(leaf, -0.0), updates)


def _prefixes(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
