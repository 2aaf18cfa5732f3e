import os
import shutil

import numpy as np
import pytest
from oracles.annotation_files import SQUARE, labelme, shape, write_array, write_json, write_labelme
from PIL import Image

from jaxvision.data import ImageMaskFolder, LabelmeFolder, VOCSegmentation, split_by_hash
from jaxvision.data.segmentation_writer import write_segmentation
from jaxvision.pictures import voc_palette

PALETTE = voc_palette()


@pytest.fixture
def source(tmp_path):
    write_labelme(tmp_path / "in", 6)
    array = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    write_array(tmp_path / "in" / "png.png", array)
    write_json(tmp_path / "in" / "png.json", labelme("png.png", [shape("__ignore__", SQUARE)]))
    return LabelmeFolder(tmp_path / "in")


def parts(source):
    train, val = split_by_hash(source)
    return {"train": train, "val": val}


def files(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_layout_of_voc(source, tmp_path):
    written = parts(source)
    report = write_segmentation(written, tmp_path / "out", palette=PALETTE)
    assert report.pixels["road"] > 0
    out = tmp_path / "out"
    assert (out / "class_names.txt").read_text() == "_background_\ncar\nroad\n"
    for split, part in written.items():
        folder = VOCSegmentation(out, split, class_names=source.class_names)
        assert folder.names == part.names
        for index in range(len(part)):
            np.testing.assert_array_equal(folder[index]["mask"], part[index]["mask"])
            difference = folder[index]["image"].astype(int) - part[index]["image"]
            limit = 0 if part.names[index] != "png" else 60
            assert np.abs(difference).max() <= limit
    # A JPEG is the same file; a mask shows VOC's colours.
    assert (out / "JPEGImages" / "a0.jpg").read_bytes() == (tmp_path / "in" / "a0.jpg").read_bytes()
    assert {path.suffix for path in (out / "JPEGImages").iterdir()} == {".jpg"}
    with Image.open(out / "SegmentationClass" / "a1.png") as mask:
        assert mask.mode == "P"
        assert mask.convert("RGB").getpixel((5, 5)) == (128, 0, 0)


def test_the_plain_layout_loses_nothing(source, tmp_path):
    written = parts(source)
    write_segmentation(written, tmp_path / "out", palette=PALETTE, layout="folder")
    for split, part in written.items():
        folder = ImageMaskFolder(tmp_path / "out", split=split)
        assert folder.names == part.names
        assert folder.class_names == source.class_names
        for index in range(len(part)):
            for key in ("image", "mask"):
                np.testing.assert_array_equal(folder[index][key], part[index][key])


def test_a_picture_that_its_exif_turns_is_written_upright(tmp_path):
    (tmp_path / "in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((32, 24, 3), np.uint8)).save(tmp_path / "in" / "a.jpg", exif=exif)
    write_json(tmp_path / "in" / "a.json", labelme("a.jpg", [shape("car", SQUARE)]))
    write_segmentation({"train": LabelmeFolder(tmp_path / "in")}, tmp_path / "out", palette=PALETTE)
    with Image.open(tmp_path / "out" / "JPEGImages" / "a.jpg") as picture:
        assert picture.size == (32, 24)
        assert not picture.getexif()


def test_broken_records_stop_it_and_nothing_is_written(source, tmp_path):
    for name in ("a1", "a4"):
        (tmp_path / "in" / f"{name}.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"(?s)2 of 7 records are broken:.*a4.*a1.*nothing was written"):
        write_segmentation(parts(source), tmp_path / "out", palette=PALETTE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_broken_records_are_skipped_and_reported(source, tmp_path):
    train, val = split_by_hash(source, val_fraction=0.4)
    written = {"train": train, "val": val}
    (tmp_path / "in" / "a1.jpg").write_bytes(b"broken")
    report = write_segmentation(written, tmp_path / "out", palette=PALETTE, skip_broken=True)
    assert len(report.readable) == 6
    assert "a1.jpg" in report.broken[0].reason
    assert not [name for name in files(tmp_path / "out") if "a1" in name]
    listed = [
        *VOCSegmentation(tmp_path / "out", "train", class_names="abc").names,
        *VOCSegmentation(tmp_path / "out", "val", class_names="abc").names,
    ]
    assert sorted(listed) == ["a0", "a2", "a3", "a4", "a5", "png"]


def test_nothing_left_is_an_error(source, tmp_path):
    for path in (tmp_path / "in").glob("*.[jp][pn]g"):
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"(?s)7 of 7 records are broken.*none is left for train, val"):
        write_segmentation(parts(source), tmp_path / "out", palette=PALETTE, skip_broken=True)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_left_alone(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    write_segmentation(parts(source), out, palette=PALETTE)  # an empty one is taken
    before = files(out)
    with pytest.raises(ValueError, match=r"out: is not empty \(ImageSets, JPEGImages, .*allow to overwrite"):
        write_segmentation(parts(source), out, palette=PALETTE, layout="folder")
    assert files(out) == before
    write_segmentation(parts(source), out, palette=PALETTE, layout="folder", overwrite=True)
    assert sorted(os.listdir(out)) == ["classes.txt", "images", "masks", "train.txt", "val.txt"]
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"holds more than such a layout \(thesis\.tex\)"):
        write_segmentation(parts(source), out, palette=PALETTE, overwrite=True)
    assert (out / "thesis.tex").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_an_error_on_the_way_leaves_the_old_folder(source, tmp_path):
    out = tmp_path / "out"
    write_segmentation(parts(source), out, palette=PALETTE)
    before = files(out)
    (tmp_path / "in" / "a1.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match="records are broken"):
        write_segmentation(parts(source), out, palette=PALETTE, overwrite=True)
    assert files(out) == before
    with pytest.raises(ValueError, match="palette"):
        write_segmentation(parts(source), out, palette=PALETTE[:3], overwrite=True, skip_broken=True)
    assert files(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_the_source_itself_is_never_overwritten(source, tmp_path):
    out = tmp_path / "out"
    write_segmentation(parts(source), out, palette=PALETTE, layout="folder")
    itself = {"train": ImageMaskFolder(out)}
    with pytest.raises(ValueError, match="the pictures to convert are in it"):
        write_segmentation(itself, out, palette=PALETTE, layout="folder", overwrite=True)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="file: is a file, expected a folder"):
        write_segmentation(itself, file, palette=PALETTE)


def test_parts_that_do_not_go_together(source, tmp_path):
    with pytest.raises(ValueError, match=r"a0, a1, .*more than one record of that name"):
        write_segmentation({"train": source, "val": source}, tmp_path / "out", palette=PALETTE)
    write_labelme(tmp_path / "other", 1)
    with pytest.raises(ValueError, match="differ in their classes"):
        write_segmentation(
            {"train": source, "val": LabelmeFolder(tmp_path / "other")}, tmp_path / "out", palette=PALETTE
        )


@pytest.mark.parametrize("label", ["a\nb", " car", "b\u2028c", "\ud800"])
def test_names_that_are_no_line(tmp_path, label):
    write_labelme(tmp_path / "in", 1)
    write_json(tmp_path / "in" / "a0.json", labelme("a0.jpg", [shape(label, SQUARE)]))
    with pytest.raises(ValueError, match="cannot be a line of a list"):
        write_segmentation({"train": LabelmeFolder(tmp_path / "in")}, tmp_path / "out", palette=PALETTE)


def test_a_folder_far_down_and_a_folder_behind_a_link(source, tmp_path):
    write_segmentation(parts(source), tmp_path / "x" / "y", palette=PALETTE)
    assert (tmp_path / "x" / "y" / "class_names.txt").exists()
    shutil.rmtree(tmp_path / "x" / "y")
    (tmp_path / "x" / "y").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "x" / "y")
    write_segmentation(parts(source), tmp_path / "link", palette=PALETTE)
    assert (tmp_path / "x" / "y" / "class_names.txt").exists()
    assert (tmp_path / "link").is_symlink()
