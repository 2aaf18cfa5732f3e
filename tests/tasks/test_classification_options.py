import dataclasses

import numpy as np
import pytest
from PIL import Image

from jaxvision.data import RandomCrop, RandomHorizontalFlip, RandomResizedCrop
from jaxvision.tasks import ClassificationData, ClassificationLossOptions
from jaxvision.tasks.classification_options import PreparedImages
from jaxvision.weights import Preprocessing


def _write(folder, count, value=90):
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(np.full((10, 12, 3), value, np.uint8)).save(folder / f"{index}.png")


def _names(source):
    return {source[index]["name"] for index in range(len(source))}


def test_digits_have_three_disjoint_parts():
    parts = ClassificationData().open_parts()
    assert [len(part) for part in parts] == [1258, 270, 269]
    assert parts.is_tested_apart
    assert len(parts.pool()) == 1258 + 270


def test_one_folder_is_divided_by_class(tmp_path):
    for name, count in (("cat", 20), ("dog", 40)):
        _write(tmp_path / name, count)
    parts = ClassificationData(source="folder", root=tmp_path, val_share=0.25, test_share=0.1).open_parts()
    assert [np.bincount(part.labels).tolist() for part in parts] == [[14, 27], [4, 9], [2, 4]]
    names = [_names(part) for part in parts]
    assert len(set.union(*names)) == 60 and sum(map(len, names)) == 60
    assert _names(parts.pool()) == names[0] | names[1]
    again = ClassificationData(source="folder", root=tmp_path, val_share=0.25, test_share=0.1).open_parts()
    assert _names(again.test) == names[2]


def test_parts_of_a_folder_are_taken_as_they_are(tmp_path):
    for part, count in (("train", 8), ("val", 3)):
        for name in ("cat", "dog"):
            _write(tmp_path / part / name, count)
    data = ClassificationData(source="folder", root=tmp_path)
    parts = data.open_parts()
    assert [len(part) for part in parts] == [16, 6, 6]
    assert not parts.is_tested_apart and parts.pool() is parts.train
    _write(tmp_path / "test" / "dog", 2)  # one class may be absent there
    parts = data.open_parts()
    assert [len(part) for part in parts] == [16, 6, 2]
    assert parts.test.labels.tolist() == [1, 1]
    for path in (tmp_path / "val").glob("*/*"):
        path.unlink()
    for path in (tmp_path / "val").glob("*"):
        path.rmdir()
    (tmp_path / "val").rmdir()
    assert [len(part) for part in data.open_parts()] == [14, 2, 2]


def test_csv_files(tmp_path):
    _write(tmp_path / "images", 20)
    lines = [f"{index}.png,{'ab'[index % 2]}" for index in range(20)]
    (tmp_path / "all.csv").write_text("file,kind\n" + "\n".join(lines))
    (tmp_path / "test.csv").write_text("file,kind\n" + "\n".join(lines[:4]))
    options = {"root": tmp_path / "all.csv", "image_root": tmp_path / "images", "columns": ("file", "kind")}
    parts = ClassificationData(source="csv", **options).open_parts()
    assert [len(part) for part in parts] == [14, 2, 4]
    parts = ClassificationData(source="csv", **options, test_csv=tmp_path / "test.csv").open_parts()
    assert len(parts.test) == 4 and parts.test.class_names == ("a", "b")


def test_arrays_have_a_test_part_of_their_own(tmp_path):
    images, labels = np.zeros((20, 5, 5), np.uint8), np.arange(20) % 2
    path = tmp_path / "a.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images[:6], y_test=labels[:6])
    parts = ClassificationData(source="arrays", root=path, val_share=0.2).open_parts()
    assert [len(part) for part in parts] == [16, 4, 6]


@pytest.mark.parametrize("source", ["folder", "csv", "arrays"])
def test_a_root_is_needed(source, tmp_path):
    with pytest.raises(ValueError, match=f"--data.source {source} needs --data.root FI|FO"):
        ClassificationData(source=source).open_parts()
    with pytest.raises(FileNotFoundError, match="absent: no such file or folder"):
        ClassificationData(source=source, root=tmp_path / "absent").open_parts()


def test_a_class_too_small_to_be_divided_is_named(tmp_path):
    _write(tmp_path / "cat", 9)
    _write(tmp_path / "dog", 1)
    with pytest.raises(ValueError, match="class dog has 1"):
        ClassificationData(source="folder", root=tmp_path).open_parts()


def test_folders_that_are_no_parts_are_named(tmp_path):
    data = ClassificationData(source="folder", root=tmp_path)
    for part in ("train", "valid"):
        for name in ("cat", "dog"):
            _write(tmp_path / part / name, 4)
    with pytest.raises(ValueError, match="got train, valid; expected train/"):
        data.open_parts()
    (tmp_path / "train").rename(tmp_path / "test")
    with pytest.raises(ValueError, match="got test, valid; expected train/"):
        data.open_parts()


def test_a_test_part_without_classes_is_not_passed_over(tmp_path):
    for part in ("train/cat", "train/dog", "val/cat", "val/dog", "test"):
        _write(tmp_path / part, 4)
    with pytest.raises(ValueError, match="got test, train, val; expected train/"):
        ClassificationData(source="folder", root=tmp_path).open_parts()


