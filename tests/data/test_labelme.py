import json
import os
import pickle

import numpy as np
import pytest
from oracles.annotation_files import (
    SQUARE,
    TRIANGLE,
    labelme,
    png_text,
    shape,
    write_array,
    write_json,
    write_labelme,
    write_photo,
)
from oracles.labelme_masks import shapes_to_label
from PIL import Image

from jaxvision.data import LabelmeFolder, check_source


def one(root, shapes, **more):
    """The folder of one picture of 24 x 32 with these shapes."""
    write_photo(root / "a.jpg")
    write_json(root / "a.json", labelme("a.jpg", shapes, **more))
    return root


def test_a_folder_of_pictures_and_shapes(tmp_path):
    folder = LabelmeFolder(write_labelme(tmp_path, 3))
    assert folder.class_names == ("_background_", "car", "road")
    assert folder.names == ("a0", "a1", "a2")
    record = folder[1]
    assert record["image"].shape == (24, 32, 3)
    assert record["mask"].dtype == np.uint8
    assert (record["mask"][3:10, 2:11] == 1).all()
    assert record["mask"][12, 20] == 2
    assert record["mask"][0, 0] == 0
    assert folder[-1]["name"] == "a2"
    with pytest.raises(IndexError):
        folder[3]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(folder))[1]["mask"], record["mask"])


def test_masks_are_those_of_labelme(tmp_path):
    flags = np.random.default_rng(0).random((6, 9)) < 0.5
    shapes = [
        shape("road", TRIANGLE),
        shape("car", [[14.0, 5.5], [25.5, 17.25]], "rectangle"),  # over the road
        shape("road", [[19.0, 10.0], [22.0, 12.5]], "circle"),  # within the car
        shape("car", [[0.0, 22.0], [15.0, 15.0], [31.0, 23.0]], "linestrip"),
        shape("tree", [[1.0, 1.0], [12.0, 2.0]], "line"),
        shape("tree", [[28.0, 3.0]], "point"),
        shape("car", [[3.0, 9.0], [11.0, 14.0]], "mask", flags=flags, mask=png_text(flags.astype(np.uint8))),
        shape("tree", [[2.0, 18.0], [6.0, 16.0], [8.0, 20.0], [4.0, 22.0]], "oriented_rectangle"),
    ]
    written = [{key: value for key, value in item.items() if key != "flags"} for item in shapes]
    folder = LabelmeFolder(one(tmp_path, written))
    assert folder.class_names == ("_background_", "car", "road", "tree")
    expected = shapes_to_label((24, 32), shapes, {"car": 1, "road": 2, "tree": 3})
    np.testing.assert_array_equal(folder[0]["mask"], expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3}


def test_later_shapes_lie_over_earlier_ones(tmp_path):
    whole = [[0, 0], [31, 0], [31, 23], [0, 23]]
    inner = LabelmeFolder(one(tmp_path / "inner", [shape("wall", whole), shape("door", SQUARE)]))
    assert np.unique(inner[0]["mask"]).tolist() == [1, 2]
    hidden = LabelmeFolder(one(tmp_path / "hidden", [shape("door", SQUARE), shape("wall", whole)]))
    assert np.unique(hidden[0]["mask"]).tolist() == [2]


def test_ignored_and_background_shapes(tmp_path):
    shapes = [shape("car", TRIANGLE), shape("__ignore__", SQUARE), shape("_background_", [[18, 8]], "point")]
    mask = LabelmeFolder(one(tmp_path, shapes))[0]["mask"]
    assert mask[5, 5] == 255
    assert mask[8, 18] == 0
    assert mask[18, 20] == 1


def test_pixels_without_a_shape_may_be_void(tmp_path):
    folder = LabelmeFolder(one(tmp_path, [shape("car", SQUARE)]), unlabelled="void")
    assert folder.class_names == ("car",)
    assert folder[0]["mask"][5, 5] == 0
    assert folder[0]["mask"][0, 0] == 255


@pytest.mark.parametrize("name", ["labels.txt", "classes.txt"])
def test_labels_by_the_file_in_the_folder(tmp_path, name):
    write_labelme(tmp_path, 2)
    (tmp_path / name).write_text("__ignore__\n_background_\nroad\nlamp\ncar\n")
    folder = LabelmeFolder(tmp_path)
    assert folder.class_names == ("_background_", "road", "lamp", "car")
    assert folder[0]["mask"][5, 5] == 3


