"""SegNet, SegNet-Basic and DeconvNet."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles.network_cases import NARROW, VGG11, assert_close, check_recording, in_double, recorded
from oracles.segnets_cases import CASES, check_segnet, deconvnet_rules, segnet_rules

from jaxvision import zoo
from jaxvision.backbones import VGG, vgg
from jaxvision.core import count_parameters, flatten_paths
from jaxvision.ops import max_pool_with_indices
from jaxvision.segmentation import DeconvNet, SegNet, SegNetBasic, take_from_classifier
from jaxvision.segmentation.resolution import unpool_pairs
from jaxvision.weights import BOOKKEEPING, convert

NAMES = [name for name in CASES if name.startswith(("segnet", "deconvnet"))]
VGG16, WIDTHS = (2, 2, 3, 3, 3), (64, 128, 256, 512, 512)


def narrow_vgg():
    return VGG(VGG11, NARROW, use_norm=True)


NETWORKS = {
    "segnet": lambda **fields: SegNet(narrow_vgg(), 5, **fields),
    "segnet_basic": lambda **fields: SegNetBasic(5, (4, 4, 5, 5), **fields),
    "deconvnet": lambda **fields: DeconvNet(narrow_vgg(), 5, **{"hidden": 6, "window": 2, **fields}),
}


def slow_but(quick):
    """The networks, of which all but one are left to the full run."""
    return [pytest.param(name, marks=() if name == quick else pytest.mark.slow) for name in NETWORKS]


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), images)


def some_variables(model):
    rng = np.random.default_rng(0)
    shapes = shapes_of(model)[1]
    draw = {key: 0.3 * rng.standard_normal(leaf.shape) for key, leaf in flatten_paths(shapes).items()}
    draw = {key: abs(value) + 0.5 if key.endswith(("var", "scale")) else value for key, value in draw.items()}
    return jax.tree.unflatten(jax.tree.structure(shapes), [jnp.float32(value) for value in draw.values()])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("segnet_basic", "deconvnet") else ())
        for name in NAMES
    ],
)
def test_equals_recorded_torch(name):
    check_segnet(name, recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_segnets import segnet_outputs

    check_recording(name, segnet_outputs(name))


def full_size(name):
    """Our network with 5 classes, the rules, a restatement in torch, and a size of images."""
    from oracles import torch_segnets

    if name != "deconvnet":
        rules = segnet_rules(VGG16 if name == "segnet" else ())
        return zoo.create(name, num_classes=5), rules, torch_segnets.whole_model(name, 5), (45, 61)
    # Layers of 4096 over windows of 7 hold most of 252 million parameters: these are smaller, all else whole.
    narrow = {"hidden": 256, "window": 2}
    theirs = torch_segnets.DeconvNet(VGG16, WIDTHS, 5, **narrow)
    return zoo.create("deconvnet", num_classes=5, **narrow), deconvnet_rules(VGG16), theirs, (64, 64)


@pytest.mark.parity
@pytest.mark.parametrize("name", ["segnet", "segnet_basic", "deconvnet"])
def test_full_size_equals_live_torch(name):
    """In double precision: of millions of windows some have two nearly equal maxima, which rounding swaps."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_run import calibrated_state, channels_last

    ours, rules, theirs, size = full_size(name)
    source = calibrated_state(theirs, size)
    images = np.random.default_rng(0).standard_normal((1, *size, 3))
    with torch.no_grad():
        wanted = channels_last(theirs.double()(torch.from_numpy(images).permute(0, 3, 1, 2)))
    variables = convert(source, rules, shapes_of(ours)[1], ignore=BOOKKEEPING)
    actual = in_double(jax.jit(functools.partial(ours.apply, train=False)), variables, images)
    assert_close(name, actual, wanted, relative=1e-6)


def test_parameters_of_segnet():
    # Paszke et al. 2016, ENet, table 3: 29.46 million, with CamVid's 12 classes.
    count = count_parameters(shapes_of(zoo.create("segnet", num_classes=12))[1]["params"])
    encoder = sum(9 * a * b + 3 * b for a, b in _vgg16_pairs())
    # The mirror image: each convolution of the encoder turned round, the first one to the classes.
    decoder = sum(9 * a * b + 2 * a for a, b in _vgg16_pairs()[1:]) + (9 * 64 + 1) * 12
    assert count == encoder + decoder == 29_446_220
    assert round(count / 1e6, 1) == 29.4


def _vgg16_pairs():
    """Input and output channels of VGG-16's convolutions."""
    widths = [width for count, width in zip(VGG16, WIDTHS, strict=True) for _ in range(count)]
    return list(zip([3, *widths[:-1]], widths, strict=True))


