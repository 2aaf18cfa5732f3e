import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers

PARAMS = {
    "backbone": {
        "stage1_block0": {"conv1": {"kernel": jnp.full((3, 3, 2, 2), -0.0), "bias": jnp.ones(2)}},
        "stage2_block0": {"norm1": {"scale": jnp.ones(2), "bias": jnp.ones(2)}},
    },
    "head": {"kernel": jnp.full((1, 1, 2, 3), 2.0), "bias": jnp.ones(3)},
}


def bits(tree: object) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def test_patterns_name_leaves_and_subtrees() -> None:
    frozen = optimizers.frozen_mask(PARAMS, ["backbone/stage[1]*", "*/scale"])
    assert frozen == {
        "backbone": {
            "stage1_block0": {"conv1": {"kernel": True, "bias": True}},
            "stage2_block0": {"norm1": {"scale": True, "bias": False}},
        },
        "head": {"kernel": False, "bias": False},
    }
    assert not optimizers.path_matches("back", "backbone/conv/kernel")
    assert not optimizers.path_matches("head", "backbone/head/kernel")


def test_a_pattern_without_a_match_lists_close_paths() -> None:
    shapes = jax.eval_shape(lambda: PARAMS)
    optimizers.check_patterns(["head", "*/bias"], shapes)
    with pytest.raises(ValueError, match=r"'bakbone/stage1_block0'.*close paths: 'backbone/stage1_block0'"):
        optimizers.check_patterns(["head", "bakbone/stage1_block0"], shapes)
    with pytest.raises(ValueError, match="the tree is empty"):
        optimizers.check_patterns(["x"], {})


def test_decay_mask_skips_norms_and_biases() -> None:
    assert optimizers.decay_mask(PARAMS) == {
        "backbone": {
            "stage1_block0": {"conv1": {"kernel": True, "bias": False}},
            "stage2_block0": {"norm1": {"scale": False, "bias": False}},
        },
        "head": {"kernel": True, "bias": False},
    }
    assert optimizers.decay_mask({"table": {"bias": jnp.ones((2, 2))}}) == {"table": {"bias": False}}


def test_frozen_leaves_stay_bit_equal_and_out_of_everything() -> None:
    optimizer = optimizers.build_optimizer(
        "adamw",
        0.1,
        params=PARAMS,
        freeze=["backbone"],
        weight_decay=0.5,
        l2=0.1,
        l1=0.1,
        clip_norm=1.0,
        ema=0.5,
    )
    # A nan in a frozen gradient must not reach the norm, and with it the head.
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    gradients["backbone"]["stage1_block0"]["conv1"]["bias"] = jnp.full(2, jnp.nan)

    @jax.jit
    def step(params: dict, state: tuple) -> tuple[dict, tuple]:
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params, state = PARAMS, optimizer.init(PARAMS)
    moments = [leaf.shape for leaf in jax.tree.leaves(state[0]) if leaf.ndim]
    assert sorted(moments) == sorted([(1, 1, 2, 3), (3,)] * 2)  # of the head only
    for _ in range(5):
        params, state = step(params, state)
    assert bits(params["backbone"]) == bits(PARAMS["backbone"])  # -0.0 too
    jax.tree.map(
        np.testing.assert_array_equal, optimizers.ema_params(state, params)["backbone"], PARAMS["backbone"]
    )
    assert np.isfinite(params["head"]["kernel"]).all()
    assert (np.asarray(params["head"]["kernel"]) < 2.0).all()


def test_rates_by_group_first_match_counts() -> None:
    rates = {"head/bias": 0.0, "head": 10.0, "backbone/*2*": 0.5}
    optimizer = optimizers.build_optimizer("sgd", 0.1, params=PARAMS, rates=rates)
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    updates, _ = jax.jit(optimizer.update)(ones, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["head"]["kernel"], -1.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["head"]["bias"], 0.0)
    np.testing.assert_allclose(updates["backbone"]["stage2_block0"]["norm1"]["scale"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(updates["backbone"]["stage1_block0"]["conv1"]["bias"], -0.1, rtol=1e-6)


def test_l1_is_the_gradient_of_its_penalty() -> None:
    transform = optimizers.add_l1(0.3)
    params = jnp.array([2.0, -1.0, 0.5])
    updates, _ = transform.update(jnp.zeros(3), transform.init(params), params)
    np.testing.assert_allclose(updates, jax.grad(lambda p: 0.3 * jnp.abs(p).sum())(params))
    with pytest.raises(ValueError, match="params"):
        transform.update(jnp.zeros(3), transform.init(params))


def test_layer_rates_fall_from_the_last_layer() -> None:
    layers = [["stem"], ["block0", "norm0"], ["head"]]
    assert optimizers.layer_rates(layers, 0.1) == pytest.approx(
        {"stem": 0.01, "block0": 0.1, "norm0": 0.1, "head": 1.0}
    )
    for wrong in (0.0, 1.5, -0.1):
        with pytest.raises(ValueError, match=r"layer_decay: expected a number in \(0, 1\]"):
            optimizers.layer_rates(layers, wrong)
    with pytest.raises(ValueError, match="layers of this network are not known"):
        optimizers.layer_rates([], 0.5)
