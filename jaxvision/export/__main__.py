"""``python -m jaxvision.export resnet50 --weights FILE --out net.onnx``: a network in one file."""

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxvision import zoo
from jaxvision.export import PLATFORMS, export_onnx, export_stablehlo
from jaxvision.tasks.published import names_of_classes
from jaxvision.weights import preprocessing_to_dict, read_note


def main(arguments: Sequence[str]) -> int:
    """Exports a network of the zoo; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        overrides = zoo.read_overrides(options.name, options.set)
        network = zoo.load(options.name, weights=options.weights, **overrides)
        preprocessing = network.preprocessing
        if options.size is not None:
            preprocessing = preprocessing.at_size(_size(options.size))
        metadata: dict[str, Any] = {
            "name": options.name,
            "preprocessing": preprocessing_to_dict(preprocessing),
        }
        shape = preprocessing.input_shape
        if (class_names := _class_names(options, network, shape)) is not None:
            metadata["class_names"] = class_names
        export = _exporter(options)
        export(options.out, network.model, network.variables, input_shape=shape, metadata=metadata)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {options.name}, {options.out.stat().st_size / 2**20:.1f} MiB")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jaxvision.export", description=__doc__)
    parser.add_argument("name", help="a network of jaxvision.zoo.names()")
    parser.add_argument("--weights", required=True, help="a file or an address, as zoo.load takes it")
    parser.add_argument("--out", type=Path, required=True, help="net.onnx, or net.stablehlo.zip")
    parser.add_argument(
        "--size", type=int, nargs="+", help="height, or height and width; by default the network's own"
    )
    parser.add_argument("--platforms", nargs="+", help=f"of StableHLO; by default {' '.join(PLATFORMS)}")
    parser.add_argument(
        "--class-names", type=Path, help="text, a name a line; by default those in the file of weights"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="field of the network that the weights were trained with: dropout_rate=0.5",
    )
    return parser


def _size(given: Sequence[int]) -> tuple[int, int]:
    if len(given) > 2 or min(given) < 1:
        raise ValueError(f"--size: expected a height, or height and width, in pixels, got {given}")
    return given[0], given[-1]


def _exporter(options: argparse.Namespace) -> Callable[..., Any]:
    """What writes a file of that name."""
    if options.out.suffix != ".onnx":
        return functools.partial(export_stablehlo, platforms=options.platforms or PLATFORMS)
    if options.platforms:
        raise ValueError(f"--platforms: {options.out} runs wherever ONNX Runtime does; leave it out")
    return export_onnx


def _class_names(
    options: argparse.Namespace, network: zoo.Pretrained, shape: tuple[int, ...]
) -> list[str] | None:
    """Those of the option, or those that a training run noted beside its weights; None if nobody says."""
    if options.class_names is None:
        names: list[str] | None = read_note(options.weights, "class_names")
        return names
    apply = functools.partial(network.model.apply, train=False)
    scores = jax.eval_shape(apply, network.variables, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
    return list(names_of_classes(scores.shape[-1], options.class_names, []))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
