import json
import pickle

import numpy as np
import pytest
from oracles.annotation_files import write_array, write_cityscapes, write_json, write_photo
from PIL import Image, ImageDraw

from jaxvision.data import CITYSCAPES_CLASSES, CITYSCAPES_LABELS, CityscapesFolder, check_source

NAME = "aachen_000000_000019"


def test_the_published_table():
    by_id = dict(enumerate(CITYSCAPES_LABELS))
    assert len(by_id) == 34
    expected = {
        0: 255,
        6: 255,
        7: 0,
        8: 1,
        11: 2,
        17: 5,
        18: 255,
        19: 6,
        23: 10,
        24: 11,
        28: 15,
        29: 255,
        31: 16,
    }
    assert {key: by_id[key][1] for key in expected} == expected
    assert by_id[33] == ("bicycle", 18)
    assert len(CITYSCAPES_CLASSES) == 19
    assert [CITYSCAPES_CLASSES[i] for i in (0, 8, 11, 18)] == ["road", "vegetation", "person", "bicycle"]
    assert [index for _, index in CITYSCAPES_LABELS if index != 255] == list(range(19))


def test_polygons_are_drawn_as_the_published_script_draws_them(tmp_path):
    path = write_cityscapes(tmp_path)
    folder = CityscapesFolder(tmp_path, "train")
    assert folder.names == (NAME,)
    record = folder[0]
    # json2labelImg: no outline, later over earlier, "group" cut off, plates (id -1) not drawn.
    canvas = Image.new("L", (32, 24), 255)
    draw = ImageDraw.Draw(canvas)
    road, cars, _ = json.loads(path.read_text())["objects"]
    draw.polygon([tuple(point) for point in road["polygon"]], fill=0)
    draw.polygon([tuple(point) for point in cars["polygon"]], fill=13)
    np.testing.assert_array_equal(record["mask"], np.array(canvas))
    assert record["mask"][14, 6] == 13
    assert record["image"].shape == (24, 32, 3)
    assert pickle.loads(pickle.dumps(folder))[0]["name"] == NAME


def test_masks_of_ids_and_of_indices(tmp_path):
    path = write_cityscapes(tmp_path)
    ids = np.arange(24 * 32, dtype=np.uint8).reshape(24, 32) % 34
    write_array(path.with_name(f"{NAME}_gtFine_labelIds.png"), ids)
    expected = np.array([index for _, index in CITYSCAPES_LABELS], np.uint8)[ids]
    np.testing.assert_array_equal(CityscapesFolder(tmp_path, "train")[0]["mask"], expected)
    indices = np.full((24, 32), 18, np.uint8)
    indices[0] = 255
    write_array(path.with_name(f"{NAME}_gtFine_labelTrainIds.png"), indices)
    np.testing.assert_array_equal(CityscapesFolder(tmp_path, "train")[0]["mask"], indices)
    assert CityscapesFolder(tmp_path, "train", drawn=True)[0]["mask"][14, 6] == 13
    assert CityscapesFolder(tmp_path, "train").class_names == CITYSCAPES_CLASSES


def test_coarse_annotations_and_all_cities(tmp_path):
    for name in ("ulm_000001_000019", "bonn_000001_000019"):
        path = write_cityscapes(tmp_path, name, "train_extra")
        coarse = (
            tmp_path / "gtCoarse" / "train_extra" / path.parent.name / path.name.replace("gtFine", "gtCoarse")
        )
        write_json(coarse, json.loads(path.read_text()))
    folder = CityscapesFolder(tmp_path, "train_extra", annotations="gtCoarse")
    assert folder.names == ("bonn_000001_000019", "ulm_000001_000019")
    assert check_source(folder).pixels["road"] > 0


def test_a_deleted_object_is_not_drawn(tmp_path):
    path = write_cityscapes(tmp_path)
    content = json.loads(path.read_text())
    content["objects"][1]["deleted"] = 1
    write_json(path, content)
    assert CityscapesFolder(tmp_path, "train")[0]["mask"][14, 6] == 0
    content["objects"][1]["deleted"] = "false"
    write_json(path, content)
    with pytest.raises(ValueError, match=r"objects\[1\]: deleted: got 'false', expected 0 or 1"):
        CityscapesFolder(tmp_path, "train")[0]


