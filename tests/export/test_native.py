"""The formulation without choices by platform, and the ONNX graph that is made of it."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import ops, zoo
from jaxvision.export import export_onnx, native_formulation


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ops.convolution(x, jnp.full((3, 3, 1, 8), 0.3), padding=1, groups=4),
        lambda x: ops.max_pool(x, 3, strides=2, padding=1),
        lambda x: ops.average_pool(x, 2, strides=2),
        lambda x: jax.nn.relu(ops.resize(x, (9, 4))),
        lambda x: ops.transposed_convolution(x, jnp.full((2, 2, 4, 3), 0.3), strides=2),
    ],
)
def test_native_formulation_computes_the_same_without_a_choice(function):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 5, 4)), jnp.float32)
    native = native_formulation(function)
    assert "platform_index" in str(jax.make_jaxpr(function)(x))
    assert "platform_index" not in str(jax.make_jaxpr(native)(x))
    np.testing.assert_allclose(jax.jit(native)(x), jax.jit(function)(x), rtol=1e-5, atol=1e-6)


def test_wrong_suffix_and_metadata_raise(tmp_path):
    model = zoo.create("cifar_resnet20")
    with pytest.raises(ValueError, match=re.escape("expected the suffix .onnx, got '.pb'")):
        export_onnx(tmp_path / "net.pb", model, {}, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match=r"metadata: .*set"):
        export_onnx(tmp_path / "net.onnx", model, {}, input_shape=(32, 32, 3), metadata={"a": {1}})


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_whatever_stops_the_converter_is_a_message(tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise TypeError("no integer")

    monkeypatch.setattr(pytest.importorskip("jax2onnx"), "to_onnx", stop)
    with pytest.raises(ValueError, match="Classifier: no integer; export it as StableHLO"):
        export_onnx(tmp_path / "net.onnx", zoo.create("cifar_resnet20"), {}, input_shape=(32, 32, 3))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_a_pyramid_has_no_onnx_graph(tmp_path):
    pytest.importorskip("jax2onnx")
    small = {"convolutions": (1, 1, 1, 1, 1), "features": (2, 2, 2, 2, 2)}
    model, shape = zoo.create("spp_vgg16", num_classes=3, hidden=4, backbone=small), (64, 64, 3)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, *shape)))
    with pytest.raises(ValueError, match=r"SPPClassifier: .*export it as StableHLO instead"):
        export_onnx(tmp_path / "net.onnx", model, variables, input_shape=shape)
    assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "googlenet"])
@pytest.mark.filterwarnings("ignore")  # of the converter and what it imports
def test_onnx_runtime_computes_the_same(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    model, shape = zoo.create(name, num_classes=10), (64, 64, 3)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), jnp.zeros((1, *shape)))
    rng = np.random.default_rng(0)
    # Statistics and biases that are not 0 and 1.
    variables = jax.tree.map(lambda leaf: leaf + jnp.asarray(rng.uniform(0, 0.2, leaf.shape), leaf.dtype)
                             if leaf.ndim == 1 else leaf, variables)  # fmt: skip
    path = tmp_path / "net.onnx"
    export_onnx(path, model, variables, input_shape=shape, metadata={"class_names": ["a", "b"]})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"class_names": '["a", "b"]'}
    run = jax.jit(functools.partial(model.apply, train=False))
    for count in (1, 3):
        images = rng.standard_normal((count, *shape)).astype(np.float32)
        (actual,) = session.run(None, {session.get_inputs()[0].name: images})
        expected = np.asarray(run(variables, images))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
