"""DilatedFCN, DeepLabV3, DeepLabV3+, PSPNet, SemanticFPN and LR-ASPP: values of PyTorch, shapes, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles.context_cases import CASES, CLASSES, check_case, images_of
from oracles.network_cases import check_recording, recorded

from jaxvision.backbones import ResNet, mobilenet_v3
from jaxvision.layers import BasicBlock
from jaxvision.segmentation import LRASPP, DeepLabV3, DeepLabV3Plus, DilatedFCN, FCNHead, PSPNet, SemanticFPN
from jaxvision.tasks import segmentation_loss, segmentation_task

FAST = ("fcn_dilated", "smp_pspnet")
BODY = ResNet(block=BasicBlock, blocks=(1, 1, 1, 1), features=(4, 4, 4, 4), stem_features=4, output_stride=16)
NETWORKS = {
    "fcn": DilatedFCN(BODY, 5, 4, aux_head=True),
    "deeplabv3": DeepLabV3(BODY, 5, 4, (1, 2), aux_head=True),
    "deeplabv3plus": DeepLabV3Plus(BODY, 5, 4, (1, 2), 3),
    "deeplabv3plus whole": DeepLabV3Plus(BODY, 5, 4, (1, 2), 3, separable=False),
    "pspnet": PSPNet(BODY, 5, 4, aux_head=True),
    "fpn": SemanticFPN(BODY, 5, 4, 4, num_groups=2),
    "fpn smooth": SemanticFPN(BODY, 5, 4, 4, num_groups=2, smooth=True),
    "lraspp": LRASPP(BODY, 5, 4),
}
WITH_AUX = [name for name, model in NETWORKS.items() if getattr(model, "aux_head", False)]
WITHOUT_ONE_IMAGE = ("deeplabv3", "deeplabv3plus", "deeplabv3plus whole", "pspnet")


def shapes_of(model, shape=(2, 64, 64, 3)):
    """Logits and variables, by shape."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def seeded(model):
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.uniform(-0.5, 0.5, leaf.shape).astype(np.float32)  # noqa: E731
    variables = jax.tree.map(draw, shapes_of(model)[1])
    return {**variables, "batch_stats": jax.tree.map(np.abs, variables["batch_stats"])}


def train_by_shape(model, shape, **options):
    """What a call in training gives, by shape."""
    run = functools.partial(
        model.apply, train=True, mutable=["batch_stats", "aux_logits"], rngs={"dropout": jax.random.key(0)}
    )
    return jax.eval_shape(run, shapes_of(model)[1], jax.ShapeDtypeStruct(shape, jnp.float32), **options)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in CASES]
)
def test_equals_recorded_torch(name):
    check_case(name, recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("segmentation_models_pytorch")
    from oracles.torch_context_networks import context_outputs

    check_recording(name, context_outputs(name))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (45, 61), (64, 96)])
def test_logits_have_the_size_of_the_image(name, size):
    logits, variables = shapes_of(NETWORKS[name], (2, *size, 3))
    assert (logits.shape, logits.dtype) == ((2, *size, 5), jnp.float32)
    assert set(variables) == {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert shapes_of(NETWORKS[name], (0, *size, 3))[0].shape == (0, *size, 5)


@pytest.mark.parametrize("name", WITH_AUX)
def test_training_writes_auxiliary_logits_and_evaluation_does_not_run_their_head(name):
    model = NETWORKS[name]
    logits, updates = train_by_shape(model, (3, 45, 61, 3))
    assert logits.shape == (3, 45, 61, 5)
    assert {key: leaf.shape for key, leaf in updates["aux_logits"].items()} == {"aux": (3, 45, 61, 5)}
    assert updates["aux_logits"]["aux"].dtype == jnp.float32
    variables = shapes_of(model)[1]
    assert "aux_head" in variables["params"]
    without = {
        collection: {key: tree for key, tree in trees.items() if key != "aux_head"}
        for collection, trees in variables.items()
    }
    assert jax.tree.structure(shapes_of(model.clone(aux_head=False))[1]) == jax.tree.structure(without)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    assert jax.eval_shape(functools.partial(model.apply, train=False), without, images).shape == (
        2,
        64,
        64,
        5,
    )
    # A caller that does not ask for them gets none.
    run = functools.partial(
        model.apply, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)}
    )
    assert set(jax.eval_shape(run, variables, images)[1]) == {"batch_stats"}


@pytest.mark.parametrize("name", NETWORKS)
def test_one_image_in_training(name):
    if name in WITHOUT_ONE_IMAGE:
        with pytest.raises(ValueError, match="at least two elements a channel"):
            train_by_shape(NETWORKS[name], (1, 64, 64, 3))
    else:
        assert train_by_shape(NETWORKS[name], (1, 64, 64, 3))[0].shape == (1, 64, 64, 5)


def test_pspnet_takes_one_image_where_its_grid_of_one_is_not_normalised():
    model = NETWORKS["pspnet"].clone(norm_single=False)
    assert train_by_shape(model, (1, 64, 64, 3))[0].shape == (1, 64, 64, 5)
    assert set(shapes_of(model)[1]["params"]["pyramid"]["bin1"]) == {"conv"}
    assert "bias" in shapes_of(model)[1]["params"]["pyramid"]["bin1"]["conv"]


