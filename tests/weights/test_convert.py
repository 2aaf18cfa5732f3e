import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.weights import BOOKKEEPING, Rule, convert

RULES = (
    Rule(r"(conv\d)\.weight", r"params/\1/kernel", "conv"),
    Rule(r"(conv\d)\.bias", r"params/\1/bias"),
    Rule(r"norm\.running_(mean|var)", r"batch_stats/norm/\1"),
)


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def source():
    return {
        "conv1.weight": array(4, 3, 5, 2),
        "conv1.bias": array(4),
        "norm.running_mean": array(4, seed=1),
        "norm.running_var": array(4, seed=2),
        "norm.num_batches_tracked": np.int64(3),
    }


def target():
    return {
        "params": {"conv1": {"kernel": jnp.zeros((5, 2, 3, 4)), "bias": jnp.zeros(4)}},
        "batch_stats": {"norm": {"mean": jnp.zeros(4), "var": jnp.zeros(4)}},
    }


def test_fills_every_leaf_and_keeps_the_structure():
    weights = source()
    variables = convert(weights, RULES, target(), ignore=BOOKKEEPING)
    assert jax.tree.structure(variables) == jax.tree.structure(target())
    kernel = variables["params"]["conv1"]["kernel"]
    assert kernel[4, 1, 2, 3] == weights["conv1.weight"][3, 2, 4, 1]
    assert kernel.flags.c_contiguous
    np.testing.assert_array_equal(variables["batch_stats"]["norm"]["var"], weights["norm.running_var"])


def test_takes_shapes_only_and_the_targets_dtype():
    shapes = jax.eval_shape(target)
    weights = {key: value.astype(np.float16) for key, value in source().items()}
    variables = convert(weights, RULES, shapes, ignore=BOOKKEEPING)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("layout", "spatial", "weight", "ours", "pick"),
    [
        ("identity", (1, 1), array(6), (6,), lambda w, o: (w[5], o[5])),
        ("conv", (1, 1), array(4, 3, 5, 2), (5, 2, 3, 4), lambda w, o: (w[3, 1, 4, 0], o[4, 0, 1, 3])),
        (
            "conv3d", (1, 1), array(4, 3, 5, 2, 6), (5, 2, 6, 3, 4),
            lambda w, o: (w[3, 1, 4, 0, 5], o[4, 0, 5, 1, 3]),
        ),
        (
            "transposed_conv", (1, 1), array(4, 3, 5, 2), (5, 2, 4, 3),
            lambda w, o: (w[3, 1, 4, 0], o[4, 0, 3, 1]),
        ),
        ("linear", (1, 1), array(4, 3), (3, 4), lambda w, o: (w[3, 1], o[1, 3])),
        # Channel 1, row 2, column 4 of [C=3, H=5, W=7].
        (
            "linear_after_flatten", (5, 7), array(2, 105), (105, 2),
            lambda w, o: (w[1, 1 * 35 + 2 * 7 + 4], o[(2 * 7 + 4) * 3 + 1, 1]),
        ),
        (
            "linear_to_conv", (5, 7), array(2, 105), (5, 7, 3, 2),
            lambda w, o: (w[1, 1 * 35 + 2 * 7 + 4], o[2, 4, 1, 1]),
        ),
        ("gain", (1, 1), array(4, 1, 1, 1), (4,), lambda w, o: (w[3, 0, 0, 0], o[3])),
        ("token", (1, 1), array(1, 1, 4), (4,), lambda w, o: (w[0, 0, 3], o[3])),
        ("identity", (1, 1), array(), (), lambda w, o: (w, o)),
    ],
)  # fmt: skip
def test_layouts(layout, spatial, weight, ours, pick):
    rules = [Rule("w", "params/w", layout, spatial)]
    converted = convert({"w": weight}, rules, {"params": {"w": np.zeros(ours, np.float32)}})["params"]["w"]
    theirs, mine = pick(weight, converted)
    assert theirs == mine
    np.testing.assert_array_equal(np.sort(converted, axis=None), np.sort(weight, axis=None))


