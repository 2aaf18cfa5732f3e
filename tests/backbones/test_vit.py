import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.modern_cases import CASES, check_against, names_of, our_model, rules_for
from oracles.network_cases import (
    assert_close,
    check_recording,
    features_and_logits,
    in_double,
    recorded,
    seeded_images,
    seeded_state_dict,
)

from jaxvision import zoo
from jaxvision.backbones import VIT_VARIANTS, ViT, ViTClassifier, vit
from jaxvision.core import count_parameters
from jaxvision.layers import TransformerBlock
from jaxvision.weights import convert, vit_classifier_rules, vit_timm_rules

NAMES = names_of("vit", "vit_timm")
# torchvision's and timm's; Dosovitskiy et al. 2021, table 1, gives 86, 307 and 632 million for B, L and H.
PUBLISHED = {
    "vit_tiny_patch16_224": 5_717_416,
    "vit_small_patch16_224": 22_050_664,
    "vit_base_patch16_224": 86_567_656,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_l_16": 304_326_632,
    "vit_l_32": 306_535_400,
    "vit_h_14": 632_045_800,
}
TIMM = [name for name in PUBLISHED if name.endswith("_224")]
TORCHVISION = [name for name in PUBLISHED if name not in TIMM]


def shapes_of(model, shape=(1, 224, 224, 3)):
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    run = functools.partial(model.init_with_output, train=False)
    return jax.eval_shape(run, jax.random.key(0), images)


def narrow(**fields):
    base = {"patch_size": 8, "features": 4, "depth": 2, "num_heads": 2, "mlp_features": 6, "image_size": 32}
    return ViT(**{**base, **fields})


# The others are deeper or wider.
QUICK_FIRST = [
    pytest.param(name, marks=() if name in ("vit_b_16", "vit_tiny_patch16_224") else pytest.mark.slow)
    for name in sorted(VIT_VARIANTS)
]


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_parameter_count_is_the_published_one(variant):
    _, variables = shapes_of(zoo.create(variant))
    assert count_parameters(variables["params"]) == PUBLISHED[variant]


@pytest.mark.parametrize("variant", QUICK_FIRST)
def test_features_have_the_declared_strides_and_channels(variant):
    model = vit(variant)
    patch, width = VIT_VARIANTS[variant]["patch_size"], VIT_VARIANTS[variant]["features"]
    level = {14: "c4", 16: "c4", 32: "c5"}[patch]
    assert (model.strides, model.channels) == ({level: patch}, {level: width})
    features, _ = shapes_of(model, (2, 3 * patch, 5 * patch, 3))
    assert features[level].shape == (2, 3, 5, width)
    assert features["class_token"].shape == (2, width)


@pytest.mark.parametrize("name", NAMES)
def test_equals_recorded_torch(name):
    check_against(CASES[name], recorded(name))


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_recording_is_what_torch_computes(name):
    pytest.importorskip("timm")
    from oracles.torch_modern import torch_outputs

    check_recording(name, torch_outputs(CASES[name]))


def theirs(variant, **options):
    """torchvision's or timm's net, and the rules for its weights."""
    if variant in TIMM:
        timm = pytest.importorskip("timm")
        return timm.create_model(variant, **options), vit_timm_rules()
    torchvision = pytest.importorskip("torchvision")
    return torchvision.models.get_model(variant, weights=None, **options), vit_classifier_rules()


@pytest.mark.parity
@pytest.mark.parametrize("variant", sorted(VIT_VARIANTS))
def test_torch_has_the_same_parameters(variant):
    torch = pytest.importorskip("torch")
    with torch.device("meta"):
        model, rules = theirs(variant)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[variant]
    source = {key: np.broadcast_to(np.float32(0), value.shape) for key, value in model.state_dict().items()}
    convert(source, rules, shapes_of(zoo.create(variant))[1])


