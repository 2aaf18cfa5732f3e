"""What the commands that show a network at work have in common: its weights, and an image for it."""

import argparse
import functools
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvision import zoo
from jaxvision.data import (
    VOC_CLASSES,
    ResizeShorterSide,
    compose,
    eval_transform,
    imagenet_classes,
    read_image,
)
from jaxvision.inspect.capture import list_layers
from jaxvision.tasks.published import names_of_classes
from jaxvision.weights import Preprocessing, read_note


class Opened(NamedTuple):
    """A network and an image as it sees it.

    Attributes:
      model: called as ``model.apply(variables, images, train=False)``.
      variables: of it.
      picture: uint8 ``[H, W, 3]``, for the eye.
      images: float32 ``[1, H, W, 3]``, for the network.
      outputs: shape of what the network gives, None if that is not one array.
    """

    model: nn.Module
    variables: Any
    picture: np.ndarray
    images: np.ndarray
    outputs: tuple[int, ...] | None

    @property
    def is_segmentation(self) -> bool:
        """Whether the network gives scores a pixel."""
        return self.outputs is not None and len(self.outputs) == 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the network, its weights and the image to a command."""
    parser.add_argument("name", help="a network of jaxvision.zoo.names()")
    parser.add_argument("--weights", help="a file, or hf://OWNER/NAME; without them they are random")
    parser.add_argument("--image", type=Path, help="a picture")
    parser.add_argument("--list", action="store_true", help="print the names of all layers and end")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="field of the network: num_classes=10",
    )


def open_network(options: argparse.Namespace) -> Opened:
    """Builds the network, fills it, and reads the image.

    The image is prepared as the weights expect it: a classifier sees the middle, a segmentation network the
    whole image, with the shorter side as long.

    Raises:
      OSError: if a file is not there.
      ValueError: for an unknown network, weights of another, or a file that is no image.
    """
    if options.image is None:
        raise ValueError("--image: none given; name a picture, or ask for the names of the layers by --list")
    picture = read_image(options.image)
    model, variables, preprocessing = _fill(options)
    transform, rng = eval_transform(preprocessing), np.random.default_rng(0)  # nothing is drawn from it
    *cut, normalize = transform.steps
    sample = jax.ShapeDtypeStruct((1, *preprocessing.size, 3), jnp.float32)
    found = jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, sample)
    opened = Opened(model, variables, picture, picture, getattr(found, "shape", None))
    if opened.is_segmentation:
        cut = [ResizeShorterSide(min(preprocessing.size), interpolation=preprocessing.interpolation)]
    seen = compose(*cut)({"image": picture}, rng)["image"]
    return opened._replace(picture=seen, images=normalize({"image": seen}, rng)["image"][None])


def print_layers(options: argparse.Namespace) -> None:
    """Prints the names of all layers of the network, and the shapes of what they give for one image."""
    model = zoo.create(options.name, **zoo.read_overrides(options.name, options.set))
    shape = zoo.find_entry(options.name).preprocessing.input_shape
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    init = functools.partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), images)
    for name, struct in list_layers(model, variables, images, train=False).items():
        print(f"{name}  {'x'.join(map(str, struct.shape))}")


def _fill(options: argparse.Namespace) -> tuple[nn.Module, Any, Preprocessing]:
    """The network with the weights given, or random ones."""
    fields = zoo.read_overrides(options.name, options.set)
    if options.weights is not None:
        loaded = zoo.load(options.name, weights=options.weights, **fields)
        return loaded.model, loaded.variables, loaded.preprocessing
    preprocessing = zoo.find_entry(options.name).preprocessing
    model = zoo.create(options.name, **fields)
    print(f"no --weights: the numbers of {options.name} are random, and show only that it runs")
    images = jnp.zeros((1, *preprocessing.input_shape))
    key = jax.random.key(0, impl="rbg")  # compiles in half of the time
    return model, jax.jit(lambda key: model.init(key, images, train=False))(key), preprocessing


def class_names(weights: str | None, count: int) -> tuple[str, ...]:
    """Names of the classes: those in the file of a run, else of ImageNet or VOC if there are as many."""
    noted = None if weights is None else read_note(weights, "class_names")
    return names_of_classes(count, None, [noted or (), imagenet_classes(), VOC_CLASSES])


def as_maps(array: np.ndarray) -> np.ndarray | None:
    """A layer's result for one image as maps ``[h, w, C]``: of a square of tokens too; None if it is no map.

    Args:
      array: ``[h, w, C]``, or tokens ``[T, C]``, of which those before the last square (a class token) are
        left out.
    """
    if array.ndim == 3:
        return array
    if array.ndim != 2:
        return None
    side = int(np.sqrt(len(array)))
    return array[len(array) - side * side :].reshape(side, side, -1)
