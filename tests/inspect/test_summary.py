"""Counts against published figures, PyTorch's own counter, and by hand."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision import zoo
from jaxvision.backbones import PooledClassifier, VGGClassifier, resnet, vgg
from jaxvision.core import count_parameters
from jaxvision.inspect import Layer, summarize, total
from jaxvision.layers import BatchNorm, Conv, ConvNormAct, ConvTranspose


def struct(*shape: int, dtype: object = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


# Parameters as torchvision publishes them, and half of what torch's FlopCounterMode counts for its nets at
# 224x224 (torchvision publishes the same, rounded: 15.47, 4.089, ... billions).
PUBLISHED = {
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19_bn": (143_678_248, 19_632_062_464),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnext50_32x4d": (25_028_904, 4_230_479_872),
}


def classifier(name: str) -> nn.Module:
    if name.startswith("vgg"):
        return VGGClassifier(vgg(name), 1000)
    return PooledClassifier(resnet(name), 1000)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    parameters, macs = PUBLISHED[name]
    whole = total(summarize(classifier(name), struct(1, 224, 224, 3), train=False))
    assert whole.parameters == parameters
    assert whole.macs == macs
    assert whole.flops == 2 * macs
    assert whole.inputs == ((1, 224, 224, 3),)
    assert whole.outputs == ((1, 1000),)


def test_the_layers_of_vgg16():
    layers = summarize(classifier("vgg16"), struct(1, 224, 224, 3), train=False)
    by_path = {layer.path: layer for layer in layers}
    assert by_path["backbone/stage1_conv1"] == Layer(
        path="backbone/stage1_conv1",
        kind="Conv",
        inputs=((1, 224, 224, 3),),
        outputs=((1, 224, 224, 64),),
        parameters=3 * 3 * 3 * 64 + 64,
        macs=224 * 224 * 3 * 3 * 3 * 64,
        receptive_field=(3, 3),
        activation_bytes=224 * 224 * 64 * 4,
    )
    assert by_path["backbone/stage5_conv3"].receptive_field == (196, 196)  # Araujo et al. 2019
    assert by_path["fc6"].macs == 7 * 7 * 512 * 4096
    assert by_path["fc6"].receptive_field is None
    paths = [layer.path for layer in layers]
    assert paths.index("backbone/stage1_conv1") < paths.index("backbone/stage5_conv3") < paths.index("head")


def test_receptive_fields_of_fcn_and_resnet():
    layers = summarize(zoo.create("fcn32s_vgg16"), struct(1, 224, 224, 3), train=False)
    fields = {layer.path: layer.receptive_field for layer in layers}
    assert fields["fc7"] == (404, 404)  # Long et al. 2015, table 1: FCN-VGG16
    layers = summarize(classifier("resnet50"), struct(1, 224, 224, 3), train=False)
    # With the stride in the 3x3, as torchvision has it; the original's 483 is in test_receptive_fields.
    assert max(layer.receptive_field for layer in layers if layer.receptive_field) == (427, 427)


# Floating-point operations by torch.utils.flop_counter.FlopCounterMode (torch 2.14.1), of torch's layers.
TORCH_FLOPS = {
    "conv": 554_400,
    "depthwise": 41_472,
    "grouped": 172_800,
    "transposed": 712_800,
    "transposed_grouped": 237_600,
    "sequence": 40_800,
    "video": 1_632_960,
    "dense": 39_600,
}
IMAGES, SEQUENCES, VIDEO = (2, 15, 11, 12), (2, 19, 12), (2, 5, 6, 7, 12)
LAYERS = {
    "conv": (Conv(10, (5, 3), strides=(2, 1), padding=1), IMAGES),
    "depthwise": (Conv(24, 3, strides=2, padding=1, groups=12), IMAGES),
    "grouped": (Conv(10, (5, 3), strides=2, padding=2, dilation=(1, 2), groups=2), IMAGES),
    "transposed": (ConvTranspose(10, 3, strides=2, padding=1, output_padding=1), IMAGES),
    "transposed_grouped": (ConvTranspose(10, (3, 2), strides=3, groups=2), IMAGES),
    "sequence": (Conv(10, (5,), padding=1), SEQUENCES),
    "video": (Conv(6, (3, 3, 3), padding=1), VIDEO),
    "dense": (nn.Dense(5), IMAGES),
}


def torch_flops(name: str) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    layers = {
        "conv": torch.nn.Conv2d(12, 10, (5, 3), stride=(2, 1), padding=1),
        "depthwise": torch.nn.Conv2d(12, 24, 3, stride=2, padding=1, groups=12),
        "grouped": torch.nn.Conv2d(12, 10, (5, 3), stride=2, padding=2, dilation=(1, 2), groups=2),
        "transposed": torch.nn.ConvTranspose2d(12, 10, 3, stride=2, padding=1, output_padding=1),
        "transposed_grouped": torch.nn.ConvTranspose2d(12, 10, (3, 2), stride=3, groups=2),
        "sequence": torch.nn.Conv1d(12, 10, 5, padding=1),
        "video": torch.nn.Conv3d(12, 6, 3, padding=1),
        "dense": torch.nn.Linear(12, 5),
    }
    shape = LAYERS[name][1]
    channels_first = shape if name == "dense" else (shape[0], shape[-1], *shape[1:-1])
    with FlopCounterMode(display=False) as counter:
        layers[name](torch.zeros(channels_first))
    return counter.get_total_flops()


@pytest.mark.parametrize("name", LAYERS)
def test_operations_are_those_of_torch(name):
    layer, shape = LAYERS[name]
    (row,) = summarize(layer, struct(*shape))
    assert row.flops == TORCH_FLOPS[name]


@pytest.mark.parity
@pytest.mark.parametrize("name", LAYERS)
def test_operations_are_those_of_torch_now(name):
    assert torch_flops(name) == TORCH_FLOPS[name]


def test_few_pixels_count_like_many():
    # Here the layer has two formulations, by platform; the products are counted once.
    (row,) = summarize(Conv(64, 3, padding=1), struct(1, 2, 2, 8))
    assert row.macs == 2 * 2 * 3 * 3 * 8 * 64
    assert row.receptive_field == (3, 3)
    (row,) = summarize(ConvTranspose(8, 4, strides=2, padding=1), struct(1, 4, 4, 8))
    assert row.macs == 4 * 4 * 4 * 4 * 8 * 8


class Shared(nn.Module):
    """One convolution twice, with an own parameter and an own product."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = Conv(4, 3, padding=1, use_bias=False, name="conv")
        mixture = self.param("mixture", nn.initializers.ones, (4, 2))
        return conv(conv(x)) @ mixture