def test_labels_by_a_file_of_ones_own(tmp_path):
    write_labelme(tmp_path / "data", 2)
    labels = tmp_path / "mine.txt"
    labels.write_text("road\ncar\n")
    assert LabelmeFolder(tmp_path / "data", labels=labels).class_names == ("_background_", "road", "car")
    void = LabelmeFolder(tmp_path / "data", labels=labels, unlabelled="void")
    assert void.class_names == ("road", "car")
    assert void[0]["mask"][0, 0] == 255
    labels.write_text("road\n")
    with pytest.raises(
        ValueError, match=r"(?s)2 of 2 labelme files.*a0\.json: shapes\[0\]: label 'car' is not"
    ):
        LabelmeFolder(tmp_path / "data", labels=labels)
    labels.write_text("road\n_background_\ncar\n")
    with pytest.raises(ValueError, match=r"mine\.txt: _background_ is not the first class.*move it up"):
        LabelmeFolder(tmp_path / "data", labels=labels)
    labels.write_text("road\ncar\nroad\n")
    with pytest.raises(ValueError, match=r"mine\.txt: listed more than once: road"):
        LabelmeFolder(tmp_path / "data", labels=labels)
    with pytest.raises(FileNotFoundError, match=r"none\.txt: no such list"):
        LabelmeFolder(tmp_path / "data", labels=tmp_path / "none.txt")


def test_the_picture_may_be_embedded(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    content = labelme("gone.png", [shape("car", SQUARE)], imageData=png_text(picture))
    write_json(tmp_path / "a.json", content)
    record = LabelmeFolder(tmp_path)[0]
    np.testing.assert_array_equal(record["image"], picture)
    assert record["mask"][5, 5] == 1
    wrapped = content | {"imageData": "\n".join(content["imageData"][i : i + 60] for i in range(0, 4000, 60))}
    write_json(tmp_path / "a.json", wrapped)
    np.testing.assert_array_equal(LabelmeFolder(tmp_path)[0]["image"], picture)


@pytest.mark.parametrize("path", ["pictures/a.jpg", "pictures\\a.jpg", ".\\pictures\\a.jpg"])
def test_the_picture_may_be_in_a_folder_below(tmp_path, path):
    write_photo(tmp_path / "pictures" / "a.jpg")
    write_json(tmp_path / "a.json", labelme(path, [shape("car", SQUARE)]))
    assert LabelmeFolder(tmp_path)[0]["image"].shape == (24, 32, 3)


def test_the_picture_of_another_machine_is_found_beside_the_file(tmp_path):
    write_photo(tmp_path / "a b.jpg")
    write_json(tmp_path / "a.json", labelme("C:\\photos\\a b.jpg", [shape("car", SQUARE)]))
    assert LabelmeFolder(tmp_path)[0]["image"].shape == (24, 32, 3)


def test_a_picture_that_is_turned_by_its_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (24, 32)).save(tmp_path / "a.jpg", exif=exif)  # upright it is 32 wide
    write_json(tmp_path / "a.json", labelme("a.jpg", [shape("car", SQUARE)]))
    assert LabelmeFolder(tmp_path)[0]["mask"][5, 5] == 1


def test_files_of_old_versions(tmp_path):
    old = labelme("a.jpg", [{"label": "car", "points": SQUARE, "line_color": None}])
    for key in ("imageHeight", "imageWidth", "version", "imageData"):
        del old[key]
    write_photo(tmp_path / "a.jpg")
    write_json(tmp_path / "a.json", old)
    assert LabelmeFolder(tmp_path)[0]["mask"][5, 5] == 1


def test_a_file_without_shapes_is_background(tmp_path):
    write_labelme(tmp_path, 1)
    write_photo(tmp_path / "b.jpg")
    write_json(tmp_path / "b.json", labelme("b.jpg", []))
    folder = LabelmeFolder(tmp_path)
    assert not folder[1]["mask"].any()
    assert check_source(folder).images == {"_background_": 2, "car": 1, "void": 0}


def test_pictures_without_a_file_are_left_alone(tmp_path):
    write_labelme(tmp_path, 2)
    write_photo(tmp_path / "not_yet.jpg")
    write_json(tmp_path / ".hidden.json", {})
    assert len(LabelmeFolder(tmp_path)) == 2


def test_folders_without_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        LabelmeFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no JSON file in it; expected labelme's"):
        LabelmeFolder(tmp_path)
    write_labelme(tmp_path / "below", 1)
    with pytest.raises(ValueError, match="no JSON file in it; give a folder in it: below"):
        LabelmeFolder(tmp_path)


