"""Scores of images of any size without a compilation for each size: sizes are rounded up to a few."""

from collections.abc import Sequence

import numpy as np

from jaxvision.segmentation.sliding_windows import Score, checked_scores, mirror_pad, score_by_windows

__all__ = ["SIDES", "bucket_of", "score_any_size", "score_same_size"]

SIDES = (*range(64, 512, 64), *range(512, 1025, 32))
"""Heights and widths that sizes are rounded up to: 24, so that at most 576 shapes are compiled, of which the
images at hand need a few. A side of 513 to 1024 pixels grows by at most 31, and the area of two such sides by
an eighth; a side of up to 512 pixels grows by at most 63."""


def bucket_of(size: Sequence[int], *, sides: Sequence[int] = SIDES) -> tuple[int, int]:
    """The smallest height and width of the table that hold an image; of a side too large the largest.

    Args:
      size: (H, W) of the image.
      sides: in rising order.

    Raises:
      ValueError: if the sides are not positive and rising.

    >>> bucket_of((65, 480)), bucket_of((300, 5000))
    ((128, 512), (320, 1024))
    """
    if not sides or list(sides) != sorted(set(sides)) or sides[0] < 1:
        raise ValueError(f"sides: got {list(sides)}, expected positive pixels in rising order")
    height, width = (next((side for side in sides if side >= pixels), sides[-1]) for pixels in size)
    return height, width


def score_any_size(
    score: Score, images: Sequence[np.ndarray], *, sides: Sequence[int] = SIDES, batch_size: int = 1
) -> list[np.ndarray]:
    """Scores images of any sizes with at most ``len(sides) ** 2`` compilations.

    An image is mirrored at the bottom and right up to the next size of the table (:func:`bucket_of`), and the
    scores are cropped to it. Where the network's own padding would have been, it sees the mirror image;
    farther from these two borders than the radius of the receptive field nothing changes. An image larger
    than the table is scored in windows of the largest size, half overlapping, blended by a Gaussian.

    Networks with global pooling see the padding everywhere: the image pooling of DeepLabV3 and V3+, the
    pyramid of PSPNet, the gate of LR-ASPP, squeeze-and-excitation in a backbone. Their means are taken over
    the mirrored pixels too, which are pixels of the image itself, so that all scores shift a little with the
    size rounded up to. Where that matters, :func:`score_same_size` pads nothing, and compiles each size.

    Args:
      score: compiled, float32 ``[batch_size, H, W, C]`` -> ``[batch_size, H, W, K]``.
      images: float32 ``[H, W, C]`` each, normalised.
      sides: heights and widths to round up to, in rising order.
      batch_size: images of one size at once; a batch that is not full is filled up with zeros.

    Returns:
      Logits float32 ``[H, W, K]`` of each image.

    Raises:
      ValueError: for an empty image, sides that are no table, or scores of another shape.
    """
    shapes = [bucket_of(_checked_size(image), sides=sides) for image in images]
    fits = [
        shape[0] >= image.shape[0] and shape[1] >= image.shape[1]
        for image, shape in zip(images, shapes, strict=True)
    ]
    padded = [mirror_pad(image, shape) for image, shape, fit in zip(images, shapes, fits, strict=True) if fit]
    whole = iter(score_same_size(score, padded, batch_size=batch_size))
    results = []
    for image, shape, fit in zip(images, shapes, fits, strict=True):
        if fit:
            results.append(next(whole)[: image.shape[0], : image.shape[1]])
        else:
            results.append(score_by_windows(score, image, window=shape, batch_size=batch_size))
    return results


def score_same_size(score: Score, images: Sequence[np.ndarray], *, batch_size: int = 1) -> list[np.ndarray]:
    """Scores images as they are, those of one size in batches.

    Args:
      score: compiled, float32 ``[batch_size, H, W, C]`` -> ``[batch_size, H, W, K]``.
      images: float32 ``[H, W, C]`` each, normalised.
      batch_size: images at once; a batch that is not full is filled up with zeros.

    Returns:
      Logits ``[H, W, K]`` of each image, in order.

    Raises:
      ValueError: for an empty image, a batch size below 1, or scores of another shape.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected 1 or more")
    groups: dict[tuple[int, int], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(_checked_size(image), []).append(index)
    results: dict[int, np.ndarray] = {}
    for members in groups.values():
        for start in range(0, len(members), batch_size):
            chosen = members[start : start + batch_size]
            scores = checked_scores(score, np.stack([images[index] for index in chosen]), batch_size)
            results.update(zip(chosen, scores, strict=True))
    return [results[index] for index in range(len(images))]


def _checked_size(image: np.ndarray) -> tuple[int, int]:
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"image: got {list(image.shape)}, expected [H, W, C] with at least one pixel")
    return image.shape[0], image.shape[1]
