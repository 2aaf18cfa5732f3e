"""The variables that a segmentation run starts from, where it is given a file of weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxvision import weights, zoo
from jaxvision.tasks.scripts import is_run_weights


def starting_variables(
    name: str, fields: Mapping[str, Any], path: str, init: Callable[[jax.Array], Any], *, seed: int
) -> Any:
    """Variables of a network from weights of all of it, or with a backbone from those of a classifier.

    What comes from the file, and what is new, is printed.

    Args:
      name: of the network in the zoo.
      fields: that the network is made with.
      path: the ``weights.safetensors`` of a run of the network or of the classifier with the same backbone;
        or published weights of either, in a file or as ``hf://OWNER/NAME``.
      init: ``key -> variables``.
      seed: of the leaves that do not come from the file.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the weights fit neither the network nor its backbone; it says why for both.
    """
    key = jax.random.key(seed, impl="rbg")
    whole_error: ValueError | None = None
    if not weights.is_hub_address(path) and is_run_weights(Path(path)):
        trained = json.loads(weights.read_metadata(path)["config"])["model"]["name"]
        if trained != zoo.find_entry(name).classifier:
            return zoo.load(name, weights=path, key=key, **fields).variables
    elif zoo.find_entry(name).rules is not None:
        try:
            return zoo.load(name, weights=path, key=key, **fields).variables
        except ValueError as error:
            whole_error = error
    try:
        started = zoo.start_backbone(name, jax.jit(init)(key), weights=path)
    except ValueError as error:
        if whole_error is None:
            raise
        raise ValueError(f"{error}. Nor are they weights of all of {name}: {whole_error}") from error
    print(f"{path}: {started.summary}")
    usual, wanted = weights.Preprocessing(), started.preprocessing
    if (wanted.mean, wanted.std) != (usual.mean, usual.std):
        print(f"{path}: expects images with --data.mean {wanted.mean} and --data.std {wanted.std}")
    return started.variables
