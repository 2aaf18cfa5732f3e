"""``zoo.load`` from every kind of file, on a narrow ResNet-18 whose weights stand for published ones."""

import functools
import json
import logging
import pickle
import re
import zipfile

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from oracles.network_cases import CASES, VGG11, recorded, rules_for, seeded_state_dict

from jaxvision import optimizers, weights, zoo
from jaxvision.core import flatten_paths
from jaxvision.training.checkpoint import Checkpoints
from jaxvision.training.state import TrainState
from jaxvision.weights import BOOKKEEPING, Preprocessing, convert, write_safetensors

NARROW = {"features": (4, 6, 8, 8), "stem_features": 4}
PREPARED = Preprocessing((160, 160), 176, interpolation="bicubic")


@functools.cache
def shapes_of(classes, name="resnet18"):
    model = zoo.create(name, num_classes=classes, backbone=NARROW)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)


def published(*, classes=5, name="resnet18"):
    """A state dict in torchvision's names, of the narrow network; values from a seed."""
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes_of(classes, name))
    named = weights.to_state_dict(zeros, zoo.ENTRIES[name].rules())
    return seeded_state_dict({key: value.shape for key, value in named.items()})


def load(path, name="resnet18", **fields):
    return zoo.load(name, weights=path, backbone=NARROW, **fields)


def npz(path, source):
    np.savez(path, **source)
    return path


def assert_filled_from(loaded, source, *, but=()):
    """Every leaf of the network is the tensor of the source that its rules say."""
    rules = zoo.ENTRIES["resnet18"].rules()
    whole = convert(source, rules, shapes_of(source["fc.weight"].shape[0]), ignore=BOOKKEEPING)
    expected = flatten_paths(whole)
    for path, leaf in flatten_paths(loaded.variables).items():
        if path not in but:
            np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


def renewed_kernel(path, source, caplog, said):
    """The kernel of a head of 7 classes, after a look at all that is kept and said."""
    with caplog.at_level(logging.WARNING):
        loaded = load(path, num_classes=7)
    head = ("params/head/bias", "params/head/kernel")
    assert sorted(loaded.initialised) == list(head)
    assert said in caplog.text
    assert "params/head/kernel" in caplog.text
    assert loaded.model.num_classes == 7
    assert_filled_from(loaded, source, but=head)
    kernel = loaded.variables["params"]["head"]["kernel"]
    assert kernel.shape == (8, 7)
    assert np.std(kernel) > 0
    return kernel


def test_takes_the_number_of_classes_from_the_file(tmp_path):
    source = published()
    loaded = load(npz(tmp_path / "weights.npz", source))
    assert loaded.model.num_classes == 5
    assert loaded.initialised == ()
    assert loaded.preprocessing == zoo.ENTRIES["resnet18"].preprocessing
    assert_filled_from(loaded, source)
    np.testing.assert_array_equal(loaded.variables["params"]["head"]["kernel"], source["fc.weight"].T)
    apply = functools.partial(loaded.model.apply, train=False)
    logits = jax.eval_shape(apply, loaded.variables, jnp.zeros((1, 32, 32, 3)))
    assert logits.shape == (1, 5)


def test_the_same_number_of_classes_keeps_the_head(tmp_path, caplog):
    source = published()
    loaded = load(npz(tmp_path / "weights.npz", source), num_classes=5)
    assert loaded.initialised == ()
    assert_filled_from(loaded, source)
    assert not caplog.records


def test_another_number_of_classes_renews_the_head_alone_and_says_so(tmp_path, caplog):
    source = published()
    path = npz(tmp_path / "weights.npz", source)
    kernel = renewed_kernel(path, source, caplog, "has 5 classes, 7 were asked for")
    again, other = (load(path, num_classes=7, key=jax.random.key(seed)) for seed in (0, 1))
    np.testing.assert_array_equal(kernel, again.variables["params"]["head"]["kernel"])
    assert not np.array_equal(kernel, other.variables["params"]["head"]["kernel"])


def test_weights_without_a_head_start_the_backbone(tmp_path, caplog):
    source = published()
    headless = {key: value for key, value in source.items() if not key.startswith("fc.")}
    path = npz(tmp_path / "weights.npz", headless)
    renewed_kernel(path, source, caplog, "has no classes, 7 were asked for")
    with pytest.raises(ValueError, match=r"head/.*it has no head: give num_classes"):
        load(path)
    npz(path, {key: value for key, value in headless.items() if key != "bn1.weight"})
    with pytest.raises(ValueError, match=r"stem_norm/scale.*are of another variant, or a rule is missing$"):
        load(path, num_classes=7)


