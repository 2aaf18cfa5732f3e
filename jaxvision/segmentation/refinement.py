"""Probabilities drawn to the edges of the image, on the host."""

from typing import Any

import numpy as np

__all__ = ["guided_refinement"]


def guided_refinement(
    probabilities: np.ndarray, image: np.ndarray, *, radius: int = 8, epsilon: float = 1e-3
) -> np.ndarray:
    """Smooths the probability of each class, but not across edges of the image: a guided filter.

    In each window the result is an affine function of the image's colour, fitted to the probabilities: where
    the image is flat they are averaged, and at an edge they jump with it. What it costs does not depend on
    the radius. (A dense CRF does more, but has no maintained library.)

    Args:
      probabilities: floating ``[H, W, K]``, which add up to one.
      image: uint8 ``[H, W, 3]``.
      radius: a window has ``2 radius + 1`` pixels a side.
      epsilon: variance of a colour, of values in [0, 1], below which an area counts as flat.

    Returns:
      float32 ``[H, W, K]``. The filter is linear and keeps constants, so they still add up to one; what
      overshoots below zero is cut off, and the rest divided by its sum.

    Raises:
      ModuleNotFoundError: if the extra ``refine`` is not installed, with the command.
      ValueError: for arrays of other shapes, or numbers that are not positive.

    References:
      He, Sun and Tang 2013, *Guided Image Filtering*, section 3.5 (colour guidance).
    """
    if probabilities.ndim != 3 or image.shape != (*probabilities.shape[:2], 3) or image.dtype != np.uint8:
        raise ValueError(
            f"got probabilities {list(probabilities.shape)} and an image {image.dtype} {list(image.shape)}, "
            "expected [H, W, K] and uint8 [H, W, 3]"
        )
    if radius < 1 or not epsilon > 0:
        raise ValueError(
            f"got radius {radius} and epsilon {epsilon}, expected 1 or more and a positive number"
        )
    # In 0..255: OpenCV takes a determinant below 1e-6 for zero, which those of grey areas in 0..1 are.
    guided_filter = _ximgproc().createGuidedFilter(image.astype(np.float32), radius, epsilon * 255**2)
    refined = np.empty(probabilities.shape, np.float32)
    for index in range(probabilities.shape[-1]):
        plane = np.ascontiguousarray(probabilities[..., index], np.float32)
        refined[..., index] = np.maximum(guided_filter.filter(plane), 0)
    return refined / np.maximum(refined.sum(-1, keepdims=True), np.finfo(np.float32).tiny)


def _ximgproc() -> Any:
    """OpenCV's extended image processing, which only its contrib packages have."""
    try:
        from cv2 import ximgproc
    except ImportError as error:
        raise ModuleNotFoundError(
            "the refinement needs OpenCV with its contrib modules: pip install 'jaxvision[refine]', or "
            "pip install opencv-contrib-python-headless (in place of opencv-python)",
            name="cv2",
        ) from error
    return ximgproc
