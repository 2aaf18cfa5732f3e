"""Initialisers: moments and fans, orthogonality, fixed kernels, and how variances go through fifty layers."""

import math
import statistics

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.record_layers import REFERENCE, torch_initial_kernels

from jaxvision import layers, ops
from jaxvision.layers import bilinear_kernel, he_normal_fan_in, he_normal_fan_out


@pytest.mark.parametrize(("initializer", "fan"), [(he_normal_fan_in, 64), (he_normal_fan_out, 32)])
def test_he_normal_is_normal_with_variance_two_over_the_fan(initializer, fan):
    values = np.asarray(initializer(jax.random.key(0), (3, 3, 64, 32))).ravel()
    deviation = np.sqrt(2 / (9 * fan))
    np.testing.assert_allclose(values.std(), deviation, rtol=0.02)
    np.testing.assert_allclose(values.mean(), 0, atol=0.03 * deviation)
    # Not truncated: of 18,432 normal numbers some 50 lie beyond three deviations (truncated: none).
    assert 20 < (np.abs(values) > 3 * deviation).sum() < 100


@pytest.mark.parametrize(("factor", "size", "padding"), [(2, 4, 1), (8, 16, 4), (3, 5, 1)])
def test_bilinear_kernel_enlarges_each_channel_by_interpolation(factor, size, padding):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 6, 2)), jnp.float32)
    kernel = bilinear_kernel(jax.random.key(0), (size, size, 2, 2))
    y = ops.transposed_convolution(x, kernel, strides=factor, padding=padding)
    expected = jax.image.resize(x, (1, 5 * factor, 6 * factor, 2), "linear")
    inner = slice(factor, -factor)  # at the border zeros are mixed in
    assert y.shape == expected.shape
    np.testing.assert_allclose(y[:, inner, inner], expected[:, inner, inner], atol=1e-5)


def test_bilinear_kernel_with_a_group_a_channel_is_the_diagonal_of_the_full_one():
    full = bilinear_kernel(jax.random.key(0), (4, 4, 3, 3))
    grouped = bilinear_kernel(jax.random.key(1), (4, 4, 3, 1), jnp.bfloat16)
    assert grouped.dtype == jnp.bfloat16
    np.testing.assert_array_equal(grouped[..., 0], jnp.diagonal(full, axis1=2, axis2=3))


def test_bilinear_kernel_wants_a_channel_map():
    with pytest.raises(ValueError, match=r"\[4, 4, 3, 2\]; interpolation maps each channel to itself"):
        bilinear_kernel(jax.random.key(0), (4, 4, 3, 2))


# A kernel of the shape below, and the variance that it must have; the fans are 9 * 64 and 9 * 32.
SHAPE = (3, 3, 64, 32)
FAN_IN, FAN_OUT = 576, 288
SPREADS = {
    "xavier_uniform": (layers.xavier_uniform(), 2 / (FAN_IN + FAN_OUT)),
    "xavier_uniform, gain": (layers.xavier_uniform(gain=3.0), 18 / (FAN_IN + FAN_OUT)),
    "xavier_normal": (layers.xavier_normal(), 2 / (FAN_IN + FAN_OUT)),
    "xavier_normal, gain": (layers.xavier_normal(gain=0.5), 0.5 / (FAN_IN + FAN_OUT)),
    "he_normal": (layers.he_normal(), 2 / FAN_IN),
    "he_normal, out": (layers.he_normal(mode="fan_out"), 2 / FAN_OUT),
    "he_normal, leaky": (layers.he_normal(negative_slope=1.0), 1 / FAN_IN),
    "he_uniform": (layers.he_uniform(), 2 / FAN_IN),
    "he_uniform, out": (layers.he_uniform(mode="fan_out", negative_slope=0.5), 1.6 / FAN_OUT),
    "he_uniform, torch's layers": (layers.he_uniform(negative_slope=math.sqrt(5)), 1 / (3 * FAN_IN)),
    "lecun_normal": (layers.lecun_normal, 1 / FAN_IN),
    "lecun_uniform": (layers.lecun_uniform, 1 / FAN_IN),
}


@pytest.mark.parametrize("name", SPREADS)
def test_moments_and_form_of_the_distribution(name):
    initializer, variance = SPREADS[name]
    values = np.asarray(jax.jit(initializer, static_argnums=1)(jax.random.key(0), SHAPE)).ravel()
    deviation = math.sqrt(variance)
    np.testing.assert_allclose(values.mean(), 0, atol=0.03 * deviation)
    np.testing.assert_allclose(values.std(), deviation, rtol=0.02)
    beyond = (np.abs(values) > 3 * deviation).sum()
    if "uniform" in name:
        assert np.abs(values).max() <= math.sqrt(3) * deviation * 1.00001
        np.testing.assert_allclose(np.abs(values).max(), math.sqrt(3) * deviation, rtol=1e-3)
        np.testing.assert_allclose((values**4).mean() / variance**2, 1.8, rtol=0.03)  # kurtosis of a uniform
    else:
        assert 20 < beyond < 100  # of 18,432 normal numbers some 50; none of truncated ones