@pytest.mark.parametrize("shape", [(5, 8, 1, 1), (0, 8)])
def test_a_head_of_another_kind_is_named(tmp_path, shape):
    source = published() | {"fc.weight": np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=re.escape(f"does not fit resnet18: fc.weight is {list(shape)}")):
        load(npz(tmp_path / "weights.npz", source))


@pytest.mark.parametrize("shape", [(), (8, 0)])
def test_a_head_of_our_own_without_classes_is_named(tmp_path, shape):
    leaves = flatten_paths(own_variables(tmp_path)) | {"params/head/kernel": np.zeros(shape, np.float32)}
    path = npz(tmp_path / "weights.npz", leaves)
    for fields in ({}, {"num_classes": 7}):
        with pytest.raises(ValueError, match=re.escape(f"params/head/kernel is {list(shape)}; expected one")):
            load(path, **fields)


def test_a_head_that_disagrees_with_itself_is_refused(tmp_path):
    source = published()
    source["fc.bias"] = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match=r"does not fit resnet18: source key 'fc\.bias' \[6\]"):
        load(npz(tmp_path / "weights.npz", source), num_classes=7)
    with pytest.raises(ValueError, match="num_classes: expected at least 1, got 0"):
        load(npz(tmp_path / "weights.npz", source), num_classes=0)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module."])
def test_the_prefix_of_a_wrapper_is_taken_off(tmp_path, prefix):
    source = published()
    wrapped = {prefix + key: value for key, value in source.items()}
    assert_filled_from(load(npz(tmp_path / "weights.npz", wrapped)), source)


def test_foreign_safetensors_with_preprocessing_of_their_own(tmp_path):
    source = published()
    path = tmp_path / "weights.safetensors"
    text = json.dumps(weights.preprocessing_to_dict(PREPARED))
    write_safetensors(path, source, metadata={"preprocessing": text})
    loaded = load(path)
    assert loaded.preprocessing == PREPARED
    assert_filled_from(loaded, source)


def test_weights_that_pytorch_named(tmp_path):
    source = seeded_state_dict(recorded("vgg_bn")["shapes"])
    fields = {"hidden": 10, "backbone": {"features": (4, 4, 6, 6, 8)}}
    loaded = zoo.load("vgg11_bn", weights=npz(tmp_path / "weights.npz", source), **fields)
    assert loaded.model.backbone.convolutions == VGG11
    expected = convert(source, rules_for(CASES["vgg_bn"]), loaded.variables, ignore=BOOKKEEPING)
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, expected))
    head = loaded.variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(head, source["classifier.6.weight"].T)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return (tmp_path / "made_by_the_pickle").mkdir, ()

    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"fc.weight": Attack()}, 2))
    with pytest.raises(ValueError, match="was refused and nothing was run"):
        load(tmp_path / "weights.pth")
    assert not (tmp_path / "made_by_the_pickle").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_truncated_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".npz":
        npz(path, published())
    else:
        write_safetensors(path, published())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole"):
        load(path)


def test_weights_of_another_architecture(tmp_path):
    path = npz(tmp_path / "weights.npz", seeded_state_dict(recorded("vgg_bn")["shapes"]))
    with pytest.raises(
        ValueError,
        match=r"weights\.npz does not fit resnet18: these are the weights of another architecture\. Its "
        r"tensors are called features\.0\.weight.*expected .*bn1\.running_mean",
    ):
        load(path)
    path = npz(tmp_path / "of_34.npz", published(name="resnet34"))
    with pytest.raises(ValueError, match=r"source key 'layer1\.2\.\S+' goes to .*stage1_block2"):
        load(path)
    path = npz(tmp_path / "of_18.npz", published())
    with pytest.raises(ValueError, match="leaves are not in the source"):
        load(path, name="resnet34")


def test_errors_before_the_file_is_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        load(tmp_path / "weights.npz")
    path = npz(tmp_path / "weights.npz", published())
    with pytest.raises(ValueError, match=r"fcn8s_vgg16 has no published weights.*vgg11"):
        zoo.load("fcn8s_vgg16", weights=path, hidden=4, backbone={"features": (2, 2, 2, 2, 2)})
    with pytest.raises(ValueError, match="unknown network 'resnet19'"):
        load(path, name="resnet19")
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(ValueError, match=r"unknown suffix '\.h5'"):
        load(tmp_path / "weights.h5")


def own_variables(tmp_path):
    return load(npz(tmp_path / "published.npz", published())).variables