def test_a_shared_module_has_its_parameters_once_and_its_products_twice():
    layers = summarize(Shared(), struct(1, 8, 8, 4))
    assert [layer.path for layer in layers] == ["", "conv", "conv"]
    network, first, second = layers
    assert (first.parameters, second.parameters, network.parameters) == (144, 0, 8)
    assert first.macs == second.macs == 64 * 144
    assert network.macs == 64 * 4 * 2
    assert (first.receptive_field, second.receptive_field) == ((3, 3), (5, 5))
    assert network.activation_bytes == 0  # that of its submodules is counted
    assert total(layers).parameters == 152


def test_attention_by_hand():
    attention = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=8, out_features=6)
    layers = summarize(attention, struct(3, 10, 6))
    whole = total(layers)
    assert whole.parameters == 3 * (6 * 8 + 8) + 8 * 6 + 6
    assert whole.macs == 3 * (3 * 10 * 6 * 8 + 2 * 10 * 10 * 8 + 10 * 8 * 6)
    fields = {layer.path: layer.receptive_field for layer in layers}
    assert fields == {"": None, "query": (1,), "key": (1,), "value": (1,), "out": None}


def test_a_recurrent_net_counts_every_step():
    layers = summarize(nn.RNN(nn.SimpleCell(5)), struct(2, 7, 3))
    whole = total(layers)
    assert whole.macs == 2 * 7 * (3 * 5 + 5 * 5)
    assert whole.parameters == 3 * 5 + 5 * 5 + 5
    assert whole.receptive_field is None


@pytest.mark.parametrize("lift", [lambda module: module, nn.remat, nn.jit], ids=["plain", "remat", "jit"])
def test_lifted_modules(lift):
    layers = summarize(lift(Conv)(4, 3), struct(1, 8, 8, 4))
    assert [(row.parameters, row.macs, row.receptive_field) for row in layers] == [
        (3 * 3 * 4 * 4 + 4, 36 * 144, (3, 3))
    ]


