"""Pictures held in memory with one class each: arrays, .npz files of arrays, the digits of scikit-learn."""

import operator
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxvision.data.classification_sources import LabelledRecords, check_class_names
from jaxvision.data.digit_scenes import digit_indices

__all__ = ["ArrayImages", "digit_images", "read_image_arrays"]

_MOST_CLASSES = 1_000_000  # without names; what is above is no class index


class ArrayImages(LabelledRecords):
    """A source of records from two arrays; ``name`` is the position as text.

    Args:
      images: uint8 [N, H, W], [N, H, W, 1] (grey, becomes three equal channels) or [N, H, W, 3] (RGB). Not
        copied: a memory map is read picture by picture.
      labels: integers [N], or [N, 1], class indices 0..K-1.
      class_names: K names; by default "0" to the greatest label.

    Raises:
      ValueError: if a dtype or shape does not fit, there is no picture, there are fewer than 2 classes, or a
        label is outside of 0..K-1 (its position is named).

    >>> source = ArrayImages(np.zeros((2, 4, 5), np.uint8), np.array([1, 0]), class_names=("cat", "dog"))
    >>> source[0]["image"].shape, int(source[0]["label"]), source.class_names[1]
    ((4, 5, 3), 1, 'dog')
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, *, class_names: Sequence[str] | None = None
    ) -> None:
        grey = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 1)
        if images.dtype != np.uint8 or not (grey or (images.ndim == 4 and images.shape[-1] == 3)):
            raise ValueError(
                f"images: got {images.dtype} {list(images.shape)}, expected uint8 [N, H, W], [N, H, W, 1] or "
                "[N, H, W, 3] with values 0..255; channels are the last axis"
            )
        if 0 in images.shape:
            raise ValueError(f"images: got {list(images.shape)}, expected at least one pixel of one picture")
        labels = np.asarray(labels)
        if labels.shape == (len(images), 1):  # as in the CIFAR arrays of Keras
            labels = labels[:, 0]
        if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
            raise ValueError(
                f"labels: got {labels.dtype} {list(labels.shape)} for {len(images)} images, expected one "
                "integer an image"
            )
        if class_names is None:
            class_names = _numbers(int(labels.max()))
        names = check_class_names(class_names, "labels")
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if len(wrong):
            raise ValueError(
                f"labels: {labels[wrong[0]]} at position {wrong[0]} ({len(wrong)} such labels), expected "
                f"0..{len(names) - 1}; check class_names"
            )
        super().__init__(names, labels.astype(np.int32))
        self._images = images

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = operator.index(index)
        image = np.array(self._images[index])
        grey = image if image.ndim == 3 else image[..., None]  # [H, W, 1 or 3]
        colour = np.broadcast_to(grey, (*grey.shape[:2], 3)).copy()  # [H, W, 3]
        return {"image": colour, "label": self._labels[index], "name": str(index % len(self))}


def read_image_arrays(
    path: str | Path, split: str, *, class_names: Sequence[str] | None = None
) -> ArrayImages:
    """Reads an .npz file with ``x_train``, ``y_train``, ``x_test``, ``y_test``, as Keras keeps MNIST.

    Args:
      path: the file.
      split: "train" or "test".
      class_names: names by index; by default "0" to the greatest label of both splits.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is no .npz or is damaged, lacks an array, or an array is not as
        :class:`ArrayImages` takes it.
    """
    path = Path(path)
    if split not in ("train", "test"):
        raise ValueError(f"split: got {split!r}, expected 'train' or 'test'")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("no .npz file")
        with np.load(path) as arrays:
            needed = {f"x_{split}", "y_train", "y_test"}
            missing = sorted(needed - set(arrays.files))
            if missing:
                raise ValueError(f"no {', '.join(missing)} among {', '.join(arrays.files) or 'no arrays'}")
            images = arrays[f"x_{split}"]
            labels = {name: arrays[f"y_{name}"] for name in ("train", "test")}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: {error}; expected x_train, y_train, x_test and y_test in an .npz file"
        ) from error
    if class_names is None and all(array.size and array.dtype.kind in "iu" for array in labels.values()):
        class_names = _numbers(max(int(array.max()) for array in labels.values()))
    try:
        return ArrayImages(images, labels[split], class_names=class_names)
    except ValueError as error:
        raise ValueError(f"{path}, split {split!r}: {error}") from error


def digit_images(split: str) -> ArrayImages:
    """The 8x8 grey pictures of handwritten digits that ship in scikit-learn: no download.

    1,797 pictures in all, of 10 classes; values 0..16 are stretched to 0..255. Splits as in
    :func:`jaxvision.data.digit_scenes.digit_indices`: 70 % train, 15 % val, 15 % test of each class.

    Args:
      split: "train", "val" or "test".

    Raises:
      ValueError: if the split is another word.

    References:
      E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).
    """
    from sklearn.datasets import load_digits

    data, chosen = load_digits(), digit_indices(split)
    images = np.rint(data.images[chosen] * (255 / 16)).astype(np.uint8)  # [N, 8, 8]
    return ArrayImages(images, data.target[chosen], class_names=[str(digit) for digit in range(10)])


def _numbers(greatest: int) -> list[str]:
    """Class names from "0" to the greatest label."""
    if greatest >= _MOST_CLASSES:
        raise ValueError(f"labels: got {greatest}, expected class indices from 0; number the classes anew")
    return [str(index) for index in range(greatest + 1)]
