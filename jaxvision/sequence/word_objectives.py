r"""The objectives of word2vec and their gradients, written out: rows in, rows out, no table of words.

A network as large as its vocabulary has few rows that a batch touches. Differentiating through the look-up
would make a gradient as large as the table; these functions give the gradients of the touched rows only, for
whoever adds them to the table. All sum over their batch, and ``jax.grad`` of the returned loss is the
negative of the returned rows.

With :math:`h` an input (a word's vector, the mean of several, or a document's), :math:`v` an output vector
and :math:`\sigma` the logistic function, the loss of a target is

.. math::
    -\log \sigma(h \cdot v_{target}) - \sum_{k} \log \sigma(-h \cdot v_k)
    \qquad\text{or}\qquad -\sum_{l} \log \sigma(s_l \, h \cdot v_{node_l})

with negative samples :math:`k`, or over the nodes on the target's way in the Huffman tree.

References:
  Mikolov, Chen, Corrado and Dean 2013, *Efficient Estimation of Word Representations in Vector Space*;
  Mikolov, Sutskever, Chen, Corrado and Dean 2013, *Distributed Representations of Words and Phrases and their
  Compositionality*, equation 4 (negative sampling) and equation 3 (hierarchical softmax).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

__all__ = ["Descent", "Rows", "hidden_negative", "hierarchical", "skipgram_negative"]

_HASTINGS = (
    *(0.9999964239, -0.4998741238, 0.3317990258, -0.2407338084),
    *(0.1676540711, -0.0953293897, 0.0360884937, -0.0064535442),
)


class Rows(NamedTuple):
    """Steps of some vectors.

    Attributes:
      steps: the negative gradient of the loss, in the vectors' shape ``[..., D]``.
      curvatures: ``[...]``, a bound of the loss' second derivative by the vector alone, all the way to the
        minimum: a step of r times the gradient goes down while r times this is at most 1.
    """

    steps: jax.Array
    curvatures: jax.Array


class Descent(NamedTuple):
    """A loss and how its vectors go down.

    Attributes:
      loss: float32 [], the sum over all pairs.
      inputs: of the input vectors.
      targets: of the target words' vectors, or of the nodes'.
      noise: of the negative samples' vectors; None without such.
    """

    loss: jax.Array
    inputs: Rows
    targets: Rows
    noise: Rows | None


def skipgram_negative(
    inputs: jax.Array, targets: jax.Array, noise: jax.Array, *, pairs: jax.Array, negatives: jax.Array
) -> Descent:
    """Negative sampling for every pair of a block's inputs and targets, with noise that a block shares.

    Sharing makes all of it products of matrices: drawn for each pair, the noise would have to be fetched
    from memory for each. ``negatives`` weighs it so that the expected gradient is that of independent draws.

    Args:
      inputs: ``[G, I, D]``, of G blocks of I words.
      targets: ``[G, J, D]``, of the words around them.
      noise: ``[G, K, D]``.
      pairs: ``[G, I, J]``, 1 for a pair that is learned, else 0.
      negatives: ``[G, J, K]``, the weight of each noise word beside a target; 0 where it is the target.

    References:
      Ji, Satish, Li and Dubey 2016, *Parallelizing Word2Vec in Shared and Distributed Memory*, section III:
      one set of negative samples for a window; here for the windows of a block.
    """
    scores = jnp.einsum("gid,gjd->gij", inputs, targets)
    weights = jnp.einsum("gij,gjk->gik", pairs, negatives)
    noise_scores = jnp.einsum("gid,gkd->gik", inputs, noise)
    losses, pull, bend = _logistic(scores, pairs)  # [G, I, J]
    noise_losses, push, noise_bend = _logistic(-noise_scores, weights)  # [G, I, K]
    sizes, target_sizes, noise_sizes = _squares(inputs), _squares(targets), _squares(noise)
    return Descent(
        losses + noise_losses,
        Rows(
            jnp.einsum("gij,gjd->gid", pull, targets) - jnp.einsum("gik,gkd->gid", push, noise),
            jnp.einsum("gij,gj->gi", bend, target_sizes) + jnp.einsum("gik,gk->gi", noise_bend, noise_sizes),
        ),
        Rows(jnp.einsum("gij,gid->gjd", pull, inputs), jnp.einsum("gij,gi->gj", bend, sizes)),
        Rows(-jnp.einsum("gik,gid->gkd", push, inputs), jnp.einsum("gik,gi->gk", noise_bend, sizes)),
    )


def hidden_negative(
    hidden: jax.Array, targets: jax.Array, noise: jax.Array, *, where: jax.Array, negatives: jax.Array
) -> Descent:
    """Negative sampling with one input a target, as in CBOW and in paragraph vectors.

    Args:
      hidden: ``[G, I, D]``, of G blocks of I targets.
      targets: ``[G, I, D]``.
      noise: ``[G, K, D]``, shared by the targets of a block.
      where: ``[G, I]``, 1 for a target that is learned, else 0.
      negatives: ``[G, I, K]``, as in :func:`skipgram_negative`.
    """
    weights = where[..., None] * negatives  # [G, I, K]
    losses, pull, bend = _logistic(jnp.sum(hidden * targets, axis=-1), where)  # [G, I]
    noise_losses, push, noise_bend = _logistic(-jnp.einsum("gid,gkd->gik", hidden, noise), weights)
    sizes = _squares(hidden)
    return Descent(
        losses + noise_losses,
        Rows(
            pull[..., None] * targets - jnp.einsum("gik,gkd->gid", push, noise),
            bend * _squares(targets) + jnp.einsum("gik,gk->gi", noise_bend, _squares(noise)),
        ),
        Rows(pull[..., None] * hidden, bend * sizes),
        Rows(-jnp.einsum("gik,gid->gkd", push, hidden), jnp.einsum("gik,gi->gk", noise_bend, sizes)),
    )


def hierarchical(inputs: jax.Array, nodes: jax.Array, signs: jax.Array, *, pairs: jax.Array) -> Descent:
    """The hierarchical softmax for every pair of a block's targets and inputs.

    Args:
      inputs: ``[G, J, D]``, of G blocks.
      nodes: ``[G, I, L, D]``, of the inner nodes on each target's way.
      signs: ``[G, I, L]``, see :class:`jaxvision.sequence.HuffmanTree`.
      pairs: ``[G, I, J]``, 1 for a pair that is learned, else 0.
    """
    turns = signs[:, None]  # [G, 1, I, L]
    scores = turns * jnp.einsum("gjd,gild->gjil", inputs, nodes)
    weights = jnp.swapaxes(pairs, 1, 2)[..., None] * jnp.abs(turns)  # [G, J, I, L]
    losses, pull, bend = _logistic(scores, weights)
    pull = pull * turns
    return Descent(
        losses,
        Rows(jnp.einsum("gjil,gild->gjd", pull, nodes), jnp.einsum("gjil,gil->gj", bend, _squares(nodes))),
        Rows(jnp.einsum("gjil,gjd->gild", pull, inputs), jnp.einsum("gjil,gj->gil", bend, _squares(inputs))),
        None,
    )


def _squares(vectors: jax.Array) -> jax.Array:
    return jnp.sum(vectors * vectors, axis=-1)


def _logistic(scores: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The weighted sum of ``-log sigmoid(x)``, the negative of its derivative by x, and the
    curvature of the least parabola that touches it at x and lies nowhere below it.

    All from one exponential: most of the time beside the products of matrices goes here, less than half as
    much as into ``jax.nn.softplus`` and ``jax.nn.sigmoid``. The second derivative would not do for the
    curvature: where a sigmoid is saturated it is 0, and a step that trusts it goes to infinity.

    References:
      Jaakkola and Jordan 2000, *Bayesian Parameter Estimation via Variational Methods*, section 3, for the
      parabola.
    """
    small = jnp.exp(-jnp.abs(scores))
    losses = jnp.maximum(-scores, 0.0) + _log_one_plus(small)
    slopes = jnp.where(scores >= 0, small, 1.0) / (1.0 + small)
    size = jnp.maximum(jnp.abs(scores), 1e-3)
    bounds = 0.5 * (1.0 - small) / ((1.0 + small) * size)  # tanh(x / 2) / (2 x), 1/4 at 0
    bounds = jnp.where(jnp.abs(scores) > 1e-3, bounds, 0.25)
    return jnp.sum(weights * losses), weights * slopes, weights * bounds


def _log_one_plus(x: jax.Array) -> jax.Array:
    """``log(1 + x)`` for x from 0 to 1, to 3e-8.

    References:
      Abramowitz and Stegun 1964, *Handbook of Mathematical Functions*, equation 4.1.44 (after Hastings).
    """
    value = jnp.full((), _HASTINGS[-1], x.dtype)
    for coefficient in _HASTINGS[-2::-1]:
        value = value * x + coefficient
    return value * x
