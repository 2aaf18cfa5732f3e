"""word2vec in plain numpy, pair by pair, after the papers' equations: loops, no sharing, no blocks."""

import heapq

import numpy as np


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-np.asarray(x, np.float64)))


def windows(sentences, reach):
    """For each position, the positions in its window: same sentence, at most ``reach`` away, not itself."""
    size = len(sentences)
    return [
        [j for j in range(size) if j != i and abs(j - i) <= reach[i] and sentences[j] == sentences[i]]
        for i in range(size)
    ]


def step_rows(tables, hidden, target, *, noise=(), weight=1.0, way=None):
    """Loss of one input and one target, the step of the input, and the steps of output rows, at rate 1.

    Mikolov et al. 2013b: equation 4 with the expectation over noise written as ``weight`` times the sum over
    the words in ``noise``, those equal to the target left out; or equation 3 with ``way`` = [(node, sign)].
    """
    output = tables["output"]
    terms = [(target, 1.0, 1.0)] + [(k, -1.0, weight) for k in noise if k != target]
    if way is not None:
        terms = [(node, sign, 1.0) for node, sign in way]
    loss, step, rows = 0.0, np.zeros_like(hidden), []
    for row, sign, times in terms:
        probability = sigmoid(sign * hidden @ output[row])
        loss -= times * np.log(probability)
        step += times * (1 - probability) * sign * output[row]
        rows.append((row, times * (1 - probability) * sign * hidden))
    return loss, step, rows


def batch_step(
    kind,
    tables,
    tokens,
    sentences,
    documents,
    reach,
    rate,
    *,
    noise=(),
    weight=1.0,
    ways=None,
    combine="mean",
):
    """Tables after one batch, loss and pairs; every gradient is taken at the tables as they came."""
    old = {name: np.asarray(table, np.float64) for name, table in tables.items()}
    new = {name: table.copy() for name, table in old.items()}
    loss, pairs = 0.0, 0

    def learn(hidden, target):
        nonlocal loss, pairs
        way = None if ways is None else ways[target]
        one, step, rows = step_rows(old, hidden, target, noise=noise, weight=weight, way=way)
        loss, pairs = loss + one, pairs + 1
        for row, change in rows:
            new["output"][row] += rate * change
        return rate * step

    for i, around in enumerate(windows(sentences, reach)):
        if kind == "skipgram":
            for j in around:
                first, second = (i, j) if ways is None else (j, i)  # the input and the target
                new["input"][tokens[first]] += learn(old["input"][tokens[first]], tokens[second])
            continue
        if combine == "concatenate":
            window = reach[i]
            places = [i + distance for distance in range(-window, window + 1) if distance]
            parts = [("documents", documents[i])]
            parts += [("input", tokens[j]) if j in around else None for j in places]
            zero = np.zeros_like(old["input"][0])
            vectors = [zero if part is None else old[part[0]][part[1]] for part in parts]
            steps = np.split(learn(np.concatenate(vectors), tokens[i]), len(parts))
            for part, step in zip(parts, steps, strict=True):
                if part is not None:
                    new[part[0]][part[1]] += step
            continue
        parts = [] if kind == "pv_dbow" else [("input", tokens[j]) for j in around]
        if kind != "cbow":
            parts.append(("documents", documents[i]))
        if parts:
            step = learn(np.mean([old[name][row] for name, row in parts], axis=0), tokens[i])
            for name, row in parts:
                new[name][row] += step
    return new, loss, pairs


def huffman_ways(counts):
    """[(node, sign)] of each word, by joining sets of words: no parent pointers."""
    heap = [(count, number, [number]) for number, count in enumerate(counts)]
    heapq.heapify(heap)
    ways = [[] for _ in counts]
    for node in range(len(counts) - 1):
        first, second = heapq.heappop(heap), heapq.heappop(heap)
        for sign, (_, _, members) in ((1.0, first), (-1.0, second)):
            for word in members:
                ways[word].append((node, sign))
        heapq.heappush(heap, (first[0] + second[0], len(counts) + node, first[2] + second[2]))
    return [way[::-1] for way in ways]
