"""Records what PyTorch computes for the cases of ``tests/oracles/context_cases.py``.

Run from the repository's root, where torch, torchvision and segmentation_models.pytorch are installed:
``python tests/reference/record_segmentation_context.py``, for all cases or those named behind it. Writes
``tests/reference/network_<case>.npz``; the header in each states the versions.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.context_cases import CASES
from oracles.network_cases import REFERENCE
from oracles.torch_context_networks import context_outputs

PACKAGES = ("torch", "torchvision", "segmentation-models-pytorch", "numpy")


def main() -> None:
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    for name in sys.argv[1:] or CASES:
        outputs = context_outputs(name)
        header = json.dumps({"shapes": outputs.pop("shapes"), "versions": versions})
        path = REFERENCE / f"network_{name}.npz"
        np.savez_compressed(path, header=header, **outputs)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
