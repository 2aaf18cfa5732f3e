"""Records what PyTorch computes for the cases of ``tests/oracles/residual_block_cases.py``.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_residual_blocks.py``. Writes ``tests/reference/residual_blocks.npz``: for each
case one flat array, whose parts the header names; it states the versions too.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.network_cases import REFERENCE
from oracles.residual_block_cases import CASES
from oracles.torch_residual_blocks import torch_outputs


def main() -> None:
    import torch
    import torchvision

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    entries, arrays = {}, {}
    for name, case in CASES.items():
        outputs = torch_outputs(name, case)
        weights = outputs.pop("shapes")
        entries[name] = {"weights": weights, "outputs": {key: value.shape for key, value in outputs.items()}}
        arrays[name] = np.concatenate([value.ravel() for value in outputs.values()])
    header = json.dumps({"cases": entries, "versions": versions})
    path = REFERENCE / "residual_blocks.npz"
    np.savez_compressed(path, header=header, **arrays)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
