import typing

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

from jaxvision import pictures
from jaxvision.data import (
    ADE20K_CLASSES,
    CITYSCAPES_CLASSES,
    VOC_CLASSES,
    FormatOptions,
    SegmentationFormat,
    has_test_part,
    open_parts,
    open_split,
    palette_of,
    without_broken,
)

ZEROS = np.zeros((24, 32), np.uint8)


def write_voc(root, masks="SegmentationClass", train="train"):
    for name in ("a", "b"):
        write_photo(root / "JPEGImages" / f"{name}.jpg")
        write_array(root / masks / f"{name}.png", ZEROS)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / f"{train}.txt").write_text("a")
    (lists / "val.txt").write_text("b")


def write_plain(root):
    for name in ("a", "b"):
        write_photo(root / "images" / f"{name}.jpg")
        write_array(root / "masks" / f"{name}.png", ZEROS)
    (root / "classes.txt").write_text("x\ny")


def write_camvid(root):
    for part in ("train", "val"):
        write_photo(root / part / "a.png")
        write_array(root / f"{part}annot" / "a.png", ZEROS)
        (root / f"{part}.txt").write_text("a")


def write_ade20k(root):
    for part in ("training", "validation"):
        write_photo(root / "images" / part / "a.jpg")
        write_array(root / "annotations" / part / "a.png", ZEROS)


def write_all(kind, root):
    """A folder of the kind, and the classes that are found in it."""
    if kind == "cityscapes":
        write_cityscapes(root), write_cityscapes(root, split="val")
    elif kind == "coco":
        write_coco(root, coco()), write_coco(root, coco(), part="train2017")
    else:
        writers = {
            "ade20k": write_ade20k,
            "camvid": write_camvid,
            "folder": write_plain,
            "labelme": lambda root: write_labelme(root, 4),
            "voc": write_voc,
            "voc_aug": lambda root: write_voc(root, "SegmentationClassAug", "trainaug"),
        }
        writers[kind](root)


@pytest.mark.parametrize("kind", typing.get_args(SegmentationFormat))
def test_every_format_opens_by_its_name(tmp_path, kind):
    write_all(kind, tmp_path)
    parts = open_parts(kind, tmp_path, FormatOptions())
    assert list(parts) == ["train", "val"]
    train, val = parts.values()
    assert len(train) > 0
    assert len(val) > 0
    assert train.class_names == val.class_names
    assert {*train[0]} == {"image", "mask", "name"}
    known = {
        "ade20k": ADE20K_CLASSES,
        "cityscapes": CITYSCAPES_CLASSES,
        "voc": VOC_CLASSES,
        "folder": ("x", "y"),
    }
    assert train.class_names == known.get(kind, train.class_names)
    kept, report = without_broken(train)
    assert len(kept) == len(train)
    assert report.broken == ()


def test_the_split_of_labelme_follows_the_options(tmp_path):
    write_labelme(tmp_path, 10)
    sizes = [len(part) for part in open_parts("labelme", tmp_path, FormatOptions(val_fraction=0.4)).values()]
    assert sizes == [6, 4]
    first, second = (
        open_parts("labelme", tmp_path, FormatOptions(seed=seed), parts=["val"])["val"].names
        for seed in (0, 1)
    )
    assert first != second
    assert len(open_split("labelme", tmp_path, None, FormatOptions())) == 10


def test_names_by_a_file(tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("p\nq\n")
    options = FormatOptions(labels=labels)
    write_plain(tmp_path / "plain")
    assert open_parts("folder", tmp_path / "plain", options)["train"].class_names == ("p", "q")
    write_voc(tmp_path / "voc")
    assert open_parts("voc", tmp_path / "voc", options)["train"].class_names == ("p", "q")
    (tmp_path / "voc" / "class_names.txt").write_text("own\n")
    assert open_parts("voc", tmp_path / "voc", FormatOptions())["train"].class_names == ("own",)


def test_options_that_do_not_fit(tmp_path):
    labels = FormatOptions(labels=tmp_path)
    with pytest.raises(ValueError, match="labels: only labelme and folder and voc can have it"):
        open_parts("cityscapes", tmp_path, labels)
    with pytest.raises(ValueError, match="annotations: only coco can have it, and this is voc; leave it out"):
        open_parts("voc", tmp_path, FormatOptions(annotations="stuff"))
    with pytest.raises(ValueError, match="coarse: only cityscapes can have it"):
        open_parts("coco", tmp_path, FormatOptions(coarse=True))
    with pytest.raises(ValueError, match="labelme has no part 'val'"):
        open_split("labelme", tmp_path, "val", FormatOptions())
    with pytest.raises(ValueError, match="voc comes in parts: name one"):
        open_split("voc", tmp_path, None, FormatOptions())


def test_coarse_annotations_and_kinds_of_coco(tmp_path):
    write_coco(tmp_path, coco(), kind="stuff")
    write_coco(tmp_path, coco())
    source = open_split("coco", tmp_path, "val", FormatOptions(annotations="stuff"))
    assert source.class_names == ("car", "brush")
    write_cityscapes(tmp_path)
    with pytest.raises(FileNotFoundError, match="gtCoarse/train: no such folder"):
        open_split("cityscapes", tmp_path, "train", FormatOptions(coarse=True))


def test_broken_records_are_left_out(tmp_path):
    write_labelme(tmp_path, 4)
    (tmp_path / "a0.json").write_text("{")
    (tmp_path / "a1.jpg").write_bytes(b"broken")
    source = open_split("labelme", tmp_path, None, FormatOptions(skip_broken=True))
    kept, report = without_broken(source)
    assert kept.names == ("a2", "a3")
    assert len(kept.broken) == len(report.broken) == 2
    for number in (2, 3):
        (tmp_path / f"a{number}.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"(?s)no record left of 3.*a1\.jpg"):
        without_broken(source)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("voc", {"unlabelled": "void"}),
        ("camvid", {"drawn": True}),
        ("folder", {"grouped": True}),
        ("cityscapes", {"unlisted_is_void": True}),
    ],
)
def test_each_option_is_of_its_formats(tmp_path, kind, options):
    with pytest.raises(ValueError, match=rf"{next(iter(options))}: only \w+ can have it, and this is {kind}"):
        open_parts(kind, tmp_path, FormatOptions(**options))


