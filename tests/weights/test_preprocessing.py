import json
import re

import numpy as np
import pytest

from jaxvision.data import eval_transform
from jaxvision.weights import (
    Preprocessing,
    preprocessing_from_dict,
    preprocessing_from_timm,
    preprocessing_to_dict,
    read_preprocessing,
    write_safetensors,
)

CLIP = Preprocessing((112, 96), (128, 171), (0.5,), (0.25,), "bicubic", 16, False, "bgr")


@pytest.mark.parametrize("preprocessing", [Preprocessing(), CLIP])
def test_survives_json(preprocessing):
    text = json.dumps(preprocessing_to_dict(preprocessing))
    assert preprocessing_from_dict(json.loads(text)) == preprocessing


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizes": [3, 3]}, "expected the fields"),
        ([1, 2], "expected the fields"),
        ({"size": [224]}, "got size (224,)"),
        ({"size": 224}, "got size 224"),
        ({"size": [224, 0]}, "got size (224, 0)"),
        ({"size": [224.0, 224]}, "got size (224.0, 224)"),
        ({"resize": -1}, "got resize -1"),
        ({"resize": True}, "got resize True"),
        ({"mean": []}, "got mean ()"),
        ({"mean": [0.5, float("nan"), 0.5]}, "got mean (0.5, nan, 0.5)"),
        ({"std": [1.0, 1.0]}, "got std (1.0, 1.0)"),
        ({"std": [1.0, 0.0, 1.0]}, "got std (1.0, 0.0, 1.0)"),
        ({"interpolation": "lanczos"}, "got interpolation 'lanczos'"),
        ({"frames": 0}, "got frames 0"),
        ({"resize": [128, 171, 3]}, "got resize (128, 171, 3)"),
        ({"antialias": 1}, "got antialias 1"),
        ({"channel_order": "grb"}, "got channel_order 'grb'"),
    ],
)
def test_what_no_preprocessing_can_be_raises(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        preprocessing_from_dict(fields)


def test_reads_timms_config():
    # As timm 1.0 holds it of resnet50.a1_in1k; it evaluates at floor(224 / 0.95).
    config = {
        "input_size": [3, 224, 224], "test_input_size": [3, 288, 288], "interpolation": "bicubic",
        "crop_pct": 0.95, "test_crop_pct": 1.0, "crop_mode": "center", "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225], "num_classes": 1000,
    }  # fmt: skip
    assert preprocessing_from_timm(config) == Preprocessing(resize=235, interpolation="bicubic")
    # timm's defaults where nothing is said.
    assert preprocessing_from_timm({}) == Preprocessing(interpolation="bicubic")
    half = preprocessing_from_timm({"mean": [0.5, 0.5, 0.5], "input_size": [3, 299, 299]})
    assert half.mean == (0.5, 0.5, 0.5)
    assert (half.size, half.resize) == ((299, 299), 341)
    squashed = preprocessing_from_timm({"crop_mode": "squash", "input_size": [3, 192, 256], "crop_pct": 0.9})
    assert (squashed.size, squashed.resize) == ((192, 256), (213, 284))
    for wrong, message in (
        ({"crop_mode": "border"}, "crop_mode 'border' is not supported"),
        ({"input_size": [224, 224]}, "got input_size"),
        ({"crop_pct": -1}, "crop_pct -1"),
        ({"interpolation": "random"}, "got interpolation 'random'"),
    ):
        with pytest.raises(ValueError, match=message):
            preprocessing_from_timm(wrong)


def test_travels_in_a_file(tmp_path):
    path, variables = tmp_path / "weights.safetensors", {"params": {"w": np.zeros(2, np.float32)}}
    write_safetensors(path, variables)
    assert read_preprocessing(path) is None
    text = json.dumps(preprocessing_to_dict(CLIP))
    write_safetensors(path, variables, metadata={"preprocessing": text})
    assert read_preprocessing(path) == CLIP
    for text in ("{", '{"size": 3}'):
        write_safetensors(path, variables, metadata={"preprocessing": text})
        with pytest.raises(ValueError, match=r"weights\.safetensors: "):
            read_preprocessing(path)


@pytest.mark.parity
def test_timms_configs_give_timms_evaluation():
    """Size, resize, mean and deviation for configs of timm, all that squash among them."""
    import timm
    from timm.data import create_transform, resolve_data_config

    compared = 0
    for position, name in enumerate(timm.list_models(pretrained=True)):
        config = timm.get_pretrained_cfg(name).to_dict()
        mode, (_, height, width) = config.get("crop_mode", "center"), config["input_size"]
        if mode == "border" or height != width or (mode == "center" and position % 25):
            continue
        found = preprocessing_from_timm(config)
        steps = create_transform(**resolve_data_config(pretrained_cfg=config), is_training=False).transforms
        resize, crop, _, normalize = steps
        sides = tuple(np.broadcast_to(resize.size, 2).tolist())
        assert found.resize == sides if mode == "squash" else (found.resize, found.resize) == sides
        assert found.size == tuple(crop.size)
        assert found.interpolation == resize.interpolation.value
        np.testing.assert_allclose([found.mean, found.std], [normalize.mean, normalize.std], rtol=1e-6)
        compared += 1
    assert compared > 20


@pytest.mark.parity
@pytest.mark.parametrize("size", [(150, 400), (301, 90)])
def test_squashed_pictures_are_timms(size):
    """Oblong ones, of which the middle alone would show another part."""
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    config = timm.get_pretrained_cfg("dm_nfnet_f0.dm_in1k").to_dict()
    theirs = create_transform(**resolve_data_config(pretrained_cfg=config), is_training=False)
    expected = theirs(Image.fromarray(picture)).numpy().transpose(1, 2, 0)
    ours = eval_transform(preprocessing_from_timm(config))
    got = ours({"image": picture}, np.random.default_rng(0))["image"]
    np.testing.assert_allclose(got, expected, atol=1e-5)