@pytest.mark.parametrize("name", ["deeplabv3plus", "lraspp"])
def test_bfloat16_is_close_and_its_logits_are_float32(name):
    model = NETWORKS[name]
    half = model.clone(backbone=BODY.clone(dtype=jnp.bfloat16), dtype=jnp.bfloat16)
    variables, images = seeded(model), jax.random.normal(jax.random.key(0), (2, 24, 40, 3))
    run = jax.jit(lambda variables: [net.apply(variables, images, train=False) for net in (model, half)])
    exact, rough = run(variables)
    assert rough.dtype == jnp.float32
    assert 0 < np.abs(exact - rough).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["pspnet", "fpn"])
def test_second_call_does_not_retrace_and_vmap_passes(name):
    model, traces = NETWORKS[name], []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    variables, images = seeded(model), np.zeros((1, 20, 24, 3), np.float32)
    apply(variables, images)
    apply(variables, images + 1)
    assert len(traces) == 1
    call = jax.vmap(functools.partial(model.apply, train=False), (None, 0))
    batches = jax.ShapeDtypeStruct((2, 3, 20, 24, 3), jnp.float32)
    assert jax.eval_shape(call, variables, batches).shape == (2, 3, 20, 24, 5)


@pytest.mark.parametrize("name", ["fcn", "deeplabv3", "deeplabv3plus", "pspnet", "fpn"])
def test_dropout_acts_in_training_only(name):
    fields = {"dropout_rate": 0.7} | ({"aux_dropout_rate": 0.0} if name == "deeplabv3" else {})
    model, images = NETWORKS[name].clone(**fields), jnp.ones((2, 32, 32, 3))
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    with pytest.raises(Exception, match=r'RNG named "dropout"|"dropout"'):
        jax.eval_shape(apply, shapes_of(model)[1], images)
    # Evaluation asks for no key.
    assert (
        jax.eval_shape(functools.partial(model.apply, train=False), shapes_of(model)[1], images) is not None
    )


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
        jax.eval_shape(functools.partial(NETWORKS[name].init, train=False), jax.random.key(0), images)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("fcn", {"level": "c6"}, "level: the backbone has the feature maps c1, c2, c3, c4, c5, got 'c6'"),
        ("deeplabv3", {"aux_level": "p4"}, "aux_level: .* got 'p4'"),
        ("deeplabv3plus", {"skip_level": "c0"}, "skip_level: .* got 'c0'"),
        ("deeplabv3plus", {"separable_order": "keras"}, 'order: expected "mobilenet", "xception" or "joint"'),
        ("pspnet", {"level": "c9"}, "level: .* got 'c9'"),
        ("fpn", {"levels": ("c5", "c6")}, "levels: .* got 'c6'"),
        ("fpn", {"merge": "cat"}, 'merge: expected "add" or "concatenate", got \'cat\''),
        ("fpn", {"features": 5}, "groups"),
        ("lraspp", {"skip_level": "c7"}, "skip_level: .* got 'c7'"),
    ],
)
def test_wrong_fields_raise(name, fields, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(NETWORKS[name].clone(**fields))


def test_head_takes_a_quarter_of_the_channels_unless_told():
    x = jax.ShapeDtypeStruct((1, 4, 4, 16), jnp.float32)
    for features, wanted in ((None, 4), (7, 7)):
        run = functools.partial(FCNHead(3, features).init, train=False)
        params = jax.eval_shape(run, jax.random.key(0), x)["params"]
        assert params["head"]["kernel"].shape == (1, 1, wanted, 3)


def test_mobile_taps_are_the_maps_of_the_strided_blocks_and_the_last_convolution():
    body = mobilenet_v3("mobilenet_v3_large", output_stride=16, taps="first", head_conv=True)
    assert body.channels == {"c1": 16, "c2": 24, "c3": 40, "c4": 80, "c5": 960}
    assert body.strides == {"c1": 2, "c2": 4, "c3": 8, "c4": 16, "c5": 16}
    features, _ = shapes_of(body, (1, 64, 64, 3))
    assert {key: leaf.shape[1:] for key, leaf in features.items()} == {
        key: (64 // body.strides[key], 64 // body.strides[key], body.channels[key]) for key in body.channels
    }
    with pytest.raises(ValueError, match='taps: expected "last" or "first", got \'end\''):
        shapes_of(body.clone(taps="end"))


@pytest.mark.slow
def test_training_lowers_main_and_auxiliary_loss():
    case = CASES["deeplabv3"]
    loss = segmentation_loss({"cross_entropy": 1.0})
    task = segmentation_task(case.model, loss, num_classes=CLASSES, image_size=case.shape[1:3])
    labels = np.random.default_rng(1).integers(0, CLASSES, case.shape[:3]).astype(np.int32)
    batch = {"images": images_of(case), "labels": labels, "where": np.ones(case.shape[0], bool)}
    variables = jax.jit(task.init)(jax.random.key(0))
    params, state = variables.pop("params"), variables
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params, state, slots):
        def objective(params):
            terms, new_state = task.loss(params, state, batch, jax.random.key(0))
            return sum(term.mean() for term in terms.values()), (terms, new_state)

        gradients, (terms, state) = jax.grad(objective, has_aux=True)(params)
        updates, slots = optimizer.update(gradients, slots, params)
        losses = {key: term.mean() for key, term in terms.items()}
        return optax.apply_updates(params, updates), state, slots, losses

    history, slots = [], optimizer.init(params)
    for _ in range(8):
        params, state, slots, losses = step(params, state, slots)
        history.append(losses)
    assert set(history[0]) == {"cross_entropy", "auxiliary_cross_entropy"}
    for key in history[0]:
        assert history[-1][key] < history[0][key]
