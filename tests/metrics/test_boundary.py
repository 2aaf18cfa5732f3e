import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxvision.metrics import boundary_counts, boundary_iou, confusion_matrix, iou, mean_boundary_iou
from jaxvision.ops import label_edges

count = jax.jit(boundary_counts, static_argnums=2, static_argnames=("dilation_ratio", "ignore_index"))


def outline(mask: np.ndarray, ratio: float) -> np.ndarray:
    """The pixels of a mask near its outline, by erosions of the mask in a frame of zeros."""
    width = max(1, round(ratio * np.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2)))
    framed = np.pad(mask, 1)
    left = ndimage.binary_erosion(framed, np.ones((3, 3), bool), iterations=width)
    return mask & ~left[1:-1, 1:-1]


def shapes(seed: int) -> np.ndarray:
    """Two images of 40 x 60 with regions of four classes, one of which is rare."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((2, 40, 60), np.int32)
    for image in labels:
        for k in rng.integers(1, 4, 6):
            top, left, height, width = rng.integers(0, (30, 50, 20, 20))
            image[top : top + height, left : left + width] = k
    return labels


@pytest.mark.parametrize("ratio", [0.001, 0.02, 0.1])
def test_equals_erosions_class_by_class(ratio: float) -> None:
    labels, predictions = shapes(0), np.roll(shapes(0), (1, 2), (1, 2))
    predictions[1] = shapes(5)[1]
    labels[0, 5:9, 5:30] = 255
    counts = np.asarray(count(labels, predictions, 4, dilation_ratio=ratio, ignore_index=255))
    scores = boundary_iou(counts)
    for k in range(4):
        both = either = 0
        for truth, guess in zip(labels, predictions, strict=True):
            known = truth != 255
            true_outline, guessed = outline(truth == k, ratio) & known, outline(guess == k, ratio) & known
            both += (true_outline & guessed).sum()
            either += (true_outline | guessed).sum()
        np.testing.assert_allclose(scores[k], both / either)
    np.testing.assert_allclose(mean_boundary_iou(counts), scores.mean())
    assert counts.sum() == (labels != 255).sum()


def test_counts_of_images_add_up_and_where_equals_slicing() -> None:
    labels, predictions = shapes(1), shapes(2)
    whole = count(labels, predictions, 4)
    parts = [count(labels, predictions, 4, where=np.array(w)) for w in ([True, False], [False, True])]
    np.testing.assert_array_equal(parts[0] + parts[1], whole)
    np.testing.assert_array_equal(parts[0], count(labels[:1], predictions[:1], 4))
    each = jax.vmap(lambda y, p: boundary_counts(y, p, 4))(labels, predictions)
    np.testing.assert_array_equal(each.sum(0), whole)


def test_a_large_region_is_scored_by_its_outline() -> None:
    """A square of 80 pixels off by one has a good IoU, and a boundary IoU that shows the error."""
    labels = np.zeros((1, 100, 100), np.int32)
    labels[:, 10:90, 10:90] = 1
    shifted = np.roll(labels, 2, axis=2)
    counts = count(labels, shifted, 2, dilation_ratio=0.02)
    assert iou(confusion_matrix(jnp.asarray(labels), jnp.asarray(shifted), 2))[1] > 0.95
    assert boundary_iou(counts)[1] < 0.6
    perfect = boundary_iou(count(labels, labels, 2))
    np.testing.assert_array_equal(perfect, 1.0)


def test_nothing_to_count_and_values_out_of_range() -> None:
    assert np.isnan(boundary_iou(count(np.zeros((0, 4, 4), int), np.zeros((0, 4, 4), int), 3))).all()
    labels = np.array([[[0, 7], [255, 1]]])
    counts = count(labels, np.zeros((1, 2, 2), int), 2, ignore_index=255)
    assert counts.sum() == 2
    scores = boundary_iou(count(np.zeros((1, 3, 3), int), np.zeros((1, 3, 3), int), 3))
    assert scores[0] == 1.0
    assert np.isnan(scores[1:]).all()


def test_a_class_index_may_be_void() -> None:
    labels = shapes(0)
    counts = count(labels, labels, 4, ignore_index=0)
    assert counts[0].sum() == 0
    assert counts.sum() == (labels != 0).sum()


def test_a_band_around_true_outlines() -> None:
    labels, predictions = shapes(3), shapes(4)
    band = label_edges(jnp.asarray(labels), width=3, border=False)
    counts = confusion_matrix(jnp.asarray(labels), jnp.asarray(predictions), 4, where=band)
    near = np.stack([ndimage.generic_filter(image, np.ptp, 7, mode="nearest") > 0 for image in labels])
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (labels[near], predictions[near]), 1)
    np.testing.assert_array_equal(counts, expected)


def test_no_second_trace() -> None:
    traces = []
    run = jax.jit(lambda y, p: (traces.append(None), boundary_counts(y, p, 4))[1])
    run(shapes(0), shapes(1))
    run(shapes(2), shapes(3))
    assert len(traces) == 1


def test_wrong_arguments_raise() -> None:
    image = jnp.zeros((1, 4, 4), int)
    with pytest.raises(ValueError, match="dilation_ratio"):
        boundary_counts(image, image, 2, dilation_ratio=0.0)
    with pytest.raises(ValueError, match="equal shapes"):
        boundary_counts(image, image[0], 2)
    with pytest.raises(ValueError, match="expected"):
        boundary_counts(image[0, 0], image[0, 0], 2)
    with pytest.raises(ValueError, match="square matrix"):
        mean_boundary_iou(np.zeros((2, 3)))
