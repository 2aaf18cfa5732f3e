"""CIFAR-10 kept as JPEG scans behind one header, as the arrays that the classification script takes.

    python tests/examples/cifar10_jpeg.py cifar10_jpeg75.npz cifar10.npz
    python train/classification.py --data.source arrays --data.root cifar10.npz --data.size 32 32 \\
        --data.batch-size 128 --data.flip 0.5 --data.val-share 0.02 --model.name cifar_resnet20 \\
        --optimizer.name nesterov --optimizer.learning-rate 0.1 --optimizer.l2 0.0003 --run.steps 4500 \\
        --run.cpu-devices 4 --run.eval-every 1500      # four devices make two cores busier

The pictures have been encoded anew at JPEG quality 75, so that no figure is that of the original CIFAR-10.
The recipe is that of He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2, but short,
with Nesterov's momentum and a decay of 3e-4; the script's own crop pads by the paper's 4 pixels.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image


def decode(header: bytes, scans: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Pictures ``[N, H, W, 3]``, uint8, of JPEG scans one behind the other.

    Raises:
      ValueError: if the lengths are not those of the scans.
    """
    ends = np.cumsum(lengths.astype(np.int64))
    if not len(ends) or ends[-1] != len(scans):
        raise ValueError(f"expected {len(scans)} bytes of scans, got lengths that sum to {lengths.sum()}")
    parts = np.split(scans, ends[:-1])
    return np.stack([np.asarray(Image.open(io.BytesIO(header + part.tobytes()))) for part in parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "source", type=Path, help=".npz of jpeg_header, and scans, lengths, labels of each part"
    )
    parser.add_argument("out", type=Path, help=".npz of x_train, y_train, x_test, y_test")
    options = parser.parse_args()
    arrays = {}
    with np.load(options.source) as file:
        header = file["jpeg_header"].tobytes()
        for part in ("train", "test"):
            arrays[f"x_{part}"] = decode(header, file[f"{part}_scans"], file[f"{part}_lengths"])
            arrays[f"y_{part}"] = file[f"{part}_labels"]
    np.savez(options.out, **arrays)
    print({name: array.shape for name, array in arrays.items()})


if __name__ == "__main__":
    main()