def test_parameters_of_segnet_basic():
    # Badrinarayanan et al. 2017, table 1: 1.425 million, 11 classes; the text does not say what it counts.
    count = count_parameters(shapes_of(zoo.create("segnet_basic", num_classes=11))[1]["params"])
    kernels = 49 * 3 * 64 + 7 * 49 * 64 * 64
    assert count == kernels + 8 * 2 * 64 + 65 * 11 == 1_416_075
    assert abs(count / 1.425e6 - 1) < 0.01


def test_parameters_of_deconvnet():
    # Noh et al. 2015, section 4.1: "252M parameters in total".
    count = count_parameters(shapes_of(zoo.create("deconvnet", num_classes=21))[1]["params"])
    encoder = sum(9 * a * b + 3 * b for a, b in _vgg16_pairs())
    decoder = sum(9 * a * b + 2 * a for a, b in _vgg16_pairs()[1:]) + (9 * 64 + 2) * 64 + 65 * 21
    dense = 49 * 512 * 4096 + 4096 * 4096 + 2 * 3 * 4096 + 49 * 512 * 4096 + 2 * 512
    assert count == encoder + decoder + dense
    assert round(count / 1e6) == 252


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (45, 61), (64, 96), (0, 40)])
def test_logits_have_the_size_of_the_image(name, size):
    batch = 0 if size[0] == 0 else 2
    size = (size[0] or 33, size[1])
    logits, _ = shapes_of(NETWORKS[name](), (batch, *size, 3))
    assert logits.shape == (batch, *size, 5)
    assert logits.dtype == jnp.float32


def test_deconvnet_makes_the_papers_image_one_vector():
    widths = {}

    def note(module, _):
        return module.name in ("fc6", "fc7", "decoder_fc6")

    model = DeconvNet(narrow_vgg(), 5, hidden=6)
    run = functools.partial(model.init_with_output, train=False, capture_intermediates=note)
    for side in (224, 256):
        images = jax.ShapeDtypeStruct((2, side, 224, 3), jnp.float32)
        _, variables = jax.eval_shape(run, jax.random.key(0), images)
        widths[side] = {
            name: value["__call__"][0].shape for name, value in variables["intermediates"].items()
        }
    assert widths[224] == {"fc6": (2, 1, 1, 6), "fc7": (2, 1, 1, 6), "decoder_fc6": (2, 7, 7, 8)}
    assert widths[256] == {"fc6": (2, 2, 1, 6), "fc7": (2, 2, 1, 6), "decoder_fc6": (2, 8, 7, 8)}


def test_unpooling_puts_values_back_and_zeros_elsewhere():
    x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
    pooled, places = max_pool_with_indices(x, 2)
    back = np.asarray(unpool_pairs(pooled, places))
    assert np.array_equal(back[back != 0], np.asarray(x)[back != 0])
    assert (back != 0).sum() == pooled.size


