import pickle

import numpy as np
import pytest
from oracles.shared_data import cifar_pictures, real_file
from sklearn.datasets import load_digits

from jaxvision.data import (
    ArrayImages,
    Normalize,
    digit_images,
    digit_indices,
    eval_batches,
    read_image_arrays,
)

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.array([2, 0, 1, 2])


@pytest.mark.parametrize("images", [GREY, GREY[..., None], COLOUR], ids=["grey", "one channel", "colour"])
def test_records(images):
    source = ArrayImages(images, LABELS)
    assert source.class_names == ("0", "1", "2")
    assert source.num_classes == 3
    assert len(source) == 4
    assert source.labels.dtype == np.int32
    for index in range(4):
        record = source[index]
        wanted = COLOUR[index] if images is COLOUR else np.stack([GREY[index]] * 3, -1)
        np.testing.assert_array_equal(record["image"], wanted)
        assert (record["label"], record["name"]) == (LABELS[index], str(index))
        record["image"][:] = 0  # a copy: the source stays
    np.testing.assert_array_equal(source[-1]["image"][..., 0], GREY[3])
    assert source[-1]["name"] == "3"
    with pytest.raises(IndexError):
        source[4]


def test_labels_of_shape_n_1_and_of_any_integer_type():
    source = ArrayImages(COLOUR, LABELS.astype(np.uint8)[:, None], class_names="abc")
    assert source.labels.tolist() == LABELS.tolist()
    assert source.class_names == ("a", "b", "c")


def test_sources_go_to_worker_processes():
    copy = pickle.loads(pickle.dumps(ArrayImages(COLOUR, LABELS)))
    np.testing.assert_array_equal(copy[1]["image"], COLOUR[1])


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (COLOUR / 255, LABELS, {}, r"images: got float64 \[4, 5, 6, 3\], expected uint8"),
        (
            COLOUR.transpose(0, 3, 1, 2),
            LABELS,
            {},
            r"\[4, 3, 5, 6\].*channels are the last",
        ),
        (COLOUR[0, 0], LABELS, {}, r"images: got uint8 \[6, 3\]"),
        (COLOUR[:0], LABELS[:0], {}, "expected at least one pixel of one picture"),
        (COLOUR[:, :0], LABELS, {}, "expected at least one pixel of one picture"),
        (COLOUR, LABELS[:3], {}, r"labels: got int64 \[3\] for 4 images"),
        (COLOUR, LABELS.astype(float), {}, r"labels: got float64 \[4\]"),
        (COLOUR, np.eye(4, dtype=int), {}, r"labels: got int64 \[4, 4\] for 4 images"),
        (COLOUR, np.array([2, -1, 1, 2]), {}, r"labels: -1 at position 1 \(1 such labels\), expected 0\.\.2"),
        (COLOUR, LABELS, {"class_names": ("a", "b")}, r"labels: 2 at position 0 \(2 such labels\)"),
        (COLOUR, LABELS * 0, {}, r"1 class \(0\), expected at least 2"),
        (COLOUR, LABELS + 2**40, {}, "expected class indices from 0"),
    ],
)
def test_faults_are_named(images, labels, options, message):
    with pytest.raises(ValueError, match=message):
        ArrayImages(images, labels, **options)


def write(path, **changes):
    arrays = {"x_train": GREY, "y_train": LABELS, "x_test": COLOUR[:2], "y_test": np.array([0, 4])}
    arrays |= changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_npz_files_of_arrays(tmp_path):
    path = write(tmp_path / "a.npz")
    train, test = read_image_arrays(path, "train"), read_image_arrays(path, "test")
    np.testing.assert_array_equal(train[1]["image"][..., 2], GREY[1])
    np.testing.assert_array_equal(test[1]["image"], COLOUR[1])
    assert train.class_names == test.class_names == ("0", "1", "2", "3", "4")  # of both splits
    assert read_image_arrays(path, "test", class_names="abcde").class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None}, "no x_train among y_train, x_test, y_test; expected x_train"),
        ({"y_test": None}, "no y_test among"),
        ({"x_train": GREY / 255}, "split 'train': images: got float64"),
        ({"y_train": LABELS[:2]}, r"split 'train': labels: got int64 \[2\] for 4 images"),
        ({"y_train": LABELS.astype(float)}, "split 'train': labels: got float64"),
        ({"y_train": LABELS.astype(object)}, "allow_pickle"),
    ],
)
def test_faults_of_npz_files_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf"a\.npz.*{message}"):
        read_image_arrays(write(tmp_path / "a.npz", **changes), "train")


def test_other_files_are_named(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError, match=r"a\.npz: no such file"):
        read_image_arrays(path, "train")
    whole = write(tmp_path / "whole.npz").read_bytes()
    spoilt = whole[:100] + bytes(byte ^ 255 for byte in whole[100:200]) + whole[200:]
    for content in (b"", b"hello", whole[:200], whole[:60], spoilt):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz: .* expected x_train"):
            read_image_arrays(path, "train")
    np.save(tmp_path / "a.npy", GREY)
    with pytest.raises(ValueError, match=r"a\.npy: no \.npz file; expected"):
        read_image_arrays(tmp_path / "a.npy", "train")
    with pytest.raises(ValueError, match="split: got 'val', expected 'train' or 'test'"):
        read_image_arrays(path, "val")


def test_the_real_mnist():
    source = read_image_arrays(real_file("mnist", "mnist.npz"), "test")
    assert len(source) == 10_000
    assert np.bincount(source.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert source[0]["image"].shape == (28, 28, 3)


def test_the_real_cifar():
    path = real_file("cifar10", "cifar10_jpeg75.npz")
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    source = ArrayImages(*cifar_pictures(path, "test", np.arange(0, 10_000, 100)), class_names=names)
    assert np.bincount(source.labels).tolist() == [10] * 10
    blue, red = (
        np.mean([source[i]["image"][..., c].mean() for i in range(100) if source.labels[i] == 0])
        for c in (2, 0)
    )
    assert blue > red + 5  # aeroplanes fly in a blue sky


def test_digits_are_those_of_scikit_learn():
    data = load_digits()
    sizes = []
    for split in ("train", "val", "test"):
        source, chosen = digit_images(split), digit_indices(split)
        assert source.class_names == tuple("0123456789")
        np.testing.assert_array_equal(source.labels, data.target[chosen])
        for index in (0, len(source) - 1):
            ink = data.images[chosen[index]]
            image = source[index]["image"]
            assert np.abs(image - ink[..., None] * 255 / 16).max() <= 0.5
        sizes.append(len(source))
    assert sum(sizes) == 1797
    with pytest.raises(ValueError, match="split: got 'all'"):
        digit_images("all")


def test_digits_make_batches():
    batch = next(iter(eval_batches(digit_images("val"), Normalize(), batch_size=3)))
    assert batch["images"].shape == (3, 8, 8, 3)
    assert batch["labels"].tolist() == digit_images("val").labels[:3].tolist()
