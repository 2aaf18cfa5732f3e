"""The commands that draw feature maps and heat maps, on narrow networks."""

import argparse
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxvision import zoo
from jaxvision.inspect import features, gradcam
from jaxvision.inspect.opening import add_arguments, as_maps, class_names, open_network
from jaxvision.weights import Preprocessing, preprocessing_to_dict, write_safetensors

NARROW = ["--set", "backbone={'blocks': (1, 1, 1), 'features': (4, 4, 8)}"]
UNET = ["unet_bn", "--set", "features=(2, 3)", "--set", "num_classes=3"]


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights as a run leaves it: 10 classes, 32 pixels."""
    fields = {"num_classes": 10, "backbone": {"blocks": (1, 1, 1), "features": (4, 4, 8)}}
    model = zoo.create("cifar_resnet20", **fields)
    variables = jax.jit(lambda key: model.init(key, jnp.zeros((1, 32, 32, 3)), train=False))(
        jax.random.key(3)
    )
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    texts = {
        "class_names": json.dumps(list("abcdefghij")),
        "preprocessing": json.dumps(preprocessing_to_dict(Preprocessing((32, 32), 32))),
    }
    write_safetensors(path, variables, metadata=texts)
    return path


def _size(path):
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        return picture.size


def test_feature_maps_are_drawn(photo, weights, tmp_path, capsys):
    out, kernels = tmp_path / "f.png", tmp_path / "k.png"
    command = ["cifar_resnet20", *NARROW, "--weights", str(weights), "--image", str(photo), "--out", str(out)]
    more = ["--top", "6", "--columns", "3", "--cell", "64", "--kernels", str(kernels)]
    assert features.main([*command, "--layers", "c2", "stem_conv", *more]) == 0
    shown = capsys.readouterr().out
    assert f"picture: {out}" in shown and "random" not in shown
    width, height = _size(out)
    assert width == 8 + 3 * 72
    assert height > 3 * 64  # the image, two rows of maps, one of the four of the stem
    assert _size(kernels)[1] > 32


@pytest.mark.slow
def test_the_stages_are_drawn_by_default_and_random_weights_are_named(photo, tmp_path, capsys):
    out = tmp_path / "f.png"
    assert features.main(["cifar_resnet20", *NARROW, "--image", str(photo), "--out", str(out)]) == 0
    assert "no --weights: the numbers of cifar_resnet20 are random" in capsys.readouterr().out
    assert features.main([*UNET, "--image", str(photo), "--out", str(out), "--order", "first"]) == 0
    assert _size(out)[1] > 4 * 96


def test_layers_are_listed_without_an_image(capsys):
    for command in (features.main, gradcam.main):
        assert command(["cifar_resnet20", "--list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "output  1x10"
        assert any(line.split() == ["backbone/c3", "1x8x8x64"] for line in lines)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam++", "saliency"])
def test_heat_maps_are_drawn_for_the_most_probable_classes(photo, weights, tmp_path, capsys, method):
    out = tmp_path / "g.png"
    command = ["cifar_resnet20", *NARROW, "--weights", str(weights), "--image", str(photo), "--out", str(out)]
    assert gradcam.main([*command, "--method", method, "--top", "2", "--cell", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first, second = (float(line.rpartition(" ")[2]) for line in lines[:2])
    assert first >= second > 0
    assert lines[0][0] in "abcdefghij"
    assert _size(out)[0] == 8 + 3 * 72
    assert _size(out)[1] > 2 * 64


def test_heat_maps_of_a_segmentation_network_see_the_whole_image(photo, tmp_path, capsys):
    out = tmp_path / "g.png"
    command = [*UNET, "--image", str(photo), "--out", str(out), "--cell", "90"]
    assert gradcam.main([*command, "--classes", "2", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("class 2 (2): ") and lines[1].endswith("% of the pixels")
    assert _size(out)[0] == 8 + 3 * 98
    assert _size(out)[1] < 2 * 90 + 100  # 40 x 60, not a square


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layers", "c9"], "unknown layer 'c9'; did you mean backbone/c"),
        (["--layers", "head"], "layer 'head' gives [1, 10], expected a map"),
        (["--top", "0"], "--top: got 0"),
        (["--set", "num_classes"], "expected FIELD=VALUE"),
        (["--image", "absent.png"], "absent.png: no such file"),
        (["--weights", "absent.safetensors"], "absent.safetensors"),
    ],
)
def test_mistakes_in_drawing_features_are_named(photo, more, message, capsys):
    assert features.main(["cifar_resnet20", *NARROW, "--image", str(photo), *more]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layer", "c9"], "unknown layer 'c9'; did you mean backbone/c"),
        (["--classes", "10"], "got --classes [10] and --top 3, expected indices in 0..9"),
        (["--top", "0"], "--top 0, expected indices in 0..9 and 1 or more"),
        (["--alpha", "2"], "alpha: got 2.0"),
    ],
)
def test_mistakes_in_drawing_heat_maps_are_named(photo, more, message, capsys):
    assert gradcam.main(["cifar_resnet20", *NARROW, "--image", str(photo), *more]) == 1
    assert message in capsys.readouterr().err


def test_other_networks_and_files_are_named(photo, weights, tmp_path, capsys):
    assert gradcam.main(["cifar_resnet20", "--weights", str(weights), "--image", str(photo)]) == 1
    assert "does not fit cifar_resnet20" in capsys.readouterr().err
    assert gradcam.main(["r3d_18", "--image", str(photo)]) == 1
    assert "expected single images" in capsys.readouterr().err
    assert gradcam.main(["cifar_resnet20"]) == 1
    assert "--image: none given" in capsys.readouterr().err
    photo.write_bytes(b"no picture")
    assert features.main(["cifar_resnet20", "--image", str(photo)]) == 1
    assert "not a picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "value", "wanted"),
    [
        ("RGBA", (9, 8, 7, 0), (9, 8, 7)),
        ("L", 9, (9, 9, 9)),
        ("I;16", 257 * 40, (40, 40, 40)),
        ("P", 3, (1, 2, 3)),
    ],
)
def test_pictures_of_any_kind_are_taken(weights, tmp_path, mode, value, wanted):
    picture = Image.new(mode, (30, 20), value)
    if mode == "P":
        picture.putpalette([1, 2, 3] * 256)
    picture.save(tmp_path / "photo.tif")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    command = ["cifar_resnet20", *NARROW, "--weights", str(weights), "--image", str(tmp_path / "photo.tif")]
    opened = open_network(parser.parse_args(command))
    assert (opened.picture == wanted).all()
    assert opened.picture.shape == (32, 32, 3)
    assert opened.images.shape == (1, 32, 32, 3)
    assert opened.outputs == (1, 10)


def test_tokens_are_a_square_behind_a_class_token():
    tokens = np.arange(10.0).reshape(10, 1)
    np.testing.assert_array_equal(as_maps(tokens)[..., 0], np.arange(1.0, 10).reshape(3, 3))
    assert as_maps(np.zeros(4)) is None
    assert as_maps(np.zeros((2, 3, 4))).shape == (2, 3, 4)


def test_names_of_classes(weights):
    assert class_names(str(weights), 10) == tuple("abcdefghij")
    assert class_names(str(weights), 9)[8] == "class 8"
    assert class_names(None, 1000)[0] == "tench"
    assert class_names("hf://a/b.safetensors", 21)[15] == "person"


@pytest.mark.slow
def test_commands_run_as_modules():
    """Without the warning that a package has imported what is to be run."""
    program = """
import contextlib, runpy, sys
for name in ("features", "gradcam"):
    sys.argv = [name, "--help"]
    with contextlib.suppress(SystemExit):
        runpy.run_module(f"jaxvision.inspect.{name}", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("features", "gradcam"):
        assert f"usage: python -m jaxvision.inspect.{name}" in done.stdout
