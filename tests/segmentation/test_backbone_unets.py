"""U-Net, LinkNet and UNet++ on backbones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles.network_cases import assert_close, check_recording, in_double, recorded
from oracles.segnets_cases import BRANCHES, CASES, DECODER, RESNET, check_segnet

from jaxvision import weights, zoo
from jaxvision.backbones import (
    AlignedXception,
    ResNet,
    ViT,
    cifar_resnet,
    darknet,
    googlenet,
    inception_v3,
    mobilenet_v3,
    nfnet,
    nin,
    vgg,
    xception,
)
from jaxvision.core import count_parameters, flatten_paths
from jaxvision.layers import BatchNorm, ConcurrentSqueezeExcitation
from jaxvision.segmentation import BackboneUNet, LinkNet, UNetPlusPlus
from jaxvision.segmentation.backbone_unet import decoder_steps
from jaxvision.weights import BOOKKEEPING, SMP_UNUSED, convert

NAMES = [name for name in CASES if name.startswith(("unet", "linknet"))]
# segmentation_models.pytorch 0.5.0, one class.
PUBLISHED = {
    "unet_resnet18": 14_328_209,
    "unet_resnet34": 24_436_369,
    "unet_resnet50": 32_521_105,
    "unet_resnet101": 51_513_233,
    "unet_resnet152": 67_156_881,
    "linknet_resnet18": 11_663_777,
    "linknet_resnet34": 21_771_937,
    "linknet_resnet50": 31_177_777,
    "linknet_resnet101": 50_169_905,
    "linknet_resnet152": 65_813_553,
    "unetplusplus_resnet18": 15_970_449,
    "unetplusplus_resnet34": 26_078_609,
    "unetplusplus_resnet50": 48_985_745,
    "unetplusplus_resnet101": 67_977_873,
    "unetplusplus_resnet152": 83_621_521,
}


def narrow_resnet(**fields):
    return ResNet(**{**RESNET, **fields})


NETWORKS = {
    "unet": lambda **fields: BackboneUNet(narrow_resnet(), 5, DECODER, **fields),
    "linknet": lambda **fields: LinkNet(narrow_resnet(), 5, 6, **fields),
    "unetplusplus": lambda **fields: UNetPlusPlus(narrow_resnet(), 5, DECODER, **fields),
}


def shapes_of(model, shape=(1, 64, 64, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(functools.partial(model.init_with_output, train=False), jax.random.key(0), images)


def some_variables(model):
    rng = np.random.default_rng(0)
    shapes = shapes_of(model)[1]
    draw = {key: 0.3 * rng.standard_normal(leaf.shape) for key, leaf in flatten_paths(shapes).items()}
    draw = {key: abs(value) + 0.5 if key.endswith(("var", "scale")) else value for key, value in draw.items()}
    return jax.tree.unflatten(jax.tree.structure(shapes), [jnp.float32(value) for value in draw.values()])


# The others are left to the full run: compiling them takes longest.
QUICK = ("unet_resnet",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_equals_recorded_smp(name):
    check_segnet(name, recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_recording_is_what_smp_computes(name):
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_segnets import segnet_outputs

    check_recording(name, segnet_outputs(name))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name.endswith("resnet18") else pytest.mark.slow) for name in PUBLISHED],
)
def test_parameter_count_is_the_published_one(name):
    _, variables = shapes_of(zoo.create(name, num_classes=1))
    assert count_parameters(variables["params"]) == PUBLISHED[name]


@pytest.mark.parity
@pytest.mark.parametrize("name", PUBLISHED)
def test_smp_has_the_same_parameters(name):
    torch = pytest.importorskip("torch")
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_segnets import whole_model

    with torch.device("meta"):
        theirs = whole_model(name, 1)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == PUBLISHED[name]
    # Every tensor has one place, and every place its tensor.
    source = {key: np.zeros(value.shape, np.float32) for key, value in theirs.state_dict().items()}
    ours = zoo.create(name, num_classes=1)
    convert(source, zoo.ENTRIES[name].rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("unet_resnet34", (45, 61)),
        ("unet_resnet50", (64, 96)),
        ("linknet_resnet34", (64, 96)),
        ("linknet_resnet50", (64, 96)),
        ("unetplusplus_resnet34", (64, 96)),
        ("unetplusplus_resnet50", (64, 96)),
    ],
)
def test_full_size_equals_live_smp(name, size):
    torch = pytest.importorskip("torch")
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_run import calibrated_state, channels_last
    from oracles.torch_segnets import whole_model

    theirs = whole_model(name, 5)
    source = calibrated_state(theirs, size)
    images = np.random.default_rng(0).standard_normal((1, *size, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = channels_last(theirs.double()(torch.from_numpy(images).double().permute(0, 3, 1, 2)))
    ours = zoo.create(name, num_classes=5)
    variables = convert(source, zoo.ENTRIES[name].rules(), shapes_of(ours)[1], ignore=BOOKKEEPING)
    actual = in_double(jax.jit(functools.partial(ours.apply, train=False)), variables, images)
    assert_close(name, actual, wanted, relative=1e-6)


@pytest.mark.parity
def test_smp_with_attention_loads_from_a_file(tmp_path):
    torch = pytest.importorskip("torch")
    smp = pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_run import calibrated_state, channels_last

    theirs = smp.Unet("resnet18", encoder_weights=None, classes=5, decoder_attention_type="scse")
    np.savez(tmp_path / "weights.npz", **calibrated_state(theirs, (64, 64)))
    images = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = channels_last(theirs(torch.from_numpy(images).permute(0, 3, 1, 2)))
    loaded = zoo.load(
        "unet_resnet18", weights=tmp_path / "weights.npz", attention=ConcurrentSqueezeExcitation
    )
    assert loaded.model.num_classes == 5
    run = jax.jit(functools.partial(loaded.model.apply, train=False))
    assert_close("scse", run(loaded.variables, images), wanted)


def test_rules_leave_out_attention_that_is_never_run():
    keys = ["decoder.blocks.4.attention1.attention.cSE.1.weight", "decoder.blocks.x_0_4.attention1.x"]
    source = dict.fromkeys(keys, np.zeros(1, np.float32))
    assert convert(source, weights.smp_unet_rules(), {}, ignore=SMP_UNUSED) == {}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (1, 45, 61, 3), (2, 64, 96, 1), (0, 33, 40, 3)])
def test_logits_have_the_size_of_the_image(name, shape):
    logits, _ = shapes_of(NETWORKS[name](), shape)
    assert logits.shape == (*shape[:3], 5)
    assert logits.dtype == jnp.float32


BACKBONES = {
    "vgg11": (lambda: vgg("vgg11"), 5),
    "mobilenet_v3_small": (lambda: mobilenet_v3("mobilenet_v3_small"), 5),
    "darknet53": (lambda: darknet("darknet53"), 5),
    "googlenet": (lambda: googlenet("googlenet"), 5),
    "inception_v3": (lambda: inception_v3("inception_v3"), 5),
    "xception": (lambda: xception("legacy_xception"), 5),
    "aligned_xception": (lambda: AlignedXception(output_stride=16), 5),
    "nfnet": (lambda: nfnet("nfnet_f0"), 5),
    # A stem of stride 4, no stride at all, and one map of stride 16: fewer maps than steps, or fewer steps.
    "nin": (lambda: nin("nin"), 5),
    "cifar_resnet20": (lambda: cifar_resnet("cifar_resnet20"), 2),
    "vit": (lambda: ViT(features=24, depth=1, num_heads=2), 4),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("vgg11", "nin", "cifar_resnet20") else pytest.mark.slow)
        for name in BACKBONES
    ],
)
def test_any_backbone_makes_a_unet(name):
    make, count = BACKBONES[name]
    size = (96, 128) if name == "vit" else (101, 131)
    logits, variables = shapes_of(BackboneUNet(make(), 5, (12, 10, 8, 6, 4)[:count]), (1, *size, 3))
    assert logits.shape == (1, *size, 5)
    blocks = [part for part in variables["params"] if part.startswith("decoder_block")]
    assert len(blocks) == count


def test_steps_from_the_coarsest_map_to_the_image():
    assert decoder_steps({"c1": 2, "c2": 4, "c3": 8}) == ("c3", [("c2", 4), ("c1", 2), (None, 1)])
    assert decoder_steps({"c2": 4, "c5": 32}) == (
        "c5",
        [(None, 16), (None, 8), ("c2", 4), (None, 2), (None, 1)],
    )
    assert decoder_steps({"c1": 1, "c2": 2}) == ("c2", [("c1", 1)])
    dilated = {"c1": 2, "c2": 4, "c3": 8, "c4": 8, "c5": 8}
    assert decoder_steps(dilated) == ("c5", [("c4", 8), ("c3", 8), ("c2", 4), ("c1", 2), (None, 1)])
    assert decoder_steps({"c4": 14}) == ("c4", [(None, 7), (None, 3), (None, 1)])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_training_lowers_the_loss_and_moves_the_statistics(name):
    model = NETWORKS[name]()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 8, 8)).repeat(8, 1).repeat(8, 2)
    images = jnp.float32(labels[..., None] - 2 + 0.1 * rng.standard_normal((*labels.shape, 3)))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
    optimizer = optax.adam(0.02)

    @jax.jit
    def step(params, stats, slots):
        def loss_of(params):
            logits, updates = model.apply(
                {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), updates["batch_stats"]

        (loss, after), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, slots = optimizer.update(gradients, slots)
        return optax.apply_updates(params, updates), after, slots, loss

    state = variables["params"], variables["batch_stats"], optimizer.init(variables["params"])
    losses = []
    for _ in range(12):
        *state, loss = step(*state)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    before = variables["batch_stats"]
    assert jax.tree.all(jax.tree.map(lambda a, b: not np.array_equal(a, b), state[1], before))
    assert step._cache_size() == 1


@pytest.mark.parametrize(
    "name", ["unet", *(pytest.param(n, marks=pytest.mark.slow) for n in ("linknet", "unetplusplus"))]
)
def test_evaluation_keeps_statistics_and_does_not_retrace(name):
    model, traces = NETWORKS[name](), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False, mutable=["batch_stats"])

    variables = some_variables(model)
    images = jnp.ones((1, 33, 64, 3))
    _, updates = apply(variables, images)
    apply(variables, images + 1)
    assert traces == [(1, 33, 64, 3)]
    assert jax.tree.all(jax.tree.map(np.array_equal, updates["batch_stats"], variables["batch_stats"]))


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_reaches_the_decoder_and_logits_stay_float32(name):
    rough = NETWORKS[name](dtype=jnp.bfloat16).clone(backbone=narrow_resnet(dtype=jnp.bfloat16))

    def blocks(module, method):
        return method == "__call__" and (module.name or "").startswith(("decoder", "node"))

    run = functools.partial(rough.init_with_output, train=False, capture_intermediates=blocks)
    images = jax.ShapeDtypeStruct((1, 33, 64, 3), jnp.float32)
    logits, variables = jax.eval_shape(run, jax.random.key(0), images)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    maps = jax.tree.leaves(variables["intermediates"])
    assert len(maps) >= 5
    assert {leaf.dtype for leaf in maps} == {jnp.dtype("bfloat16")}


@pytest.mark.slow
def test_deep_supervision_returns_the_mean_or_one_branch():
    model = NETWORKS["unetplusplus"](deep_supervision=True)
    variables = some_variables(model)
    images = jax.random.normal(jax.random.key(1), (1, 45, 61, 3))

    @jax.jit
    def run(variables, images):
        nets = [model, *(model.clone(prune_to=branch) for branch in range(1, BRANCHES + 2))]
        return [net.apply(variables, images, train=False) for net in nets]

    mean, *branches = run(variables, images)
    assert_close("mean", mean, np.mean(branches, 0))
    assert len({float(branch.sum()) for branch in branches}) == BRANCHES + 1
    # The last branch is the network without supervision.
    plain = {**variables, "params": {k: v for k, v in variables["params"].items() if "aux" not in k}}
    last = jax.jit(functools.partial(NETWORKS["unetplusplus"]().apply, train=False))(plain, images)
    assert_close("last", branches[-1], np.asarray(last))


@pytest.mark.slow
def test_a_pruned_branch_computes_none_of_the_deeper_nodes():
    model = NETWORKS["unetplusplus"](deep_supervision=True, prune_to=1)
    variables = shapes_of(model)[1]
    images = jnp.zeros((1, 32, 32, 3))

    def used(variables):
        return jax.jit(functools.partial(model.apply, train=False))(variables, images)

    concrete = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), variables)
    slopes = jax.jit(jax.grad(lambda params: used({**concrete, "params": params}).sum()))(concrete["params"])
    touched = {part for part, tree in slopes.items() if any(np.any(leaf) for leaf in jax.tree.leaves(tree))}
    assert touched == {"backbone", "node_3_3", "aux_head1"}


def test_options_reach_the_parts():
    model = zoo.create("unet_resnet34", num_classes=12, axis_name="data", dtype=jnp.bfloat16)
    assert (model.num_classes, model.dtype, model.backbone.dtype) == (12, jnp.bfloat16, jnp.bfloat16)
    assert model.norm().axis_name == model.backbone.norm().axis_name == "data"
    model = zoo.create("unetplusplus_resnet18", deep_supervision=True, backbone={"stem_features": 8})
    assert model.deep_supervision
    assert model.backbone.stem_features == 8
    assert zoo.create("linknet_resnet18", last_features=16).last_features == 16
    assert zoo.create("unet_mobilenet_v2", norm=None).norm is None


@pytest.mark.slow
def test_statistics_are_those_of_all_devices():
    """Two halves of a batch, averaged over an axis, give the statistics of the whole."""
    norm = functools.partial(BatchNorm, axis_name="data")
    whole, parted = NETWORKS["linknet"](), NETWORKS["linknet"](norm=norm)
    parted = parted.clone(backbone=narrow_resnet(norm=norm))
    variables = some_variables(whole)
    images = jax.random.normal(jax.random.key(1), (4, 32, 64, 3))

    def statistics(model, images):
        return model.apply(variables, images, train=True, mutable=["batch_stats"])[1]["batch_stats"]

    expected = jax.jit(functools.partial(statistics, whole))(images)
    halves = images.reshape(2, 2, *images.shape[1:])
    actual = jax.jit(jax.vmap(functools.partial(statistics, parted), axis_name="data"))(halves)
    for path, leaf in flatten_paths(actual).items():
        assert_close(path, leaf[1], np.asarray(flatten_paths(expected)[path]))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (NETWORKS["unet"](), (32, 32, 3), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        (NETWORKS["linknet"](), (1, 0, 32, 3), "at least one pixel"),
        (NETWORKS["unetplusplus"](), (1, 32, 0, 3), "at least one pixel"),
        (BackboneUNet(narrow_resnet(), 5, (4, 4)), (1, 32, 32, 3), "features: expected 5 numbers"),
        (UNetPlusPlus(narrow_resnet(), 5, (4, 4)), (1, 32, 32, 3), "features: expected 5 numbers"),
        (NETWORKS["unetplusplus"](prune_to=1), (1, 32, 32, 3), "prune_to: expected None"),
        (
            NETWORKS["unetplusplus"](deep_supervision=True, prune_to=5),
            (1, 32, 32, 3),
            "branches 1 to 4, got 5",
        ),
        (LinkNet(nin("nin"), 5), (1, 64, 64, 3), "expected feature maps of strides 2, 4, 8 and so on"),
        (LinkNet(narrow_resnet(output_stride=8), 5), (1, 64, 64, 3), "BackboneUNet takes any backbone"),
        (LinkNet(xception("legacy_xception"), 5), (1, 96, 96, 3), r"its map c\d is"),
        (UNetPlusPlus(cifar_resnet("cifar_resnet20"), 5), (1, 64, 64, 3), "expected feature maps of strides"),
    ],
)
def test_wrong_arguments_raise(model, shape, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(model, shape)


def test_wrong_dtype_raises():
    for make in NETWORKS.values():
        with pytest.raises(ValueError, match="images: expected a floating dtype, got uint8"):
            jax.eval_shape(
                functools.partial(make().init, train=False),
                jax.random.key(0),
                jnp.zeros((1, 32, 32, 3), jnp.uint8),
            )
