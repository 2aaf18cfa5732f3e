"""Scaled dot-product attention with masks, over ``[N, T, heads, D]``."""

import jax
import jax.numpy as jnp

from jaxvision.core import check_floating, check_layout

_QUERY = "query [N, T, heads, D], key [N, S, heads, D], value [N, S, heads, Dv]"


def dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    where: jax.Array | None = None,
    bias: jax.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> jax.Array:
    """Means of the values, weighted by how well their keys fit each query.

    .. math:: y_{t} = \\sum_s \\mathrm{softmax}_s \\left( q_t \\cdot k_s / \\sqrt D + b_{ts} \\right) v_s

    As ``jax.nn.dot_product_attention``, whose softmax is float32 also of float64 input and which gives a
    query that may see no key the mean of all values: here such a query gives zeros, as in
    ``torch.nn.functional.scaled_dot_product_attention``.

    Args:
      query: ``[N, T, heads, D]``, floating.
      key: ``[N, S, heads, D]``.
      value: ``[N, S, heads, Dv]``.
      where: bool, ``[N, heads, T, S]`` with sizes of 1 where it is the same for all: true where a query may
        see a key. ``valid[:, None, None, :]`` hides the padding of sequences.
      bias: added to the logits, floating, sizes as ``where``; minus infinity hides a key as ``where`` does.
      causal: whether query ``t`` sees the keys ``s <= t`` only.
      scale: factor of the products; by default ``1 / sqrt(D)``.

    Returns:
      ``[N, T, heads, Dv]`` in the dtype of ``value``. The softmax is in float32 at least.

    Raises:
      ValueError: if shapes do not fit, or ``where`` is not bool.

    References:
      Vaswani et al. 2017, *Attention Is All You Need*, equation 1.

    >>> import jax.numpy as jnp
    >>> x = jnp.eye(2)[None, :, None, :]
    >>> dot_product_attention(x, x, x, causal=True, scale=100.0)[0, :, 0]
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    check_layout("value", value, "N S heads Dv", remedy=f"expected {_QUERY}")
    check_floating(value=value)
    weights = attention_weights(query, key, where=where, bias=bias, causal=causal, scale=scale)
    if value.shape[:3] != key.shape[:3]:
        raise ValueError(
            f"value: expected {list(key.shape[:3])} and Dv channels as of key {list(key.shape)}, got "
            f"{list(value.shape)}; there is one value a key and head"
        )
    return weighted_values(weights, value)


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    *,
    where: jax.Array | None = None,
    bias: jax.Array | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> jax.Array:
    """The weights of :func:`dot_product_attention`: what each query takes of each key's value.

    Args:
      query: as :func:`dot_product_attention`.
      key: as :func:`dot_product_attention`.
      where: as :func:`dot_product_attention`.
      bias: as :func:`dot_product_attention`.
      causal: as :func:`dot_product_attention`.
      scale: as :func:`dot_product_attention`.

    Returns:
      ``[N, heads, T, S]``, float32 at least. Rows add up to 1, or are 0 where a query may see no key.

    Raises:
      ValueError: as :func:`dot_product_attention`.

    >>> import jax.numpy as jnp
    >>> attention_weights(jnp.ones((1, 2, 1, 4)), jnp.ones((1, 2, 1, 4)), causal=True)[0, 0]
    Array([[1. , 0. ],
           [0.5, 0.5]], dtype=float32)
    """
    shape = _check_operands(query, key, where, bias)
    wide = jnp.promote_types(jnp.promote_types(query.dtype, key.dtype), jnp.float32)
    # With the heads in front both products are plain batched ones, which a CPU does twice as fast.
    queries, keys = query.swapaxes(1, 2), key.swapaxes(1, 2)
    logits = jnp.einsum("nhtd,nhsd->nhts", queries, keys, preferred_element_type=wide)
    logits *= query.shape[-1] ** -0.5 if scale is None else scale
    if bias is not None:
        logits += jnp.broadcast_to(bias, shape).astype(wide)
    if where is not None:
        logits = jnp.where(where, logits, -jnp.inf)
    if causal:
        seen = jnp.tri(*shape[-2:], dtype=bool)[None, None]
        logits = jnp.where(seen, logits, -jnp.inf)
    if where is None and bias is None:
        return jax.nn.softmax(logits)
    blind = (logits == -jnp.inf).all(-1, keepdims=True)
    return jnp.where(blind, 0, jax.nn.softmax(jnp.where(blind, 0, logits)))


def weighted_values(weights: jax.Array, value: jax.Array) -> jax.Array:
    """Sums of values ``[N, S, heads, Dv]`` by weights ``[N, heads, T, S]``: ``[N, T, heads, Dv]``.

    >>> import jax.numpy as jnp
    >>> weighted_values(jnp.full((1, 1, 1, 2), 0.5), jnp.array([[[[2.0]], [[4.0]]]])).ravel()
    Array([3.], dtype=float32)
    """
    return (weights.astype(value.dtype) @ value.swapaxes(1, 2)).swapaxes(1, 2)


def _check_operands(
    query: jax.Array, key: jax.Array, where: jax.Array | None, bias: jax.Array | None
) -> tuple[int, int, int, int]:
    """Checks what the weights are made of; returns their shape ``[N, heads, T, S]``."""
    check_layout("query", query, "N T heads D", remedy=f"expected {_QUERY}")
    check_layout("key", key, "N S heads D", remedy=f"expected {_QUERY}")
    check_floating(query=query, key=key)
    (number, length, heads, depth), seen = query.shape, key.shape[1]
    if key.shape != (number, seen, heads, depth):
        raise ValueError(
            f"key: expected the batch, heads and channels of query {list(query.shape)}, got {list(key.shape)}"
        )
    shape = (number, heads, length, seen)
    for name, array in (("where", where), ("bias", bias)):
        if array is not None and (
            array.ndim != 4
            or any(size not in (1, whole) for size, whole in zip(array.shape, shape, strict=True))
        ):
            raise ValueError(
                f"{name}: expected [N, heads, T, S], here {list(shape)}, or 1 in place of a size, got "
                f"{list(array.shape)}; a mask of keys [N, S] is mask[:, None, None, :]"
            )
    if where is not None and where.dtype != jnp.bool_:
        raise ValueError(
            f"where: expected bool, true where a query may see a key, got {where.dtype}; "
            "numbers to add to the logits are bias"
        )
    if bias is not None:
        check_floating(bias=bias)
    return shape
