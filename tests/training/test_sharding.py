"""Which axis of an array is split: the default, the rules, and what they refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import PartitionSpec

from jaxvision.training import RunOptions, ShardRule, parse_shard_rule, shard_spec

KERNEL = "params/stage1_block0/conv1/kernel"
MOMENT = "opt_state/0/mu/stage1_block0/conv1/kernel"


def _spec(path, shape, *rules, count=8, least=0):
    return shard_spec(path, shape, count=count, axis_name="data", rules=rules, least=least)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 3, 64, 128), 3),
        ((3, 3, 128, 64), 2),
        ((3, 3, 64, 64), 3),  # the last of equal ones
        ((3, 3, 60, 8), 3),  # 60 is larger, but 8 devices do not divide it
        ((3, 3, 3, 10), None),
        ((16,), 0),
        ((), None),
        ((0, 8), 1),
    ],
)
def test_the_largest_axis_that_divides_is_split(shape, axis):
    expected = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "data")
    assert _spec(KERNEL, shape) == expected
    assert _spec(MOMENT, shape) == expected


@given(st.lists(st.integers(0, 40), max_size=4), st.integers(1, 9))
def test_an_axis_that_is_split_can_be_divided_and_no_larger_one_could(shape, count):
    spec = _spec(KERNEL, shape, count=count)
    dividing = [size for size in shape if size and size % count == 0]
    if not dividing:
        assert spec == PartitionSpec()
    else:
        assert shape[len(spec) - 1] == max(dividing)
        assert spec[-1] == "data" and not any(spec[:-1])


@pytest.mark.parametrize(
    "path",
    ["model_state/batch_stats/norm1/mean", "batch_stats/norm1/mean", "step", "key", "parameters/kernel"],
)
def test_statistics_and_counters_stay_whole(path):
    assert _spec(path, (64,)) == _spec(path, (64,), ShardRule(".", "auto")) == PartitionSpec()


def test_small_arrays_stay_whole_unless_a_rule_names_them():
    assert _spec(KERNEL, (8, 8), least=65) == PartitionSpec()
    assert _spec(KERNEL, (8, 8), least=64) == PartitionSpec(None, "data")
    assert _spec(KERNEL, (8, 8), ShardRule("kernel$", "auto"), least=65) == PartitionSpec(None, "data")


def test_the_first_rule_that_fits_decides():
    rules = (ShardRule("head", "none"), ShardRule("kernel$", -2), ShardRule("kernel$", 0))
    assert _spec("params/head/kernel", (64, 64), *rules) == PartitionSpec()
    assert _spec(KERNEL, (3, 3, 8, 64), *rules) == PartitionSpec(None, None, "data")
    assert _spec("params/norm1/scale", (64,), *rules) == PartitionSpec("data")


def test_a_rule_that_cannot_be_followed_is_named():
    with pytest.raises(ValueError, match=r"conv1/kernel of \[3, 3, 8, 64\] cannot be divided by 8 devices"):
        _spec(KERNEL, (3, 3, 8, 64), ShardRule("kernel$", 0))
    with pytest.raises(ValueError, match="has no such axis"):
        _spec(KERNEL, (64,), ShardRule("kernel$", 1))
    # A factored second moment lies at the parameter's path, but holds a row of it only.
    assert _spec("opt_state/0/v_row/conv1/kernel", (64,), ShardRule("kernel$", 1)) == PartitionSpec()


@pytest.mark.parametrize("text", ["kernel", "=1", "kernel=", "kernel=1.5", "kernel=first", "(=1"])
def test_words_that_are_no_rule_are_refused(text):
    with pytest.raises(ValueError, match=r"--run\.shard-rules"):
        parse_shard_rule(text)
    with pytest.raises(ValueError, match=r"--run\.shard-rules"):
        RunOptions(parallel="fsdp", shard_rules=(text,))


def test_rules_are_read_from_the_right():
    assert parse_shard_rule("a=b=2") == ShardRule("a=b", 2)
    assert parse_shard_rule("kernel$=auto") == ShardRule("kernel$", "auto")
    assert parse_shard_rule("bias=none") == ShardRule("bias", "none")


def test_rules_are_for_fsdp_alone():
    with pytest.raises(ValueError, match=r"only --run\.parallel fsdp splits parameters"):
        RunOptions(shard_rules=("kernel=0",))
