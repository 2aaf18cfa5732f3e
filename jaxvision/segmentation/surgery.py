"""Segmentation networks that start from the weights of a classifier ("net surgery", Long et al. 2015)."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxvision.core import flatten_paths, unflatten_paths

_BACKBONE = re.compile(r"(params|batch_stats)/backbone/.*")
_STAGE = re.compile(r"\w+/backbone/stage(\d+)_.*")
_HEAD_CONV = re.compile(r"(params|batch_stats)/head_conv/")


def take_from_classifier(variables: Any, classifier: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Puts the backbone of a classifier of ours into a segmentation network with the same backbone.

    The network's may end at an earlier stage, and may have the 1x1 convolution of the classifier's head
    (MobileNet's ``head_conv``) at its end. Fully connected layers ``fc6`` and ``fc7`` (VGG's) become
    convolutions where the network has them and their sizes fit; all else keeps the values that it has in
    ``variables``.

    Args:
      variables: of the segmentation network.
      classifier: variables of the classifier, such as ``jaxvision.zoo.load`` gives them.

    Returns:
      Variables of the structure of the first, and the paths of the leaves that came from the classifier.

    Raises:
      ValueError: if the backbones differ, or there is none.

    References:
      Long et al. 2015, sections 3.1 and 4.1; Badrinarayanan et al. 2017, section 3; Noh et al. 2015, section
      4.1.

    >>> network = {"params": {"backbone": {"bias": np.zeros(2)}, "head": {"bias": np.zeros(3)}}}
    >>> classifier = {"params": {"backbone": {"bias": np.ones(2)}, "head": {"bias": np.ones(1000)}}}
    >>> started, taken = take_from_classifier(network, classifier)
    >>> started["params"]["backbone"]["bias"], taken
    (array([1., 1.]), ('params/backbone/bias',))
    """
    leaves, found = flatten_paths(variables), flatten_paths(classifier)
    ours = {path: tuple(leaf.shape) for path, leaf in leaves.items() if _BACKBONE.fullmatch(path)}
    body = _backbone_of(found, ours)
    theirs = {path: tuple(leaf.shape) for path, leaf in body.items()}
    if not ours:
        raise ValueError("the network has no backbone; only one that has can start from a classifier")
    wrong = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    if wrong:
        raise ValueError(
            f"{wrong[0]} is {theirs.get(wrong[0], 'absent')} in the classifier and "
            f"{ours.get(wrong[0], 'absent')} in the network, one of {len(wrong)} leaves that differ; build "
            "both backbones with the same fields"
        )
    taken = {path: body[path] for path in ours}
    for name in ("params/fc6", "params/fc7"):
        paths = [f"{name}/{leaf}" for leaf in ("kernel", "bias")]
        if all(_fits(found.get(path), leaves.get(path)) for path in paths):
            taken |= {path: np.reshape(found[path], leaves[path].shape) for path in paths}
    return unflatten_paths({**leaves, **taken}), tuple(path for path in leaves if path in taken)


def _backbone_of(classifier: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves of the classifier under the paths of the network's backbone, but for stages behind its last."""
    stages = [int(match[1]) for match in map(_STAGE.fullmatch, network) if match]
    body = {}
    for path, leaf in classifier.items():
        inside = _HEAD_CONV.sub(r"\1/backbone/head_conv/", path)
        stage = _STAGE.fullmatch(path)
        behind = stage is not None and int(stage[1]) > max(stages, default=0)
        if inside in network or (_BACKBONE.fullmatch(path) and not behind):
            body[inside] = leaf
    return body


def _fits(dense: Any, conv: Any) -> bool:
    """Whether [h w C, K] can be [h, w, C, K]; of a bias, whether it is one of that size."""
    if dense is None or conv is None:
        return False
    return dense.size == conv.size and dense.shape[-1] == conv.shape[-1]