def broken_at_opening():
    """(content of a.json, message)."""
    good = labelme("a.jpg", [shape("car", SQUARE)])
    return [
        ("not json", "not a JSON file"),
        (json.dumps(good)[:-1] + ', "shapes": []}', r"not a JSON file \(the key 'shapes' comes 2 times"),
        ([good], "got a list of 1, expected an object"),
        ({"images": [], "annotations": []}, "'shapes' is missing"),
        (good | {"shapes": {}}, r"shapes: got an object, expected a list"),
        (good | {"shapes": ["car"]}, r"shapes\[0\]: got 'car', expected an object"),
        (good | {"shapes": [{"points": SQUARE}]}, r"shapes\[0\]: 'label' is missing"),
        (good | {"shapes": [shape(3, SQUARE)]}, r"shapes\[0\]: label: got 3, expected a text"),
        (good | {"shapes": [shape(" ", SQUARE)]}, r"shapes\[0\]: the label is empty"),
        ({k: v for k, v in good.items() if k != "imagePath"}, "'imagePath' is missing"),
        (good | {"imagePath": None}, "imagePath: got null, expected a text"),
        (good | {"imagePath": "b.jpg"}, "imagePath 'b.jpg': no such picture; put it beside"),
        (good | {"imagePath": "\0"}, "no such picture"),
        (good | {"imagePath": "x" * 5000}, "no such picture"),
        (good | {"imageData": 5}, "imageData: got 5, expected a text"),
    ]


@pytest.mark.parametrize(("content", "message"), broken_at_opening())
def test_broken_files_are_named_when_the_folder_is_opened(tmp_path, content, message):
    write_labelme(tmp_path, 2)
    write_photo(tmp_path / "a.jpg")
    if isinstance(content, str):
        (tmp_path / "a.json").write_text(content)
    else:
        write_json(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=rf"1 of 3 labelme files are broken:\n  .*a\.json[^\n]*: {message}"):
        LabelmeFolder(tmp_path)
    folder = LabelmeFolder(tmp_path, skip_broken=True)
    assert folder.names == ("a0", "a1")
    assert len(folder.broken) == 1
    assert "a.json" in folder.broken[0]


def test_all_broken_files_are_listed_at_once(tmp_path):
    write_labelme(tmp_path, 4)
    (tmp_path / "a1.json").write_text("{")
    os.remove(tmp_path / "a3.jpg")
    with pytest.raises(ValueError, match=r"(?s)2 of 4 labelme files are broken:.*a1\.json.*a3\.json"):
        LabelmeFolder(tmp_path)
    for name in ("a0", "a2"):
        (tmp_path / f"{name}.json").write_text("{")
    with pytest.raises(ValueError, match=r"(?s)no pair of image and mask.*a0\.json: not a JSON"):
        LabelmeFolder(tmp_path, skip_broken=True)


def test_two_files_of_one_picture(tmp_path):
    write_labelme(tmp_path, 1)
    write_json(tmp_path / "copy.json", json.loads((tmp_path / "a0.json").read_text()))
    with pytest.raises(ValueError, match=r"copy\.json: annotates a0\.jpg as a0\.json does; keep one"):
        LabelmeFolder(tmp_path)


