import os
import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from jaxvision.data import Normalize, compose, eval_batches
from jaxvision.metrics import boundary_counts
from jaxvision.tasks import segmentation_loss
from jaxvision.tasks.segmentation_evaluation import (
    evaluate_images,
    evaluate_whole_images,
    make_image_counts,
)
from jaxvision.training import make_placement

K = 4
PLAIN = compose(Normalize(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))


class PixelNet(nn.Module):
    """Scores each pixel by itself."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(K)(images)


def make_source(number):
    rng = np.random.default_rng(0)
    records = []
    for index in range(number):
        mask = rng.integers(0, 1 + index % K, (9, 12)).astype(np.uint8)
        mask[rng.random(mask.shape) < 0.1] = 255
        image = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image[..., 0] = np.where(rng.random(mask.shape) < index / number, 60 * (mask % 5), image[..., 0])
        records.append({"image": image, "mask": mask})
    records[3]["mask"][:] = 255  # nothing to score
    return records


def run(source, placement, *, worst, batch_size=8, boundary_ratio=0.1):
    model = PixelNet()
    variables = jax.jit(lambda key: model.init(key, np.zeros((1, 9, 12, 3)), train=False))(jax.random.key(1))
    loss = segmentation_loss({"cross_entropy": 1.0, "dice": 0.5})
    count = make_image_counts(
        model, loss, num_classes=K, boundary_ratio=boundary_ratio, axis_name=placement.axis_name
    )
    batches = eval_batches(source, PLAIN, batch_size=batch_size)
    found = evaluate_images(
        placement.compile_count(count), placement.place(variables), batches, placement, worst=worst
    )
    predictions = []
    for record in source:
        image = PLAIN(record, np.random.default_rng(0))["image"]
        predictions.append(np.asarray(model.apply(variables, image[None], train=False))[0].argmax(-1))
    return found, predictions


def check(found, source, predictions, worst):
    """Against scikit-learn, image by image."""
    truth = np.stack([record["mask"] for record in source]).astype(np.int32)
    known = truth != 255
    expected = confusion_matrix(truth[known], np.stack(predictions)[known], labels=range(K))
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.confusion.dtype == np.int64
    scores = []
    for index, (labels, guess) in enumerate(zip(truth, predictions, strict=True)):
        here = labels != 255
        present = np.unique(labels[here])
        if present.size:
            ious = jaccard_score(labels[here], guess[here], labels=present, average=None)
            scores.append((ious.mean(), index))
    scores.sort()
    assert [position for _, position in found.worst] == [position for _, position in scores[:worst]]
    np.testing.assert_allclose([s for s, _ in found.worst], [s for s, _ in scores[:worst]], rtol=1e-5)


def test_counts_and_the_worst_images_equal_scikit_learn():
    source = make_source(11)  # the last batch is padded
    found, predictions = run(source, make_placement("jit", devices=jax.devices()[:1]), worst=4)
    check(found, source, predictions, 4)
    assert found.worst[0][0] < found.worst[-1][0]
    truth = np.stack([record["mask"] for record in source]).astype(np.int32)
    boundary = boundary_counts(truth, np.stack(predictions), K, dilation_ratio=0.1, ignore_index=255)
    np.testing.assert_array_equal(found.boundary, boundary)
    assert set(found.scores) >= {"loss", "mean_iou", "mean_boundary_iou"}
    assert np.isfinite(list(found.scores.values())).all()


def test_less_may_be_asked_for():
    source = make_source(5)
    placement = make_placement("jit", devices=jax.devices()[:1])
    found, predictions = run(source, placement, worst=0, boundary_ratio=None, batch_size=5)
    assert (found.boundary, found.worst) == (None, [])
    assert "mean_boundary_iou" not in found.scores
    check(found, source, predictions, 0)
    every, predictions = run(source, placement, worst=100, boundary_ratio=None, batch_size=5)
    check(every, source, predictions, 100)
    assert len(every.worst) == 4  # all but the one of void


class Source(list):
    num_classes = K


def test_images_at_their_own_size_against_masks_as_they_are():
    source = Source(make_source(5))
    predictions = [np.random.default_rng(i).integers(0, K, (9, 12), dtype=np.uint8) for i in range(5)]
    given = iter(predictions)
    batches = []

    def segment(images):
        batches.append(len(images))
        return [next(given) for _ in images]

    found = evaluate_whole_images(segment, source, boundary_ratio=0.1, batch_size=2, worst=3)
    assert batches == [2, 2, 1]
    check(found, source, predictions, 3)
    truth = np.stack([record["mask"] for record in source]).astype(np.int32)
    boundary = boundary_counts(truth, np.stack(predictions), K, dilation_ratio=0.1, ignore_index=255)
    np.testing.assert_array_equal(found.boundary, boundary)
    assert "mean_boundary_iou" in found.scores and "loss" not in found.scores
    # Of any sizes.
    source = Source({"image": None, "mask": np.full(size, 1, np.uint8)} for size in ((2, 3), (7, 5)))
    labels = [np.full((2, 3), 1), np.full((7, 5), 3)]
    found = evaluate_whole_images(lambda _: labels, source, boundary_ratio=None, batch_size=2, worst=1)
    assert (found.confusion[1, 1], found.confusion[1, 3], found.confusion.sum()) == (6, 35, 41)
    assert found.worst == [(0.0, 1)] and found.boundary is None
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate_whole_images(lambda _: [], Source(), boundary_ratio=None, batch_size=2, worst=1)


PROGRAM = """
import sys
sys.path.insert(0, "tests/tasks")
import jax
from test_segmentation_evaluation import check, make_source, run
from jaxvision.training import make_placement
assert jax.device_count() == 8
source = make_source(19)  # three batches; the last has three images for eight devices
one, predictions = run(source, make_placement("jit", devices=jax.devices()[:1]), worst=5)
check(one, source, predictions, 5)
for parallel in ("jit", "pmap"):
    many, _ = run(source, make_placement(parallel), worst=5)
    check(many, source, predictions, 5)
    assert (many.boundary == one.boundary).all()
    for name, score in one.scores.items():
        assert abs(many.scores[name] - score) < 1e-5, (parallel, name, many.scores[name], score)
print("equal")
"""


@pytest.mark.slow
def test_eight_devices_count_as_one():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.strip() == "equal", result.stderr