def test_fans_of_linear_layers_sequences_and_groups():
    for shape, fan_in in (
        ((400, 30), 400),
        ((5, 80, 30), 400),
        ((2, 5, 8, 5, 30), 400),
        ((10, 10, 4, 30), 400),
    ):
        values = np.asarray(layers.lecun_normal(jax.random.key(0), shape))
        np.testing.assert_allclose(values.var() * fan_in, 1, rtol=0.05)


def test_dtypes_and_a_shape_without_fans():
    every = [layers.xavier_uniform(), layers.he_normal(), layers.lecun_normal, layers.orthogonal()]
    every += [layers.truncated_normal(), layers.sparse(sparsity=0.5), layers.identity]
    for initializer in every:
        make = jax.eval_shape(
            lambda initializer=initializer: initializer(jax.random.key(0), (4, 5), jnp.bfloat16)
        )
        assert make.dtype == jnp.bfloat16
        assert make.shape == (4, 5)
    for initializer in (layers.xavier_uniform(), layers.he_uniform(), layers.lecun_normal):
        with pytest.raises(ValueError, match="at least"):
            initializer(jax.random.key(0), (4,))


@pytest.mark.parametrize("shape", [(3, 3, 2, 4), (3, 3, 2, 40), (16, 16), (5, 7), (7, 5)])
def test_orthogonal_rows_or_columns(shape):
    matrix = np.asarray(layers.orthogonal(gain=2.0)(jax.random.key(0), shape)).reshape(-1, shape[-1])
    product = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(product, 4 * np.eye(min(matrix.shape)), atol=1e-5)


def test_orthogonal_is_uniform():
    # Its entries then have mean 0 and variance 1 / n; without the signs of R they would not.
    keys = jax.random.split(jax.random.key(0), 2000)
    matrices = np.asarray(jax.jit(jax.vmap(lambda key: layers.orthogonal()(key, (3, 3))))(keys))
    np.testing.assert_allclose(matrices.mean(0), 0, atol=5 / math.sqrt(3 * 2000))
    np.testing.assert_allclose((matrices**2).mean(0), 1 / 3, atol=0.03)


def test_truncated_normal_is_cut_at_values_and_not_corrected():
    def values(**options):
        return np.asarray(layers.truncated_normal(**options)(jax.random.key(0), (200, 200)))

    normal = statistics.NormalDist()
    cut = 2 * 2 * normal.pdf(2.0) / (normal.cdf(2.0) - normal.cdf(-2.0))
    standard = values()
    assert np.abs(standard).max() <= 2
    np.testing.assert_allclose(standard.var(), 1 - cut, rtol=0.02)  # 0.774: deviation 0.88
    narrow = values(stddev=0.02)
    np.testing.assert_allclose(narrow.std(), 0.02, rtol=0.02)
    assert (np.abs(narrow) > 0.06).sum() > 50  # +-2 is a hundred deviations away
    shifted = values(mean=1.0, stddev=1.0, lower=1.0, upper=30.0)
    assert shifted.min() >= 1
    np.testing.assert_allclose(shifted.mean(), 1 + math.sqrt(2 / math.pi), rtol=0.01)  # half a normal
    with pytest.raises(ValueError, match="expected stddev > 0 and lower < upper"):
        layers.truncated_normal(lower=1.0, upper=1.0)


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.71, 1.0])
def test_sparse_zeroes_a_share_of_each_inputs_weights(sparsity):
    kernel = np.asarray(layers.sparse(sparsity=sparsity, stddev=0.1)(jax.random.key(0), (400, 10)))
    np.testing.assert_array_equal((kernel == 0).sum(1), np.full(400, math.ceil(sparsity * 10)))
    if sparsity < 1:
        np.testing.assert_allclose(kernel[kernel != 0].std(), 0.1, rtol=0.05)
        zeros = (kernel == 0).mean(0)  # at random places: equally often in each column
        np.testing.assert_allclose(zeros, math.ceil(sparsity * 10) / 10, atol=0.12)


def torch_like_kernels() -> dict[str, np.ndarray]:
    """Ours, by the names of ``torch_initial_kernels``."""
    ours = {"identity 3x5": layers.identity(jax.random.key(0), (3, 5))}
    for name in ("3x2x4 1", "3x2x4x3 1", "3x3x2x6 2", "1x3x3x1x3 3"):
        shape, groups = name.split()
        ours[f"dirac {name}"] = layers.dirac(groups=int(groups))(
            jax.random.key(0), tuple(map(int, shape.split("x")))
        )
    names = ("linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu")
    gains = [*map(layers.activation_gain, names), layers.activation_gain("leaky_relu", negative_slope=0.3)]
    return {name: np.asarray(kernel) for name, kernel in ours.items()} | {"gains": np.array(gains)}


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-7, err_msg=name)


def test_fixed_kernels_and_gains_equal_recorded_torch():
    with np.load(REFERENCE / "layers.npz") as file:
        theirs = {name.removeprefix("initial/"): file[name] for name in file if name.startswith("initial/")}
    assert_equal(torch_like_kernels(), theirs)


