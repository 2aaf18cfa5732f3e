import numpy as np
import pytest
from oracles.annotation_files import coco, write_array, write_coco, write_panoptic

from jaxvision.data import CocoAnnotations, CocoPanoptic, CocoStuffMaps, open_coco

IDS = np.full((24, 32), 9, np.int64)


def write_all(root):
    write_panoptic(root, IDS, [{"id": 9, "category_id": 3}])
    write_coco(root, coco(), kind="instances")
    write_coco(root, coco(), kind="stuff")
    write_array(root / "stuffthingmaps" / "val2017" / "one.png", np.zeros((24, 32), np.uint8))


@pytest.mark.parametrize("split", ["val", "val2017"])
def test_the_first_that_is_there(tmp_path, split):
    write_all(tmp_path)
    assert isinstance(open_coco(tmp_path, split), CocoPanoptic)
    (tmp_path / "annotations" / "panoptic_val2017.json").unlink()
    assert isinstance(open_coco(tmp_path, split), CocoStuffMaps)
    (tmp_path / "stuffthingmaps" / "val2017" / "one.png").unlink()
    (tmp_path / "stuffthingmaps" / "val2017").rmdir()
    instances = open_coco(tmp_path, split)
    assert isinstance(instances, CocoAnnotations)
    assert instances.class_names == ("background", "car", "brush")
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    assert open_coco(tmp_path, split).class_names == ("car", "brush")


def test_the_one_that_is_asked_for(tmp_path):
    write_all(tmp_path)
    kinds = {"panoptic": CocoPanoptic, "stuffthing": CocoStuffMaps, "instances": CocoAnnotations}
    for kind, reader in kinds.items():
        assert isinstance(open_coco(tmp_path, "val", annotations=kind), reader)
    assert open_coco(tmp_path, "val", annotations="stuff").num_classes == 2


def test_pictures_in_a_folder_images(tmp_path):
    write_all(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    assert len(open_coco(tmp_path, "val")) == 1
    (tmp_path / "images" / "val2017").rename(tmp_path / "away")
    (tmp_path / "images").rmdir()
    with pytest.raises(
        FileNotFoundError, match=r"no folder of pictures of val2017, expected one of .*val2017"
    ):
        open_coco(tmp_path, "val")


def test_maps_beside_the_annotations(tmp_path):
    write_coco(tmp_path, coco())
    write_array(tmp_path / "annotations" / "val2017" / "one_labelTrainIds.png", np.zeros((24, 32), np.uint8))
    assert isinstance(open_coco(tmp_path, "val"), CocoStuffMaps)


def test_absent_and_ambiguous_parts(tmp_path):
    write_all(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"no annotations of 'train', expected one of annotations/panoptic_"
    ):
        open_coco(tmp_path, "train")
    write_coco(tmp_path, coco(), part="val2014", kind="panoptic")
    with pytest.raises(
        ValueError, match=r"'val' could be panoptic_val2014\.json, panoptic_val2017\.json; name"
    ):
        open_coco(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        open_coco(tmp_path / "nowhere", "val")
