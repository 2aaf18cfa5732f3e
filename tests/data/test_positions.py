"""The order of epochs and the check of positions; that batches use them is in the tests of each kind."""

import numpy as np
import pytest

from jaxvision.data import EpochOrder, check_position


def test_an_order_depends_on_seed_and_epoch_alone():
    order = EpochOrder(50, seed=3)
    first, second = order(0), order(1)
    assert sorted(first) == sorted(second) == list(range(50)) and list(first) != list(second)
    np.testing.assert_array_equal(first, np.random.default_rng((3, 0)).permutation(50))
    np.testing.assert_array_equal(order(0), first)
    assert order(0) is order(0), "the last one is kept"
    assert list(EpochOrder(50, seed=4)(0)) != list(first)


def test_a_position_of_something_else_names_all_that_differs():
    check_position({"next": 3, "seed": 1, "size": 2}, {"seed": 1, "size": 2})
    with pytest.raises(
        ValueError,
        match=r"to other walks \(seed None there, 1 here; size 3 there, 2 here\); resume with the graph",
    ):
        check_position({"size": 3}, {"seed": 1, "size": 2}, of="walks", settings="graph")
