"""``python -m jaxvision.export resnet50 --weights FILE --out net.onnx``: a network in one file."""

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxvision import zoo
from jaxvision.export import PLATFORMS, export_onnx, export_stablehlo
from jaxvision.weights import preprocessing_to_dict


def main(arguments: Sequence[str]) -> int:
    """Exports a network of the zoo; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        network = zoo.load(options.name, weights=options.weights)
        preprocessing = network.preprocessing
        if options.size is not None:
            height, width = (options.size * 2)[:2]
            preprocessing = preprocessing._replace(size=(height, width))
        metadata = {"name": options.name, "preprocessing": preprocessing_to_dict(preprocessing)}
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
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