def test_our_own_safetensors(tmp_path):
    variables = own_variables(tmp_path)
    path = tmp_path / "weights.safetensors"
    text = json.dumps(weights.preprocessing_to_dict(PREPARED))
    write_safetensors(path, variables, metadata={"preprocessing": text})
    loaded = load(path)
    assert loaded.preprocessing == PREPARED
    assert loaded.model.num_classes == 5
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, variables))
    renewed = load(path, num_classes=2)
    assert sorted(renewed.initialised) == ["params/head/bias", "params/head/kernel"]
    same = load(npz(tmp_path / "weights.npz", flatten_paths(variables)))
    assert jax.tree.all(jax.tree.map(np.array_equal, same.variables, variables))
    with pytest.raises(ValueError, match=r"stage1_block2/norm1/mean is absent in the file"):
        load(path, name="resnet34")


def test_our_own_weights_fill_a_network_without_published_ones(tmp_path):
    model = zoo.create("unet", num_classes=3, features=(2, 2))
    variables = jax.jit(functools.partial(model.init, train=False))(
        jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    write_safetensors(tmp_path / "weights.safetensors", variables)
    loaded = zoo.load("unet", weights=tmp_path / "weights.safetensors", features=(2, 2))
    assert loaded.model.num_classes == 3
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, variables))


def test_msgpack_of_flax(tmp_path):
    variables = own_variables(tmp_path)
    path = tmp_path / "weights.msgpack"
    path.write_bytes(flax.serialization.to_bytes({**variables, "step": 3}))
    assert jax.tree.all(jax.tree.map(np.array_equal, load(path).variables, variables))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"not a whole file of flax\.serialization"):
        load(path)
    path.write_bytes(flax.serialization.to_bytes({"kernel": np.zeros(3)}))
    with pytest.raises(ValueError, match=re.escape("expected a dict with 'params', got ['kernel']")):
        load(path)


def test_plain_orbax_checkpoint(tmp_path):
    variables = own_variables(tmp_path)
    text = json.dumps(weights.preprocessing_to_dict(PREPARED))  # of a run that is none of this folder's
    write_safetensors(tmp_path / "weights.safetensors", variables, metadata={"preprocessing": text})
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "checkpoint", jax.tree.map(np.array, variables))
    loaded = load(tmp_path / "checkpoint")
    assert loaded.preprocessing == zoo.ENTRIES["resnet18"].preprocessing
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, variables))
    assert isinstance(loaded.variables["params"]["head"]["kernel"], np.ndarray)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no whole Orbax checkpoint is in this folder"):
        load(tmp_path / "empty")


def test_the_newest_checkpoint_of_a_run_with_its_averaged_parameters(tmp_path, caplog):
    variables = own_variables(tmp_path)
    optimizer = optax.chain(optax.sgd(0.1, momentum=0.9), optimizers.track_average(0.9))

    def state(step, scale):
        params = jax.tree.map(lambda leaf: leaf * scale, variables["params"])
        statistics = {"batch_stats": variables["batch_stats"]}
        averaged = optimizer.init(variables["params"]) if step else optimizer.init(params)
        state = TrainState(jnp.int32(step), jnp.zeros(2, jnp.uint32), params, statistics, averaged)
        return jax.tree.map(np.array, state)

    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(0, state(0, 3.0), {})
    checkpoints.save(10, state(10, 2.0), {})
    checkpoints.close()
    assert load(tmp_path / "run").preprocessing == zoo.ENTRIES["resnet18"].preprocessing
    assert "run: says nothing of its images" in caplog.text
    text = json.dumps(weights.preprocessing_to_dict(PREPARED))  # as a finished run leaves it
    write_safetensors(tmp_path / "run" / "weights.safetensors", variables, metadata={"preprocessing": text})
    # At step 10 the average is that of the variables, at step 0 that of three times them.
    for folder in ("run", "run/checkpoints", "run/checkpoints/10"):
        loaded = load(tmp_path / folder)
        assert loaded.preprocessing == PREPARED
        assert jax.tree.all(jax.tree.map(np.array_equal, loaded.variables, variables))
    first = load(tmp_path / "run" / "checkpoints" / "0").variables
    head = variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(first["params"]["head"]["kernel"], 3 * head)


def test_the_parameters_of_a_run_without_an_average(tmp_path):
    variables = own_variables(tmp_path)
    optimizer = optax.sgd(0.1, momentum=0.9)
    statistics = {"batch_stats": variables["batch_stats"]}
    state = TrainState(
        jnp.int32(1),
        jnp.zeros(2, jnp.uint32),
        variables["params"],
        statistics,
        optimizer.init(variables["params"]),
    )
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(1, jax.tree.map(np.array, state), {})
    checkpoints.close()
    assert jax.tree.all(jax.tree.map(np.array_equal, load(tmp_path / "run").variables, variables))
