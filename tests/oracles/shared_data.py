"""Real data sets beside the repository, which a test skips where they are absent."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def real_file(*parts: str) -> Path:
    """A file of real data; skips the test where it is not there."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("JAXVISION_DATA", default)).joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"real data is not there: {path} (the folder is named by JAXVISION_DATA)")
    return path


def cifar_pictures(path: Path, split: str, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [n, 32, 32, 3] and labels [n] of CIFAR-10 kept as JPEG scans that share one header."""
    with np.load(path) as data:
        header, scans = data["jpeg_header"].tobytes(), data[f"{split}_scans"]
        ends, labels = np.cumsum(data[f"{split}_lengths"], dtype=np.int64), data[f"{split}_labels"]
    starts = np.concatenate([[0], ends[:-1]])
    pictures = [
        np.asarray(Image.open(io.BytesIO(header + scans[starts[i] : ends[i]].tobytes()))) for i in indices
    ]
    return np.stack(pictures), labels[indices]