def test_linear_after_flatten_gives_the_same_product():
    image, weight = array(3, 5, 7), array(4, 105, seed=1)
    rules = [Rule("w", "params/w", "linear_after_flatten", (5, 7))]
    kernel = convert({"w": weight}, rules, {"params": {"w": np.zeros((105, 4), np.float32)}})["params"]["w"]
    ours = image.transpose(1, 2, 0).reshape(-1) @ kernel
    np.testing.assert_allclose(ours, weight @ image.reshape(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "weight", "ours", "picks"),
    [
        # Output 3 of the query, key and value, each 4 x 5, and input 2.
        (
            "packed_linear", array(12, 5), [(5, 4)] * 3,
            lambda w, o: [(w[4 * part + 3, 2], o[part][2, 3]) for part in range(3)],
        ),
        (
            "packed_bias", array(12), [(4,)] * 3,
            lambda w, o: [(w[4 * part + 3], o[part][3]) for part in range(3)],
        ),
        # Row 1, column 2 of a 3 x 3 grid behind the class token.
        (
            "class_and_grid_positions", array(1, 10, 4), [(1, 4), (3, 3, 4)],
            lambda w, o: [(w[0, 0, 3], o[0][0, 3]), (w[0, 1 + 3 + 2, 3], o[1][1, 2, 3])],
        ),
    ],
)  # fmt: skip
def test_one_tensor_may_hold_several_leaves(layout, weight, ours, picks):
    names = "abc"[: len(ours)]
    rules = [Rule("(w)", tuple(rf"params/\1/{name}" for name in names), layout)]
    leaves = {name: np.zeros(shape, np.float32) for name, shape in zip(names, ours, strict=True)}
    converted = convert({"w": weight}, rules, {"params": {"w": leaves}})["params"]["w"]
    parts = [converted[name] for name in names]
    assert all(theirs == mine for theirs, mine in picks(weight, parts))
    assert all(part.flags.c_contiguous for part in parts)
    everything = np.concatenate([part.ravel() for part in parts])
    np.testing.assert_array_equal(np.sort(everything), np.sort(weight, axis=None))


@pytest.mark.parametrize(
    ("rule", "weight", "message"),
    [
        (
            Rule("w", ("params/a", "params/b"), "packed_bias"), array(6),
            r"layout 'packed_bias' gives 3 arrays for the paths \['params/a', 'params/b'\]",
        ),
        (
            Rule("w", ("params/a", "params/b"), "class_and_grid_positions"), array(1, 4, 2),
            r"'w' \[1, 4, 2\] cannot take layout .* to become 'params/a' \[1, 2\] and 'params/b' \[2, 2, 2\]",
        ),
        (
            Rule("w", ("params/a", "params/b"), "class_and_grid_positions"), array(1, 10, 2),
            r"'w' \[1, 10, 2\] gives \[3, 3, 2\] .* 'params/b' is \[2, 2, 2\]",
        ),
        (Rule("w", "params/a", "gain"), array(2, 3), r"cannot take layout 'gain'"),
        (Rule("w", ("params/a", "params/a"), "packed_bias"), array(6), "both fill 'params/a'"),
    ],
)  # fmt: skip
def test_what_does_not_fall_into_the_leaves_raises(rule, weight, message):
    leaves = {"a": np.zeros((1, 2), np.float32), "b": np.zeros((2, 2, 2), np.float32)}
    with pytest.raises(ValueError, match=message):
        convert({"w": weight}, [rule], {"params": leaves})


def without(key):
    return {name: value for name, value in source().items() if name != key}


@pytest.mark.parametrize(
    ("weights", "rules", "message"),
    [
        ({**source(), "fc.weight": array(1)}, RULES, r"'fc\.weight': expected exactly one .* got 0"),
        (source(), (*RULES, Rule(r"conv1\..*", "x")), r"'conv1\.weight': expected exactly one .* got 2"),
        (
            {**source(), "conv2.bias": array(4)}, RULES,
            r"'conv2\.bias' goes to 'params/conv2/bias', which the model does not have",
        ),
        (
            {**source(), "conv2.bias": array(4)},
            (RULES[0], Rule(r"conv\d\.bias", "params/conv1/bias"), RULES[2]),
            r"'conv1\.bias' and 'conv2\.bias' both fill 'params/conv1/bias'",
        ),
        (without("norm.running_var"), RULES, r"1 of 4 leaves are not in the source.*batch_stats/norm/var"),
        (
            {**source(), "conv1.bias": array(5)}, RULES,
            r"'conv1\.bias' \[5\] gives \[5\] .* 'params/conv1/bias' is \[4\]",
        ),
        (
            {**source(), "conv1.weight": array(4, 3)}, RULES,
            r"'conv1\.weight' \[4, 3\] cannot take layout 'conv' .* 'params/conv1/kernel' \[5, 2, 3, 4\]",
        ),
        (source(), (RULES[0], RULES[1]._replace(layout="flipped"), RULES[2]), "unknown layout 'flipped'"),
    ],
)  # fmt: skip
def test_anything_but_a_bijection_raises(weights, rules, message):
    with pytest.raises(ValueError, match=message):
        convert(weights, rules, target(), ignore=BOOKKEEPING)


def test_bookkeeping_is_not_ignored_unasked():
    with pytest.raises(ValueError, match=r"'norm\.num_batches_tracked'"):
        convert(source(), RULES, target())
