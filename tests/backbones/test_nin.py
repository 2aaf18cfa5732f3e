import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.classic_cases import CASES

from jaxvision.backbones import NIN, NINClassifier, NINStage, nin
from jaxvision.core import flatten_paths

STAGES = (NINStage((4, 3), 3, padding=1), NINStage((4, 5), 3, padding=1, pool="average", dropout=True))


def test_head_is_the_mean_of_one_map_a_class():
    model = NINClassifier(NIN(STAGES), 6)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
    assert set(variables["params"]) == {"backbone", "head"}
    logits = jax.jit(lambda v: model.apply(v, images, train=False))(variables)
    features = model.backbone.apply({"params": variables["params"]["backbone"]}, images, train=False)
    kernel = np.asarray(variables["params"]["head"]["kernel"])[0, 0]
    maps = np.maximum(np.asarray(features["c2"]) @ kernel, 0)
    np.testing.assert_allclose(logits, maps.mean((1, 2)), atol=1e-5)


def test_dropout_stands_in_front_of_the_stages_that_ask_for_it():
    images = jnp.ones((1, 8, 8, 3))
    model = NIN(STAGES, dropout_rate=1.0)
    variables = jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
    features = model.apply(variables, images, train=True, rngs={"dropout": jax.random.key(1)})
    assert not features["c2"].any()
    kept = model.apply(variables, images, train=False)
    assert kept["c2"].any()


def test_only_the_last_stage_of_a_stride_is_a_feature():
    model = NIN((*STAGES, NINStage((7,), 1)))
    assert (model.channels, model.strides) == ({"c1": 3, "c2": 7}, {"c1": 1, "c2": 2})


def test_kernels_have_the_names_of_their_layers():
    case = CASES["nin_cifar10"]
    images = jax.ShapeDtypeStruct(case.shape, jnp.float32)
    target = jax.eval_shape(lambda: case.model.init(jax.random.key(0), jnp.zeros(images.shape), train=False))
    paths = {path.removesuffix("/kernel") for path in flatten_paths(target) if path.endswith("kernel")}
    stages = [f"params/backbone/mlpconv{s}/{name}/conv" for s in (1, 2) for name in ("conv", "mlp1", "mlp2")]
    last = [f"params/backbone/mlpconv3/{name}/conv" for name in ("conv", "mlp1")]
    assert paths == {*stages, *last, "params/head"}


def test_unknown_variant_names_the_nearest():
    with pytest.raises(ValueError, match=r"unknown NIN variant 'nin_cifar'.*nin_cifar10"):
        nin("nin_cifar")