def test_a_class_may_be_called_train(tmp_path):
    for name in ("bus", "car", "train"):
        _write(tmp_path / name, 10)
    _write(tmp_path / "bus" / "red", 2)  # images of a class may lie deeper
    parts = ClassificationData(source="folder", root=tmp_path).open_parts()
    assert parts.train.class_names == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": "none", "padding": 3}, "--data.padding: got 3, which --data.crop none does not read"),
        ({"crop": "pad", "crop_scale": (0.5, 1.0)}, "--data.crop-scale: .*--data.crop pad does not"),
        ({"flip": 1.5}, "RandomHorizontalFlip: got probability 1.5"),
        ({"flip": -1.0}, "RandomHorizontalFlip: got probability -1.0"),
        ({"jitter": -0.1}, "ColourJitter: .*expected all three in 0..1"),
        ({"erasing": -0.1}, "RandomErasing: got probability -0.1"),
    ],
)
def test_what_the_images_are_not_varied_by_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PreparedImages(ClassificationData(**options), EXPECTED).train_transform()


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("digits", {"root": "flowers"}),
        ("digits", {"val_share": 0.3}),
        ("folder", {"val_csv": "val.csv"}),
        ("arrays", {"test_csv": "test.csv"}),
        ("folder", {"image_root": "images"}),
        ("arrays", {"columns": ("file", "kind")}),
        ("arrays", {"test_share": 0.3}),
    ],
)
def test_what_a_source_does_not_read_is_refused(source, options):
    (name,) = options
    with pytest.raises(
        ValueError, match=f"--data.{name.replace('_', '-')}: .*--data.source {source} does not"
    ):
        ClassificationData(source=source, **options).open_parts()


EXPECTED = Preprocessing(size=(224, 224), resize=256, mean=(0.5, 0.5, 0.5), interpolation="bicubic")


def test_the_network_says_what_the_options_leave_open():
    images = PreparedImages(ClassificationData(source="folder"), EXPECTED)
    assert images.preprocessing == EXPECTED
    assert PreparedImages(images.options, Preprocessing()).preprocessing == EXPECTED
    given = ClassificationData(source="folder", size=(112, 112), mean=(0.1, 0.2, 0.3), resize=120)
    found = PreparedImages(given, EXPECTED).preprocessing
    assert found == EXPECTED._replace(size=(112, 112), mean=(0.1, 0.2, 0.3), resize=120)
    assert PreparedImages(dataclasses.replace(given, resize=None), EXPECTED).preprocessing.resize == 128
    assert PreparedImages(ClassificationData(), EXPECTED).preprocessing.size == (16, 16)


def test_weights_of_squashed_images_keep_that_at_another_size():
    squashed = EXPECTED._replace(resize=(256, 256))
    images = PreparedImages(ClassificationData(source="folder", size=(112, 168)), squashed)
    assert images.preprocessing.resize == (128, 192)
    record = {"image": np.full((50, 400, 3), 200, np.uint8), "label": np.int32(0)}
    assert images.eval_transform()(record, np.random.default_rng(0))["image"].shape == (112, 168, 3)


def test_an_oblong_crop_is_filled():
    """The shorter side is as long as the longer side of the crop: nothing has to be added."""
    images = PreparedImages(ClassificationData(source="folder", size=(20, 40)), Preprocessing())
    record = {"image": np.full((50, 50, 3), 200, np.uint8), "label": np.int32(0)}
    result = images.eval_transform()(record, np.random.default_rng(0))["image"]
    assert result.shape == (20, 40, 3)
    np.testing.assert_allclose(result, np.broadcast_to(result[0, 0], result.shape), atol=1e-6)


def _steps(**options):
    return PreparedImages(ClassificationData(size=(16, 16), **options), EXPECTED).train_transform().steps


def test_signs_are_shifted_and_photographs_cropped_and_mirrored():
    digits = _steps()
    assert RandomCrop((16, 16), padding=2, fill=(0, 0, 0)) in digits
    assert not any(isinstance(step, RandomHorizontalFlip) for step in digits)
    photographs = _steps(source="folder", crop_scale=(0.5, 1.0))
    assert photographs[0] == RandomResizedCrop((16, 16), scale=(0.5, 1.0), interpolation="bicubic")
    assert RandomHorizontalFlip(probability=0.5) in photographs
    whole = PreparedImages(ClassificationData(size=(16, 16), crop="none"), EXPECTED)
    assert whole.train_transform() == whole.eval_transform()


def test_everything_at_once_gives_images_of_the_size():
    options = {"rand_augment": (2, 9), "erasing": 1.0, "jitter": 0.3, "crop": "pad", "padding": 3}
    data = ClassificationData(source="folder", size=(16, 12), **options)
    transform = PreparedImages(data, EXPECTED).train_transform()
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for seed in range(5):
        result = transform({"image": image, "label": np.int32(3)}, np.random.default_rng(seed))
        assert result["image"].shape == (16, 12, 3) and result["image"].dtype == np.float32
        assert result["label"] == 3


def test_a_network_of_clips_is_refused():
    clips = Preprocessing(size=(112, 112), resize=(128, 171), frames=16)
    with pytest.raises(ValueError, match="expected single images"):
        PreparedImages(ClassificationData(size=(16, 16)), clips)


def test_unknown_interpolation_is_named():
    with pytest.raises(ValueError, match="cubic"):
        PreparedImages(ClassificationData(interpolation="cubic"), EXPECTED).eval_transform()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": (1.0, 2.0)}, "got 2 weights for 3 classes"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "expected numbers >= 0, and one above 0"),
        ({"class_weights": (1.0, -1.0, 2.0)}, "expected numbers >= 0, and one above 0"),
        ({"label_smoothing": 1.5}, r"label-smoothing: expected a number in \[0, 1\]"),
        ({"cutmix": -0.1}, r"--loss\.cutmix: expected 0 or more"),
        ({"auxiliary": -1.0}, r"--loss\.auxiliary"),
    ],
)
def test_the_loss_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        ClassificationLossOptions(**options).build(3)
    assert ClassificationLossOptions(mixup=0.2).build(3).mixup == 0.2
