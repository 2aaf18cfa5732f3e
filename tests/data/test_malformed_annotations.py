"""Whatever a file of annotations holds, a reader gives a right mask or an error that names the file."""

import copy
import functools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.annotation_files import (
    SQUARE,
    TRIANGLE,
    coco,
    labelme,
    png_text,
    shape,
    write_array,
    write_cityscapes,
    write_coco,
    write_panoptic,
    write_photo,
)
from oracles.expected_masks import cityscapes_mask, coco_mask, labelme_mask, panoptic_mask

from jaxvision.data import (
    CityscapesFolder,
    CocoAnnotations,
    CocoPanoptic,
    LabelmeFolder,
    VOCSegmentation,
    report_source,
)

many = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Pillow warns of damage that it reads past; what it returns is checked all the same.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**400, -(2**70), 2**40, 255, 256, 90, 7]),
    st.floats(),
    st.sampled_from(
        ["", "car", "road", "one.jpg", "a.jpg", "..", "\0", "ö", "\ud800", "x" * 5000, "mask", "circle"]
    ),
    st.text(max_size=5),
    st.lists(st.floats(-50, 50) | st.text(max_size=2), max_size=6),
    st.lists(st.lists(st.floats(-9, 40) | st.none(), max_size=7), max_size=3),
    st.dictionaries(st.sampled_from(["size", "counts", "id", "label"]), st.integers(0, 99), max_size=2),
)


def places(value, path=()):
    """The paths to all values within a value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


@st.composite
def mutated(draw, content):
    """A valid file with one to three values changed, removed or doubled."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([path for path in places(content) if path] or [("lost",)]))
        owner = content
        for key in way:
            owner = owner[key]
        act = draw(st.sampled_from(["change", "remove", "double"]))
        if act == "change" or last == "lost":
            owner[last] = draw(odd)
        elif act == "remove":
            del owner[last]
        elif isinstance(owner, list):
            owner.append(copy.deepcopy(owner[last]))
    return content


