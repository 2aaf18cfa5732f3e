"""Records what PyTorch computes for the cases of ``tests/oracles/segnets_cases.py``.

Run from the repository's root, where torch, torchvision and segmentation_models_pytorch are installed:
``python tests/reference/record_segnets.py``, for all cases or those named behind it. Writes
``tests/reference/network_<case>.npz``; the header in each states the versions.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.network_cases import REFERENCE
from oracles.segnets_cases import CASES
from oracles.torch_segnets import segnet_outputs


def main() -> None:
    import segmentation_models_pytorch as smp
    import torch
    import torchvision

    modules = {"torch": torch, "torchvision": torchvision, "segmentation_models_pytorch": smp, "numpy": np}
    versions = {name: module.__version__ for name, module in modules.items()}
    for name in sys.argv[1:] or CASES:
        outputs = segnet_outputs(name)
        header = json.dumps({"shapes": outputs.pop("shapes"), "versions": versions})
        path = REFERENCE / f"network_{name}.npz"
        np.savez_compressed(path, header=header, **outputs)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