class Twice(nn.Module):
    """Two compiled layers of the same configuration."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        compiled = nn.jit(Conv)
        return compiled(4, 3, name="second")(compiled(4, 3, name="first")(x))


def test_compiled_layers_of_one_configuration_are_two():
    layers = summarize(Twice(), struct(1, 9, 9, 4))
    assert [(row.path, row.parameters, row.macs) for row in layers] == [
        ("first", 148, 49 * 144),
        ("second", 148, 25 * 144),
    ]
    assert layers[1].receptive_field == (5, 5)


def test_compiled_layers_that_share_a_trace_add_up():
    class Alike(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            for _ in range(3):
                x = nn.jit(Conv)(4, 3, padding=1)(x)
            return x

    whole = total(summarize(Alike(), struct(1, 8, 8, 4)))
    assert (whole.macs, whole.parameters) == (3 * 64 * 144, 3 * 148)


class Silent(nn.Module):
    """A layer that stores its result and returns nothing."""

    @nn.compact
    def __call__(self, x: jax.Array) -> None:
        self.sow("intermediates", "y", nn.Dense(3, name="dense")(x))


class Listening(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        Silent(name="silent")(x)
        return nn.Dense(2, name="head")(x)


def test_a_module_without_results_is_counted():
    layers = summarize(Listening(), struct(5, 4))
    assert [(row.path, row.macs) for row in layers] == [("silent/dense", 60), ("head", 40)]


class Conditional(nn.Module):
    """A cheap and a dear branch, decided at run time."""

    @nn.compact
    def __call__(self, x: jax.Array, dear: jax.Array) -> jax.Array:
        kernel = self.param("kernel", nn.initializers.ones, (4, 4))
        return jax.lax.cond(dear, lambda x: x @ kernel @ kernel, lambda x: x @ kernel, x)


def test_the_costliest_branch_counts():
    (row,) = summarize(Conditional(), struct(5, 4), struct(dtype=jnp.bool_))
    assert row.macs == 2 * 5 * 4 * 4


class Interpolated(nn.Module):
    """Enlarges by products with a constant matrix, which are none of the network's."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.image.resize(Conv(2, 1)(x), (1, 16, 16, 2), "bilinear")


def test_interpolation_counts_as_nothing():
    assert total(summarize(Interpolated(), struct(1, 8, 8, 2))).macs == 64 * 2 * 2


def test_modes_and_norms():
    block = ConvNormAct(4)
    evaluated = summarize(block, struct(2, 8, 8, 3), train=False)
    trained = summarize(block, struct(2, 8, 8, 3), train=True)
    assert [layer.kind for layer in evaluated] == ["Conv", "BatchNorm"]
    assert [layer.parameters for layer in evaluated] == [108, 8]  # running statistics are no parameters
    assert evaluated[1].receptive_field == (3, 3)
    assert trained[1].receptive_field is None  # the statistics are of the whole batch
    assert [layer.macs for layer in trained] == [layer.macs for layer in evaluated]
    with pytest.raises(TypeError, match="train"):
        summarize(block, struct(2, 8, 8, 3))


def test_random_streams_are_given_by_name():
    class Noisy(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return Conv(2, 1)(x + jax.random.normal(self.make_rng("noise"), x.shape))

    (row,) = summarize(Noisy(), struct(1, 4, 4, 2), rngs=("noise",))
    assert row.macs == 64


def test_arrays_dtypes_and_several_inputs():
    class Difference(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
            conv = Conv(2, 3, dtype=jnp.bfloat16)
            return Conv(2, 3, name="last")(conv(x) - conv(y))

    layers = summarize(Difference(), np.zeros((1, 9, 9, 2), np.float32), jnp.zeros((1, 9, 9, 2)))
    assert [layer.receptive_field for layer in layers] == [(3, 3), (3, 3), (5, 5)]
    assert layers[0].activation_bytes == 7 * 7 * 2 * 2
    assert layers[2].activation_bytes == 5 * 5 * 2 * 4


def test_parameters_are_all_counted_and_nothing_is_computed():
    model = zoo.create("unet_bn")
    images = struct(64, 8192, 8192, 3)  # its activations would need tens of terabytes
    variables = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), images)
    whole = total(summarize(model, images, train=False))
    assert whole.parameters == count_parameters(variables["params"])
    assert whole.activation_bytes > 2**44
    with pytest.raises(ValueError, match="layers: got none"):
        total([])


def test_a_norm_alone():
    (row,) = summarize(BatchNorm(), struct(2, 4, 4, 3), train=False)
    assert (row.path, row.macs, row.parameters, row.receptive_field) == ("", 0, 6, (1, 1))
