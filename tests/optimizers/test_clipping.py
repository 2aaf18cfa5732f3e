import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision import optimizers


def tensors(seed):
    """Leaves in PyTorch's layouts: units of gradients far below and far above the limit."""
    rng = np.random.default_rng(seed)
    shapes = {
        "conv": (6, 3, 3, 2),
        "depthwise": (5, 1, 1, 1),
        "conv1d": (4, 3, 5),
        "conv3d": (4, 2, 3, 3, 3),
        "linear": (7, 4),
        "bias": (7,),
        "gain": (),
    }
    leaves = {}
    for name, shape in shapes.items():
        spread = np.exp(rng.uniform(-6, 3, shape[:1] + (1,) * (len(shape) - 1)))
        leaves[name] = np.asarray(spread * rng.standard_normal(shape), np.float32)
    return leaves


def channels_last(leaves):
    """A torch weight with its first axis, the output, last."""
    return {
        name: jnp.asarray(leaf if leaf.ndim < 2 else leaf.transpose(*range(1, leaf.ndim), 0))
        for name, leaf in leaves.items()
    }


def clip(params, gradients, clipping, **options):
    transform = optimizers.adaptive_clip(clipping, **options)
    return jax.jit(transform.update)(gradients, transform.init(params), params)[0]


def by_hand(weight, gradient, clipping, epsilon=1e-3):
    """Each unit, a slice of the first axis of a torch weight, in a loop."""
    result = np.array(gradient, np.float64)
    units = [()] if result.ndim < 2 else [(index,) for index in range(len(result))]
    for unit in units:
        limit = clipping * max(np.linalg.norm(weight[unit]), epsilon)
        norm = np.linalg.norm(result[unit])
        if norm > limit:
            result[unit] = result[unit] * (limit / norm)
    return result


@pytest.mark.parametrize("clipping", [0.01, 0.5])
def test_equals_the_formula_unit_by_unit(clipping):
    params, gradients = tensors(0), tensors(1)
    params["linear"][2] = 0  # a unit of zeros may still move
    actual = clip(channels_last(params), channels_last(gradients), clipping)
    expected = {name: by_hand(params[name], gradients[name], clipping) for name in params}
    for name, leaf in channels_last(expected).items():
        np.testing.assert_allclose(actual[name], leaf, rtol=1e-5, err_msg=name)
    changed = np.asarray(actual["conv"] != channels_last(gradients)["conv"]).any((0, 1, 2))
    assert changed.any()
    assert not changed.all()


@pytest.mark.parity
@pytest.mark.parametrize("clipping", [0.01, 0.5])
def test_equals_live_timm(clipping):
    torch, agc = pytest.importorskip("torch"), pytest.importorskip("timm.utils.agc")
    params, gradients = tensors(0), tensors(1)
    actual = clip(channels_last(params), channels_last(gradients), clipping)
    for name in params:
        parameter = torch.nn.Parameter(torch.from_numpy(params[name]))
        parameter.grad = torch.from_numpy(gradients[name].copy())
        agc.adaptive_clip_grad(parameter, clipping)
        wanted = channels_last({name: parameter.grad.numpy()})[name]
        np.testing.assert_allclose(actual[name], wanted, rtol=1e-5, err_msg=name)


def test_equals_optax_on_the_kernels_that_it_knows():
    names = ("conv", "conv3d", "linear", "bias", "gain")
    params, gradients = ({name: channels_last(tensors(seed))[name] for name in names} for seed in (0, 1))
    theirs = optax.adaptive_grad_clip(0.1)
    expected, _ = theirs.update(gradients, theirs.init(params), params)
    actual = clip(params, gradients, 0.1)
    for name in names:
        np.testing.assert_allclose(actual[name], expected[name], rtol=1e-5, err_msg=name)