def broken_at_reading():
    """(changes of the file, changes of its shape, message)."""
    far = [[1, 1], [2, 2], [900, 3]]
    flags = png_text(np.ones((4, 5), np.uint8))
    return [
        ({"imageHeight": 25}, {}, r"a\.json: imageHeight is 25 but the picture is 32x24"),
        ({"imageWidth": "32"}, {}, r"a\.json: imageWidth: got '32', expected an integer"),
        ({"imageData": "####"}, {}, r"a\.json: imageData is no base64"),
        ({"imageData": "ö"}, {}, r"a\.json: imageData is no base64"),
        ({"imageData": "AAAA"}, {}, r"a\.json: imageData: not a picture that Pillow can read"),
        ({"imageData": png_text(np.zeros((24, 32), np.uint8))[:60]}, {}, r"a\.json: imageData: "),
        ({}, {"points": None}, r"a\.json: shapes\[0\]: points: got null, expected a list"),
        ({}, {"points": SQUARE[:2]}, r"shapes\[0\]: a polygon of 2 point\(s\), expected at least 3"),
        ({}, {"points": []}, r"shapes\[0\]: a polygon of 0 point\(s\)"),
        ({}, {"points": [[1, 2, 3]] * 3}, r"shapes\[0\]: points\[0\]: got a list of 3"),
        ({}, {"points": [[1, float("nan")]] * 3}, r"points\[0\]: got nan, expected a finite number"),
        ({}, {"points": [[float("inf"), 1]] * 3}, r"points\[0\]: got inf, expected a finite number"),
        ({}, {"points": [["1", 2]] * 3}, r"points\[0\]: got '1', expected a finite number"),
        ({}, {"points": far}, r"points\[2\]: \(900, 3\) is far outside of the image of 32x24"),
        ({}, {"points": [[60, 1], [70, 1], [70, 9]]}, r"shapes\[0\]: the whole polygon lies outside"),
        ({}, {"shape_type": "spline"}, r"shapes\[0\]: shape_type 'spline', expected one of polygon"),
        ({}, {"shape_type": ""}, r"shapes\[0\]: shape_type '', expected one of polygon"),
        ({}, {"shape_type": 0}, r"shapes\[0\]: shape_type: got 0, expected a text"),
        ({}, {"shape_type": []}, r"shapes\[0\]: shape_type: got a list of 0, expected a text"),
        ({}, {"shape_type": 3}, r"shapes\[0\]: shape_type: got 3, expected a text"),
        ({}, {"shape_type": "circle"}, r"shapes\[0\]: a circle of 4 point\(s\), expected 2"),
        ({}, {"shape_type": "mask"}, r"shapes\[0\]: a mask of 4 point\(s\), expected 2 corners"),
        ({}, {"shape_type": "mask", "points": SQUARE[:2]}, r"shapes\[0\]: 'mask' is missing"),
        ({}, {"shape_type": "mask", "points": SQUARE[:2], "mask": "?"}, "mask is no base64"),
        ({}, {"shape_type": "mask", "points": SQUARE[:2], "mask": flags}, "the mask is 5x4 .* those of 9x1"),
    ]


@pytest.mark.parametrize(("more", "changes", "message"), broken_at_reading())
def test_broken_files_are_named_when_they_are_read(tmp_path, more, changes, message):
    write_labelme(tmp_path, 1)
    folder = LabelmeFolder(one(tmp_path, [shape("car", SQUARE) | changes], **more))
    with pytest.raises(ValueError, match=message) as caught:
        folder[0]
    assert "a.json" in str(caught.value)
    report = check_source(folder, skip_broken=True)
    assert report.readable == (1,)
    assert [broken.position for broken in report.broken] == [0]


def test_a_damaged_picture_is_named(tmp_path):
    write_labelme(tmp_path, 1)
    (tmp_path / "a0.jpg").write_bytes((tmp_path / "a0.jpg").read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a0\.jpg: damaged or truncated"):
        LabelmeFolder(tmp_path)[0]


def test_a_colour_picture_as_the_mask_of_a_shape(tmp_path):
    flags = png_text(np.ones((1, 9, 3), np.uint8))
    folder = LabelmeFolder(one(tmp_path, [shape("car", SQUARE[:2], "mask", mask=flags)]))
    with pytest.raises(ValueError, match=r"a\.json: shapes\[0\]: mask: a picture with mode RGB"):
        folder[0]


def test_a_label_that_is_new_since_the_folder_was_opened(tmp_path):
    folder = LabelmeFolder(write_labelme(tmp_path, 1))
    write_json(tmp_path / "a0.json", labelme("a0.jpg", [shape("bus", SQUARE)]))
    with pytest.raises(ValueError, match=r"a0\.json: shapes\[0\]: label 'bus' is new; open the folder anew"):
        folder[0]


def test_a_mask_that_reaches_over_the_border_is_cut_off(tmp_path):
    flags = png_text(np.ones((4, 6), np.uint8))
    points = [[-3.0, 22.0], [2.0, 25.0]]
    mask = LabelmeFolder(one(tmp_path, [shape("car", points, "mask", mask=flags)]))[0]["mask"]
    expected = np.zeros((24, 32), np.uint8)
    expected[22:, :3] = 1
    np.testing.assert_array_equal(mask, expected)


def test_a_sixteen_bit_picture(tmp_path):
    write_array(tmp_path / "a.png", np.full((24, 32), 257 * 9, np.uint16))
    write_json(tmp_path / "a.json", labelme("a.png", [shape("car", SQUARE)]))
    assert (LabelmeFolder(tmp_path)[0]["image"] == 9).all()
