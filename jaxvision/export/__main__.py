"""``python -m jaxvision.export resnet50 --weights FILE --out net.onnx``: a network in one file."""

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvision import zoo
from jaxvision.export import PLATFORMS, export_onnx, export_stablehlo
from jaxvision.weights import is_hub_address, preprocessing_to_dict, read_metadata


def main(arguments: Sequence[str]) -> int:
    """Exports a network of the zoo; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        overrides = zoo.read_overrides(options.name, options.set)
        network = zoo.load(options.name, weights=options.weights, **overrides)
        preprocessing = network.preprocessing
        if options.size is not None:
            height, width = (options.size * 2)[:2]
            preprocessing = preprocessing._replace(size=(height, width))
        metadata: dict[str, Any] = {
            "name": options.name,
            "preprocessing": preprocessing_to_dict(preprocessing),
        }
        if (class_names := _class_names(options)) is not None:
            metadata["class_names"] = class_names
        export = (
            export_onnx
            if options.out.suffix == ".onnx"
            else functools.partial(export_stablehlo, platforms=options.platforms)
        )
        shape = preprocessing.input_shape
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
    parser.add_argument("--platforms", nargs="+", default=PLATFORMS, help="of StableHLO")
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


def _class_names(options: argparse.Namespace) -> list[str] | None:
    """Those of the option, or those that a training run noted beside its weights; None if nobody says."""
    if options.class_names is not None:
        return options.class_names.read_text("utf-8").splitlines()
    if is_hub_address(options.weights) or Path(options.weights).suffix != ".safetensors":
        return None
    noted = read_metadata(options.weights).get("class_names")
    return None if noted is None else json.loads(noted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
