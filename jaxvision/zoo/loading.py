"""Networks with published weights, and their variables back under the published names."""

import functools
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision.core import flatten_paths, name_some, unflatten_paths
from jaxvision.weights import (
    BOOKKEEPING,
    LAYOUTS,
    Preprocessing,
    Rule,
    convert,
    fetch_from_hub,
    holds_variables,
    is_hub_address,
    match_keys,
    read_preprocessing,
    read_variables,
    read_weights,
    source_keys,
    to_state_dict,
    without_prefix,
)
from jaxvision.zoo.entry import Entry
from jaxvision.zoo.table import ENTRIES, create, find_entry, names

_LOGGER = logging.getLogger(__name__)
_HEAD = "params/head/kernel"  # the last layer of every classifier; its last axis counts the classes


class Pretrained(NamedTuple):
    """A network that was filled from a file.

    Attributes:
      model: the module.
      variables: for ``model.apply``, numpy arrays.
      preprocessing: how the weights expect their images: by the file itself, where it says so, else by the
        table of networks.
      initialised: paths of the leaves that did not come from the file, for it has another number of classes.
    """

    model: nn.Module
    variables: dict[str, Any]
    preprocessing: Preprocessing
    initialised: tuple[str, ...]


class _Network(NamedTuple):
    """A module, the shapes of its variables, and the shape of the images that gave them."""

    model: nn.Module
    target: dict[str, Any]
    images: jax.ShapeDtypeStruct

    @property
    def num_classes(self) -> int | None:
        head = flatten_paths(self.target).get(_HEAD)
        return None if head is None else head.shape[-1]


class _Filling(Protocol):
    """What a file fills a network with."""

    @property
    def num_classes(self) -> int | None:
        """As many as the head in the file tells apart; None if it has no head."""

    def fill(self, target: Any) -> dict[str, Any]:
        """Variables with the structure of ``target``, or a ValueError."""


def load(
    name: str,
    *,
    weights: str | os.PathLike[str],
    num_classes: int | None = None,
    key: jax.Array | None = None,
    **overrides: Any,
) -> Pretrained:
    """Builds a network and fills it with weights: published ones, or our own.

    Args:
      name: a network with published weights; with our own weights any one of :func:`names`.
      weights: one of

        * a ``.safetensors``, ``.pth``, ``.pt``, ``.bin`` or ``.npz`` file with the names of torchvision, timm
          or another library that the network has a table for, also with a prefix that a wrapper put before
          all names, such as ``module.``;
        * what :func:`jaxvision.weights.read_variables` reads: the ``weights.safetensors`` of a training run,
          an ``.npz`` or a ``.msgpack`` file of variables, the folder of a run or of an Orbax checkpoint;
        * ``"hf://timm/resnet50.a1_in1k"``, with ``@revision`` and ``/file`` after it if need be, for
          :func:`jaxvision.weights.fetch_from_hub`.
      num_classes: number of classes K; by default as many as the file has. If the file has another number,
        or no head, the leaves whose shape depends on it, those of the head, are initialised from ``key``.
      key: for the leaves that do not come from the file; by default ``jax.random.key(0)``.
      **overrides: as :func:`create`.

    Returns:
      Model, variables, preprocessing and the paths of the leaves that did not come from the file.

    Raises:
      OSError: if there is no such file, or the hub does not have it or is not reachable.
      ModuleNotFoundError: for weights that need an extra that is not installed, with the command.
      ValueError: for an unknown name, a damaged or refused file, or one that does not fit the network.
    """
    entry = find_entry(name)
    if num_classes is not None:
        if num_classes < 1:
            raise ValueError(f"num_classes: expected at least 1, got {num_classes}")
        overrides["num_classes"] = num_classes
    if not is_hub_address(weights):
        path, preprocessing = Path(weights), None
    else:
        path, preprocessing = fetch_from_hub(str(weights))
    if path.suffix == ".safetensors":
        preprocessing = read_preprocessing(path) or preprocessing
    elif path.is_dir():
        preprocessing = _preprocessing_of_run(path)
    network = _build(name, entry, overrides)
    filling = _open(name, entry, path, network)
    initialised: tuple[str, ...] = ()
    found = filling.num_classes
    if network.num_classes in (None, found) or (found is None and num_classes is None):
        variables = filling.fill(network.target)
    else:
        # Without a head any other number tells which leaves are the head's.
        classes = network.num_classes + 1 if found is None else found
        published = _build(name, entry, {**overrides, "num_classes": classes})
        variables = filling.fill(published.target if found else _common(published.target, network.target))
        if num_classes is None:
            network = published
        else:
            variables, initialised = _renew_head(variables, network, key)
            _LOGGER.warning(
                "%s: %s has %s, %d were asked for: initialised anew %s", name, weights,
                f"{found} classes" if found else "no classes", num_classes, ", ".join(initialised),
            )  # fmt: skip
    return Pretrained(network.model, variables, preprocessing or entry.preprocessing, initialised)


