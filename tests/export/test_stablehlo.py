import functools
import json
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import zoo
from jaxvision.backbones import PooledClassifier, ResNet
from jaxvision.export import PLATFORMS, export_stablehlo, load_stablehlo
from jaxvision.export.__main__ import main
from jaxvision.layers import BasicBlock
from jaxvision.weights import preprocessing_to_dict, write_safetensors

SHAPE = (40, 33, 3)
# Alone, as someone runs it who has JAX and the file: no jaxvision.
RUN_ALONE = """
import sys, zipfile, jax, numpy as np
with zipfile.ZipFile(sys.argv[1]) as archive:
    program = jax.export.deserialize(bytearray(archive.read("program")))
images = np.load(sys.argv[2])
np.save(sys.argv[3], program.call(images))
assert not any(name.split(".")[0] in ("jaxvision", "flax") for name in sys.modules)
"""


def seeded(model, shape=SHAPE):
    """Variables of a network from a seed."""
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.uniform(0.1, 0.3, leaf.shape).astype(np.float32), target)


@pytest.fixture(scope="module")
def network():
    body = ResNet(blocks=(1, 1, 1, 1), features=(4, 4, 8, 8), stem_features=4, block=BasicBlock)
    model = PooledClassifier(body, 5)
    return model, seeded(model)


@pytest.mark.slow
def test_one_file_runs_alone_with_any_batch(network, tmp_path):
    model, variables = network
    path = tmp_path / "net.stablehlo.zip"
    metadata = {"class_names": ["a", "b", "c", "d", "ä"]}
    export_stablehlo(path, model, variables, input_shape=SHAPE, metadata=metadata)
    exported = load_stablehlo(path)
    assert exported.input_shape == SHAPE
    assert exported.platforms == PLATFORMS
    assert exported.metadata == metadata
    images = np.random.default_rng(1).standard_normal((7, *SHAPE)).astype(np.float32)
    expected = jax.jit(functools.partial(model.apply, train=False))(variables, images)
    for count in (1, 7):
        actual = jax.jit(exported.call)(images[:count])
        np.testing.assert_allclose(actual, expected[:count], rtol=1e-5)
    np.save(tmp_path / "images.npy", images)
    arguments = [path, tmp_path / "images.npy", tmp_path / "logits.npy"]
    subprocess.run([sys.executable, "-c", RUN_ALONE, *map(str, arguments)], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("mobilenet_v3_small", {}),
        ("efficientnet_b0", {}),
        ("googlenet", {}),
        ("vgg11_bn", {"hidden": 4, "backbone": {"features": (2, 2, 2, 2, 2)}}),
        ("cifar_resnet20", {}),
        ("vit_tiny_patch16_224", {}),
        ("unet", {"features": (2, 4)}),
    ],
)
def test_every_kind_of_network_exports_with_a_batch_of_any_size(name, fields, tmp_path):
    model = zoo.create(name, num_classes=3, **fields)
    shape = zoo.ENTRIES[name].preprocessing.input_shape
    images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    target = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
    export_stablehlo(tmp_path / "net.zip", model, zeros, input_shape=shape)
    call = load_stablehlo(tmp_path / "net.zip").call
    for count in (1, 3):
        images = jax.ShapeDtypeStruct((count, *shape), jnp.float32)
        wanted = jax.eval_shape(functools.partial(model.apply, train=False), zeros, images)
        assert jax.eval_shape(call, images).shape == wanted.shape


def test_command_writes_what_the_weights_are_of(tmp_path, capsys):
    model = zoo.create("cifar_resnet20", num_classes=4)
    preprocessing = zoo.ENTRIES["cifar_resnet20"].preprocessing
    weights, out = tmp_path / "weights.safetensors", tmp_path / "net.stablehlo.zip"
    write_safetensors(weights, seeded(model, preprocessing.input_shape))
    assert main(["cifar_resnet20", "--weights", str(weights), "--out", str(out), "--platforms", "cpu"]) == 0
    assert "net.stablehlo.zip: cifar_resnet20" in capsys.readouterr().out
    exported = load_stablehlo(out)
    assert exported.platforms == ("cpu",)
    assert exported.metadata["name"] == "cifar_resnet20"
    assert exported.metadata["preprocessing"] == preprocessing_to_dict(preprocessing)
    assert main(["cifar_resnet20", "--weights", str(tmp_path / "none.pth"), "--out", str(out)]) == 1
    assert "none.pth" in capsys.readouterr().err


