"""A network as a task uses it: its first variables, its pass in training, its layers in order."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvision.core import flatten_paths
from jaxvision.layers import BatchNorm
from jaxvision.optimizers import path_matches

_AUXILIARY = "aux_logits"  # the collection that networks with auxiliary classifiers write to


def initial_variables(model: nn.Module, key: jax.Array, image_size: tuple[int, int]) -> dict[str, Any]:
    """The variables of a network before training.

    Args:
      model: called as ``model.apply(variables, images, train=...)``.
      key: of the initialisation.
      image_size: (H, W) of the images.
    """
    variables = dict(model.init(key, jnp.zeros((1, *image_size, 3)), train=False))
    variables.pop(_AUXILIARY, None)  # what a pass writes is no state
    return variables


def apply_in_training(
    model: nn.Module,
    params: Any,
    model_state: Any,
    images: Any,
    key: jax.Array,
    *,
    frozen: Sequence[str] = (),
) -> tuple[Any, list[jax.Array], Any]:
    """Runs a network in training mode.

    A batch normalisation whose scale is frozen keeps its running statistics as well, and normalises by them:
    statistics that follow the new images would change what the frozen weights compute.

    Args:
      model: called as ``model.apply(variables, images, train=...)``.
      params: its parameters.
      model_state: its other collections.
      images: [N, H, W, 3], or what else the network takes.
      key: of dropout.
      frozen: path patterns of parameters that are not trained, as the optimizer's.

    Returns:
      Logits; those that auxiliary classifiers wrote to the collection ``aux_logits``; the new model state.
    """

    def keep_frozen_statistics(
        next_function: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if isinstance(module, BatchNorm) and context.method_name == "__call__":
            scale = "/".join((*module.path, "scale"))
            if any(path_matches(pattern, scale) for pattern in frozen):
                kwargs = {**kwargs, "train": False}
        return next_function(*args, **kwargs)

    with nn.intercept_methods(keep_frozen_statistics):
        logits, updates = model.apply(
            {"params": params, **model_state},
            images,
            train=True,
            rngs={"dropout": key},
            mutable=[*model_state, _AUXILIARY],
        )
    updates = dict(updates)
    return logits, jax.tree.leaves(updates.pop(_AUXILIARY, {})), updates


def layer_order(model: nn.Module, image_size: tuple[int, int]) -> list[list[str]]:
    """The layers of a network from the first to the last, for a learning rate that falls with depth.

    A layer is a part of the network, or of its part ``backbone``, such as ``backbone/stage1_block0`` or
    ``head``. A part without a kernel (a norm) goes with the one before it; arrays of the network itself
    (a class token) go with the first.

    Args:
      model: called as ``model.apply(variables, images, train=...)``.
      image_size: (H, W) of the images.

    Returns:
      Paths of the parts of each layer.
    """
    called: dict[str, None] = {}

    def note(next_function: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        path = context.module.path
        if path and path != ("backbone",):
            called.setdefault(_part(path))
        return next_function(*args, **kwargs)

    with nn.intercept_methods(note):
        shapes = jax.eval_shape(lambda key: initial_variables(model, key, image_size), jax.random.key(0))
    ranks: dict[str, int] = {}
    for path, leaf in flatten_paths(shapes["params"]).items():
        part = _part(tuple(path.split("/")))
        ranks[part] = max(ranks.get(part, 0), leaf.ndim)
    loose = [part for part in ranks if part not in called]
    layers: list[list[str]] = []
    for part in called:
        if part not in ranks:
            continue
        if layers and ranks[part] < 2:
            layers[-1].append(part)
        else:
            layers.append([part])
    layers[0] += loose
    return layers


def _part(path: Sequence[str]) -> str:
    return "/".join(path[: 2 if path[0] == "backbone" else 1])


def score_shape(
    model: nn.Module,
    name: str,
    image_size: tuple[int, int],
    *,
    axes: str,
    remedy: str,
    variables: Any | None = None,
) -> tuple[int, ...]:
    """Shape of what a network gives for one image, found without running it.

    Args:
      model: called as ``model.apply(variables, images, train=...)``.
      name: of the network, for the message.
      image_size: (H, W).
      axes: ``"N K"`` for one score a class, ``"N H W K"`` for one a class and pixel.
      remedy: what to do if the network gives something else.
      variables: of it; by default those that it would start with.

    Raises:
      ValueError: if it does.
    """
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    if variables is None:
        variables = jax.eval_shape(lambda key: initial_variables(model, key, image_size), jax.random.key(0))
    found = jax.eval_shape(lambda variables, x: model.apply(variables, x, train=False), variables, images)
    shape = found.shape if isinstance(found, jax.ShapeDtypeStruct) else None
    wanted = len(axes.split())
    if shape is None or len(shape) != wanted or (wanted == 4 and shape[1:3] != image_size):
        shown = type(found).__name__ if shape is None else list(shape)
        raise ValueError(
            f"{name} gives {shown} for an image of {image_size[0]} x {image_size[1]}, expected "
            f"[{axes.replace(' ', ', ')}]; {remedy}"
        )
    return shape
