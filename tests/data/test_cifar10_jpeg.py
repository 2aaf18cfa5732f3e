import io

import numpy as np
import pytest
from examples.cifar10_jpeg import decode
from PIL import Image


def test_scans_behind_one_header_are_the_pictures():
    shades = (10, 90, 200)
    files = []
    for shade in shades:
        buffer = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), shade, np.uint8)).save(buffer, "JPEG", quality=75)
        files.append(buffer.getvalue())
    start = files[0].index(b"\xff\xda")  # of the scan; what is before it is the same in all
    assert len({file[:start] for file in files}) == 1
    scans = np.frombuffer(b"".join(file[start:] for file in files), np.uint8)
    lengths = np.array([len(file) - start for file in files], np.uint16)
    pictures = decode(files[0][:start], scans, lengths)
    assert pictures.shape == (3, 32, 32, 3) and pictures.dtype == np.uint8
    np.testing.assert_allclose(pictures.mean((1, 2, 3)), shades, atol=2)
    with pytest.raises(ValueError, match="lengths that sum to"):
        decode(files[0][:start], scans[:-1], lengths)
