import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score, precision_score, recall_score

from jaxvision.tasks import class_scores, segmentation_loss, segmentation_scores, segmentation_task

K = 4


class PixelNet(nn.Module):
    """Scores each pixel by itself."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(K)(images)


@pytest.fixture
def task():
    loss = segmentation_loss({"cross_entropy": 1.0})
    return segmentation_task(PixelNet(), loss, num_classes=K, image_size=(4, 4))


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, (3, 5, 6)).astype(np.int32)
    labels[0, :2] = 255
    return {
        "images": rng.normal(size=(3, 5, 6, 3)).astype(np.float32),
        "labels": labels,
        "where": np.array([True, True, False]),
    }


def _valid(batch):
    return (batch["labels"] != 255) & batch["where"][:, None, None]


def test_the_loss_is_the_mean_over_valid_pixels(task, batch):
    variables = jax.jit(task.init)(jax.random.key(0))
    terms, state = jax.jit(task.loss)(variables["params"], {}, batch, jax.random.key(1))
    kernel, bias = variables["params"]["Dense_0"]["kernel"], variables["params"]["Dense_0"]["bias"]
    logits = batch["images"].astype(np.float64) @ np.float64(kernel) + np.float64(bias)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    valid = _valid(batch)
    expected = -np.mean([log_p[i][batch["labels"][i]] for i in zip(*np.nonzero(valid), strict=True)])
    assert state == {}
    assert float(terms["cross_entropy"].weight) == valid.sum()
    np.testing.assert_allclose(terms["cross_entropy"].mean(), expected, rtol=1e-5)


def test_counts_and_scores_equal_scikit_learn(task, batch):
    variables = jax.jit(task.init)(jax.random.key(0))
    counts = jax.device_get(jax.jit(task.counts)(variables, batch))
    predictions = np.asarray(jax.jit(task.predict)(variables, batch["images"]))
    valid = _valid(batch)
    truth, predicted = batch["labels"][valid], predictions[valid]
    np.testing.assert_array_equal(counts["confusion"], confusion_matrix(truth, predicted, labels=range(K)))
    scores = task.score(counts)
    classes = jaccard_score(truth, predicted, labels=range(K), average=None)
    np.testing.assert_allclose(scores["mean_iou"], classes.mean(), rtol=1e-5)
    np.testing.assert_allclose(scores["pixel_accuracy"], (truth == predicted).mean(), rtol=1e-5)
    rows = class_scores(counts["confusion"], ("a", "b", "c", "d"))
    np.testing.assert_allclose([row["iou"] for row in rows], classes, rtol=1e-5)
    assert [row["true_pixels"] for row in rows] == np.bincount(truth, minlength=K).tolist()
    options = {"labels": range(K), "average": None, "zero_division": 0}
    for name, function in (("precision", precision_score), ("recall", recall_score)):
        np.testing.assert_allclose(
            [row[name] for row in rows], function(truth, predicted, **options), rtol=1e-5
        )
    assert "boundary_iou" not in rows[0]
    outlines = np.zeros((K + 1, K + 1), int)
    outlines[0, 0], outlines[0, K], outlines[1, 0] = 3, 1, 2
    rows = class_scores(counts["confusion"], ("a", "b", "c", "d"), boundary=outlines)
    assert [row["boundary_iou"] for row in rows[:2]] == [3 / 6, 0.0]
    assert np.isnan([row["boundary_iou"] for row in rows[2:]]).all()


def test_losses_are_weighted_and_added():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(2, 3, 3, K)), jnp.float32)
    labels, where = jnp.asarray(rng.integers(0, 2, (2, 3, 3)), jnp.int32), jnp.ones(2, bool)
    single = {n: segmentation_loss({n: 1.0})(logits, labels, where)[n] for n in ("dice", "focal")}
    both = segmentation_loss({"dice": 0.5, "focal": 3.0})(logits, labels, where)
    np.testing.assert_allclose(both["dice"].mean(), 0.5 * single["dice"].mean(), rtol=1e-6)
    np.testing.assert_allclose(both["focal"].mean(), 3.0 * single["focal"].mean(), rtol=1e-6)
    assert float(both["dice"].weight) == 4.0  # two images, each with classes 0 and 1


def test_focal_with_gamma_0_is_cross_entropy():
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=(2, 3, 3, K)), jnp.float32)
    labels, where = jnp.asarray(rng.integers(0, K, (2, 3, 3)), jnp.int32), jnp.ones(2, bool)
    weights = jnp.array([1.0, 2.0, 0.5, 1.0])
    options = {"class_weights": weights, "focal_gamma": 0.0}
    focal = segmentation_loss({"focal": 1.0}, **options)(logits, labels, where)["focal"]
    entropy = segmentation_loss({"cross_entropy": 1.0}, **options)(logits, labels, where)["cross_entropy"]
    np.testing.assert_allclose(focal.mean(), entropy.mean(), rtol=1e-5)


def test_an_absent_class_is_left_out_of_the_mean():
    matrix = np.diag([4, 0, 2])
    assert segmentation_scores({"confusion": matrix, "loss": {}})["mean_iou"] == 1.0
    assert np.isnan(class_scores(matrix, ("a", "b", "c"))[1]["iou"])
