"""``python -m jaxvision.inspect resnet50``: what a network of the zoo is made of, without running it."""

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import zoo
from jaxvision.inspect import format_table, plot_summary, summarize, write_csv


def main(arguments: Sequence[str]) -> int:
    """Prints the table of a network, and writes it as CSV and as a picture; returns the exit code."""
    options = _parser().parse_args(arguments)
    height, width = (options.size * 2)[:2]
    images = jax.ShapeDtypeStruct((options.batch, height, width, options.channels), jnp.float32)
    try:
        fields = dict(_field(text) for text in options.set)
        layers = summarize(zoo.create(options.name, **fields), images, train=False)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_table(layers))
    if options.csv is not None:
        print(f"table: {write_csv(options.csv, layers)}")
    if options.picture is not None:
        title = f"{options.name} on {height}x{width}"
        print(f"picture: {plot_summary(options.picture, layers, title=title)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision.inspect", description=__doc__)
    parser.add_argument("name", help="a network of jaxvision.zoo.names()")
    parser.add_argument("--size", type=int, nargs="+", default=[224], help="height, or height and width")
    parser.add_argument("--channels", type=int, default=3, help="of the images")
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


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text}: expected FIELD=VALUE, such as num_classes=10")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