@pytest.mark.parity
def test_fixed_kernels_and_gains_equal_torch():
    pytest.importorskip("torch")
    assert_equal(torch_like_kernels(), torch_initial_kernels())


@pytest.mark.parametrize(("shape", "groups"), [((3, 3, 6, 6), 1), ((5, 3, 2, 6), 3), ((3, 6, 6), 1)])
def test_dirac_starts_a_convolution_as_the_identity(shape, groups):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *(7,) * (len(shape) - 2), 6)), jnp.float32)
    kernel = layers.dirac(groups=groups)(jax.random.key(0), shape)
    y = ops.convolution(x, kernel, padding=tuple(size // 2 for size in shape[:-2]), groups=groups)
    np.testing.assert_array_equal(y, x)


def test_wrong_arguments():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"nonlinearity: expected one of linear, sigmoid, .*got 'gelu'"):
        layers.activation_gain("gelu")
    with pytest.raises(ValueError, match=r"sparsity: expected the share of zeros, from 0 to 1, got 1\.2"):
        layers.sparse(sparsity=1.2)
    with pytest.raises(ValueError, match=r"sparse: expected a shape \[Cin, Cout\], got \[3, 3, 4, 4\]"):
        layers.sparse(sparsity=0.5)(key, (3, 3, 4, 4))
    with pytest.raises(
        ValueError, match=r"identity: expected a shape \[Cin, Cout\].*convolutions have dirac"
    ):
        layers.identity(key, (3, 3, 4, 4))
    for shape, groups in (((4, 4), 1), ((3, 3, 2, 6), 4), ((1, 1, 1, 1, 2, 2), 1)):
        with pytest.raises(ValueError, match="dirac: expected a shape"):
            layers.dirac(groups=groups)(key, shape)


DEPTH, WIDTH = 50, 256


def through_fifty_layers(initializer, activation) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of the activations after each layer, and of the gradients before each."""

    @jax.jit
    def run(key):
        kernels = jax.vmap(lambda key: initializer(key, (WIDTH, WIDTH)))(jax.random.split(key, DEPTH))
        x, cotangent = jax.random.normal(key, (2, 64, WIDTH))
        probes = jnp.zeros((DEPTH, 64, WIDTH))  # added to each layer's input: their gradients are those there

        def network(probes):
            def layer(x, arguments):
                kernel, probe = arguments
                y = activation((x + probe) @ kernel)
                return y, jnp.square(y).mean()

            return jax.lax.scan(layer, x, (kernels, probes))

        (_, squares), pull = jax.vjp(network, probes)
        (gradients,) = pull((cotangent, jnp.zeros(DEPTH)))
        return squares, jnp.square(gradients).mean((1, 2))

    squares, gradients = run(jax.random.key(0))
    return np.asarray(squares, np.float64), np.asarray(gradients, np.float64)


# The initialiser, the activation, and how far apart the largest and smallest mean squares of the fifty layers
# may be, of the activations and of the gradients. Measured, in this order: 5.0, 1.9 / 4.4, 1.8 / 1.4, 1.2 /
# 35, 57 (tanh shrinks by a power of the depth) / 1.4, 6500 / 1.1, 31 / 1.000001.
KEPT = {
    "he_normal, relu": (he_normal_fan_in, jax.nn.relu, 10, 4),
    "he_uniform, relu": (layers.he_uniform(), jax.nn.relu, 10, 4),
    "xavier_normal, linear": (layers.xavier_normal(), lambda x: x, 2, 2),
    "xavier_uniform, tanh": (layers.xavier_uniform(), jnp.tanh, 100, 200),
    "xavier_normal of tanh's gain": (layers.xavier_normal(gain=5 / 3), jnp.tanh, 3, 20_000),
    "lecun_normal, selu": (layers.lecun_normal, jax.nn.selu, 1.2, 100),
    "orthogonal, linear": (layers.orthogonal(), lambda x: x, 1.001, 1.001),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
def test_fifty_layers_keep_activations_and_gradients(name):
    initializer, activation, widest, steepest = KEPT[name]
    squares, gradients = through_fifty_layers(initializer, activation)
    assert squares.max() / squares.min() < widest
    assert gradients.max() / gradients.min() < steepest


@pytest.mark.slow
def test_fifty_layers_vanish_under_a_small_normal_and_halve_under_a_wrong_gain():
    for activation in (jax.nn.relu, jnp.tanh, lambda x: x):
        squares, gradients = through_fifty_layers(jax.nn.initializers.normal(0.01), activation)
        assert 0 < squares[0] < 0.1
        assert squares[-1] < 1e-38  # 0.026 a layer, 0.013 with ReLU: nothing is left of it in float32
        assert gradients[0] < 1e-38
    squares, gradients = through_fifty_layers(layers.xavier_normal(), jax.nn.relu)  # without ReLU's gain
    assert 0.4 < (squares[-1] / squares[0]) ** (1 / (DEPTH - 1)) < 0.55
    assert 0.4 < (gradients[0] / gradients[-1]) ** (1 / (DEPTH - 1)) < 0.55
