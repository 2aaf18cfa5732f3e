"""Records what PyTorch computes for the cases of ``tests/oracles/mobile_cases.py``.

Run from the repository's root, where torch, torchvision, timm and, for the case efficientnet_pytorch, the
package efficientnet-lite-pytorch are installed: ``python tests/reference/record_mobile.py``, for all cases or
those named behind it. Writes ``tests/reference/network_<case>.npz``; the header in each states the versions.
"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.mobile_cases import CASES
from oracles.network_cases import REFERENCE
from oracles.torch_mobile import torch_outputs


def main() -> None:
    for name in sys.argv[1:] or CASES:
        case = CASES[name]
        packages = ("torch", "numpy", case.source)
        versions = {package: importlib.metadata.version(package) for package in packages}
        outputs = torch_outputs(case)
        header = json.dumps({"shapes": outputs.pop("shapes"), "versions": versions})
        path = REFERENCE / f"network_{name}.npz"
        np.savez_compressed(path, header=header, **outputs)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
