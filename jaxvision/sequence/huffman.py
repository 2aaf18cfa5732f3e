"""Huffman codes of a vocabulary: the tree of the hierarchical softmax."""

import heapq
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["HuffmanTree", "huffman_tree"]


class HuffmanTree(NamedTuple):
    """The way from the root to each of V words, through V - 1 inner nodes.

    Attributes:
      nodes: int32 ``[V, L]``, the inner nodes on the way; node 0 behind its end, where ``signs`` is 0.
      signs: float32 ``[V, L]``, 1 where the way goes to the first child (code 0), -1 to the second (code 1),
        0 behind its end. L is the longest way.
    """

    nodes: jax.Array
    signs: jax.Array


def huffman_tree(counts: np.ndarray) -> HuffmanTree:
    """Builds the tree in which the words' ways, weighted with their counts, are shortest.

    Args:
      counts: ``[V]``, of each word, 0 or more.

    Returns:
      The tree. Of two nodes that are joined, the rarer is the first child; of equals, words come before
      inner nodes, and each in the order of their numbers. Inner nodes are numbered as they are made, the root
      last.

    Raises:
      ValueError: if there are fewer than 2 words, or a count is negative.

    References:
      Huffman 1952, *A Method for the Construction of Minimum-Redundancy Codes*; Mikolov et al. 2013,
      *Distributed Representations of Words and Phrases and their Compositionality*, section 2.1.

    >>> huffman_tree(np.array([5, 1, 2])).signs
    Array([[-1.,  0.],
           [ 1.,  1.],
           [ 1., -1.]], dtype=float32)
    """
    counts = np.asarray(counts)
    size = len(counts)
    if size < 2:
        raise ValueError(f"huffman_tree: got {size} word(s), expected 2 or more to tell apart")
    if counts.min() < 0:
        raise ValueError(f"huffman_tree: got a count of {counts.min()}, expected 0 or more")
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = np.zeros(2 * size - 1, np.int64)  # words, then inner nodes
    sign = np.zeros(2 * size - 1, np.float32)
    for node in range(size, 2 * size - 1):
        (first_count, first), (second_count, second) = heapq.heappop(heap), heapq.heappop(heap)
        parent[first] = parent[second] = node
        sign[first], sign[second] = 1, -1
        heapq.heappush(heap, (first_count + second_count, node))
    ways = [_way(word, parent, sign) for word in range(size)]
    longest = max(len(way) for way in ways)
    nodes, signs = np.zeros((size, longest), np.int32), np.zeros((size, longest), np.float32)
    for word, way in enumerate(ways):
        nodes[word, : len(way)] = [parent[step] - size for step in way]
        signs[word, : len(way)] = [sign[step] for step in way]
    return HuffmanTree(jnp.asarray(nodes), jnp.asarray(signs))


def _way(word: int, parent: np.ndarray, sign: np.ndarray) -> list[int]:
    """The nodes below each inner node on the way from the root to a word."""
    way = []
    while sign[word]:  # the root is nobody's child
        way.append(word)
        word = int(parent[word])
    return way[::-1]
