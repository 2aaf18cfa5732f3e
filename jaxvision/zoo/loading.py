"""Networks with published weights."""

import functools
import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.weights import BOOKKEEPING, convert, read_weights
from jaxvision.zoo.table import ENTRIES, create, find_entry, names


def load(name: str, *, weights: str | os.PathLike[str], **overrides: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Builds a network and fills it with published weights from a local file.

    Args:
      name: a network with published weights: the VGG and ResNet classifiers, as torchvision saves them.
      weights: a file that :func:`jaxvision.weights.read_weights` reads.
      **overrides: as :func:`create`.

    Returns:
      ``(model, variables)``.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: for an unknown name, one without rules, or a file that does not fit the network.
    """
    entry = find_entry(name)
    if entry.rules is None:
        known = [other for other in names() if ENTRIES[other].rules is not None]
        raise ValueError(
            f"{name} has no published weights in a known layout; those that do: {known}. For an FCN, see "
            "jaxvision.segmentation.initialise_from_classifier"
        )
    model = create(name, **overrides)
    images = jax.ShapeDtypeStruct((1, *entry.preprocessing.input_shape), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    # Asked for, the auxiliary heads have a place.
    ignore = BOOKKEEPING if overrides.get("aux_heads") else (*BOOKKEEPING, *entry.ignore)
    return model, convert(read_weights(weights), entry.rules(), target, ignore=ignore)