def training_step(model, images, labels):
    """A jitted step of Adam, and its first state."""
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    optimizer = optax.adam(0.02)

    def loss_of(params, stats):
        logits, updates = model.apply(
            {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy(logits, jax.nn.one_hot(labels, 5))  # labels would scatter
        return losses.mean(), updates["batch_stats"]

    @jax.jit
    def step(params, stats, slots):
        (loss, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params, stats)
        updates, slots = optimizer.update(gradients, slots)
        return optax.apply_updates(params, updates), stats, slots, loss

    return step, (variables["params"], variables["batch_stats"], optimizer.init(variables["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_lowers_the_loss_and_scatters_nothing(name):
    """A scatter would take most of a step's time on a CPU: unpooling and its gradient need none."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 8, 8)).repeat(8, 1).repeat(8, 2)
    images = jnp.float32(labels[..., None] - 2 + 0.1 * rng.standard_normal((*labels.shape, 3)))
    step, state = training_step(NETWORKS[name](), images, labels)
    lowered = step.lower(*state)
    assert "scatter" not in lowered.as_text()
    run, losses, before = lowered.compile(), [], state[1]
    for _ in range(12):
        *state, loss = run(*state)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    assert jax.tree.all(jax.tree.map(lambda a, b: not np.array_equal(a, b), state[1], before))


@pytest.mark.parametrize("name", slow_but("segnet_basic"))
def test_bfloat16_keeps_float32_parameters_and_logits_near(name):
    exact, rough = NETWORKS[name](), NETWORKS[name](dtype=jnp.bfloat16)
    if hasattr(rough, "backbone"):
        rough = rough.clone(backbone=rough.backbone.clone(dtype=jnp.bfloat16))
    variables = some_variables(exact)
    images = jax.random.normal(jax.random.key(1), (2, 33, 64, 3))
    logits = [jax.jit(functools.partial(net.apply, train=False))(variables, images) for net in (exact, rough)]
    assert logits[1].dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(shapes_of(rough)[1]))
    # Some maxima move to a neighbour of nearly the same value.
    assert np.corrcoef(logits[0].ravel(), logits[1].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("name", NETWORKS)
def test_second_call_does_not_retrace_and_evaluation_keeps_statistics(name):
    model, traces = NETWORKS[name](), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False, mutable=["batch_stats"])

    variables = some_variables(model)
    images = jnp.ones((1, 45, 61, 3))
    _, updates = apply(variables, images)
    apply(variables, images + 1)
    assert traces == [(1, 45, 61, 3)]
    assert jax.tree.all(jax.tree.map(np.array_equal, updates["batch_stats"], variables["batch_stats"]))


def test_options_reach_the_parts():
    segnet = zoo.create("segnet", num_classes=12, axis_name="data", dtype=jnp.bfloat16)
    assert segnet.num_classes == 12
    assert (segnet.backbone.use_norm, segnet.backbone.axis_name, segnet.backbone.dtype) == (
        True,
        "data",
        jnp.bfloat16,
    )
    assert segnet.norm().axis_name == "data"
    basic = zoo.create("segnet_basic", num_classes=12, axis_name="data")
    assert basic.norm().axis_name == "data"
    deconv = zoo.create("deconvnet", hidden=32, dropout_rate=0.5, backbone={"features": (1, 2, 3, 4, 5)})
    assert (deconv.hidden, deconv.dropout_rate) == (32, 0.5)
    assert deconv.backbone.features == (1, 2, 3, 4, 5)


@pytest.mark.slow
def test_dropout_of_deconvnet_acts_in_training_only():
    model = NETWORKS["deconvnet"](dropout_rate=0.5, window=1)
    variables = some_variables(model)
    images = jax.random.normal(jax.random.key(1), (2, 32, 64, 3))
    run = functools.partial(model.apply, variables, images, mutable=["batch_stats"])
    apply = jax.jit(lambda key: run(train=True, rngs={"dropout": key})[0])
    one, two = apply(jax.random.key(1)), apply(jax.random.key(2))
    assert np.abs(one - two).max() > 0
    jax.eval_shape(functools.partial(model.apply, train=False), variables, images)  # needs no key


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (jnp.zeros((32, 32, 3)), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        (jnp.zeros((1, 32, 32, 3), jnp.int32), "images: expected a floating dtype, got int32"),
        (jnp.zeros((1, 0, 32, 3)), "at least one pixel"),
    ],
)
def test_wrong_images_raise(name, images, message):
    with pytest.raises(ValueError, match=message):
        shapes = functools.partial(NETWORKS[name]().init, train=False)
        jax.eval_shape(shapes, jax.random.key(0), images)


def test_one_vector_of_one_image_has_no_variance():
    model = NETWORKS["deconvnet"]()
    run = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    with pytest.raises(ValueError, match="expected at least two elements a channel"):
        jax.eval_shape(run, shapes_of(model)[1], jnp.zeros((1, 64, 64, 3)))


@pytest.mark.parametrize("name", ["segnet", "deconvnet"])
def test_a_vgg_classifier_starts_the_encoder_alone(name):
    body = vgg("vgg11_bn", features=NARROW)
    model = SegNet(body, 5) if name == "segnet" else DeconvNet(body, 5, hidden=6)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes_of(model)[1])
    classifier = zoo.create("vgg11_bn", num_classes=10, hidden=6, backbone={"features": NARROW})
    source = some_variables(classifier)
    started, taken = take_from_classifier(variables, source)
    assert jax.tree.structure(started) == jax.tree.structure(variables)
    flat, found = flatten_paths(started), flatten_paths(source)
    dense = {"params/fc6/kernel", "params/fc6/bias", "params/fc7/kernel", "params/fc7/bias"}
    assert set(taken) == {path for path in flat if "/backbone/" in path} | (dense & flat.keys())
    for path, leaf in flat.items():
        expected = np.reshape(found[path], leaf.shape) if path in taken else np.full(leaf.shape, 0.5)
        np.testing.assert_array_equal(leaf, expected)
    deeper = some_variables(zoo.create("vgg16_bn", num_classes=10, hidden=6, backbone={"features": NARROW}))
    with pytest.raises(ValueError, match=r"absent in the network, one of \d+ leaves that differ"):
        take_from_classifier(variables, deeper)
