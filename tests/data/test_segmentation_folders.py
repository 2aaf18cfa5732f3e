import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from oracles.shared_data import real_file
from PIL import Image

from jaxvision.data import (
    CAMVID_CLASSES,
    VOC_CLASSES,
    CamVidFolder,
    ImageMaskFolder,
    VOCSegmentation,
    check_source,
)

NAMES = ("one", "two.b", "three")  # a dot in a name is no ending


def write_picture(path: Path, number: int, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (number, number, number)).save(path)


def write_mask(path: Path, value: int, size: tuple[int, int] = (8, 6), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new(mode, size)
    picture.putpixel((1, 2), value)
    if mode == "P":
        picture.putpalette([200] * 768)
    picture.save(path)


def write_list(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def voc(tmp_path):
    for number, name in enumerate([*NAMES, "without_mask"]):
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg", 40 * number)
    for number, name in enumerate(NAMES):
        write_mask(tmp_path / "SegmentationClass" / f"{name}.png", (5, 20, 255)[number], mode="P")
    write_list(tmp_path / "ImageSets" / "Segmentation" / "train.txt", "three", "one", "", "two.b")
    return tmp_path


@pytest.fixture
def camvid(tmp_path):
    for number, name in enumerate(NAMES):
        write_picture(tmp_path / "train" / f"{name}.jpg", 40 * number)
        write_mask(tmp_path / "trainannot" / f"{name}.png", (3, 10, 11)[number])
    write_list(tmp_path / "train.txt", *NAMES)
    return tmp_path


@pytest.fixture
def plain(tmp_path):
    for number in range(10):
        write_picture(tmp_path / "images" / f"p{number}.{'png' if number % 2 else 'jpg'}", 10 * number)
        write_mask(tmp_path / "masks" / f"p{number}.png", number % 3)
    write_list(tmp_path / "classes.txt", "field", "road", "tree")
    return tmp_path


def names_of(folder) -> list[str]:
    return [folder[index]["name"] for index in range(len(folder))]


def test_voc_layout(voc):
    folder = VOCSegmentation(voc, "train")
    assert names_of(folder) == ["three", "one", "two.b"]
    assert folder.num_classes == 21
    assert folder.class_names == VOC_CLASSES
    record = folder[1]
    assert record.keys() == {"image", "mask", "name"}
    assert record["image"].shape == (6, 8, 3)
    assert record["image"].dtype == record["mask"].dtype == np.uint8
    wanted = np.zeros((6, 8), np.uint8)
    wanted[2, 1] = 5
    np.testing.assert_array_equal(record["mask"], wanted)
    assert folder[0]["mask"][2, 1] == 255
    assert folder[-1]["name"] == "two.b"
    with pytest.raises(IndexError):
        folder[3]


def test_voc_class_names_are_the_published_ones():
    assert [VOC_CLASSES[index] for index in (0, 1, 7, 15, 20)] == [
        "background",
        "aeroplane",
        "car",
        "person",
        "tv monitor",
    ]
    assert len(VOC_CLASSES) == len(set(VOC_CLASSES)) == 21


def test_voc_layout_with_classes_of_ones_own(voc):
    folder = VOCSegmentation(voc, "train", class_names=[str(index) for index in range(6)])
    assert folder[1]["mask"].max() == 5
    with pytest.raises(
        ValueError, match=r"two\.b\.png: class index out of range: 20 \(1 px\), expected 0\.\.5"
    ):
        folder[2]


@pytest.mark.parametrize(
    "lines",
    [
        NAMES,
        [f"/SegNet/CamVid/train/{name}.png /SegNet/CamVid/trainannot/{name}.png" for name in NAMES],
        [f"train\\{name}.jpg trainannot\\{name}.png" for name in NAMES],
        [f"{name}.png" for name in NAMES],
    ],
)
def test_camvid_lists_of_names_and_of_path_pairs(camvid, lines):
    write_list(camvid / "train.txt", *lines)
    folder = CamVidFolder(camvid, "train")
    assert names_of(folder) == list(NAMES)
    assert folder.class_names == CAMVID_CLASSES
    assert folder.num_classes == 11
    assert [int(folder[index]["mask"][2, 1]) for index in range(3)] == [3, 10, 255]


def test_camvid_masks_may_have_names_of_their_own(camvid):
    for name in NAMES:
        os.rename(camvid / "trainannot" / f"{name}.png", camvid / "trainannot" / f"{name}_L.png")
    write_list(camvid / "train.txt", *[f"train/{name}.png trainannot/{name}_L.png" for name in NAMES])
    assert names_of(CamVidFolder(camvid, "train")) == list(NAMES)


def test_camvid_lines_of_another_form_are_refused(camvid):
    write_list(camvid / "train.txt", "a b c")
    with pytest.raises(
        ValueError, match=r"train\.txt: line 'a b c', expected a name, or an image path and a mask"
    ):
        CamVidFolder(camvid, "train")


def test_plain_layout(plain):
    (plain / "images" / ".hidden.png").write_bytes(b"")
    (plain / "images" / "notes.txt").write_text("not a picture")
    folder = ImageMaskFolder(plain)
    assert names_of(folder) == [f"p{number}" for number in range(10)]
    assert folder.class_names == ("field", "road", "tree")
    assert [int(folder[index]["mask"][2, 1]) for index in range(4)] == [0, 1, 2, 0]
    assert pickle.loads(pickle.dumps(folder))[3]["name"] == "p3"


def test_plain_split_by_hash_is_disjoint_complete_and_repeatable(plain):
    parts = {
        split: names_of(ImageMaskFolder(plain, split=split, val_fraction=0.3)) for split in ("train", "val")
    }
    assert len(parts["val"]) == 3
    assert sorted(parts["train"] + parts["val"]) == [f"p{number}" for number in range(10)]
    assert names_of(ImageMaskFolder(plain, split="val", val_fraction=0.3)) == parts["val"]
    others = {
        tuple(names_of(ImageMaskFolder(plain, split="val", val_fraction=0.3, seed=seed))) for seed in range(5)
    }
    assert len(others) > 1
    # The hash is fixed: a literal keeps every machine and version to it.
    assert parts["val"] == ["p0", "p3", "p6"]


def test_plain_split_by_lists(plain):
    write_list(plain / "val.txt", "p3", "p1.png")
    assert names_of(ImageMaskFolder(plain, split="val")) == ["p3", "p1"]
    write_list(plain / "odd.txt", "p3", "p77")
    with pytest.raises(ValueError, match=r"odd\.txt: name without image: p77"):
        ImageMaskFolder(plain, split="odd")


def test_plain_void_of_ones_own(plain):
    folder = ImageMaskFolder(plain, class_names=["field", "road"], void=2)
    assert folder[2]["mask"][2, 1] == 255


def test_missing_folders_and_lists(tmp_path, voc):
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no such folder; check the root"):
        VOCSegmentation(tmp_path / "nowhere", "train")
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no such folder"):
        CamVidFolder(tmp_path / "nowhere", "train")
    with pytest.raises(FileNotFoundError, match="images: no such folder"):
        ImageMaskFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list; the folder holds train\.txt"):
        VOCSegmentation(voc, "val")


def test_empty_folders_and_lists(plain, voc):
    write_list(voc / "ImageSets" / "Segmentation" / "val.txt", "")
    with pytest.raises(ValueError, match=r"val\.txt: the list is empty"):
        VOCSegmentation(voc, "val")
    for path in (plain / "masks").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"masks: no picture in it, expected files ending in \.png"):
        ImageMaskFolder(plain)


def test_plain_folder_needs_class_names(plain):
    (plain / "classes.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"classes\.txt: no such file; write one class name a line"):
        ImageMaskFolder(plain)
    assert ImageMaskFolder(plain, class_names="abc").num_classes == 3
    with pytest.raises(ValueError, match="got 0 names, expected 1 to 255"):
        ImageMaskFolder(plain, class_names=[])


def test_image_without_mask_is_named(plain, camvid, voc):
    (plain / "masks" / "p4.png").unlink()
    with pytest.raises(
        ValueError, match=r"masks: image without mask: p4; add the missing files .*\(1 in all\)"
    ):
        ImageMaskFolder(plain)
    (camvid / "trainannot" / "one.png").unlink()
    with pytest.raises(ValueError, match="trainannot: image without mask: one"):
        CamVidFolder(camvid, "train")
    (voc / "SegmentationClass" / "two.b.png").unlink()
    with pytest.raises(ValueError, match=r"SegmentationClass: image without mask: two\.b"):
        VOCSegmentation(voc, "train")


def test_mask_without_image_is_named(plain, camvid):
    for number in range(7):
        write_mask(plain / "masks" / f"extra{number}.png", 0)
    with pytest.raises(
        ValueError,
        match=r"mask without image: extra0, extra1, extra2, extra3, extra4 and 2 more.*\(7 in all\)",
    ):
        ImageMaskFolder(plain)
    (camvid / "train" / "one.jpg").unlink()
    with pytest.raises(ValueError, match="train: mask without image: one"):
        CamVidFolder(camvid, "train")


def test_listed_names_without_any_file(camvid):
    write_list(camvid / "train.txt", *NAMES, "four")
    with pytest.raises(ValueError, match="listed without image and mask: four"):
        CamVidFolder(camvid, "train")


def test_names_listed_twice(camvid, voc):
    write_list(camvid / "train.txt", "one", "one")
    with pytest.raises(ValueError, match="listed more than once: one"):
        CamVidFolder(camvid, "train")
    write_list(voc / "ImageSets" / "Segmentation" / "train.txt", "one", "three", "one")
    with pytest.raises(ValueError, match=r"train\.txt: listed more than once: one"):
        VOCSegmentation(voc, "train")


def test_two_files_of_one_name(plain):
    write_picture(plain / "images" / "p1.jpeg", 0)
    with pytest.raises(ValueError, match=r"p1\.jpeg and p1\.png share a name"):
        ImageMaskFolder(plain)


def test_mask_of_another_size(plain):
    write_mask(plain / "masks" / "p2.png", 0, size=(9, 6))
    folder = ImageMaskFolder(plain)
    with pytest.raises(
        ValueError, match=r"p2\.png: the mask is 9x6 .* its image p2\.jpg is 8x6, expected one size"
    ):
        folder[2]


def test_unknown_and_impossible_splits(plain):
    with pytest.raises(ValueError, match=r"got 'test', expected 'train' or 'val'.*needs a list test\.txt"):
        ImageMaskFolder(plain, split="test")
    with pytest.raises(ValueError, match=r"val_fraction: got 1\.0"):
        ImageMaskFolder(plain, split="val", val_fraction=1.0)
    for number in range(1, 10):
        for path in [*plain.glob(f"images/p{number}.*"), plain / "masks" / f"p{number}.png"]:
            path.unlink()
    with pytest.raises(ValueError, match="got 1 image, expected at least 2 to split"):
        ImageMaskFolder(plain, split="val")


def test_check_source_counts_pixels(plain):
    counts = check_source(ImageMaskFolder(plain)).pixels
    # 10 masks of 48 pixels; one pixel of class 1 in p1, p4, p7, of class 2 in p2, p5, p8.
    assert counts == {"field": 474, "road": 3, "tree": 3, "void": 0}


def test_check_source_reports_all_broken_files_at_once(plain):
    folder = ImageMaskFolder(plain)
    write_mask(plain / "masks" / "p1.png", 9)
    write_mask(plain / "masks" / "p3.png", 0, size=(3, 3))
    (plain / "images" / "p4.jpg").write_bytes(b"hello")
    (plain / "images" / "p6.jpg").write_bytes((plain / "images" / "p6.jpg").read_bytes()[:-300])
    (plain / "masks" / "p8.png").unlink()
    Image.new("RGB", (8, 6)).save(plain / "masks" / "p9.png")
    with pytest.raises(ValueError) as caught:
        check_source(folder)
    lines = str(caught.value).splitlines()
    assert lines[0] == "6 of 10 records are broken:"
    expected = [
        "p1.png: class index out of range: 9 (1 px)",
        "p3.png: the mask is 3x3",
        "p4.jpg: not a picture",
        "p6.jpg: damaged or truncated",
        "p8.png: no such file",
        "p9.png: a mask with mode RGB",
    ]
    assert len(lines) == 7
    for line, part in zip(lines[1:], expected, strict=True):
        assert part in line


def test_check_source_finds_masks_of_0_and_255(plain):
    for number in range(10):
        write_mask(plain / "masks" / f"p{number}.png", 255)
    with pytest.raises(ValueError, match="nothing but 0 and 255, and 255 is void"):
        check_source(ImageMaskFolder(plain))


def real_camvid(tmp_path: Path) -> Path:
    """The real CamVid, unpacked where it is only there as a zip."""
    with zipfile.ZipFile(real_file("camvid", "camvid_trainval.zip")) as packed:
        names = packed.namelist()
        wanted = [name for name in names if "/val" in name]
        packed.extractall(tmp_path, wanted)
    return tmp_path / "CamVid"


def test_the_real_camvid(tmp_path):
    folder = CamVidFolder(real_camvid(tmp_path), "val")
    assert len(folder) == 101
    record = folder[0]
    assert record["name"] == "0016E5_07959"
    assert record["image"].shape == (360, 480, 3)
    counts = check_source(folder).pixels
    assert sum(counts.values()) == 101 * 360 * 480
    assert min(counts.values()) > 0
    # What these streets show: road and buildings most, then trees; bright sky above, dark road below.
    assert sorted(counts, key=counts.__getitem__)[-3:] == ["tree", "building", "road"]
    means = {}
    for name in ("sky", "road"):
        mask = record["mask"] == folder.class_names.index(name)
        means[name] = record["image"][mask].mean(), np.nonzero(mask)[0].mean()
    assert means["sky"][0] > means["road"][0] + 50
    assert means["sky"][1] < 120 < 240 < means["road"][1]


def test_skipping_leaves_out_what_has_no_partner(voc, camvid, plain):
    (voc / "SegmentationClass" / "one.png").unlink()
    folder = VOCSegmentation(voc, "train", skip_broken=True)
    assert folder.names == ("three", "two.b")
    assert folder.broken == (f"{voc / 'SegmentationClass'}: image without mask: one",)
    write_list(camvid / "train.txt", *NAMES, "four")
    folder = CamVidFolder(camvid, "train", skip_broken=True)
    assert folder.names == NAMES
    assert len(folder.broken) == 1
    (plain / "masks" / "p0.png").unlink()
    (plain / "images" / "p1.png").unlink()
    write_list(plain / "val.txt", "p0", "p3", "p88")
    folder = ImageMaskFolder(plain, split="val", skip_broken=True)
    assert folder.names == ("p3",)
    assert len(folder.broken) == 3
    assert len(ImageMaskFolder(plain, skip_broken=True)) == 8


def test_nothing_left_lists_what_was_broken(voc):
    for path in (voc / "SegmentationClass").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(ValueError, match=r"(?s)no pair of image and mask.*image without mask: one"):
        VOCSegmentation(voc, "train", skip_broken=True)


def test_classes_of_one_name(plain):
    with pytest.raises(
        ValueError, match="masks: class_names: a more than once; give each class its own name"
    ):
        ImageMaskFolder(plain, class_names=["a", "b", "a"])
