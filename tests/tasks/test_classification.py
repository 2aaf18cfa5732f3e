import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from jaxvision import zoo
from jaxvision.tasks import ClassificationLoss, classification_rows, classification_task
from jaxvision.tasks.classification import mix_batch

K = 4


class MeanNet(nn.Module):
    """Scores an image by the mean of its pixels; with ``sides`` as many auxiliary classifiers."""

    sides: int = 0
    num_classes: int = K

    @nn.compact
    def __call__(self, images, *, train):
        x = images.mean((1, 2))
        for index in range(self.sides):
            side = nn.Dense(self.num_classes, name=f"side{index}")(x)
            if train:
                self.sow("aux_logits", f"aux{index}", side, reduce_fn=lambda _, new: new)
        return nn.Dense(self.num_classes, name="head")(x)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return {
        "images": rng.normal(size=(9, 5, 6, 3)).astype(np.float32),
        "labels": np.array([0, 1, 2, 2, 1, 0, 2, 3, -1], np.int32),
        "where": np.arange(9) < 8,
    }


PLAIN = ClassificationLoss()


def _task(loss=PLAIN, *, sides=0, num_classes=K):
    model = MeanNet(sides, num_classes)
    return classification_task(model, loss, num_classes=num_classes, image_size=(5, 6))


def _log_p(params, name, batch):
    kernel, bias = np.float64(params[name]["kernel"]), np.float64(params[name]["bias"])
    return log_softmax(batch["images"].astype(np.float64).mean((1, 2)) @ kernel + bias, axis=1)


def _terms(task, batch, key=1):
    variables = jax.jit(task.init)(jax.random.key(0))
    terms, state = jax.jit(task.loss)(variables["params"], {}, batch, jax.random.key(key))
    return variables, terms, state


def test_the_loss_is_the_mean_over_real_images(batch):
    variables, terms, state = _terms(_task(), batch)
    log_p = _log_p(variables["params"], "head", batch)
    assert state == {} and set(terms) == {"cross_entropy"}
    assert float(terms["cross_entropy"].weight) == 8
    np.testing.assert_allclose(
        terms["cross_entropy"].mean(), -log_p[np.arange(8), batch["labels"][:8]].mean(), rtol=1e-5
    )


def test_auxiliary_classifiers_add_their_share(batch):
    variables, terms, _ = _terms(_task(ClassificationLoss(auxiliary=0.3), sides=2), batch)
    sides = [
        _log_p(variables["params"], f"side{i}", batch)[np.arange(8), batch["labels"][:8]] for i in (0, 1)
    ]
    np.testing.assert_allclose(terms["auxiliary"].mean(), -0.3 * sum(s.mean() for s in sides), rtol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 299)])
def test_auxiliary_classifiers_of_the_zoo_are_trained(name, size):
    model = zoo.create(name, num_classes=K, aux_heads=True)
    task = classification_task(model, PLAIN, num_classes=K, image_size=(size, size))
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    batch = {
        "images": jnp.zeros((2, size, size, 3)),
        "labels": jnp.zeros(2, jnp.int32),
        "where": jnp.ones(2, bool),
    }
    state = {"batch_stats": shapes["batch_stats"]}
    terms, after = jax.eval_shape(task.loss, shapes["params"], state, batch, jax.random.key(0))
    assert set(terms) == {"cross_entropy", "auxiliary"}
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_mixed_labels_cost_what_the_mixture_costs(batch):
    """The loss is linear in the labels: mixup of equal images leaves the loss of mixed labels alone."""
    images = np.broadcast_to(batch["images"][:1], (8, 5, 6, 3))
    equal = {"images": images, "labels": batch["labels"][:8], "where": np.ones(8, bool)}
    variables, terms, _ = _terms(_task(ClassificationLoss(mixup=1.0)), equal)
    log_p = _log_p(variables["params"], "head", equal)
    own = -log_p[np.arange(8), equal["labels"]].mean()  # the partners' mean is the same
    np.testing.assert_allclose(terms["cross_entropy"].mean(), own, rtol=1e-5)