def test_missing_folders_and_pairs(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit/train: no such folder"):
        CityscapesFolder(tmp_path, "train")
    path = write_cityscapes(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gtCoarse/train: no such folder"):
        CityscapesFolder(tmp_path, "train", annotations="gtCoarse")
    write_photo(tmp_path / "leftImg8bit" / "train" / "ulm" / "ulm_1_1_leftImg8bit.png")
    with pytest.raises(ValueError, match=r"gtFine/train: image without mask: ulm_1_1"):
        CityscapesFolder(tmp_path, "train")
    write_json(path.with_name("aachen_2_2_gtFine_polygons.json"), {})
    folder = CityscapesFolder(tmp_path, "train", skip_broken=True)
    assert folder.names == (NAME,)
    assert len(folder.broken) == 2
    for picture in (tmp_path / "leftImg8bit").rglob("*.png"):
        picture.unlink()
    with pytest.raises(
        ValueError, match=r"leftImg8bit/train: no image in it, expected <city>/\*_leftImg8bit\.png"
    ):
        CityscapesFolder(tmp_path, "train")


OBJECT = {"label": "road", "polygon": [[0, 0], [9, 0], [9, 9]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "got a list of 0, expected an object"),
        ({"imgHeight": 24, "imgWidth": 32}, "'objects' is missing, expected a list"),
        ({"imgHeight": 24, "objects": []}, "'imgWidth' is missing"),
        ({"imgHeight": 24.0, "imgWidth": 32, "objects": []}, "imgHeight: got 24.0, expected an integer"),
        (
            {"imgHeight": 32, "imgWidth": 24, "objects": []},
            "imgWidth x imgHeight is 24x32 but the image is 32x24",
        ),
        ([OBJECT, 5], r"objects\[1\]: got 5, expected an object"),
        ([{"polygon": OBJECT["polygon"]}], r"objects\[0\]: 'label' is missing"),
        ([OBJECT | {"label": "roat"}], r"objects\[0\]: label 'roat', expected one of Cityscapes'"),
        ([OBJECT | {"label": "group"}], r"objects\[0\]: label 'group', expected one of"),
        ([OBJECT | {"label": None}], r"objects\[0\]: label: got null, expected a text"),
        ([{"label": "road"}], r"objects\[0\]: 'polygon' is missing"),
        (
            [OBJECT | {"polygon": [[1, 2], [3, 4]]}],
            r"objects\[0\]: a polygon of 2 point\(s\), expected at least 3",
        ),
        ([OBJECT | {"polygon": [[1, 2], [3, 4], [5]]}], r"objects\[0\]: polygon\[2\]: got a list of 1"),
        ([OBJECT | {"polygon": [[1, 2], [3, 4], [5, 1e9]]}], r"polygon\[2\]: \(5, 1e\+09\) is far outside"),
    ],
)
def test_broken_polygons_are_named(tmp_path, content, message):
    path = write_cityscapes(tmp_path)
    if isinstance(content, list) and content:
        content = {"imgHeight": 24, "imgWidth": 32, "objects": content}
    write_json(path, content)
    folder = CityscapesFolder(tmp_path, "train")
    with pytest.raises(ValueError, match=message) as caught:
        folder[0]
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        (
            "labelIds",
            np.full((24, 32), 34, np.uint8),
            r"class index out of range: 34 \(768 px\), expected 0\.\.33",
        ),
        ("labelTrainIds", np.full((24, 32), 19, np.uint8), r"out of range: 19 .*expected 0\.\.18"),
        ("labelIds", np.zeros((24, 32, 3), np.uint8), "a mask with mode RGB, expected one channel"),
        ("labelIds", np.full((24, 32), 4000, np.uint16), "out of range: 4000"),
        ("labelIds", np.zeros((23, 32), np.uint8), "the mask is 32x23 .* is 32x24, expected one size"),
    ],
)
def test_broken_masks_are_named(tmp_path, kind, array, message):
    path = write_cityscapes(tmp_path).with_name(f"{NAME}_gtFine_{kind}.png")
    write_array(path, array)
    with pytest.raises(
        ValueError, match=rf"{path.name}: .*{message}" if "mask is" not in message else message
    ):
        CityscapesFolder(tmp_path, "train")[0]
