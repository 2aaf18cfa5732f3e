import numpy as np
import pytest
from oracles.annotation_files import write_array, write_photo

from jaxvision.data import COCO_STUFF_CLASSES, CocoStuffMaps


def write(root, name, array):
    write_photo(root / "images" / f"{name.removesuffix('_labelTrainIds')}.jpg", array.shape)
    write_array(root / "maps" / f"{name}.png", array)


def opened(root, **options):
    return CocoStuffMaps(root / "images", root / "maps", **options)


def test_the_published_classes():
    assert len(COCO_STUFF_CLASSES) == len(set(COCO_STUFF_CLASSES)) == 171
    names = {0: "person", 10: "fire hydrant", 11: "stop sign", 79: "toothbrush", 80: "banner", 170: "wood"}
    assert {index: COCO_STUFF_CLASSES[index] for index in names} == names


def test_maps_of_label_ids(tmp_path):
    # Values are label ids less 1: id 13, stop sign, is 12; ids 12, 26, ... were dropped.
    write(tmp_path, "a", np.array([[0, 10, 12, 89], [91, 181, 255, 24]], np.uint8))
    folder = opened(tmp_path)
    np.testing.assert_array_equal(folder[0]["mask"], [[0, 10, 11, 79], [80, 170, 255, 23]])
    assert folder.class_names == COCO_STUFF_CLASSES


def test_maps_of_indices_are_taken_where_they_are(tmp_path):
    indices = np.array([[0, 11, 170, 255]], np.uint8)
    write(tmp_path, "a", indices)
    write(tmp_path, "a_labelTrainIds", indices)
    write(tmp_path, "b", indices)
    folder = opened(tmp_path)
    assert folder.names == ("a",)
    np.testing.assert_array_equal(folder[0]["mask"], indices)


def test_values_that_no_map_holds(tmp_path):
    write(tmp_path, "a", np.array([[0, 11, 90, 1]], np.uint8))
    with pytest.raises(
        ValueError, match=r"a\.png: 11 \(street sign\), 90 \(hair brush\), which COCO dropped"
    ):
        opened(tmp_path)[0]
    write(tmp_path, "a", np.array([[182]], np.uint8))
    with pytest.raises(ValueError, match=r"a\.png: class index out of range: 182"):
        opened(tmp_path)[0]
    write(tmp_path, "a_labelTrainIds", np.array([[171]], np.uint8))
    with pytest.raises(ValueError, match=r"a_labelTrainIds\.png: class index out of range: 171"):
        opened(tmp_path)[0]


def test_images_without_a_map_are_left_alone_and_maps_without_image_are_not(tmp_path):
    write(tmp_path, "a", np.zeros((2, 3), np.uint8))
    write_photo(tmp_path / "images" / "more.jpg")
    assert opened(tmp_path).names == ("a",)
    write_array(tmp_path / "maps" / "alone.png", np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match="images: map without image: alone"):
        opened(tmp_path)
    assert len(opened(tmp_path, skip_broken=True).broken) == 1
