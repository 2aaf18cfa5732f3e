"""Scores of images of any size from windows of one size, which overlap and are blended on the host."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = ["BLENDS", "Blend", "Score", "mirror_pad", "score_by_windows", "slide_windows", "window_axis"]

Score: TypeAlias = Callable[[np.ndarray], Any]
"""A compiled network: float32 ``[N, H, W, C]`` -> logits ``[N, H, W, K]``."""

Blend: TypeAlias = Literal["gaussian", "linear", "uniform"]

BLENDS: tuple[Blend, ...] = ("gaussian", "linear", "uniform")
"""What :func:`slide_windows` knows."""


def window_axis(
    size: int, window: int, *, overlap: int, margin: int = 0, blend: Blend = "gaussian"
) -> list[tuple[int, np.ndarray]]:
    """Places of the windows along one axis, and the weight of each of their pixels.

    Windows start every ``window - overlap`` pixels; the last one is moved back so that it ends with the
    image, as in mmsegmentation, and overlaps more.

    Args:
      size: pixels of the axis.
      window: pixels of a window.
      overlap: pixels that neighbours share at least.
      margin: pixels at each inner end of a window that weigh nothing, because the network sees the end of the
        window there; at the ends of the image none are left out. At most half of ``overlap``.
      blend: ``"gaussian"``, of a deviation of an eighth of the window (Isensee et al. 2021, *nnU-Net*, online
        methods); ``"linear"``, which falls towards the ends over the overlap, so that two neighbours' weights
        add up to one; or ``"uniform"``, the plain mean.

    Returns:
      ``(start, weights float32 [window])`` of each window. Each pixel of the axis has a positive weight.

    Raises:
      ValueError: if the window does not fit into the axis, or the other numbers do not fit the window.

    >>> [(start, weights.tolist()) for start, weights in window_axis(6, 4, overlap=1, blend="linear")]
    [(0, [0.5, 1.0, 1.0, 0.5]), (2, [0.5, 1.0, 1.0, 0.5])]
    """
    _check_axis(window, overlap, margin, blend)
    if window > size:
        raise ValueError(
            f"window: got {window} for an axis of {size} pixels; give a smaller one, or pad the image by "
            "mirror_pad, as slide_windows does"
        )
    starts = [*range(0, size - window, window - overlap), size - window]
    return [
        (start, _weights(window, overlap, blend, (margin * (start > 0), margin * (start < size - window))))
        for start in starts
    ]


def slide_windows(
    score: Score,
    image: np.ndarray,
    *,
    window: tuple[int, int],
    overlap: tuple[int, int] | None = None,
    margin: int = 0,
    blend: Blend = "gaussian",
    batch_size: int = 1,
) -> Iterator[np.ndarray]:
    """Scores an image window by window and gives its rows as soon as no window is left that they are in.

    The network sees ``[batch_size, *window, C]`` and nothing else, so it is compiled once, and the device
    holds one batch whatever the image's size. The weighted sums lie on the host, float32 ``[window height, W,
    K]`` (float16 would round each sum to three digits). Whoever takes the best class of each band of rows
    needs no more than that for an image of any height.

    **Border.** An image smaller than the window is mirrored at the bottom and right, and the scores are
    cropped. At the ends of the image the network sees what it sees of a whole image. At the inner ends of a
    window it sees its own padding instead of the neighbourhood: with ``margin`` the radius of the receptive
    field the result is that of the whole image, if also the steps ``window - overlap`` and the sides of the
    image minus the window are multiples of the network's stride, and it looks at no mean over the whole
    image.

    Args:
      score: compiled, float32 ``[batch_size, *window, C]`` -> ``[batch_size, *window, K]``.
      image: float32 ``[H, W, C]``, normalised.
      window: (height, width).
      overlap: pixels that neighbours share at least, (vertically, horizontally); by default half the window,
        as in nnU-Net.
      margin: see :func:`window_axis`.
      blend: see :func:`window_axis`.
      batch_size: windows at once; the last batch is filled up with zeros.

    Yields:
      Weighted means of the logits, float32 ``[rows, W, K]``, bands of rows from the top to the bottom.

    Raises:
      ValueError: for numbers that do not fit each other, or scores of another shape.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected 1 or more")
    height, width = image.shape[:2]
    shared = (window[0] // 2, window[1] // 2) if overlap is None else overlap
    padded = mirror_pad(image, (max(height, window[0]), max(width, window[1])))
    rows, columns = (
        window_axis(padded.shape[axis], window[axis], overlap=shared[axis], margin=margin, blend=blend)
        for axis in (0, 1)
    )
    top, band = 0, _Band(window[0], padded.shape[1])
    for places in _batches([*itertools.product(rows, columns)], batch_size):
        cuts = [padded[y : y + window[0], x : x + window[1]] for (y, _), (x, _) in places]
        scores = checked_scores(score, np.stack(cuts), batch_size)
        for ((y, vertical), (x, horizontal)), logits in zip(places, scores, strict=True):
            if y > top:
                yield band.finish(y - top)[:, :width]
                top = y
            band.add(x, logits, vertical[:, None, None] * horizontal[:, None])
    yield band.finish(window[0])[: height - top, :width]


def score_by_windows(score: Score, image: np.ndarray, **options: Any) -> np.ndarray:
    """The bands of :func:`slide_windows` in one array, float32 ``[H, W, K]``, which the host has to hold.

    Args:
      score: as there.
      image: as there.
      **options: as there.
    """
    return np.concatenate(list(slide_windows(score, image, **options)))


def mirror_pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Continues an image ``[H, W, C]`` at the bottom and right by its mirror image, up to a size.

    As the overlap-tile strategy does (Ronneberger et al. 2015, *U-Net*, figure 2): there is no edge that was
    not in the image, and the mean over it stays about the same.

    >>> mirror_pad(np.arange(3).reshape(1, 3, 1), (1, 8)).ravel().tolist()
    [0, 1, 2, 2, 1, 0, 0, 1]
    """
    missing = [want - have for want, have in zip(size, image.shape[:2], strict=True)]
    if not any(missing):
        return image
    return np.pad(image, [(0, missing[0]), (0, missing[1]), (0, 0)], mode="symmetric")


def checked_scores(score: Score, images: np.ndarray, batch_size: int) -> np.ndarray:
    """Scores of images ``[n, H, W, C]``, of which the network sees ``batch_size`` at once, zeros in the rest.

    Returns:
      Logits ``[n, H, W, K]``.

    Raises:
      ValueError: if the network gives another shape.
    """
    missing = batch_size - len(images)
    scores = np.asarray(score(np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])))
    if scores.ndim != 4 or scores.shape[:3] != (batch_size, *images.shape[1:3]):
        raise ValueError(
            f"scores: got {list(scores.shape)} for images [{batch_size}, *{list(images.shape[1:])}], "
            "expected one score a class and pixel; a U-Net needs padding='same' for that"
        )
    return scores[: len(images)]


class _Band:
    """Weighted sums of the rows that windows are still being added to."""

    def __init__(self, height: int, width: int) -> None:
        self._weights = np.zeros((height, width, 1), np.float32)
        self._sums: np.ndarray | None = None  # [height, width, K]

    def add(self, left: int, logits: np.ndarray, weights: np.ndarray) -> None:
        """Adds a window ``[height, w, K]`` with weights ``[height, w, 1]``."""
        if self._sums is None:
            self._sums = np.zeros((*self._weights.shape[:2], logits.shape[-1]), np.float32)
        columns = slice(left, left + logits.shape[1])
        self._sums[:, columns] += weights * logits
        self._weights[:, columns] += weights

    def finish(self, rows: int) -> np.ndarray:
        """The means of the first rows; the others move up."""
        assert self._sums is not None
        means = self._sums[:rows] / self._weights[:rows]
        for array in (self._sums, self._weights):
            array[:-rows] = array[rows:].copy()
            array[-rows:] = 0
        return means


def _batches(places: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _check_axis(window: int, overlap: int, margin: int, blend: Blend) -> None:
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(
            f"overlap: got {overlap} of a window of {window} pixels; expected a positive window and "
            "0 <= overlap < window"
        )
    if not 0 <= 2 * margin <= overlap:
        raise ValueError(
            f"margin: got {margin} with an overlap of {overlap}; expected 0 or more and at most half of it, "
            "or pixels would be left out of all windows"
        )
    if blend not in BLENDS:
        raise ValueError(f"blend: got {blend!r}, expected one of {', '.join(map(repr, BLENDS))}")


def _weights(window: int, overlap: int, blend: Blend, margins: tuple[int, int]) -> np.ndarray:
    """Weights of a window's pixels, float32 [window], zero within the margins at its two ends."""
    pixel = np.arange(window)
    before, behind = pixel - margins[0] + 1, window - margins[1] - pixel  # pixels to the ends that count
    if blend == "gaussian":
        weights = np.exp(-0.5 * ((pixel - (window - 1) / 2) / (window / 8)) ** 2)
    elif blend == "linear":
        ramp = overlap - 2 * max(margins) + 1
        weights = np.minimum(np.minimum(before, behind), ramp) / ramp
    else:
        weights = np.ones(window)
    return np.where((before > 0) & (behind > 0), weights, 0).astype(np.float32)
