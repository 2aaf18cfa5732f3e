import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.word2vec_numpy import huffman_ways

from jaxvision.sequence import huffman_tree


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=40))
def test_ways_are_those_of_a_plain_construction(counts):
    tree = huffman_tree(np.array(counts))
    nodes, signs = np.asarray(tree.nodes), np.asarray(tree.signs)
    ways = [list(zip(n[s != 0], s[s != 0], strict=True)) for n, s in zip(nodes, signs, strict=True)]
    assert ways == huffman_ways(counts)
    assert nodes.min() >= 0 and nodes.max() == len(counts) - 2
    assert nodes.shape[1] == max(map(len, ways)), "no longer than the longest way"
    assert sum(2.0 ** -len(way) for way in ways) == 1.0, "a full prefix code"


def test_the_code_is_as_short_as_the_textbooks():
    # Cormen et al., Introduction to Algorithms, section 16.3: 224,000 bits for 100,000 letters.
    counts = np.array([45, 13, 12, 16, 9, 5])
    lengths = np.abs(np.asarray(huffman_tree(counts).signs)).sum(axis=1)
    assert lengths.tolist() == [1, 3, 3, 3, 4, 4] and lengths @ counts == 224


def test_what_has_no_tree_is_refused():
    with pytest.raises(ValueError, match=r"got 1 word\(s\), expected 2 or more"):
        huffman_tree(np.array([3]))
    with pytest.raises(ValueError, match="got a count of -1"):
        huffman_tree(np.array([3, -1]))
