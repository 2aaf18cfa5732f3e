"""``python -m jaxvision.inspect.features resnet50 --image photo.jpg``: what the layers of a network see."""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxvision.core import flatten_paths
from jaxvision.inspect.capture import feature_maps, find_layer, list_layers
from jaxvision.inspect.opening import Opened, add_arguments, as_maps, open_network, print_layers
from jaxvision.pictures.heatmaps import channel_pictures, kernel_pictures, sections_sheet, strongest_channels
from jaxvision.pictures.masks import write_png


def main(arguments: Sequence[str]) -> int:
    """Draws feature maps, and the kernels of the first convolution; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        print_layers(options) if options.list else _run(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def first_kernel(model: nn.Module, variables: Any, images: Any, **options: Any) -> tuple[str, Any]:
    """The kernel of the first convolution that a network calls.

    Args:
      model: any Linen module.
      variables: of it.
      images: as the model takes them, an array or ``jax.ShapeDtypeStruct``.
      **options: of the model's call, such as ``train=False``.

    Returns:
      The path of the module, and its kernel ``[h, w, C, features]``.

    Raises:
      ValueError: if the network has none.
    """
    kernels = {
        path.removeprefix("params/").rpartition("/")[0]: leaf
        for path, leaf in flatten_paths(variables).items()
        if path.startswith("params/") and path.endswith("kernel") and leaf.ndim == 4
    }
    for name in list_layers(model, variables, images, **options):
        if name in kernels:
            return name, kernels[name]
    raise ValueError("the network has no convolution of images; leave out --kernels")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision.inspect.features", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--layers", nargs="+", help="names or ends of names; by default c1, c2, ... or a few")
    parser.add_argument("--top", type=int, default=16, help="channels of each layer")
    parser.add_argument(
        "--order",
        choices=("energy", "first"),
        default="energy",
        help="the channels that vary most, or the first ones",
    )
    parser.add_argument("--out", type=Path, default=Path("features.png"), help="the picture")
    parser.add_argument("--kernels", type=Path, help="draw the first convolution's kernels into this PNG")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row")
    parser.add_argument("--cell", type=int, default=96, help="pixels of a picture")
    return parser


def _run(options: argparse.Namespace) -> None:
    opened = open_network(options)
    layers = list_layers(opened.model, opened.variables, opened.images, train=False)
    sections = _sections(opened, layers, options)
    measures = {"columns": options.columns, "cell": options.cell}
    print(f"picture: {write_png(options.out, sections_sheet(sections, **measures))}")
    if options.kernels is not None:
        name, kernel = first_kernel(opened.model, opened.variables, opened.images, train=False)
        pictures = [("", picture) for picture in kernel_pictures(np.asarray(kernel, np.float32))]
        heading = f"{name}: {len(pictures)} kernels of {kernel.shape[0]} x {kernel.shape[1]}"
        sheet = sections_sheet([(heading, pictures)], columns=options.columns, cell=options.cell // 2)
        print(f"kernels: {write_png(options.kernels, sheet)}")


def _default_layers(layers: Mapping[str, Any]) -> list[str]:
    """The stages of a backbone; of a network without one, four maps from first to last."""
    stages = [name for name in layers if re.fullmatch(r"(.*/)?c\d", name)]
    maps = [name for name, struct in layers.items() if struct.ndim in (3, 4)]
    if stages or not maps:
        return stages
    return list(dict.fromkeys(maps[i] for i in np.linspace(0, len(maps) - 1, 4).round().astype(int)))


def _sections(opened: Opened, known: Mapping[str, Any], options: argparse.Namespace) -> list[Any]:
    """The image, and of each layer the channels to show."""
    if options.top < 1:
        raise ValueError(f"--top: got {options.top}, expected 1 or more")
    layers = [find_layer(layer, list(known)) for layer in options.layers or _default_layers(known)]
    compute = jax.jit(
        lambda variables, x: feature_maps(opened.model, variables, x, layers=layers, train=False)
    )
    sections: list[Any] = [("image", [("", opened.picture)])]
    for layer, array in compute(opened.variables, opened.images).items():
        maps = as_maps(np.asarray(array, np.float32)[0])
        if maps is None:
            raise ValueError(f"layer {layer!r} gives {list(array.shape)}, expected a map [N, h, w, C]")
        channels = strongest_channels(maps, options.top, order=options.order).tolist()
        pictures = channel_pictures(maps, channels)
        captions = [f"{index}" for index in channels]
        height, width, count = maps.shape
        heading = f"{layer}: {height} x {width}, {len(channels)} of {count} channels"
        sections.append((heading, list(zip(captions, pictures, strict=True))))
    return sections


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
