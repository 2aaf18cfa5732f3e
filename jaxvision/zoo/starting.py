"""Networks on a backbone that start from the weights of the classifier with the same backbone."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax

from jaxvision.core import flatten_paths, name_some
from jaxvision.segmentation import take_from_classifier
from jaxvision.weights import Preprocessing, read_note
from jaxvision.zoo.loading import load
from jaxvision.zoo.table import ENTRIES, find_entry


class Started(NamedTuple):
    """Variables of which a part came from a file.

    Attributes:
      variables: for ``model.apply``.
      preprocessing: how the file's weights expect their images.
      classifier: name of the classifier that the file was read as.
      taken: paths of the leaves that came from the file.
      new: paths of those that did not.
    """

    variables: dict[str, Any]
    preprocessing: Preprocessing
    classifier: str
    taken: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def summary(self) -> str:
        """What came from the file and what did not, in a line, by the network's parts.

        >>> paths = ("params/backbone/bias",), ("params/head/bias",)
        >>> Started({}, Preprocessing(), "resnet18", *paths).summary
        '1 leaves of resnet18 start backbone; 1 are new: head'
        """
        parts = [
            name_some(list(dict.fromkeys(path.split("/")[1] for path in paths)))
            for paths in (self.taken, self.new)
        ]
        return (
            f"{len(self.taken)} leaves of {self.classifier} start {parts[0]}; {len(self.new)} are new: "
            f"{parts[1]}"
        )


def start_backbone(
    name: str,
    variables: Any,
    *,
    weights: str | os.PathLike[str],
    backbone: Mapping[str, Any] = MappingProxyType({}),
) -> Started:
    """Puts the published weights of a classifier into the backbone of a network.

    VGG's fully connected layers become the convolutions ``fc6`` and ``fc7`` of an FCN or a DeconvNet, as far
    as their sizes fit. The classifier's other layers are left out.

    Args:
      name: a network on a backbone, such as ``"unet_resnet34"``.
      variables: of that network, such as ``model.init`` gives them; they are not changed.
      weights: of the classifier, as :func:`jaxvision.zoo.load` takes them: a file, or ``"hf://..."``.
      backbone: fields of the backbone, if ``create`` got any.

    Returns:
      Variables of the same structure, and which of their leaves are the file's.

    Raises:
      OSError: as :func:`jaxvision.zoo.load`.
      ModuleNotFoundError: as :func:`jaxvision.zoo.load`.
      ValueError: for an unknown name, a network without a classifier of its backbone, a file that does not
        fit the classifier, or variables of another network.
    """
    entry = find_entry(name)
    if entry.classifier is None:
        known = sorted(other for other, found in ENTRIES.items() if found.classifier is not None)
        raise ValueError(
            f"{name} has no backbone that a classifier's weights could start; these have: {known}"
        )
    loaded = load(entry.classifier, weights=weights, backbone=backbone)
    started, taken = take_from_classifier(variables, loaded.variables)
    new = tuple(path for path in flatten_paths(started) if path not in set(taken))
    return Started(started, loaded.preprocessing, entry.classifier, taken, new)


def starting_variables(
    name: str, fields: Mapping[str, Any], path: str, init: Callable[[jax.Array], Any], *, key: jax.Array
) -> tuple[Any, Preprocessing, str]:
    """Variables of a network from weights of all of it, or with a backbone from those of a classifier.

    Args:
      name: of the network.
      fields: that it is made with.
      path: the ``weights.safetensors`` of a run of the network or of the classifier with the same backbone;
        or published weights of either, in a file or as ``hf://OWNER/NAME``.
      init: ``key -> variables``.
      key: of the leaves that do not come from the file.

    Returns:
      The variables, how the weights expect their images, and a line that says what came from the file; empty
      if all of it did.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the weights fit neither the network nor its backbone; it says why for both.
    """
    whole_error: ValueError | None = None
    trained = _network_of_run(path)
    if trained is not None and trained != find_entry(name).classifier:
        whole = load(name, weights=path, key=key, **fields)
        return whole.variables, whole.preprocessing, ""
    if trained is None and find_entry(name).rules is not None:
        try:
            whole = load(name, weights=path, key=key, **fields)
            return whole.variables, whole.preprocessing, ""
        except ValueError as error:
            whole_error = error
    try:
        started = start_backbone(name, jax.jit(init)(key), weights=path, backbone=fields.get("backbone", {}))
    except ValueError as error:
        if whole_error is None:
            raise
        raise ValueError(f"{error}. Nor are they weights of all of {name}: {whole_error}") from error
    return started.variables, started.preprocessing, f"{path}: {started.summary}"


def _network_of_run(path: str) -> str | None:
    """The network of the weights of a run; None for other weights."""
    config = read_note(path, "config")
    name: str | None = None if config is None else config["model"]["name"]
    return name