def export_state_dict(
    name: str, variables: Any, *, like: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Gives a network's variables the names and layouts of the library that published its weights.

    ``jaxvision.weights.write_safetensors`` writes the result, and in PyTorch
    ``model.load_state_dict(safetensors.torch.load_file(path))`` takes it.

    Args:
      name: a network with published weights.
      variables: of it, with any number of classes.
      like: names of tensors, such as the keys of a state dict: where the network's weights are published
        under several names, those of this kind are given; by default torchvision's, else timm's.

    Returns:
      Arrays by key.

    Raises:
      ValueError: for an unknown name, one without published weights, or variables of another network.

    >>> export_state_dict("resnet18", {"params": {"head": {"kernel": np.zeros((512, 7))}}})["fc.weight"].shape
    (7, 512)
    """
    entry = find_entry(name)
    _require_rules(name, entry)
    paths = set(flatten_paths(variables))
    rules = _tables(entry)[0] if like is None else _choose(dict.fromkeys(like), entry, paths)[1]
    return to_state_dict(variables, rules)


def _preprocessing_of_run(folder: Path) -> Preprocessing | None:
    """What the file of weights says that a finished run has beside its ``checkpoints``."""
    step = folder.absolute()
    run = next((inner.parent for inner in (step, step.parent) if inner.name == "checkpoints"), folder)
    file = run / "weights.safetensors"
    if file.exists() and (preprocessing := read_preprocessing(file)) is not None:
        return preprocessing
    _LOGGER.warning("%s: says nothing of its images; they are prepared as the table of networks says", folder)
    return None


def _build(name: str, entry: Entry, overrides: Mapping[str, Any]) -> _Network:
    model = create(name, **overrides)
    images = jax.ShapeDtypeStruct((1, *entry.preprocessing.input_shape), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    return _Network(model, target, images)


def _renew_head(
    variables: Any, network: _Network, key: jax.Array | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Initial values for the leaves that are absent, or whose shape is another one in the network."""
    found, target = flatten_paths(variables), flatten_paths(network.target)
    paths = tuple(
        path for path, leaf in target.items() if path not in found or found[path].shape != leaf.shape
    )

    def initial(key: jax.Array) -> dict[str, jax.Array]:
        images = jnp.zeros(network.images.shape, network.images.dtype)
        leaves = flatten_paths(network.model.init(key, images, train=False))
        return {path: leaves[path] for path in paths}  # the compiler drops all else

    fresh = jax.device_get(jax.jit(initial)(jax.random.key(0) if key is None else key))
    return unflatten_paths({**found, **fresh}), paths


def _common(target: Any, other: Any) -> dict[str, Any]:
    """The leaves that have one shape in both."""
    leaves, others = flatten_paths(target), flatten_paths(other)
    return unflatten_paths({path: leaf for path, leaf in leaves.items() if others[path].shape == leaf.shape})


class _Published(NamedTuple):
    """Tensors under the names of another library."""

    what: str
    tensors: Mapping[str, np.ndarray]
    rules: Sequence[Rule]

    @property
    def num_classes(self) -> int | None:
        for name, (rule, paths) in match_keys(self.tensors, self.rules).items():
            value = self.tensors[name]
            if _HEAD in paths and value.ndim > 1:
                try:
                    head = LAYOUTS[rule.layout](value, rule.spatial)
                except ValueError as error:
                    raise ValueError(f"{self.what}: {name} is {list(value.shape)}: {error}") from error
                assert isinstance(head, np.ndarray), "the head's kernel is one tensor"
                if not head.size:
                    shape = list(value.shape)
                    raise ValueError(f"{self.what}: {name} is {shape}; expected one class or more")
                return head.shape[-1]
        return None

    def fill(self, target: Any) -> dict[str, Any]:
        try:
            return convert(self.tensors, self.rules, target, ignore=BOOKKEEPING)
        except ValueError as error:
            lacks_head = self.num_classes is None and _HEAD in flatten_paths(target)
            remedy = "; it has no head: give num_classes to initialise one" if lacks_head else ""
            raise ValueError(f"{self.what}: {error}{remedy}") from error


class _Own(NamedTuple):
    """Variables by path."""

    what: str
    leaves: Mapping[str, np.ndarray]

    @property
    def num_classes(self) -> int | None:
        head = self.leaves.get(_HEAD)
        if head is None:
            return None
        if not head.ndim or not head.size:
            raise ValueError(f"{self.what}: {_HEAD} is {list(head.shape)}; expected one class or more")
        return head.shape[-1]

    def fill(self, target: Any) -> dict[str, Any]:
        wanted = flatten_paths(target)
        shapes = {path: tuple(leaf.shape) for path, leaf in wanted.items()}
        found = {path: tuple(leaf.shape) for path, leaf in self.leaves.items()}
        for path in sorted(shapes.keys() | found.keys()):
            if shapes.get(path) != found.get(path):
                raise ValueError(
                    f"{self.what}: {path} is {found.get(path, 'absent')} in the file and "
                    f"{shapes.get(path, 'absent')} in the network; give the name, the number of classes and "
                    "the overrides that the weights were trained with"
                )
        return unflatten_paths(
            {path: np.asarray(self.leaves[path], leaf.dtype) for path, leaf in wanted.items()}
        )


def _open(name: str, entry: Entry, path: Path, network: _Network) -> _Filling:
    """Reads the file, and finds the table that its names are of."""
    what = f"{path} does not fit {name}"
    if holds_variables(path):
        return _Own(what, flatten_paths(read_variables(path)))
    _require_rules(name, entry)
    paths = set(flatten_paths(network.target))
    tensors, rules = _choose(read_weights(path), entry, paths)
    matches = match_keys(tensors, rules)
    filled = {path for _, found in matches.values() for path in found}
    if 2 * len(filled & paths) < len(paths):
        expected = list(source_keys(sorted(paths), _tables(entry)[0]))
        raise ValueError(
            f"{what}: these are the weights of another architecture. Its tensors are called "
            f"{name_some(list(tensors), limit=4)}; expected {name_some(expected, limit=4)}"
        )
    spare = {
        key
        for key in tensors
        if any(re.fullmatch(pattern, key) for pattern in entry.ignore)
        and not (key in matches and paths.issuperset(matches[key][1]))
    }
    return _Published(what, {key: value for key, value in tensors.items() if key not in spare}, rules)


def _choose(
    tensors: Mapping[str, Any], entry: Entry, paths: set[str]
) -> tuple[Mapping[str, Any], Sequence[Rule]]:
    """The table that fills most of the paths, and the tensors without the prefix that is in its way."""
    spellings = [tensors]
    while (shorter := without_prefix(spellings[-1])) is not None:
        spellings.append(shorter)

    def fit(pair: tuple[Mapping[str, Any], Sequence[Rule]]) -> tuple[int, int]:
        matches = match_keys(*pair)
        return len(paths & {path for _, found in matches.values() for path in found}), len(matches)

    return max(((names, rules) for names in spellings for rules in _tables(entry)), key=fit)


def _tables(entry: Entry) -> list[Sequence[Rule]]:
    return [make() for make in (entry.rules, *entry.other_rules) if make is not None]


def _require_rules(name: str, entry: Entry) -> None:
    if entry.rules is None:
        known = [other for other in names() if ENTRIES[other].rules is not None]
        raise ValueError(
            f"{name} has no published weights in a known layout; those that do: {known}. A network on a "
            "backbone can start from a classifier's: see jaxvision.zoo.start_backbone"
        )
