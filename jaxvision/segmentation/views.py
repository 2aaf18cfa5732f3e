"""Probabilities of an image from several views of it: of other scales, and mirrored."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

__all__ = ["average_views", "best_labels", "label_pixels", "resize_bands", "resize_bilinear"]

_MOST_CLASSES = 256  # that a byte can tell apart
_BAND = 64  # rows that are interpolated at once: what is in between stays small


def average_views(
    scores: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    images: Sequence[np.ndarray],
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> list[np.ndarray]:
    """Mean of the softmax probabilities over views of each image, as mmsegmentation tests.

    For each scale an image is resized to ``floor(scale * side + 1 / 2)`` pixels, bilinearly without
    antialiasing; with ``flip`` it is also seen mirrored left to right. The logits of a view are mirrored back
    and resized to the result's size in the same way, then turned into probabilities, and those are averaged.
    (mmsegmentation resizes the 8-bit image, which rounds it; here the normalised one is resized.)

    Args:
      scores: images ``[h, w, C]`` of any sizes -> logits ``[h, w, K]`` of each, such as
        :func:`jaxvision.segmentation.score_any_size` with its first argument.
      images: float32 ``[H, W, C]`` each, normalised.
      sizes: (H, W) of each result; by default that of the image.
      scales: factors of both sides.
      flip: whether each view is also seen mirrored.

    Returns:
      Probabilities of each image, float32 ``[H, W, K]``. The host holds these and the logits of the views of
      one scale.

    Raises:
      ValueError: if there is no scale, or one is not positive.

    References:
      Contributors, mmsegmentation 1.x, ``SegTTAModel``. Scales of 0.5 to 1.75 and mirroring are from Chen et
      al. 2018, *DeepLab*, section 4.1, and Zhao et al. 2017, *PSPNet*, section 5.1.
    """
    if not scales or not all(0 < scale < np.inf for scale in scales):
        raise ValueError(f"scales: got {list(scales)}, expected at least one positive factor")
    wanted = [image.shape[:2] for image in images] if sizes is None else sizes
    totals: list[np.ndarray] = []
    for scale in scales:
        views = [resize_bilinear(image, scaled_size(image.shape[:2], scale)) for image in images]
        turns = [slice(None)] * len(views)
        if flip:
            views += [np.ascontiguousarray(view[:, ::-1]) for view in views]
            turns += [slice(None, None, -1)] * len(turns)
        found = [logits[:, turn] for logits, turn in zip(scores(views), turns, strict=True)]
        if not totals:
            totals = [
                np.zeros((*size, logits.shape[-1]), np.float32)
                for logits, size in zip(found, wanted, strict=False)
            ]
        for index, logits in enumerate(found):
            _add_probabilities(totals[index % len(images)], logits)
    for total in totals:
        total /= len(scales) * (2 if flip else 1)
    return totals


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Both sides times a factor, halves rounded up, at least 1.

    >>> scaled_size((375, 500), 0.5)
    (188, 250)
    """
    height, width = (max(1, int(side * scale + 0.5)) for side in size)
    return height, width


def best_labels(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The best class of each pixel after resizing bilinearly; full-size scores are never held whole.

    Args:
      scores: logits ``[h, w, K]``, of at most 256 classes.
      size: (H, W) of the result.

    Returns:
      uint8 ``[H, W]``.

    Raises:
      ValueError: for more classes.
    """
    return np.concatenate([label_pixels(band) for band in resize_bands(scores, size)])


def label_pixels(scores: np.ndarray) -> np.ndarray:
    """The best class of each pixel, ``[..., K]`` -> uint8 ``[...]``.

    Raises:
      ValueError: for more than 256 classes, which a byte cannot tell apart.
    """
    if scores.shape[-1] > _MOST_CLASSES:
        raise ValueError(
            f"scores: got {scores.shape[-1]} classes, expected at most {_MOST_CLASSES}: masks have a byte a "
            "pixel; write the probabilities from Python"
        )
    return scores.argmax(-1).astype(np.uint8)


def resize_bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an array of numpy as :func:`jaxvision.ops.resize` does one of JAX, without compiling a size.

    Args:
      x: floating ``[h, w, C]``.
      size: (H, W).

    Returns:
      ``[H, W, C]``, in the dtype of ``x``: output pixel ``i`` of ``m`` looks at position
      ``(i + 1/2) n / m - 1/2``; nothing is antialiased.

    >>> resize_bilinear(np.array([[[0.0], [4.0]]]), (1, 4)).ravel().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    return x if x.shape[:2] == tuple(size) else np.concatenate(list(resize_bands(x, size)))


def resize_bands(x: np.ndarray, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Bands of rows of :func:`resize_bilinear` from the top to the bottom, ``[rows, W, C]``."""
    (above, below, down), (left, right, across) = (
        _neighbours(have, want) for have, want in zip(x.shape[:2], size, strict=True)
    )
    down, across = down[:, None, None].astype(x.dtype), across[:, None].astype(x.dtype)
    for start in range(0, size[0], _BAND):
        rows = slice(start, start + _BAND)
        band = x[above[rows]] + (x[below[rows]] - x[above[rows]]) * down[rows]  # [rows, w, C]
        yield band[:, left] + (band[:, right] - band[:, left]) * across  # [rows, W, C]


def _neighbours(size: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels before and behind each position, and the share of the latter, ``[target]`` each."""
    position = np.clip((np.arange(target) + 0.5) * (size / target) - 0.5, 0, size - 1)
    before = np.floor(position).astype(int)
    return before, np.minimum(before + 1, size - 1), position - before


def _add_probabilities(total: np.ndarray, logits: np.ndarray) -> None:
    """Adds the softmax of resized logits to ``[H, W, K]``."""
    top = 0
    for band in resize_bands(logits.astype(np.float32, copy=False), total.shape[:2]):
        powers = np.exp(band - band.max(-1, keepdims=True))
        total[top : top + len(band)] += powers / powers.sum(-1, keepdims=True)
        top += len(band)
