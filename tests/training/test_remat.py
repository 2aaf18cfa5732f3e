"""Activations computed again: the same numbers under the same names, from less memory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import zoo
from jaxvision.core import flatten_paths
from jaxvision.tasks import (
    ClassificationLossOptions,
    SegmentationLossOptions,
    classification_task,
    segmentation_task,
)
from jaxvision.training import create_train_state, make_gradients, make_train_step, rematerialise

_SMALL_VIT = {"patch_size": 4, "depth": 3, "num_heads": 2, "features": 8, "mlp_features": 16, "image_size": 8}
NETWORKS = {
    "resnet": (
        "cifar_resnet20",
        {"backbone": {"blocks": (2, 1, 1), "features": (4, 4, 8)}, "dropout_rate": 0.5},
    ),
    "vit": ("vit_b_16", {"backbone": {**_SMALL_VIT, "dropout_rate": 0.3}}),
}


def _task(name, size=8):
    network, fields = NETWORKS[name]
    model = zoo.create(network, num_classes=5, **fields)
    loss = ClassificationLossOptions().build(5)
    return classification_task(model, loss, num_classes=5, image_size=(size, size))


def _batch(size=8, count=4):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, size, size, 3)).astype(np.float32)
    return {"images": images, "labels": np.arange(count, dtype=np.int32) % 5, "where": np.ones(count, bool)}


def _checkpoints(task, state, batch):
    """How many parts of the loss are computed again."""
    text = str(jax.make_jaxpr(make_gradients(task))(state, batch))
    return text.count("remat2[") + text.count("checkpoint[")


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_statistics_and_names_stay(name):
    task = _task(name)
    lean = rematerialise(task)
    state = create_train_state(task, optax.sgd(0.1), seed=0)
    again = create_train_state(lean, optax.sgd(0.1), seed=0)
    assert flatten_paths(again).keys() == flatten_paths(state).keys()
    batch = _batch()
    for make in (make_gradients, lambda t: lambda s, b: make_train_step(t, optax.sgd(0.1))(s, b)):
        expected, found = (flatten_paths(jax.jit(make(t))(state, batch)) for t in (task, lean))
        assert expected.keys() == found.keys()
        for path, value in expected.items():
            np.testing.assert_allclose(found[path], value, rtol=1e-5, atol=1e-6, err_msg=path)
    assert _checkpoints(task, state, batch) == 0
    assert _checkpoints(lean, state, batch) > 0


def test_only_blocks_that_are_named_are_computed_again():
    task = _task("resnet")
    state = create_train_state(task, optax.sgd(0.1), seed=0)
    count = {
        blocks: _checkpoints(rematerialise(task, blocks=blocks), state, _batch())
        for blocks in (r"^stage2_block0$", r"block\d+$")
    }
    assert 0 < count[r"^stage2_block0$"] < count[r"block\d+$"]


def test_a_network_without_blocks_keeps_its_products(line_task, line_batches):
    lean = rematerialise(line_task)
    state = create_train_state(line_task, optax.sgd(0.1), seed=0)
    found, expected = (make_gradients(task)(state, line_batches[0]) for task in (lean, line_task))
    np.testing.assert_allclose(found["slope"], expected["slope"], rtol=1e-6)
    assert _checkpoints(lean, state, line_batches[0]) > 0


def _kept_bytes(task, state, batch):
    """Bytes that the forward pass leaves for the backward pass: the arrays in the pulled-back function."""
    key = jax.random.key(0)

    def backward(params, model_state):
        def total(params):
            terms, _ = task.loss(params, model_state, batch, key)
            return sum(term.mean() for term in terms.values())

        return jax.vjp(total, params)[1]

    shapes = jax.tree.leaves(jax.eval_shape(backward, state.params, state.model_state))
    return sum(
        math.prod(x.shape) * x.dtype.itemsize
        for x in shapes
        if not jnp.issubdtype(x.dtype, jax.dtypes.extended)
    )


@pytest.mark.parametrize("name", [*NETWORKS, "unet"])
def test_less_is_kept_for_the_backward_pass(name):
    """XLA's account of a CPU program says nothing here: its CPU compiler drops the barriers that delay the
    computing, which those of GPU and TPU keep."""
    if name == "unet":
        model = zoo.create("unet_bn", num_classes=5, features=(4, 8), dropout_rate=0.0)
        loss = SegmentationLossOptions().build(5)
        task = segmentation_task(model, loss, num_classes=5, image_size=(16, 16))
        batch = {**_batch(16, 8), "labels": np.zeros((8, 16, 16), np.int32)}
    else:
        task, batch = _task(name, 16), _batch(16, 32)
    state = jax.eval_shape(lambda: create_train_state(task, optax.sgd(0.1), seed=0))
    kept = {
        kind: _kept_bytes(t, state, batch) for kind, t in {"whole": task, "lean": rematerialise(task)}.items()
    }
    assert kept["lean"] < 0.6 * kept["whole"]


def test_arguments_that_are_no_arrays_stay_static():
    """A flag of a block decides its program, so it may not become a tracer."""
    import flax.linen as nn

    class Block(nn.Module):
        @nn.compact
        def __call__(self, x, double, *, train):
            y = nn.Dense(3)(x)
            return 2 * y if double and train else y

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Block(name="block0")(x, True, train=True)

    from jaxvision.core import Term
    from jaxvision.training import Task

    net, x = Net(), jnp.ones((2, 3))

    def loss(params, model_state, batch, key):
        return {"l": Term(net.apply({"params": params}, batch["x"]).sum(), jnp.float32(1.0))}, model_state

    task = Task(lambda key: net.init(key, x), loss, None, None, None)
    params = net.init(jax.random.key(0), x)["params"]
    key = jax.random.key(0)

    def gradient(task):
        return jax.grad(lambda p: task.loss(p, {}, {"x": x}, key)[0]["l"].mean())(params)

    found, expected = gradient(rematerialise(task)), gradient(task)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