def test_class_weights_of_mixed_labels_are_mixed(batch):
    weights = (1.0, 3.0, 0.5, 2.0)
    full = {name: x[:8] for name, x in batch.items()}
    _, terms, _ = _terms(_task(ClassificationLoss(mixup=1.0, class_weights=weights)), full)
    expected = np.array(weights)[full["labels"]].sum()  # each label is shared out, none is lost
    assert float(terms["cross_entropy"].weight) == pytest.approx(expected, rel=1e-5)


def test_mixing_draws_anew_in_each_step(batch):
    full = {name: x[:8] for name, x in batch.items()}
    task = _task(ClassificationLoss(mixup=1.0, cutmix=1.0))
    losses = [float(_terms(task, full, key)[1]["cross_entropy"].mean()) for key in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_a_batch_is_mixed_one_way_or_the_other():
    """Mixup changes every pixel, CutMix takes each from one image or the other."""
    images = jnp.stack([jnp.zeros((8, 8, 3)), jnp.ones((8, 8, 3))])
    mix = jax.jit(lambda key: mix_batch(key, images, jnp.eye(2), ClassificationLoss(mixup=1.0, cutmix=1.0)))
    blended = []
    for seed in range(20):
        mixed, targets = mix(jax.random.key(seed))
        np.testing.assert_allclose(targets.sum(-1), 1.0, rtol=1e-6)
        np.testing.assert_allclose(mixed.mean((1, 2, 3)), targets[:, 1], atol=1e-5)
        blended.append(bool(((mixed > 0.001) & (mixed < 0.999)).any()))
    assert 3 < sum(blended) < 17
    for loss, kind in ((ClassificationLoss(mixup=1.0), True), (ClassificationLoss(cutmix=1.0), False)):
        mixed, _ = mix_batch(jax.random.key(0), images, jnp.eye(2), loss)
        assert bool(((mixed > 0.001) & (mixed < 0.999)).any()) == kind


def test_counts_and_scores_equal_scikit_learn(batch):
    task = _task()
    variables = jax.jit(task.init)(jax.random.key(0))
    counts = jax.device_get(jax.jit(task.counts)(variables, batch))
    logits = np.asarray(jax.jit(task.predict)(variables, batch["images"]))[:8]
    truth, predicted = batch["labels"][:8], logits.argmax(1)
    np.testing.assert_array_equal(counts["confusion"], confusion_matrix(truth, predicted, labels=range(K)))
    scores = task.score(counts)
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert scores["loss"] == pytest.approx(-log_softmax(logits, 1)[np.arange(8), truth].mean(), rel=1e-5)
    assert "top5_accuracy" not in scores
    each = precision_recall_fscore_support(truth, predicted, labels=range(K), zero_division=0.0)
    rows = classification_rows(counts["confusion"], ("a", "b", "c", "d"))
    for name, expected in zip(("precision", "recall", "f1", "true_images"), each, strict=True):
        np.testing.assert_allclose([row[name] for row in rows], expected)
    assert scores["macro_f1"] == pytest.approx(each[2].mean())
    assert [row["predicted_images"] for row in rows] == np.bincount(predicted, minlength=K).tolist()


def test_the_top_5_are_scored_where_there_are_more_classes(batch):
    task = _task(num_classes=7)
    variables = jax.jit(task.init)(jax.random.key(0))
    counts = jax.device_get(jax.jit(task.counts)(variables, batch))
    logits = np.asarray(jax.jit(task.predict)(variables, batch["images"]))[:8]
    best = np.argsort(-logits, axis=1)[:, :5]
    hits = (best == batch["labels"][:8, None]).any(1)
    assert task.score(counts)["top5_accuracy"] == pytest.approx(hits.mean())
