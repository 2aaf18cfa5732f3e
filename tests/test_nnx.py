"""Our Linen networks inside of Flax NNX, by its bridge: the same numbers and steps, weights both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxvision import losses, weights, zoo
from jaxvision.core import flatten_paths
from jaxvision.segmentation import UNet

CLASSES, SIZE = 3, 16


@pytest.fixture(scope="module")
def network():
    """Batch normalisation and dropout: both kinds of state that a call needs besides the parameters."""
    return UNet(num_classes=CLASSES, features=(4, 8), use_norm=True, dropout_rate=0.5)


@pytest.fixture(scope="module")
def batch():
    images = jax.random.normal(jax.random.key(1), (2, SIZE, SIZE, 3))
    labels = jax.random.randint(jax.random.key(2), (2, SIZE, SIZE), 0, CLASSES)
    return images, labels


@pytest.fixture(scope="module")
def variables(network, batch):
    return jax.jit(lambda key: network.init(key, batch[0], train=False))(jax.random.key(0))


def wrap(network, images):
    """The network as an NNX module with its own first parameters."""

    @nnx.jit
    def create():
        return nnx.bridge.ToNNX(network, rngs=nnx.Rngs(params=0)).lazy_init(images, train=False)

    return create()


def give_variables(model, variables) -> None:
    """Puts Linen's variables into the NNX module."""
    for kind, name in ((nnx.Param, "params"), (nnx.BatchStat, "batch_stats")):
        state = nnx.state(model, kind)
        nnx.replace_by_pure_dict(state, variables[name])
        nnx.update(model, state)


def take_variables(model):
    """The NNX module's variables as Linen takes them."""
    kinds = ((nnx.Param, "params"), (nnx.BatchStat, "batch_stats"))
    return {name: nnx.to_pure_dict(nnx.state(model, kind)) for kind, name in kinds}


def assert_equal_trees(found, expected, *, atol: float = 0.0) -> None:
    found, expected = flatten_paths(found), flatten_paths(expected)
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=0, atol=atol, err_msg=path)


def objective(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return losses.cross_entropy_loss(logits, labels).mean()


def linen_step(network, optimizer, variables, opt_state, batch, key):
    """One step as in the guide: gradients by ``jax.grad``, Optax, statistics taken over."""
    images, labels = batch

    def loss(params):
        logits, updates = network.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )
        return objective(logits, labels), updates

    (value, updates), gradients = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    changes, opt_state = optimizer.update(gradients, opt_state, variables["params"])
    params = optax.apply_updates(variables["params"], changes)
    return value, {"params": params, **updates}, opt_state


def nnx_step(model, optimizer, batch, rngs):
    images, labels = batch

    def loss(model, rngs):  # NNX changes what is an argument of the function that is differentiated
        logits = model(images, train=True, mutable=["batch_stats"], rngs=rngs)
        return objective(logits, labels)

    value, gradients = nnx.value_and_grad(loss)(model, rngs)
    optimizer.update(model, gradients)
    return value


def test_two_steps_are_those_of_linen_and_optax(network, batch, variables):
    model = wrap(network, batch[0])
    give_variables(model, variables)
    recipe = optax.sgd(0.1, momentum=0.9)
    optimizer = nnx.Optimizer(model, recipe, wrt=nnx.Param)
    traces: list[int] = []

    @nnx.jit
    def traced_step(*arguments):
        traces.append(1)
        return nnx_step(*arguments)

    rngs, keys = nnx.Rngs(dropout=7), nnx.Rngs(dropout=7)  # the second gives Linen the keys of the first
    step = jax.jit(lambda *arguments: linen_step(network, recipe, *arguments))
    expected, opt_state = dict(variables), recipe.init(variables["params"])
    for _ in range(2):
        value, expected, opt_state = step(expected, opt_state, batch, keys.dropout())
        found = traced_step(model, optimizer, batch, rngs)
        np.testing.assert_allclose(found, value, rtol=1e-6)
        assert_equal_trees(take_variables(model), expected, atol=1e-6)
    before = flatten_paths(variables)
    for path, leaf in flatten_paths(take_variables(model)).items():
        assert not np.array_equal(leaf, before[path]), f"{path} did not move"
    assert traces == [1], "the second step was traced again"


def test_evaluation_needs_no_key_and_changes_nothing(network, batch, variables):
    model = wrap(network, batch[0])
    give_variables(model, variables)
    model.to_nnx__rngs = None
    evaluate = nnx.jit(lambda model, x: model(x, train=False))
    expected = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, batch[0])
    np.testing.assert_allclose(evaluate(model, batch[0]), expected, atol=1e-6)
    assert_equal_trees(take_variables(model), variables)


def test_statistics_stay_without_mutable_and_dropout_asks_for_a_key(network, batch, variables):
    model = wrap(network, batch[0])
    give_variables(model, variables)
    with pytest.raises(Exception, match="batch_stats"):
        nnx.jit(lambda model, x: model(x, train=True, rngs=nnx.Rngs(dropout=0)))(model, batch[0])
    model.to_nnx__rngs = None
    with pytest.raises(Exception, match="dropout"):
        nnx.jit(lambda model, x: model(x, train=True, mutable=["batch_stats"]))(model, batch[0])


def test_published_weights_go_in_and_come_out(tmp_path):
    """What NNX holds is Linen's tree, so ``zoo`` reads and writes it."""
    name, images = "cifar_resnet20", jnp.ones((1, 32, 32, 3))
    linen = zoo.create(name, num_classes=4, backbone={"blocks": (1, 1, 1)})
    start = jax.jit(lambda key: linen.init(key, images, train=False))(jax.random.key(3))
    path = tmp_path / "published.safetensors"
    weights.write_safetensors(path, zoo.export_state_dict(name, start))

    loaded = zoo.load(name, weights=path, backbone={"blocks": (1, 1, 1)})
    model = wrap(loaded.model, images)
    give_variables(model, loaded.variables)
    assert_equal_trees(take_variables(model), start)
    state_dict = zoo.export_state_dict(name, take_variables(model))
    expected = weights.read_weights(path)
    assert state_dict.keys() == expected.keys()
    assert all(np.array_equal(state_dict[key], expected[key]) for key in expected)
