"""Heat maps of classes against PyTorch's hooks, and what they are by their definition."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.gradcam_cases import CAM_CASES, LIVE_CASES, check_against, recorded

from jaxvision import zoo
from jaxvision.backbones import PooledClassifier, ResNet
from jaxvision.inspect import grad_cam, layer_gradients, list_layers, saliency
from jaxvision.layers import BasicBlock
from jaxvision.segmentation import UNet


@pytest.fixture(scope="module")
def classifier():
    """A network of two stages, its variables, and two images."""
    body = ResNet(block=BasicBlock, blocks=(1, 1), features=(4, 6), stem_features=4)
    model = PooledClassifier(body, 5, feature="c3")
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 32, 40, 3)), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(1))
    return model, variables, images


@pytest.mark.parametrize("name", CAM_CASES)
def test_maps_are_those_recorded_from_pytorch(name):
    check_against(CAM_CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", LIVE_CASES)
def test_maps_are_those_of_pytorch(name):
    from oracles.torch_gradcam import torch_maps

    check_against(LIVE_CASES[name], torch_maps(LIVE_CASES[name]))


@pytest.mark.parity
@pytest.mark.parametrize("layer", ["c5", "c4"])
def test_maps_of_a_whole_resnet(layer):
    """torchvision's ResNet-18 with random weights and calibrated statistics, by hooks."""
    from oracles.torch_gradcam import hooked_maps

    from jaxvision.weights import BOOKKEEPING, convert, resnet_classifier_rules

    theirs, images = _calibrated_resnet18()
    source = {key: value.numpy() for key, value in theirs.state_dict().items()}
    model = zoo.create("resnet18")
    inputs = jnp.asarray(images.permute(0, 2, 3, 1).numpy())
    target = jax.eval_shape(lambda key: model.init(key, inputs, train=False), jax.random.key(0))
    variables = convert(source, resnet_classifier_rules(), target, ignore=BOOKKEEPING)
    classes = np.array([7, 900], np.int32)
    wanted = hooked_maps(theirs, f"layer{int(layer[1]) - 1}", images, classes, None)
    for method in ("grad_cam", "grad_cam++"):
        run = jax.jit(
            lambda v, x, method=method: grad_cam(
                model, v, x, layer=layer, classes=jnp.asarray(classes), method=method, train=False
            )
        )
        heat, logits = run(variables, inputs)
        np.testing.assert_allclose(heat, wanted[method], rtol=0, atol=1e-4 * wanted[method].max())
        np.testing.assert_allclose(
            logits, wanted["logits"], rtol=0, atol=1e-4 * np.abs(wanted["logits"]).max()
        )


def _calibrated_resnet18():
    import torch
    import torchvision

    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None)
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        for _ in range(20):
            theirs.train()(images)
    return theirs.eval(), images


@pytest.mark.parity
@pytest.mark.parametrize("method", ["grad_cam", "grad_cam++"])
def test_maps_are_those_of_pytorch_grad_cam(method):
    """The library shows a map stretched to 0..1, resized to the image, and stretched again."""
    library = pytest.importorskip("pytorch_grad_cam", reason="the package grad-cam is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    from jaxvision.segmentation.views import resize_bilinear
    from jaxvision.weights import BOOKKEEPING, convert, resnet_classifier_rules

    theirs, images = _calibrated_resnet18()
    # The library adds 1e-6 to the divisor of the squared gradients: large ones do not feel it.
    theirs.fc.weight.data *= 100
    kind = {"grad_cam": library.GradCAM, "grad_cam++": library.GradCAMPlusPlus}[method]
    with kind(model=theirs, target_layers=[theirs.layer4]) as explain:
        wanted = explain(
            input_tensor=images, targets=[ClassifierOutputTarget(7), ClassifierOutputTarget(900)]
        )

    source = {key: value.numpy() for key, value in theirs.state_dict().items()}
    model, inputs = zoo.create("resnet18"), jnp.asarray(images.permute(0, 2, 3, 1).numpy())
    target = jax.eval_shape(lambda key: model.init(key, inputs, train=False), jax.random.key(0))
    variables = convert(source, resnet_classifier_rules(), target, ignore=BOOKKEEPING)
    classes = jnp.array([7, 900])
    run = jax.jit(lambda v, x: grad_cam(model, v, x, layer="c5", classes=classes, method=method, train=False))
    for heat, expected in zip(np.asarray(run(variables, inputs)[0]), wanted, strict=True):
        got = _stretched(resize_bilinear(_stretched(heat)[..., None], (96, 128))[..., 0])
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3)