def test_excluded_leaves_and_small_gradients_stay_bit_equal():
    params = {"backbone": {"kernel": jnp.ones((2, 2))}, "head": {"kernel": jnp.ones((2, 2))}}
    large = jax.tree.map(lambda leaf: 100 * leaf, params)
    actual = clip(params, large, 0.1, exclude=["head"])
    np.testing.assert_array_equal(actual["head"]["kernel"], large["head"]["kernel"])
    np.testing.assert_allclose(actual["backbone"]["kernel"], 0.1, rtol=1e-6)
    small = jax.tree.map(lambda leaf: 0.0123 * leaf, params)
    kept = clip(params, small, 0.1)
    assert jax.tree.all(jax.tree.map(np.array_equal, kept, small))
    nothing = clip(params, jax.tree.map(jnp.zeros_like, params), 0.1)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(nothing))


def test_a_nan_stays_and_dtypes_are_kept():
    params = {"kernel": jnp.ones((2, 2)), "half": jnp.ones((2, 2), jnp.bfloat16)}
    gradients = {"kernel": jnp.array([[jnp.nan, 1.0], [1.0, 1.0]]), "half": params["half"]}
    actual = clip(params, gradients, 0.1)
    np.testing.assert_array_equal(jnp.isnan(actual["kernel"]), [[True, False], [True, False]])
    assert (actual["kernel"].dtype, actual["half"].dtype) == (jnp.float32, jnp.bfloat16)


def test_build_clips_units_first_and_freezing_and_accumulation_go_with_it():
    params = {
        "frozen": {"kernel": jnp.ones((4, 1))},
        "body": {"kernel": jnp.ones((4, 1))},
        "head": {"kernel": jnp.ones((4, 1))},
    }
    optimizer = optimizers.build_optimizer(
        "sgd", 1.0, params=params, freeze=["frozen"], agc=0.5, clip_value=0.4, accumulate=2
    )
    state = optimizer.init(params)
    for size in (10.0, 30.0):
        gradients = jax.tree.map(lambda leaf, size=size: size * leaf, params)
        updates, state = jax.jit(optimizer.update)(gradients, state, params)
    # body: norm 2 of the weights, so a norm of 1 and 0.5 an element, which the clip by value makes 0.4; head:
    # 20 an element, by value 0.4.
    np.testing.assert_array_equal(updates["frozen"]["kernel"], 0.0)
    np.testing.assert_allclose(updates["body"]["kernel"], -0.4, rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.4, rtol=1e-6)


def test_the_scripts_option_reaches_the_gradient():
    params = {"body": {"kernel": jnp.ones((4, 1))}, "head": {"kernel": jnp.ones((4, 1))}}
    gradients = jax.tree.map(lambda leaf: 10 * leaf, params)

    def one_update(**fields):
        options = optimizers.OptimizerOptions(name="sgd", learning_rate=1.0, schedule="constant", **fields)
        optimizer, _ = options.build(params, steps=10)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        return [float(updates[name]["kernel"][0, 0]) for name in ("body", "head")]

    np.testing.assert_allclose(one_update(agc=0.01), [-0.01, -10.0], rtol=1e-6)
    np.testing.assert_allclose(one_update(agc=0.01, agc_exclude=("body",)), [-10.0, -0.01], rtol=1e-6)
    np.testing.assert_allclose(one_update(agc_exclude=("nothing",)), [-10.0, -10.0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agc": 0.0}, "agc: expected a number > 0, got 0.0"),
        ({"agc": 0.1}, r"the patterns \['head'\] need params"),
        ({"agc": 0.1, "params": {"score": jnp.ones(1)}}, "pattern 'head' matches no parameter.*'score'"),
    ],
)
def test_wrong_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        optimizers.build_optimizer("sgd", 0.1, **options)


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="clipping: expected a number > 0, got -1"):
        optimizers.adaptive_clip(-1)
    with pytest.raises(ValueError, match="epsilon: expected a number > 0, got 0"):
        optimizers.adaptive_clip(0.1, epsilon=0)
    transform = optimizers.adaptive_clip(0.1)
    with pytest.raises(ValueError, match="pass them to update"):
        transform.update(jnp.ones(2), transform.init(jnp.ones(2)))
