"""Records the heat maps that PyTorch computes for ``tests/oracles/gradcam_cases.py``.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_gradcam.py``. Writes ``tests/reference/gradcam.npz``.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.gradcam_cases import CAM_CASES, REFERENCE
from oracles.torch_gradcam import torch_maps


def main() -> None:
    import torch
    import torchvision

    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__}
    shapes, values = {}, {}
    for name, case in CAM_CASES.items():
        maps = torch_maps(case)
        shapes[name] = maps.pop("shapes")
        values |= {f"{name}|{key}": array for key, array in maps.items()}
    path = REFERENCE / "gradcam.npz"
    np.savez_compressed(path, header=json.dumps({"shapes": shapes, "versions": versions}), **values)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
