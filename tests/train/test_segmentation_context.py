"""The script with networks of context modules: which options reach them, and what they start from."""

import functools
import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.network_cases import seeded_state_dict

from jaxvision import zoo
from jaxvision.tasks import SegmentationLossOptions, segmentation_task
from jaxvision.weights import to_state_dict

SCRIPT = Path(__file__).parents[2] / "train" / "segmentation.py"
NAME = "lraspp_mobilenet_v3_large"


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("segmentation_script_context", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50", "pspnet_resnet50"])
def test_an_auxiliary_head_is_there_if_asked_for(script, name):
    for aux_head in (False, True):
        options = script.ModelOptions(name=name, aux_head=aux_head)
        assert zoo.create(name, **script.model_fields(options, 12)).aux_head == aux_head
    with pytest.raises(ValueError, match="aux_head"):
        zoo.create(NAME, **script.model_fields(script.ModelOptions(name=NAME, aux_head=True), 12))


def test_a_negative_factor_of_the_auxiliary_loss_is_refused():
    with pytest.raises(ValueError, match=r"--loss\.auxiliary: expected 0 or more, got -1\.0"):
        SegmentationLossOptions(auxiliary=-1.0).build(3)


def published(name, path, **fields):
    """A file of a network's weights in torchvision's names, with values from a seed."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    init = functools.partial(zoo.create(name, **fields).init, train=False)
    target = jax.eval_shape(init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), target)
    named = to_state_dict(zeros, zoo.ENTRIES[name].rules())
    source = seeded_state_dict({key: value.shape for key, value in named.items()})
    np.savez(path, **source)
    return source


@pytest.mark.slow
def test_published_weights_of_the_network_or_of_its_classifier_start_a_run(script, tmp_path, capsys):
    whole, body = tmp_path / "whole.npz", tmp_path / "classifier.npz"
    sources = published(NAME, whole, num_classes=21), published("mobilenet_v3_large", body)
    kernels = (
        sources[0]["backbone.16.0.weight"].transpose(2, 3, 1, 0),
        sources[1]["features.16.0.weight"].transpose(2, 3, 1, 0),
    )
    model = zoo.create(NAME, num_classes=4)
    loss = SegmentationLossOptions().build(4)
    task = segmentation_task(model, loss, num_classes=4, image_size=(32, 32))
    for path, kernel in zip((whole, body), kernels, strict=True):
        options = script.ModelOptions(name=NAME, weights=str(path))
        variables, expected = script.initial_variables(options, 4, task, None, seed=0)
        assert expected == zoo.find_entry(NAME if path == whole else "mobilenet_v3_large").preprocessing
        params = variables["params"]
        np.testing.assert_array_equal(params["backbone"]["head_conv"]["conv"]["kernel"], kernel)
        assert params["head"]["kernel"].shape == (1, 1, 128, 4)
        shown = capsys.readouterr().out
        assert ("leaves of mobilenet_v3_large start backbone; " in shown) == (path == body)
    # The finer map's convolution is the whole network's, or a new one.
    options = script.ModelOptions(name=NAME, weights=str(whole))
    variables, _ = script.initial_variables(options, 21, task, None, seed=0)
    np.testing.assert_array_equal(
        variables["params"]["skip_head"]["kernel"],
        sources[0]["classifier.low_classifier.weight"].transpose(2, 3, 1, 0),
    )