def assert_equals_torch(ours, model, rules, tokens_of, images):
    """Logits, map and class token with the same seeded weights."""
    import torch

    source = seeded_state_dict({key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict({key: torch.from_numpy(value) for key, value in source.items()})
    kept = []
    tokens_of(model).register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.no_grad():
        logits = model.eval().double()(torch.from_numpy(images).double().permute(0, 3, 1, 2))
    (tokens,) = kept
    variables = convert(source, rules, shapes_of(ours, images.shape)[1])
    features = in_double(jax.jit(features_and_logits(ours)), variables, images)
    assert_close("logits", features.pop("logits"), logits.numpy(), relative=1e-6)
    assert_close("class token", features["class_token"], tokens[:, 0].numpy(), relative=1e-6)
    (level,) = ours.backbone.channels
    grid = features[level]
    assert_close(level, grid, tokens[:, 1:].reshape(grid.shape).numpy(), relative=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize("variant", ["vit_b_16", "vit_b_32"])
def test_full_size_equals_live_torchvision(variant):
    images = np.random.default_rng(0).standard_normal((2, 96, 96, 3)).astype(np.float32)
    model, rules = theirs(variant, image_size=96)
    ours = zoo.create(variant, backbone={"image_size": 96})
    assert_equals_torch(ours, model, rules, lambda model: model.encoder, images)


@pytest.mark.parity
@pytest.mark.parametrize("variant", ["vit_l_16", "vit_l_32", "vit_h_14"])
def test_full_width_equals_live_torchvision(variant):
    # Two blocks: all of them would take 2.5 GB three times over, and the tables of names know no number.
    models = pytest.importorskip("torchvision").models
    row = VIT_VARIANTS[variant]
    size = 4 * row["patch_size"]
    model = models.VisionTransformer(
        size, row["patch_size"], 2, row["num_heads"], row["features"], row["mlp_features"]
    )
    images = np.random.default_rng(0).standard_normal((1, size, size, 3)).astype(np.float32)
    ours = zoo.create(variant, backbone={"image_size": size, "depth": 2})
    assert_equals_torch(ours, model, vit_classifier_rules(), lambda model: model.encoder, images)


@pytest.mark.parity
@pytest.mark.parametrize("variant", TIMM)
def test_full_size_equals_live_timm_at_another_size(variant):
    images = np.random.default_rng(0).standard_normal((2, 64, 96, 3)).astype(np.float32)
    model, rules = theirs(variant, dynamic_img_size=True)
    assert_equals_torch(zoo.create(variant), model, rules, lambda model: model.norm, images)


@pytest.mark.parity
@pytest.mark.parametrize("variant", TORCHVISION)
def test_preprocessing_is_torchvisions(variant):
    models = pytest.importorskip("torchvision").models
    weights = models.get_model_weights(variant)
    known = weights.IMAGENET1K_SWAG_LINEAR_V1 if variant == "vit_h_14" else weights.IMAGENET1K_V1
    transform, ours = known.transforms(), zoo.ENTRIES[variant].preprocessing
    assert (list(ours.size), [ours.resize]) == (2 * transform.crop_size, transform.resize_size)
    assert ours.interpolation == transform.interpolation.value
    assert (list(ours.mean), list(ours.std)) == (transform.mean, transform.std)


@pytest.mark.parity
@pytest.mark.parametrize("variant", TIMM)
def test_preprocessing_is_timms(variant):
    config = pytest.importorskip("timm").get_pretrained_cfg(variant)
    ours = zoo.ENTRIES[variant].preprocessing
    assert ours.size == config.input_size[1:]
    assert ours.resize == math.floor(config.input_size[1] / config.crop_pct)
    assert (ours.mean, ours.std, ours.interpolation) == (config.mean, config.std, config.interpolation)


def test_old_and_new_names_of_torchvision_are_the_same_tensors():
    source = seeded_state_dict(recorded("vit")["shapes"])
    old = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): value
        for key, value in source.items()
    }
    assert "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in old
    target = shapes_of(our_model(CASES["vit"]), CASES["vit"].shape)[1]
    converted = [convert(weights, vit_classifier_rules(), target) for weights in (source, old)]
    assert jax.tree.all(jax.tree.map(np.array_equal, *converted))
    packed = source["encoder.layers.encoder_layer_1.self_attention.in_proj_weight"]
    attention = converted[0]["params"]["backbone"]["block1"]["attention"]
    np.testing.assert_array_equal(attention["key"]["kernel"], packed[12:24].T)


def test_load_fills_a_vision_transformer_from_a_file(tmp_path):
    case = CASES["vit_timm_resized"]
    source = seeded_state_dict(recorded("vit_timm_resized")["shapes"])
    np.savez(tmp_path / "weights.npz", **source)
    model, variables, *_ = zoo.load(
        "vit_small_patch16_224", weights=tmp_path / "weights.npz", num_classes=3,
        backbone=case.fields,
    )  # fmt: skip
    logits = jax.jit(functools.partial(model.apply, train=False))(variables, seeded_images(case))
    assert_close("logits", logits, recorded("vit_timm_resized")["eval_logits"])


def test_pooling_reads_the_class_token_or_the_patches():
    case = CASES["vit"]
    source = seeded_state_dict(recorded("vit")["shapes"])
    token = our_model(case)
    variables = convert(source, rules_for(case), shapes_of(token, case.shape)[1])
    average = token.clone(pooling="average")

    @jax.jit
    def run(variables, images):
        features = token.backbone.apply({"params": variables["params"]["backbone"]}, images, train=False)
        return features, [model.apply(variables, images, train=False) for model in (token, average)]

    features, (first, second) = run(variables, seeded_images(case))
    weight, bias = source["heads.head.weight"], source["heads.head.bias"]
    assert_close("token", first, np.asarray(features["class_token"]) @ weight.T + bias)
    assert_close("average", second, np.asarray(features["c3"]).mean((1, 2)) @ weight.T + bias)


def test_first_logits_are_zero_and_the_branches_are_not():
    model = ViTClassifier(narrow(), 3)
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 3))
    init = jax.jit(functools.partial(model.init_with_output, train=False))
    logits, variables = init(jax.random.key(0), images)
    np.testing.assert_array_equal(logits, np.zeros((2, 3)))
    kernels = [leaf for leaf in jax.tree.leaves(variables["params"]["backbone"]["block0"]) if leaf.ndim == 2]
    assert all(np.abs(kernel).max() > 0.1 for kernel in kernels)