def _stretched(x):
    return (x - x.min()) / (x.max() - x.min())


def test_grad_cam_of_pooling_and_a_linear_layer_is_the_class_activation_map(classifier):
    """The weights are those of the linear layer, divided by the number of places (Zhou et al. 2016)."""
    model, variables, images = classifier
    classes = jnp.array([3, 1])
    run = jax.jit(lambda v, x: grad_cam(model, v, x, layer="c3", classes=classes, train=False))
    heat, logits = run(variables, images)
    body = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
    features = jax.jit(lambda x: model.backbone.apply(body, x, train=False)["c3"])(images)
    kernel = np.asarray(variables["params"]["head"]["kernel"])[:, np.asarray(classes)].T  # [N, C]
    wanted = np.maximum(np.einsum("nhwc,nc->nhw", np.asarray(features), kernel), 0) / (4 * 5)
    np.testing.assert_allclose(heat, wanted, rtol=0, atol=1e-5 * wanted.max())
    head = variables["params"]["head"]
    scores = np.asarray(features).mean((1, 2)) @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences(classifier):
    model, variables, images = classifier
    score = lambda outputs: outputs[:, 2] ** 2  # noqa: E731
    run = jax.jit(lambda v, x: layer_gradients(model, v, x, layer="stage1_block0", score=score, train=False))
    _, gradient, outputs = run(variables, images)
    direction = gradient / jnp.sqrt((gradient**2).sum())  # along which the score rises most

    @jax.jit
    def shifted(step):
        """The network with the block's result moved, by an interceptor."""

        def move(method, args, kwargs, context):
            result = method(*args, **kwargs)
            here = context.method_name == "__call__" and context.module.path == ("backbone", "stage1_block0")
            return result + step * direction if here else result

        with nn.intercept_methods(move):
            return score(model.apply(variables, images, train=False)).sum()

    np.testing.assert_allclose(score(outputs).sum(), shifted(0.0), rtol=1e-5)
    wanted = (shifted(1e-2) - shifted(-1e-2)) / 2e-2
    np.testing.assert_allclose((gradient * direction).sum(), wanted, rtol=1e-2)


def test_maps_are_jitted_once_differentiable_and_each_images_own(classifier):
    model, variables, images = classifier
    traced = []

    @jax.jit
    def run(variables, images, classes):
        traced.append(1)
        return grad_cam(model, variables, images, layer="c2", classes=classes, train=False)[0]

    heat = run(variables, images, jnp.array([0, 4]))
    assert heat.shape == (2, 8, 10) and heat.dtype == jnp.float32 and float(heat.min()) >= 0
    other = run(variables, images, jnp.array([1, 4]))
    assert len(traced) == 1
    assert np.abs(np.asarray(heat - other)[0]).max() > 0
    np.testing.assert_allclose(heat[1], other[1], rtol=1e-5)
    alone = run(variables, images[1:], jnp.array([4]))
    np.testing.assert_allclose(heat[1:], alone, rtol=0, atol=1e-5 * float(heat.max()))
    assert run(variables, images[:0], jnp.zeros(0, jnp.int32)).shape == (0, 8, 10)
    mapped = jax.vmap(lambda x, k: run(variables, x[None], k[None])[0])(images, jnp.array([0, 4]))
    np.testing.assert_allclose(mapped, heat, rtol=0, atol=1e-5 * float(heat.max()))
    slope = jax.grad(lambda x: run(variables, x, jnp.array([0, 4])).sum())(images)
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0