def test_command_takes_the_fields_and_the_class_names_of_a_run(tmp_path, capsys):
    model = zoo.create("resnet18", num_classes=3, backbone={"features": (4, 4, 8, 8), "stem_features": 4})
    weights, out = tmp_path / "weights.safetensors", tmp_path / "net.stablehlo.zip"
    write_safetensors(weights, seeded(model), metadata={"class_names": json.dumps(["ant", "bee", "ä"])})
    command = [
        "resnet18",
        "--weights",
        str(weights),
        "--out",
        str(out),
        "--platforms",
        "cpu",
        "--size",
        "40",
        "33",
    ]
    fields = ["--set", "backbone={'features': (4, 4, 8, 8), 'stem_features': 4}"]
    assert main([*command, *fields]) == 0
    exported = load_stablehlo(out)
    assert exported.metadata["class_names"] == ["ant", "bee", "ä"]
    assert exported.call(jnp.zeros((2, *SHAPE))).shape == (2, 3)
    (tmp_path / "names.txt").write_text("x\ny\nz\n")
    assert main([*command, *fields, "--class-names", str(tmp_path / "names.txt")]) == 0
    noted = load_stablehlo(out).metadata
    assert noted["class_names"] == ["x", "y", "z"]
    # The crop keeps its share: 256 of 224 is 40 of 33, but never less than the crop.
    assert (noted["preprocessing"]["size"], noted["preprocessing"]["resize"]) == ([40, 33], 40)
    (tmp_path / "few.txt").write_text("x\ny\n")
    for wrong, message in (
        ([], "does not fit resnet18"),
        (["--set", "x"], "expected FIELD=VALUE"),
        ([*fields, "--size", "1", "2", "3"], "--size: expected a height, or height and width"),
        ([*fields, "--size", "0"], "--size: expected a height, or height and width"),
        ([*fields, "--class-names", str(tmp_path / "few.txt")], "got 2 names, expected 3"),
        ([*fields, "--out", str(tmp_path / "net.onnx")], "--platforms: "),
    ):
        assert main([*command, *wrong]) == 1
        assert message in capsys.readouterr().err


def test_wrong_arguments_and_files_raise(network, tmp_path):
    model, variables = network
    path = tmp_path / "net.zip"
    with pytest.raises(ValueError, match=r"platforms: expected some of .*got \['gpu'\]"):
        export_stablehlo(path, model, variables, input_shape=SHAPE, platforms=("gpu",))
    with pytest.raises(ValueError, match=r"metadata: .*set"):
        export_stablehlo(path, model, variables, input_shape=SHAPE, metadata={"names": {1}})
    assert not path.exists()
    with pytest.raises(FileNotFoundError, match="export a network to it first"):
        load_stablehlo(path)
    export_stablehlo(path, model, variables, input_shape=SHAPE, platforms=("cpu",))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole exported network"):
        load_stablehlo(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({}))
        archive.writestr("program", b"something else")
    with pytest.raises(ValueError, match=r"JAX .* cannot read the program"):
        load_stablehlo(path)


def test_a_batch_of_another_shape_raises(network, tmp_path):
    model, variables = network
    export_stablehlo(tmp_path / "net.zip", model, variables, input_shape=SHAPE, platforms=("cpu",))
    with pytest.raises(ValueError, match="33"):
        load_stablehlo(tmp_path / "net.zip").call(jnp.zeros((1, 40, 40, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "c3d", "darknet19", "fcn8s_vgg16", "inception_v3", "legacy_xception", "mobilenet_v2", "nfnet_f0",
        "nin", "r2plus1d_18", "r3d_18", "resnet50", "resnext50_32x4d", "seresnet50", "spp_vgg16",
        "xception41",
    ],
)  # fmt: skip
def test_every_other_family_lowers_for_every_platform(name):
    model, shape = zoo.create(name), zoo.ENTRIES[name].preprocessing.input_shape
    one = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), one)
    (batch,) = jax.export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    apply = jax.jit(functools.partial(model.apply, train=False))
    program = jax.export.export(apply, platforms=PLATFORMS)(variables, images)
    assert program.out_avals[0].shape[0] == batch
    assert program.out_avals[0].shape[-1] == model.num_classes
