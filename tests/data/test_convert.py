import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.annotation_files import (
    coco,
    write_array,
    write_cityscapes,
    write_coco,
    write_labelme,
    write_photo,
)
from PIL import Image

from jaxvision.data import CAMVID_CLASSES, ImageMaskFolder, VOCSegmentation
from jaxvision.data.convert import main
from jaxvision.pictures import camvid_palette


def test_a_labelme_folder_becomes_voc(tmp_path, capsys):
    write_labelme(tmp_path / "in", 10)
    out = tmp_path / "out"
    assert main(["labelme", str(tmp_path / "in"), "--out", str(out), "--val-fraction", "0.3"]) == 0
    printed = capsys.readouterr().out
    assert "10 images, 3 classes" in printed
    assert "voc layout of 7 train, 3 val images" in printed
    train, val = (
        VOCSegmentation(out, split, class_names=["_background_", "car", "road"]) for split in ("train", "val")
    )
    assert (len(train), len(val)) == (7, 3)
    assert main(["voc", str(out), "--out", str(tmp_path / "plain"), "--layout", "folder"]) == 0
    plain = ImageMaskFolder(tmp_path / "plain", split="val")
    assert plain.names == val.names
    assert plain.class_names == ("_background_", "car", "road")
    np.testing.assert_array_equal(plain[0]["mask"], val[0]["mask"])


