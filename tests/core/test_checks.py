import jax
import jax.numpy as jnp
import pytest

from jaxvision.core import check_floating, check_integer, check_layout, check_same_shape


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 4, 5, 3), "N H W 3"),
        ((3,), "... K"),
        ((1, 2, 3), "... K"),
        ((4, 4), "K K"),
        ((7, 4, 4), "... K K"),
    ],
)
def test_fitting_layouts_pass(shape, layout):
    check_layout("x", jnp.zeros(shape), layout)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((4, 5, 3), "N H W 3"),
        ((2, 4, 5, 1), "N H W 3"),
        ((4, 5), "K K"),
        ((7, 4, 5), "... K K"),
        ((), "... K"),
    ],
)
def test_other_layouts_raise_with_both_shapes(shape, layout):
    with pytest.raises(ValueError, match=r"x: expected \[.*\], got \[.*\]; transpose it"):
        check_layout("x", jnp.zeros(shape), layout, remedy="transpose it")


def test_checks_run_under_jit():
    with pytest.raises(ValueError, match="images"):
        jax.jit(lambda x: check_layout("images", x, "N H W 3"))(jnp.zeros((2, 2)))


def test_dtypes():
    check_floating(a=jnp.zeros(1), b=jnp.zeros(1, jnp.bfloat16))
    check_integer(a=jnp.zeros(1, jnp.int32), b=jnp.zeros(1, jnp.uint8))
    with pytest.raises(ValueError, match="logits: expected a floating dtype, got int32"):
        check_floating(logits=jnp.zeros(1, jnp.int32))
    with pytest.raises(ValueError, match="labels: expected an integer dtype"):
        check_integer(labels=jnp.zeros(1))
    with pytest.raises(ValueError, match="labels: expected an integer dtype"):
        check_integer(labels=jnp.zeros(1, bool))


def test_same_shape():
    with pytest.raises(ValueError, match=r"a \[2\], b \[3\]"):
        check_same_shape(a=jnp.zeros(2), b=jnp.zeros(3))