def test_options_reach_their_readers(tmp_path):
    write_labelme(tmp_path / "labelme", 4)
    void = open_split("labelme", tmp_path / "labelme", None, FormatOptions(unlabelled="void"))
    assert void.class_names == ("car", "road")
    assert (void[0]["mask"] == 255).any()
    write_cityscapes(tmp_path / "city")
    drawn = open_split("cityscapes", tmp_path / "city", "train", FormatOptions(drawn=True))
    assert drawn.pairs[0][2].name.endswith("_polygons.json")
    for part in ("train", "val"):
        write_photo(tmp_path / "camvid" / part / f"{part}.png")
        write_photo(tmp_path / "camvid" / f"{part}_labels" / f"{part}.png", grey=9)
    (tmp_path / "camvid" / "class_dict.csv").write_text("name,r,g,b\nSky,1,2,3\n")
    with pytest.raises(ValueError, match="colours that are not in the table"):
        open_split("camvid", tmp_path / "camvid", "val", FormatOptions())[0]
    loose = open_split(
        "camvid", tmp_path / "camvid", "val", FormatOptions(unlisted_is_void=True, grouped=True)
    )
    assert (loose[0]["mask"] == 255).all()
    assert loose.num_classes == 11


def test_a_test_part_with_masks_is_found_and_opened(tmp_path):
    for kind in typing.get_args(SegmentationFormat):
        assert not has_test_part(kind, tmp_path / "absent")
    write_voc(tmp_path / "voc")
    lists = tmp_path / "voc" / "ImageSets" / "Segmentation"
    (lists / "test.txt").write_text("c\n")
    assert not has_test_part("voc", tmp_path / "voc")  # as of VOC 2012, whose masks are not published
    write_photo(tmp_path / "voc" / "JPEGImages" / "c.jpg")
    write_array(tmp_path / "voc" / "SegmentationClass" / "c.png", ZEROS)
    write_plain(tmp_path / "plain")
    (tmp_path / "plain" / "test.txt").write_text("b")
    for name, part in (("d", "images"), ("d", "masks")):
        write_array(tmp_path / "plain" / part / f"{name}.png", ZEROS)
    write_camvid(tmp_path / "camvid")
    write_photo(tmp_path / "camvid" / "test" / "t.png")
    write_array(tmp_path / "camvid" / "testannot" / "t.png", ZEROS)
    (tmp_path / "camvid" / "test.txt").write_text("t")
    for kind, root, name in (("voc", "voc", "c"), ("folder", "plain", "b"), ("camvid", "camvid", "t")):
        parts = open_parts(kind, tmp_path / root, FormatOptions())
        assert list(parts) == ["train", "val", "test"]
        assert parts["test"].names == (name,)
        assert name == "t" or not {name} & {*parts["train"].names, *parts["val"].names}
        assert list(open_parts(kind, tmp_path / root, FormatOptions(), parts=["test"])) == ["test"]
    (tmp_path / "colours" / "test_labels").mkdir(parents=True)
    assert has_test_part("camvid", tmp_path / "colours")
    write_labelme(tmp_path / "labelme", 3)
    with pytest.raises(ValueError, match="labelme has no part 'test'"):
        open_parts("labelme", tmp_path / "labelme", FormatOptions(), parts=["test"])


def test_one_part_is_opened_without_the_others(tmp_path):
    write_camvid(tmp_path)
    (tmp_path / "train.txt").write_text("missing")
    assert list(open_parts("camvid", tmp_path, FormatOptions(), parts=["val"])) == ["val"]
    with pytest.raises(ValueError, match="missing"):
        open_parts("camvid", tmp_path, FormatOptions())


def test_colours_by_format(tmp_path):
    np.testing.assert_array_equal(palette_of("labelme"), pictures.voc_palette())
    np.testing.assert_array_equal(palette_of("digits"), pictures.digit_scenes_palette())
    np.testing.assert_array_equal(palette_of("cityscapes", root=tmp_path), pictures.cityscapes_palette())
    np.testing.assert_array_equal(palette_of("camvid", root=tmp_path), pictures.camvid_palette())
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nVoid,7,7,7\nSky,1,2,3\n")
    assert palette_of("camvid", root=tmp_path)[:2].tolist() == [[1, 2, 3], [0, 0, 0]]
    np.testing.assert_array_equal(
        palette_of("camvid", root=tmp_path, grouped=True), pictures.camvid_palette()
    )
