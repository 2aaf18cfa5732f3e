"""``python -m jaxvision.inspect resnet50``: what a network of the zoo is made of, without running it."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxvision import zoo
from jaxvision.inspect import format_table, plot_summary, summarize, write_csv
from jaxvision.zoo.table import find_entry


def main(arguments: Sequence[str]) -> int:
    """Prints the table of a network, and writes it as CSV and as a picture; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        fields = zoo.read_overrides(options.name, options.set)
        shape = _input_shape(options)
        images = jax.ShapeDtypeStruct((options.batch, *shape), jnp.float32)
        layers = summarize(zoo.create(options.name, **fields), images, train=False)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_table(layers))
    if options.csv is not None:
        print(f"table: {write_csv(options.csv, layers)}")
    if options.picture is not None:
        title = f"{options.name} on {'x'.join(map(str, shape[:-1]))}"
        print(f"picture: {plot_summary(options.picture, layers, title=title)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision.inspect", description=__doc__)
    parser.add_argument("name", help="a network of jaxvision.zoo.names()")
    parser.add_argument(
        "--size", type=int, nargs="+", help="height, or height and width; by default the network's own"
    )
    parser.add_argument("--frames", type=int, help="of a clip; by default the network's own")
    parser.add_argument("--channels", type=int, help="of the images; by default the network's own")
    parser.add_argument("--batch", type=int, default=1, help="images; products and memory are those of all")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="field of the network: num_classes=10",
    )
    parser.add_argument("--csv", type=Path, help="write the exact numbers to this file")
    parser.add_argument("--picture", type=Path, help="draw them into this PNG")
    return parser


def _input_shape(options: argparse.Namespace) -> tuple[int, ...]:
    """``(H, W, C)`` of an image or ``(T, H, W, C)`` of a clip: the zoo's but for what is asked for."""
    preprocessing = find_entry(options.name).preprocessing
    if options.size is not None:
        height, width = (options.size * 2)[:2]
        preprocessing = preprocessing._replace(size=(height, width))
    if options.frames is not None:
        preprocessing = preprocessing._replace(frames=options.frames)
    *shape, channels = preprocessing.input_shape
    return (*shape, channels if options.channels is None else options.channels)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
