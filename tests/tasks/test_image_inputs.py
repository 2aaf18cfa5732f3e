from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxvision.tasks.image_inputs import find_images, output_names, read_or_name


def test_images_are_found_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", "._b.png"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images([tmp_path / "b.png", tmp_path])] == ["b.png", "a.JPG", "b.png"]


def test_missing_inputs_are_named(tmp_path):
    with pytest.raises(ValueError, match="nothing to predict"):
        find_images([])
    with pytest.raises(FileNotFoundError, match=r"absent\.png: no such file"):
        find_images([tmp_path / "absent.png"])
    with pytest.raises(ValueError, match="no images in this folder"):
        find_images([tmp_path])


def test_no_result_overwrites_another():
    images = [Path("a.png"), Path("b.png"), Path("c/a.jpg"), Path("d/a.jpg")]
    assert [name for _, name in output_names(images)] == ["a_png", "b", "a_jpg", "a_jpg_2"]


def test_an_image_that_cannot_be_read_is_named(tmp_path, capsys):
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert read_or_name(tmp_path / "good.png").shape == (2, 3, 3)
    assert capsys.readouterr().err == ""
    assert read_or_name(tmp_path / "bad.png") is None
    assert "bad.png: not a picture" in capsys.readouterr().err
