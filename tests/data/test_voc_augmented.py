import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.annotation_files import write_array, write_photo
from scipy.io import savemat

from jaxvision.data import VOC_CLASSES, SBDFolder, VOCAugmented, open_voc_augmented

MASK = np.array([[0, 20, 255], [5, 5, 0]], np.uint8)


def write_list(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines))


def write_mat(path, mask, field="Segmentation"):
    """As SBD's files are: a struct with the mask and what else belongs to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"GTcls": {"Boundaries": np.zeros((20, 1)), field: mask, "CategoriesPresent": [5, 20]}})


@pytest.fixture
def voc(tmp_path):
    for name in ("a", "b", "c"):
        write_photo(tmp_path / "JPEGImages" / f"{name}.jpg", (2, 3))
    write_array(tmp_path / "SegmentationClassAug" / "a.png", MASK)
    write_array(tmp_path / "SegmentationClassAug" / "b.png", MASK)
    write_array(tmp_path / "SegmentationClass" / "b.png", np.zeros_like(MASK))
    write_array(tmp_path / "SegmentationClass" / "c.png", np.ones_like(MASK))
    write_list(tmp_path / "ImageSets" / "Segmentation" / "trainaug.txt", "a", "b")
    write_list(tmp_path / "ImageSets" / "Segmentation" / "val.txt", "c")
    return tmp_path


@pytest.fixture
def sbd(tmp_path):
    for name in ("a", "b"):
        write_photo(tmp_path / "dataset" / "img" / f"{name}.jpg", (2, 3))
        write_mat(tmp_path / "dataset" / "cls" / f"{name}.mat", MASK)
    write_list(tmp_path / "dataset" / "train.txt", "a", "b")
    write_list(tmp_path / "dataset" / "val.txt", "b")
    return tmp_path


def test_the_png_layout(voc):
    folder = open_voc_augmented(voc, "train")
    assert isinstance(folder, VOCAugmented)
    assert folder.names == ("a", "b")
    assert folder.class_names == VOC_CLASSES
    np.testing.assert_array_equal(folder[0]["mask"], MASK)
    np.testing.assert_array_equal(folder[1]["mask"], MASK)  # the augmented one goes before VOC's own
    assert (open_voc_augmented(voc, "val")[0]["mask"] == 1).all()


def test_lists_of_other_names_and_of_paths(voc):
    lists = voc / "ImageSets" / "Segmentation"
    (lists / "trainaug.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"trainaug\.txt: no such list; the folder holds val\.txt"):
        VOCAugmented(voc, "train")
    write_list(lists / "train_aug.txt", "/JPEGImages/b.jpg /SegmentationClassAug/b.png")
    assert VOCAugmented(voc, "train").names == ("b",)
    write_list(lists / "train_aug.txt", "a b c")
    with pytest.raises(ValueError, match=r"train_aug\.txt: line 'a b c', expected a name, or"):
        VOCAugmented(voc, "train")
    write_list(lists / "train_aug.txt", "a", "d", "a")
    with pytest.raises(ValueError, match=r"train_aug\.txt: listed more than once: a"):
        VOCAugmented(voc, "train")
    write_list(lists / "train_aug.txt", "a", "d")
    with pytest.raises(ValueError, match="listed without image and mask: d"):
        VOCAugmented(voc, "train")
    assert VOCAugmented(voc, "train", skip_broken=True).names == ("a",)


def test_the_mat_layout(sbd):
    folder = open_voc_augmented(sbd, "train")
    assert isinstance(folder, SBDFolder)
    np.testing.assert_array_equal(folder[0]["mask"], MASK)
    assert folder.class_names == VOC_CLASSES
    assert open_voc_augmented(sbd / "dataset", "val").names == ("b",)
    assert pickle.loads(pickle.dumps(folder))[1]["name"] == "b"
    (sbd / "dataset" / "cls" / "b.mat").unlink()
    with pytest.raises(ValueError, match=r"cls: image without mask: b"):
        open_voc_augmented(sbd, "train")
    assert len(open_voc_augmented(sbd, "train", skip_broken=True)) == 1


def test_a_folder_of_neither(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither SegmentationClassAug/ .* nor cls/"):
        open_voc_augmented(tmp_path, "train")


def test_broken_mat_files_are_named(sbd):
    path = sbd / "dataset" / "cls" / "a.mat"
    folder = SBDFolder(sbd, "train")
    write_mat(path, np.full((2, 3), 21, np.uint8))
    with pytest.raises(ValueError, match=r"a\.mat: class index out of range: 21"):
        folder[0]
    write_mat(path, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"a\.mat: Segmentation is float64, expected uint8"):
        folder[0]
    write_mat(path, np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match=r"a\.mat: the mask is 4x2 .* its image a\.jpg is 3x2"):
        folder[0]
    write_mat(path, MASK, "Other")
    with pytest.raises(ValueError, match=r"a\.mat: no file of SBD, expected GTcls with Segmentation"):
        folder[0]
    savemat(path, {"GTinst": 1})
    with pytest.raises(ValueError, match=r"a\.mat: no file of SBD"):
        folder[0]
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.mat: no file of SBD"):
        folder[0]


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_damaged_mat_files_are_named_or_whole(sbd, data):
    path = sbd / "dataset" / "cls" / "a.mat"
    write_mat(path, MASK)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        mask = SBDFolder(sbd, "train")[0]["mask"]
    except ValueError as error:
        assert "a.mat" in str(error)
    else:
        assert mask.shape == (2, 3)
        assert ((mask < 21) | (mask == 255)).all()
