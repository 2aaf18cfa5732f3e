"""Records what PyTorch computes for the cases of ``tests/oracles/network_cases.py``.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_networks.py``, for all cases or those named behind it. Writes
``tests/reference/network_<case>.npz``; the header in each states the versions.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.network_cases import CASES, REFERENCE
from oracles.torch_run import torch_outputs


def main() -> None:
    import torch
    import torchvision

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    for name in sys.argv[1:] or CASES:
        outputs = torch_outputs(CASES[name])
        header = json.dumps({"shapes": outputs.pop("shapes"), "versions": versions})
        path = REFERENCE / f"network_{name}.npz"
        np.savez_compressed(path, header=header, **outputs)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
