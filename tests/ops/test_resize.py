"""Formulations, exactness, derivatives and errors of resizing; values are in test_*_against_torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxvision import ops
from jaxvision.ops.resize import METHODS, _by_gathers, _by_products, _Kernel, _matrices, _tangent

X = jnp.zeros((1, 4, 4, 2))


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("method", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(12, 5), (3, 2), (1, 100)])
def test_products_gathers_and_the_derivative_are_one_map(method, size):
    x, cotangent = normal(2, 6, 9, 3), jnp.cos(jnp.arange(2.0 * size[0] * size[1] * 3)).reshape(2, *size, 3)
    kernel = _Kernel(method, align_corners=False, antialias=method.startswith("bi"))

    @jax.jit
    def run(x):
        results = []
        for form in (_by_products, _by_gathers):
            apply = lambda x, form=form: form(x, _matrices(x, size, kernel))  # noqa: E731
            y, pull = jax.vjp(apply, x)
            results.append((y, pull(cotangent)[0]))
        y, pull = jax.vjp(lambda x: _tangent(x, size, kernel), x)
        return [*results, (y, pull(cotangent)[0])]

    first, *others = run(x)
    for other in others:
        jax.tree.map(functools.partial(np.testing.assert_allclose, atol=3e-5), first, other)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_size_changes_nothing_and_constants_stay(method):
    x = normal(2, 5, 4, 3)
    np.testing.assert_array_equal(ops.resize(x, (5, 4), method=method), x)
    constant = jnp.full((1, 5, 4, 1), 3.0)
    for size in ((11, 2), (1, 1), (3, 9)):
        np.testing.assert_allclose(ops.resize(constant, size, method=method), 3.0, rtol=1e-6)


def test_corners_stay_with_align_corners():
    x = normal(1, 4, 5, 2)
    for method in ("bilinear", "bicubic"):
        y = ops.resize(x, (9, 3), method=method, align_corners=True)
        np.testing.assert_allclose(y[:, ::8, ::2], x[:, ::3, ::4], atol=1e-6)


def test_antialiasing_leaves_no_pixel_out():
    x = jnp.arange(64.0).reshape(1, 8, 8, 1)
    for method in ("bilinear", "bicubic"):
        sums = [
            jax.grad(lambda x, a=a, m=method: ops.resize(x, 1, method=m, antialias=a).sum())(x) != 0
            for a in (True, False)
        ]
        assert sums[0].all()
        assert not sums[1].all()


def test_label_maps_of_any_dtype_by_the_nearest_methods():
    labels = jnp.array([[0, 255], [7, 1]])[None, :, :, None]
    for method in ("nearest", "nearest-exact"):
        for dtype in (jnp.int32, jnp.uint8, jnp.bool_):
            y = ops.resize(labels.astype(dtype), (4, 2), method=method)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y[0, :, :, 0], labels.astype(dtype)[0, [0, 0, 1, 1], :, 0])
    # Shrinking by three takes the first pixel of three, or the middle one.
    row = jnp.arange(9)[None, :, None]
    np.testing.assert_array_equal(ops.resize(row, (3,), method="nearest").ravel(), [0, 3, 6])
    np.testing.assert_array_equal(ops.resize(row, (3,), method="nearest-exact").ravel(), [1, 4, 7])


def test_nearest_copies_infinities():
    x = jnp.array([jnp.inf, 1.0, -jnp.inf]).reshape(1, 3, 1)
    y = ops.resize(x, (6,), method="nearest").ravel()
    np.testing.assert_array_equal(y, [jnp.inf, jnp.inf, 1, 1, -jnp.inf, -jnp.inf])


def test_a_nearest_gradient_counts_copies():
    x = jnp.zeros((1, 3, 1))
    for size, counts in ((7, [3, 2, 2]), (2, [1, 1, 0]), (3, [1, 1, 1])):
        gradient = jax.grad(lambda x, n=size: ops.resize(x, (n,), method="nearest").sum())(x)
        np.testing.assert_array_equal(gradient.ravel(), counts)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "nearest"},
        {"method": "bilinear", "align_corners": True},
        {"method": "bicubic", "antialias": True},
        {"method": "area"},
    ],
    ids=lambda options: options["method"],
)
def test_derivatives_vmap_traces_and_precision(options):
    xs, traces = normal(3, 1, 5, 4, 2), []
    apply = functools.partial(ops.resize, size=(3, 7), **options)

    @jax.jit
    def run(x):
        traces.append(x.shape)
        return apply(x)

    mapped = jax.jit(jax.vmap(apply))(xs)
    mapped_gradient = jax.jit(jax.vmap(jax.grad(lambda x: (apply(x) ** 2).sum())))(xs)
    for index in range(3):
        np.testing.assert_allclose(mapped[index], run(xs[index]), atol=1e-6)
    assert len(traces) == 1
    gradient = jax.jit(jax.grad(lambda x: (apply(x) ** 2).sum()))(xs[1])
    np.testing.assert_allclose(mapped_gradient[1], gradient, atol=1e-5)
    order = 2 if options["method"] == "bilinear" else 1
    check_grads(jax.jit(lambda x: apply(x) ** 2), (xs[0],), order=order, atol=0.05, rtol=0.05, eps=1e-2)
    with jax.enable_x64(True):
        wide = apply(jnp.asarray(xs[0], jnp.float64))
        assert wide.dtype == jnp.float64
        np.testing.assert_allclose(wide, mapped[0], atol=1e-6)


@pytest.mark.parametrize(
    ("x", "size", "options", "message"),
    [
        (X, 2, {"method": "lanczos"}, "method: expected one of nearest, .*, got 'lanczos'"),
        (
            X,
            2,
            {"method": "nearest", "align_corners": True},
            "'nearest' has neither align_corners nor antialias",
        ),
        (X, 2, {"method": "area", "antialias": True}, "'area' has neither"),
        (X[0], 2, {}, r"x: expected \[N, H, W, C\], got \[4, 4, 2\]; the size 2 is one of"),
        (X, (2,), {}, r"x: expected \[N, T, C\]"),
        (X, 0, {}, "size: expected an integer or"),
        (X, (2, 2.5), {}, "size: expected an integer or"),
        (X[:, :0], 2, {}, "x: expected at least one pixel"),
        (X.astype(jnp.int32), 2, {}, "x: expected a floating dtype, got int32"),
    ],
)
def test_wrong_arguments(x, size, options, message):
    with pytest.raises(ValueError, match=message):
        ops.resize(x, size, **options)
