"""Names of layers, and what they give, against what the modules return where they are called."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import zoo
from jaxvision.inspect import feature_maps, layer_gradients, list_layers
from jaxvision.inspect.capture import find_layer
from jaxvision.segmentation import UNet


class _Stages(nn.Module):
    """A shared layer called twice, a dict of results, and maps that no module gives."""

    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(4, name="shared")
        x = shared(x)
        c1 = jnp.tanh(x)
        x = shared(c1)
        return {"c1": c1, "c2": x * x}


class _Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        features = _Stages(name="body")(x)
        return nn.Dense(3, name="head")(features["c2"]).mean((1, 2))


@pytest.fixture(scope="module")
def net():
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 6, 4)), jnp.float32)
    model = _Net()
    return model, model.init(jax.random.key(0), images), images


def test_layers_are_named_in_the_order_in_which_their_calls_end(net):
    model, variables, images = net
    layers = list_layers(model, jax.eval_shape(lambda: variables), images)
    assert {name: struct.shape for name, struct in layers.items()} == {
        "body/shared": (2, 5, 6, 4),
        "body/shared@2": (2, 5, 6, 4),
        "body/c1": (2, 5, 6, 4),
        "body/c2": (2, 5, 6, 4),
        "head": (2, 5, 6, 3),
        "output": (2, 3),
    }
    assert list(layers) == ["body/shared", "body/shared@2", "body/c1", "body/c2", "head", "output"]


def test_maps_are_what_the_layers_give(net):
    model, variables, images = net
    kernel, bias = (np.asarray(variables["params"]["body"]["shared"][name]) for name in ("kernel", "bias"))
    first = np.asarray(images) @ kernel + bias
    second = np.tanh(first) @ kernel + bias
    traced = []

    @jax.jit
    def run(variables, images):
        traced.append(1)
        layers = ["body/shared", "shared@2", "c1", "c2", "output"]
        return feature_maps(model, variables, images, layers=layers)

    maps = run(variables, images)
    wanted = {"body/shared": first, "shared@2": second, "c1": np.tanh(first), "c2": second**2}
    for name, array in wanted.items():
        np.testing.assert_allclose(maps[name], array, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(maps["output"], model.apply(variables, images), rtol=1e-5, atol=1e-6)
    run(variables, images + 1)
    assert len(traced) == 1
    assert run(variables, images[:0])["c1"].shape == (0, 5, 6, 4)


def test_the_gradient_of_a_map_counts_all_that_reads_it(net):
    """c1 goes through the shared layer to the score, and nobody takes it from the dict."""
    model, variables, images = net
    score = lambda outputs: outputs[:, 1]  # noqa: E731
    c1, gradient, outputs = layer_gradients(model, variables, images, layer="c1", score=score)

    def behind(c1):
        shared, head = variables["params"]["body"]["shared"], variables["params"]["head"]
        x = c1 @ shared["kernel"] + shared["bias"].reshape(1, 1, 1, -1)
        return ((x * x) @ head["kernel"][:, 1] + head["bias"][1]).mean((1, 2)).sum()

    np.testing.assert_allclose(gradient, jax.grad(behind)(c1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(score(outputs).sum(), behind(c1), rtol=1e-5)


def test_every_stage_of_networks_of_the_zoo_is_found():
    for name, layers, strides in (
        ("resnet18", ["c1", "c5", "stage4_block1"], (2, 32, 32)),
        ("vgg11", ["c1", "c5"], (2, 32)),
        ("fcn8s_vgg16", ["c3", "score_pool3"], (8, 8)),
        ("mobilenet_v3_small", ["c2", "c4"], (4, 16)),
    ):
        model, images = zoo.create(name), jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
        variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
        maps = jax.eval_shape(
            lambda v, x, model=model, layers=layers: feature_maps(model, v, x, layers=layers, train=False),
            variables,
            images,
        )
        assert [array.shape[1:3] for array in maps.values()] == [(64 // s, 96 // s) for s in strides]


class _Scanned(nn.Module):
    @nn.compact
    def __call__(self, x):
        class Step(nn.Module):
            @nn.compact
            def __call__(self, carry, _):
                return nn.Dense(4, name="inner")(carry), None

        scan = nn.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=2)
        x, _ = scan(name="loop")(x, None)
        return nn.remat(nn.Dense)(3, name="kept")(x)


def test_layers_of_a_loop_are_refused_and_those_around_it_are_not():
    images = jnp.ones((2, 5, 6, 4))
    model = _Scanned()
    variables = model.init(jax.random.key(0), images)
    assert feature_maps(model, variables, images, layers=["kept"])["kept"].shape == (2, 5, 6, 3)
    for layer in ("inner", "loop/0"):
        with pytest.raises(ValueError, match=rf"layer '{layer}': inside of a loop \(nn.scan\)"):
            feature_maps(model, variables, images, layers=[layer])
    _, gradient, _ = layer_gradients(model, variables, images, layer="kept", score=lambda x: 2 * x)
    np.testing.assert_array_equal(gradient, np.full((2, 5, 6, 3), 2.0))


def test_names_are_found_by_their_end_or_the_nearest_are_given():
    names = ["backbone/c1", "backbone/c3", "neck/c1", "head"]
    assert find_layer("head", names) == "head"
    assert find_layer("c3", names) == "backbone/c3"
    with pytest.raises(ValueError, match=r"layer 'c1': several end with it, backbone/c1, neck/c1; give the"):
        find_layer("c1", names)
    with pytest.raises(ValueError, match=r"unknown layer 'haed'; did you mean head\?"):
        find_layer("haed", names)
    with pytest.raises(ValueError, match=r"unknown layer 'c5'; did you mean .*backbone/c3"):
        find_layer("c5", names)
    with pytest.raises(ValueError, match=r"unknown layer 'zzz'; list_layers \(--list\) gives all 4"):
        find_layer("zzz", names)


def test_options_reach_the_model():
    model = UNet(2, features=(2,), use_norm=True, dropout_rate=0.0)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 8, 8, 3)), jnp.float32)
    variables = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    with pytest.raises(TypeError, match="train"):
        list_layers(model, variables, images)
    assert "encoder1_conv1" in list_layers(model, variables, images, train=False)