@st.composite
def damaged(draw, data):
    """The bytes of a file with some changed, cut off or put in."""
    content = bytearray(data)
    for _ in range(draw(st.integers(0, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    content = content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content
    return (
        draw(st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"P5 4 4 255\n", b"II*\0"]))
        + bytes(content)
        if draw(st.booleans())
        else bytes(content)
    )


def check(opened, *names, wanted=None):
    """Opens and reads all records; errors must be of two kinds and name one of the files.

    What is read must be the mask that ``wanted`` makes of the source and the record.
    """

    def named(text):
        assert any(name in text for name in names), text

    for skip in (False, True):
        try:
            source = opened(skip)
        except (ValueError, OSError) as error:
            named(str(error))
            continue
        for reason in source.broken:
            named(reason)
        for index in range(len(source)):
            try:
                record = source[index]
            except (ValueError, OSError) as error:
                named(str(error))
                continue
            mask, image = record["mask"], record["image"]
            assert image.dtype == mask.dtype == np.uint8
            assert image.shape == (*mask.shape, 3)
            assert ((mask < source.num_classes) | (mask == 255)).all()
            if wanted is not None:
                expected, sure = wanted(source, record)
                np.testing.assert_array_equal(np.where(sure, mask, 0), np.where(sure, expected, 0))
        report = report_source(source)
        assert len(report.readable) + len(report.broken) == len(source) + len(source.broken)


FLAGS = np.eye(7, 9, dtype=np.uint8)
LABELME = labelme(
    "a.jpg",
    [
        shape("car", SQUARE),
        shape("road", TRIANGLE),
        shape("car", SQUARE[:2], "circle"),
        shape("road", [[2.0, 3.0], [10.0, 9.0]], "mask", mask=png_text(FLAGS)),
        shape("__ignore__", SQUARE[:2], "line"),
    ],
)


@many
@given(mutated(LABELME))
def test_labelme(tmp_path, content):
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text(json.dumps(content))
    wanted = functools.partial(labelme_mask, content)
    check(lambda skip: LabelmeFolder(tmp_path, skip_broken=skip), "a.json", wanted=wanted)


@many
@given(mutated(LABELME))
def test_labelme_with_labels(tmp_path, content):
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\nroad\ncar")
    (tmp_path / "a.json").write_text(json.dumps(content))
    wanted = functools.partial(labelme_mask, content, rest=255)
    check(lambda skip: LabelmeFolder(tmp_path, skip_broken=skip, unlabelled="void"), "a.json", wanted=wanted)


@many
@given(damaged(json.dumps(LABELME).encode()))
def test_labelme_of_damaged_bytes(tmp_path, content):
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_bytes(content)
    check(lambda skip: LabelmeFolder(tmp_path, skip_broken=skip), "a.json")


RUNS = {"size": [24, 32], "counts": [100, 5, 19, 5, 639]}
COCO = coco(
    annotations=[
        {
            "id": 1,
            "image_id": 7,
            "category_id": 90,
            "iscrowd": 0,
            "segmentation": [[2, 3, 10, 3, 10, 9, 2, 9]],
        },
        {"id": 2, "image_id": 7, "category_id": 3, "iscrowd": 0, "segmentation": RUNS},
        {
            "id": 3,
            "image_id": 7,
            "category_id": 3,
            "iscrowd": 1,
            "segmentation": RUNS | {"counts": "P35n0PP1"},
        },
    ]
)


@many
@given(mutated(COCO), st.sampled_from(["background", None]))
def test_coco(tmp_path, content, background):
    path = write_coco(tmp_path, coco())
    path.write_text(json.dumps(content))
    check(
        lambda skip: CocoAnnotations(tmp_path / "val2017", path, background=background, skip_broken=skip),
        "instances_val2017.json",
        wanted=functools.partial(coco_mask, content, background=background is not None),
    )


@many
@given(damaged(json.dumps(COCO).encode()))
def test_coco_of_damaged_bytes(tmp_path, content):
    path = write_coco(tmp_path, coco())
    path.write_bytes(content)
    check(
        lambda skip: CocoAnnotations(tmp_path / "val2017", path, skip_broken=skip), "instances_val2017.json"
    )


IDS = np.repeat(np.array([0, 300, 70_000, 5]), 8)[None].repeat(24, 0)
SEGMENTS = [{"id": number, "category_id": 3, "iscrowd": 0, "area": 192} for number in (300, 70_000, 5)]


@many
@given(st.data())
def test_panoptic(tmp_path, data):
    path = write_panoptic(tmp_path, IDS, SEGMENTS)
    content = data.draw(mutated(json.loads(path.read_text())))
    path.write_text(json.dumps(content))
    wanted = functools.partial(panoptic_mask, content, IDS)
    opened = functools.partial(CocoPanoptic, tmp_path / "val2017", path)
    check(lambda skip: opened(skip_broken=skip), "panoptic_val2017", wanted=wanted)


@many
@given(st.data())
def test_cityscapes(tmp_path, data):
    path = write_cityscapes(tmp_path)
    content = data.draw(mutated(json.loads(path.read_text())))
    path.write_text(json.dumps(content))
    wanted = functools.partial(cityscapes_mask, content)
    check(lambda skip: CityscapesFolder(tmp_path, "train", skip_broken=skip), path.name, wanted=wanted)


def png_bytes(folder: Path, array: np.ndarray) -> bytes:
    write_array(folder / "whole.png", array)
    return (folder / "whole.png").read_bytes()


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 3)], ids=["indices", "colours"])
@many
@given(st.data())
def test_masks_of_damaged_bytes(tmp_path, shape, data):
    content = data.draw(damaged(png_bytes(tmp_path, np.ones(shape, np.uint8))))
    write_photo(tmp_path / "JPEGImages" / "a.jpg")
    (tmp_path / "SegmentationClass").mkdir(exist_ok=True)
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(content)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "train.txt").write_text("a")
    check(lambda skip: VOCSegmentation(tmp_path, "train", skip_broken=skip), "a.png")


@many
@given(st.data())
def test_panoptic_pngs_of_damaged_bytes(tmp_path, data):
    path = write_panoptic(tmp_path, IDS, SEGMENTS)
    png = path.with_suffix("") / "one.png"
    png.write_bytes(data.draw(damaged(png.read_bytes())))
    check(lambda skip: CocoPanoptic(tmp_path / "val2017", path, skip_broken=skip), "one.png")


@many
@given(st.data())
def test_pictures_of_damaged_bytes(tmp_path, data):
    write_cityscapes(tmp_path)
    (picture,) = (tmp_path / "leftImg8bit").rglob("*.png")
    write_photo(picture)
    picture.write_bytes(data.draw(damaged(picture.read_bytes())))
    check(lambda skip: CityscapesFolder(tmp_path, "train", skip_broken=skip), picture.name, "polygons.json")


@many
@given(st.binary(max_size=300))
def test_lists_of_any_bytes(tmp_path, content):
    write_photo(tmp_path / "JPEGImages" / "a.jpg")
    write_array(tmp_path / "SegmentationClass" / "a.png", np.ones((24, 32), np.uint8))
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "train.txt").write_bytes(content)
    check(
        lambda skip: VOCSegmentation(tmp_path, "train", skip_broken=skip), "train.txt", "JPEGImages", "a.png"
    )