def test_options_reach_the_blocks_and_dtype_the_features():
    model = narrow(
        depth=3, dropout_rate=0.1, attention_dropout_rate=0.2, drop_path_rate=0.4, dtype=jnp.bfloat16
    )
    blocks = []

    def intercept(next_method, arguments, keywords, context):
        if isinstance(context.module, TransformerBlock):
            blocks.append(context.module)
        return next_method(*arguments, **keywords)

    with nn.intercept_methods(intercept):
        features, variables = shapes_of(model, (1, 32, 32, 3))
    assert {feature.dtype for feature in features.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    np.testing.assert_allclose([block.drop_path_rate for block in blocks], [0.0, 0.2, 0.4])
    assert all((block.dropout_rate, block.attention_dropout_rate) == (0.1, 0.2) for block in blocks)
    classifier = ViTClassifier(model, 3, dtype=jnp.bfloat16)
    assert shapes_of(classifier, (1, 32, 32, 3))[0].dtype == jnp.float32


def test_training_drops_and_evaluation_does_not():
    model = narrow(dropout_rate=0.5)
    images = jax.random.normal(jax.random.key(1), (1, 32, 32, 3))
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)

    @jax.jit
    def run(variables, images, key):
        keys = {"dropout": key}
        return [model.apply(variables, images, train=train, rngs=keys)["c3"] for train in (False, True)]

    (first, dropped), (again, other) = (run(variables, images, jax.random.key(seed)) for seed in (2, 3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.asarray(dropped) - np.asarray(other)).max() > 0.01


def test_second_call_does_not_retrace_and_an_empty_batch_passes():
    model, traces = ViTClassifier(narrow(), 3), []

    @jax.jit
    def apply(variables, images):
        traces.append(images.shape)
        return model.apply(variables, images, train=False)

    target = shapes_of(model, (1, 32, 32, 3))[1]
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype), target)
    images = np.ones((2, 16, 40, 3), np.float32)
    apply(variables, images)
    apply(variables, 2 * images)
    assert len(traces) == 1
    assert shapes_of(model, (0, 32, 32, 3))[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("fields", "images", "message"),
    [
        ({}, jnp.zeros((32, 32, 3)), r"images: expected \[N, H, W, C\], got \[32, 32, 3\]"),
        ({}, jnp.zeros((1, 32, 32, 3), jnp.uint8), "images: expected a floating dtype, got uint8"),
        ({}, jnp.zeros((1, 32, 36, 3)), r"multiples of the patch's, \[8, 8\], got \[1, 32, 36, 3\]"),
        ({"image_size": 36}, jnp.zeros((1, 32, 32, 3)), "image_size: expected a multiple of the patch's 8"),
        ({"num_heads": 3}, jnp.zeros((1, 32, 32, 3)), "num_heads: expected a divisor of 4 channels, got 3"),
    ],
)
def test_wrong_arguments_raise(fields, images, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(narrow(**fields).init, train=False), jax.random.key(0), images)


def test_unknown_names_raise():
    with pytest.raises(ValueError, match=r"unknown ViT variant 'vit_b16'.*vit_b_16"):
        vit("vit_b16")
    with pytest.raises(ValueError, match="pooling: expected 'token' or 'average', got 'max'"):
        shapes_of(ViTClassifier(narrow(), 3, pooling="max"), (1, 32, 32, 3))