def test_all_broken_files_are_listed_and_nothing_is_written(tmp_path, capsys):
    write_labelme(tmp_path / "in", 5)
    (tmp_path / "in" / "a0.json").write_text("{")
    (tmp_path / "in" / "a3.jpg").write_bytes(b"broken")
    arguments = ["labelme", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert "2 of 5 records are broken" in error
    assert "a0.json: not a JSON file" in error
    assert "a3.jpg: not a picture" in error
    assert sorted(os.listdir(tmp_path)) == ["in"]
    assert main([*arguments, "--skip-broken"]) == 0
    printed = capsys.readouterr().out
    assert "3 images" in printed
    assert "a0.json: not a JSON file" in printed
    assert main([*arguments, "--skip-broken"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert main([*arguments, "--skip-broken", "--overwrite"]) == 0


def test_a_report_alone_writes_nothing(tmp_path, capsys):
    write_labelme(tmp_path / "in", 5)
    (tmp_path / "in" / "a0.json").write_text("{")
    (tmp_path / "in" / "a3.jpg").write_bytes(b"broken")
    before = sorted(tmp_path.rglob("*"))
    assert main(["labelme", str(tmp_path / "in")]) == 0
    printed = capsys.readouterr().out
    assert "3 images, 3 classes" in printed
    assert "2 of 5 records are broken" in printed
    assert printed.count("a0.json: not a JSON file") == printed.count("a3.jpg: not a picture") == 1
    assert sorted(tmp_path.rglob("*")) == before
    for option in (["--skip-broken"], ["--overwrite"], ["--layout", "folder"]):
        assert main(["labelme", str(tmp_path / "in"), *option]) == 1
        assert f"{option[0]}: got " in (shown := capsys.readouterr().err)
        assert "which nothing reads without --out; leave it out, or give --out FOLDER" in shown


def test_one_part_alone_is_split(tmp_path, capsys):
    for number in range(4):
        write_cityscapes(tmp_path / "in", f"ulm_{number}_1", "val")
    arguments = ["cityscapes", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "leftImg8bit/train: no such folder" in capsys.readouterr().err
    assert main([*arguments, "--split", "val"]) == 0
    assert "3 train, 1 val" in capsys.readouterr().out
    mask = next((tmp_path / "out" / "SegmentationClass").iterdir())
    with Image.open(mask) as picture:  # in Cityscapes' colours
        assert picture.convert("RGB").getpixel((20, 20)) == (128, 64, 128)


def test_the_colours_of_camvid(tmp_path):
    for part in ("train", "val"):
        write_photo(tmp_path / "in" / part / f"{part}.png")
        write_array(tmp_path / "in" / f"{part}_labels" / f"{part}.png", np.full((24, 32, 3), 9, np.uint8))
    (tmp_path / "in" / "class_dict.csv").write_text("name,r,g,b\nNight,9,9,9\nDay,1,2,3\n")
    assert main(["camvid", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "SegmentationClass" / "val.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (9, 9, 9)


def write_plain(root, masks):
    for name, value in masks.items():
        write_photo(root / "images" / f"{name}.png")
        write_array(root / "masks" / f"{name}.png", np.full((24, 32), value, np.uint8))
    (root / "classes.txt").write_text("sky\nroad\n")


def test_a_test_part_is_kept_and_what_was_written_is_counted(tmp_path, capsys):
    write_plain(tmp_path / "in", dict.fromkeys("abcdef", 1))
    for part, names in {"train": "a\nb", "val": "c\nd", "test": "e\nf"}.items():
        (tmp_path / "in" / f"{part}.txt").write_text(names)
    (tmp_path / "in" / "masks" / "d.png").write_bytes(b"broken")
    arguments = ["folder", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--skip-broken"]
    assert main(arguments) == 0
    assert "voc layout of 2 train, 1 val, 2 test images" in capsys.readouterr().out
    for part, names in {"train": ("a", "b"), "val": ("c",), "test": ("e", "f")}.items():
        assert VOCSegmentation(tmp_path / "out", part, class_names=["sky", "road"]).names == names
    # And from there, with its test part, once more.
    assert main(["voc", str(tmp_path / "out"), "--out", str(tmp_path / "plain"), "--layout", "folder"]) == 0
    assert "folder layout of 2 train, 1 val, 2 test images" in capsys.readouterr().out
    assert main([*arguments, "--overwrite"]) == 0


def test_masks_of_0_and_255_are_noticed_and_nothing_is_written(tmp_path, capsys):
    write_plain(tmp_path / "in", {"a": 0, "b": 255, "c": 0, "d": 255})
    arguments = ["folder", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "all masks hold nothing but 0 and 255, and 255 is void" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["in"]
    write_array(tmp_path / "in" / "masks" / "a.png", np.ones((24, 32), np.uint8))
    assert main(arguments) == 0


def test_camvid_in_its_11_classes(tmp_path):
    for part in ("train", "val"):
        write_photo(tmp_path / "in" / part / f"{part}.png", (1, 3))
        colours = np.array([[[64, 0, 128], [192, 128, 192], [5, 5, 5]]], np.uint8)
        write_array(tmp_path / "in" / f"{part}_labels" / f"{part}_L.png", colours)
    (tmp_path / "in" / "class_dict.csv").write_text("name,r,g,b\nCar,64,0,128\nTruck_Bus,192,128,192\n")
    arguments = ["camvid", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--grouped"]
    assert main(arguments) == 1  # (5, 5, 5) is in no table
    assert main([*arguments, "--unlisted-is-void"]) == 0
    assert (tmp_path / "out" / "class_names.txt").read_text().split() == list(CAMVID_CLASSES)
    with Image.open(tmp_path / "out" / "SegmentationClass" / "val.png") as picture:
        assert np.asarray(picture).tolist() == [[8, 8, 255]]
        assert picture.convert("RGB").getpixel((0, 0)) == tuple(camvid_palette()[8])


def test_one_image_in_both_parts_is_an_error(tmp_path, capsys):
    write_coco(tmp_path / "in", coco())
    write_coco(tmp_path / "in", coco(), part="train2017")
    assert main(["coco", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    assert "one: more than one record of that name" in capsys.readouterr().err


def test_unknown_formats_and_missing_folders(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["pascal", str(tmp_path), "--out", str(tmp_path / "out")])
    assert main(["labelme", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(tmp_path):
    write_labelme(tmp_path / "in", 4)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "jaxvision.data.convert", "labelme", "in", "--out", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "voc layout of 3 train, 1 val images" in done.stdout
