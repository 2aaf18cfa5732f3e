import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import zoo
from jaxvision.layers import BatchNorm
from jaxvision.tasks.networks import apply_in_training, initial_variables, layer_order, score_shape


class Body(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        token = self.param("token", nn.initializers.ones, (1, 1, 1, 3))
        x = nn.Conv(4, (1, 1), name="conv")(images + jnp.broadcast_to(token, images.shape))
        x = BatchNorm(name="norm")(x, train=train)
        x = nn.Conv(4, (1, 1), name="after")(x)
        return BatchNorm(name="after_norm")(x, train=train)


class Net(nn.Module):
    """With a class token, two normalised layers, and an auxiliary classifier in training."""

    @nn.compact
    def __call__(self, images, *, train):
        x = Body(name="backbone")(images, train=train).mean((1, 2))
        if train or self.is_initializing():
            self.sow("aux_logits", "logits", nn.Dense(5, name="side")(x), reduce_fn=lambda _, new: new)
        return nn.Dense(5, name="head")(x)


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).normal(2.0, 3.0, (4, 6, 6, 3)), jnp.float32)


@pytest.fixture
def variables():
    return jax.jit(lambda key: initial_variables(Net(), key, (6, 6)))(jax.random.key(0))


def _train(variables, images, frozen=()):
    state = {"batch_stats": variables["batch_stats"]}

    @jax.jit
    def run(params):
        return apply_in_training(Net(), params, state, images, jax.random.key(1), frozen=frozen)

    return run(variables["params"])


def test_auxiliary_logits_are_no_state(variables, images):
    assert set(variables) == {"params", "batch_stats"}
    logits, auxiliary, state = _train(variables, images)
    assert logits.shape == (4, 5)
    assert [x.shape for x in auxiliary] == [(4, 5)]
    assert set(state) == {"batch_stats"}


def test_statistics_of_frozen_norms_stand_still_and_are_used(variables, images):
    before = variables["batch_stats"]["backbone"]
    logits, _, state = _train(variables, images, ("backbone/norm", "*/bias"))
    after = state["batch_stats"]["backbone"]
    np.testing.assert_array_equal(after["norm"]["mean"], before["norm"]["mean"])
    assert np.abs(after["after_norm"]["mean"]).max() > 0.01
    logits, _, state = _train(variables, images, ("backbone",))
    jax.tree.map(np.testing.assert_array_equal, state["batch_stats"], variables["batch_stats"])
    np.testing.assert_allclose(logits, Net().apply(variables, images, train=False), rtol=1e-5)


def test_layers_are_in_the_order_of_the_network():
    assert layer_order(Net(), (6, 6)) == [
        ["backbone/conv", "backbone/norm", "backbone/token"],
        ["backbone/after", "backbone/after_norm"],
        ["side"],
        ["head"],
    ]


def test_layers_of_a_resnet_and_of_a_u_net():
    layers = layer_order(zoo.create("resnet18", num_classes=3), (32, 32))
    assert layers[:2] == [["backbone/stem_conv", "backbone/stem_norm"], ["backbone/stage1_block0"]]
    assert layers[-2:] == [["backbone/stage4_block1"], ["head"]]
    assert len(layers) == 10
    names = [layer[0] for layer in layer_order(zoo.create("unet_bn", features=(4, 8)), (16, 16))]
    assert names[0].startswith("encoder1") and names[-1] == "head"


def test_another_kind_of_network_is_refused():
    assert score_shape(
        zoo.create("resnet18", num_classes=3), "resnet18", (32, 32), axes="N K", remedy=""
    ) == (
        1,
        3,
    )
    unet = zoo.create("unet", features=(4, 8))
    with pytest.raises(ValueError, match=r"unet gives \[1, 16, 16, 2\] .* expected \[N, K\]; take another"):
        score_shape(unet, "unet", (16, 16), axes="N K", remedy="take another")


def test_scores_of_variables_that_are_there():
    model = zoo.create("unet", num_classes=3, features=(2,))
    variables = jax.eval_shape(lambda key: initial_variables(model, key, (8, 8)), jax.random.key(0))
    shape = score_shape(model, "unet", (8, 12), axes="N H W K", remedy="", variables=variables)
    assert shape == (1, 8, 12, 3)
    smaller = model.clone(padding="valid")
    with pytest.raises(ValueError, match=r"\[1, 4, 8, 3\] for an image of 8 x 12"):
        score_shape(smaller, "unet", (8, 12), axes="N H W K", remedy="", variables=variables)
