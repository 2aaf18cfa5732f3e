import pickle

import numpy as np
import pytest
from oracles.annotation_files import write_array, write_photo

from jaxvision.data import ADE20K_CLASSES, ADE20KFolder

NAME = "ADE_train_00000001"


def write(root, values, name=NAME, folder="training"):
    write_photo(root / "images" / folder / f"{name}.jpg", values.shape)
    write_array(root / "annotations" / folder / f"{name}.png", values)


def test_the_published_classes():
    assert len(ADE20K_CLASSES) == len(set(ADE20K_CLASSES)) == 150
    names = {0: "wall", 12: "person", 20: "car", 93: "pole", 149: "flag"}
    assert {index: ADE20K_CLASSES[index] for index in names} == names


@pytest.mark.parametrize("split", ["train", "training"])
def test_zero_is_void_and_classes_begin_at_one(tmp_path, split):
    write(tmp_path, np.array([[0, 1, 2, 150]], np.uint8))
    folder = ADE20KFolder(tmp_path, split)
    np.testing.assert_array_equal(folder[0]["mask"], [[255, 0, 1, 149]])
    assert folder.names == (NAME,)
    assert folder.class_names == ADE20K_CLASSES
    assert pickle.loads(pickle.dumps(folder))[0]["mask"].dtype == np.uint8


def test_the_table_of_names(tmp_path):
    write(tmp_path, np.array([[0, 1, 2]], np.uint8), folder="validation")
    table = tmp_path / "objectInfo150.txt"
    table.write_text(
        "Idx\tRatio\tTrain\tVal\t\tName\n1\t0.15\t11664\t1172\t\twall\n2\t0.1\t6046\t612\t\thouse, home\n"
    )
    folder = ADE20KFolder(tmp_path, "val")
    assert folder.class_names == ("wall", "house")
    np.testing.assert_array_equal(folder[0]["mask"], [[255, 0, 1]])
    write(tmp_path, np.array([[3]], np.uint8), folder="validation")
    with pytest.raises(ValueError, match=r"00000001\.png: class index out of range: 3"):
        ADE20KFolder(tmp_path, "val")[0]
    table.write_text("Idx\tName\n2\twall\n")
    with pytest.raises(ValueError, match=r"objectInfo150\.txt: line .*expected 1 first and a name last"):
        ADE20KFolder(tmp_path, "val")


def test_missing_parts(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"images/training: no such folder"):
        ADE20KFolder(tmp_path, "train")
    write(tmp_path, np.zeros((2, 3), np.uint8))
    write(tmp_path, np.full((2, 3), 151, np.uint8), name="b")
    (tmp_path / "images" / "training" / f"{NAME}.jpg").unlink()
    with pytest.raises(ValueError, match="mask without image: ADE_train_00000001"):
        ADE20KFolder(tmp_path, "train")
    folder = ADE20KFolder(tmp_path, "train", skip_broken=True)
    assert folder.names == ("b",)
    assert len(folder.broken) == 1
    with pytest.raises(ValueError, match=r"b\.png: class index out of range: 151"):
        folder[0]
