"""Records what PyTorch computes for the cases of ``tests/oracles/video_cases.py``.

Run from the repository's root, where torch and torchvision are installed:
``python tests/reference/record_video.py``, for all cases or those named behind it. Writes
``tests/reference/network_<case>.npz``; the header in each states the versions.
"""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from oracles.network_cases import REFERENCE
from oracles.torch_video import torch_outputs
from oracles.video_cases import CASES


def main() -> None:
    import torch
    import torchvision

    modules = (torch, torchvision, np)
    versions = {module.__name__: str(module.__version__) for module in modules}
    for name in sys.argv[1:] or CASES:
        outputs = torch_outputs(CASES[name])
        header = json.dumps({"shapes": outputs.pop("shapes"), "versions": versions})
        path = REFERENCE / f"network_{name}.npz"
        np.savez_compressed(path, header=header, **outputs)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
