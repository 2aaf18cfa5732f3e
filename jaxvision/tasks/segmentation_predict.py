"""Segments images of any size with a trained network, at the scale that it was trained at."""

from collections.abc import Callable

import jax
import numpy as np
from PIL import Image

from jaxvision.data import Normalize, Resize

_BUCKET = 64  # images of many sizes are padded to a multiple of this, so that few sizes are compiled


def predict_mask(
    logits: Callable[[np.ndarray], jax.Array],
    image: np.ndarray,
    normalize: Normalize,
    *,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Segments one image.

    Args:
      logits: compiled, ``[1, H, W, 3]`` float32 -> ``[1, H, W, K]``.
      image: uint8 [H, W, 3].
      normalize: that of the training.
      size: (H, W) that the image is resized to for the network, normally that of the training; None for its
        own size. The logits are resized back bilinearly, so edges stay smooth.

    Returns:
      Labels of the image's own size, uint8 [H, W].
    """
    height, width = image.shape[:2]
    rng = np.random.default_rng(0)  # neither transform draws from it
    record = {"image": image} if size is None else Resize(size)({"image": image}, rng)
    pixels = normalize(record, rng)["image"]
    rows, columns = pixels.shape[:2]
    # One given size is compiled once as it is: padding would change what the border sees from the training.
    bucket = _BUCKET if size is None else 1
    padded = np.pad(pixels, ((0, -rows % bucket), (0, -columns % bucket), (0, 0)))
    scores = np.asarray(logits(padded[None]))[0, :rows, :columns]  # [h, w, K]
    return _argmax_resized(scores, (height, width))


def _argmax_resized(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The best class of each pixel after resizing, one class at a time: K full-size maps would not fit."""
    height, width = size
    if scores.shape[:2] == size:
        return scores.argmax(-1).astype(np.uint8)
    best = np.full(size, -np.inf, np.float32)
    labels = np.zeros(size, np.uint8)
    for index in range(scores.shape[-1]):
        picture = Image.fromarray(np.ascontiguousarray(scores[..., index], np.float32))
        resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        better = resized > best
        best = np.where(better, resized, best)
        labels[better] = index
    return labels