def test_half_precision_gives_float32_maps(classifier):
    _, variables, images = classifier
    body = ResNet(block=BasicBlock, blocks=(1, 1), features=(4, 6), stem_features=4, dtype=jnp.bfloat16)
    model = PooledClassifier(body, 5, feature="c3", dtype=jnp.bfloat16)
    heat, wanted = (
        jax.jit(
            lambda v, x, net=net: grad_cam(net, v, x, layer="c3", classes=jnp.array([3, 1]), train=False)[0]
        )(variables, images)
        for net in (model, classifier[0])
    )
    assert heat.dtype == jnp.float32
    np.testing.assert_allclose(heat, wanted, rtol=0, atol=0.05 * float(wanted.max()))


def test_tokens_have_a_map_too():
    model = zoo.create("vit_small_patch16_224", num_classes=3)
    images = jnp.zeros((1, 224, 224, 3))
    variables = jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))
    names = list_layers(model, variables, images, train=False)
    layers = [name for name in names if name.endswith("norm1")]
    shape = jax.eval_shape(
        lambda v, x: grad_cam(model, v, x, layer=layers[-1], classes=jnp.array([1]), train=False)[0],
        variables,
        images,
    ).shape
    assert shape == (1, 197)


def test_without_pixels_all_of_them_are_explained():
    model = UNet(3, features=(2, 3), dropout_rate=0.0)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 8, 12, 3)), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(0))
    options = {"classes": jnp.array([2]), "train": False}

    @jax.jit
    def run(where):
        return grad_cam(model, variables, images, layer="encoder2_conv2", where=where, **options)[0]

    pixels = jnp.ones((1, 8, 12), bool)
    np.testing.assert_allclose(run(None), run(pixels), rtol=1e-5)
    assert float(run(None).max()) > 0
    assert float(run(~pixels).max()) == 0
    with pytest.raises(ValueError, match=r"where: got \[1, 8, 8\] for logits \[1, 8, 12, 3\]"):
        saliency(model, variables, images, where=pixels[:, :, :8], **options)


def _mistake(model, variables, images, **options):
    options = {"layer": "c3", "classes": jnp.array([0, 1]), "train": False, **options}
    return grad_cam(model, variables, images, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": jnp.array([0, 5])}, r"classes: got 5, expected 0\.\.4; the network has 5 classes"),
        ({"classes": np.array([-1, 2])}, "classes: got -1"),
        ({"classes": jnp.array([0])}, "classes: got 1 for 2 images"),
        ({"classes": jnp.array(0)}, r"classes: expected \[N\], got \[\]; give one class an image"),
        ({"classes": jnp.array([0.0, 1.0])}, "classes: expected an integer dtype"),
        ({"method": "gradcam"}, "method: got 'gradcam', expected one of 'grad_cam'"),
        ({"layer": "c4"}, r"unknown layer 'c4'; did you mean backbone/c\d"),
        ({"layer": "head"}, r"layer 'head' gives \[2, 5\], expected a map"),
        ({"where": np.ones((2, 32, 40), bool)}, r"where: got \[2, 32, 40\] for logits \[2, 5\]"),
    ],
)
def test_mistakes_are_named(classifier, options, message):
    with pytest.raises(ValueError, match=message):
        _mistake(*classifier, **options)


def test_a_layer_that_the_score_does_not_depend_on_is_named(classifier):
    model, variables, images = classifier
    early = PooledClassifier(model.backbone, 5, feature="c2")
    head = {"kernel": jnp.ones((4, 5)), "bias": jnp.zeros(5)}
    with pytest.raises(ValueError, match=r"layer 'backbone/c3': the score does not depend on it"):
        _mistake(early, {**variables, "params": {**variables["params"], "head": head}}, images)


def test_logits_of_another_rank_are_named(classifier):
    model, variables, images = classifier
    body = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
    with pytest.raises(ValueError, match=r"the network gives dict, expected logits \[N, K\]"):
        _mistake(model.backbone, body, images, layer="c2")
