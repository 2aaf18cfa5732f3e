import numpy as np
import pytest
from PIL import Image

from jaxvision.tasks import SegmentationData


def test_digits_have_three_disjoint_parts():
    train, val, test = SegmentationData(train_scenes=5, eval_scenes=3).open_sources()
    assert [len(s) for s in (train, val, test)] == [5, 3, 3]
    assert [s.split for s in (train, val, test)] == ["train", "val", "test"]


def test_a_folder_is_tested_on_its_validation_part(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(5):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    train, val, test = SegmentationData(source="folder", root=tmp_path).open_sources()
    assert (len(train), len(val)) == (4, 1)
    assert test is val
    assert train.class_names == ("a", "b")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"needs --data\.root"):
        SegmentationData(source="voc").open_sources()
    with pytest.raises(FileNotFoundError, match="absent: no such folder"):
        SegmentationData(source="voc", root=tmp_path / "absent").open_sources()


def test_digits_are_not_mirrored_and_folders_are():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 0] = 255
    record = {"image": image, "mask": (image[..., 0] > 0).astype(np.uint8)}

    def mirrored(source):
        transform = SegmentationData(source=source, size=(8, 8), jitter=0.0).train_transform()
        rngs = [np.random.default_rng(seed) for seed in range(20)]
        return sum(transform(record, rng)["mask"][0, -1] for rng in rngs)

    assert mirrored("digits") == 0
    assert 0 < mirrored("camvid") < 20


def test_scaled_images_are_cropped_to_the_size():
    transform = SegmentationData(size=(16, 24), scale=(0.5, 2.0)).train_transform()
    record = {"image": np.zeros((30, 40, 3), np.uint8), "mask": np.zeros((30, 40), np.uint8)}
    for seed in range(5):
        changed = transform(record, np.random.default_rng(seed))
        assert changed["image"].shape == (16, 24, 3)
        assert changed["mask"].shape == (16, 24)
