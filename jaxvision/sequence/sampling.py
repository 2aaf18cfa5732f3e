"""Texts drawn from a language model, token by token."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxvision.core import check_floating, check_integer, check_layout


def draw_tokens(
    key: jax.Array,
    logits: jax.Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    banned: Sequence[int] = (),
) -> jax.Array:
    """Draws one token a row.

    Args:
      key: JAX key.
      logits: floating ``[N, V]``.
      temperature: what logits are divided by: below 1 likely tokens become more likely; 0 takes the most
        likely one.
      top_k: draw among this many most likely tokens only (and those as likely as the last); None for all.
      banned: tokens that are never drawn, such as the unknown one; they do not count in ``top_k``.

    Returns:
      int32 ``[N]``.

    Raises:
      ValueError: if logits are not floating ``[N, V]``, the temperature is negative, ``top_k`` is below 1,
        or no token is left.

    >>> logits = jnp.array([[0.0, 3.0, 2.0, 1.0]])
    >>> draw_tokens(jax.random.key(0), logits, temperature=0.0, banned=(1,)).tolist()
    [2]
    """
    check_layout("logits", logits, "N V")
    check_floating(logits=logits)
    size = logits.shape[-1]
    if temperature < 0:
        raise ValueError(f"temperature: expected 0 or more, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: expected at least 1 token, got {top_k}; None draws among all")
    outside = [token for token in banned if not 0 <= token < size]
    if outside or len(set(banned)) >= size:
        raise ValueError(f"banned: expected some of the tokens 0 to {size - 1}, not all, got {list(banned)}")
    logits = logits.astype(jnp.float32).at[:, jnp.array(banned, jnp.int32)].set(-jnp.inf)
    if temperature == 0:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    if top_k is not None and top_k < size:
        least = lax.top_k(logits, top_k)[0][:, -1:]
        logits = jnp.where(logits < jnp.broadcast_to(least, logits.shape), -jnp.inf, logits)
    return jax.random.categorical(key, logits / temperature).astype(jnp.int32)


def sample_tokens(
    model: nn.Module,
    variables: Any,
    key: jax.Array,
    prompt: jax.Array,
    *,
    length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    banned: Sequence[int] = (),
) -> jax.Array:
    """Goes on with texts: each token is drawn given all before it. One program, whatever the length.

    Args:
      model: a :class:`jaxvision.sequence.LanguageModel`.
      variables: its variables.
      key: JAX key.
      prompt: integers ``[N, P]``, P at least 1; each row is gone on with by itself.
      length: number of tokens to draw.
      temperature: as :func:`draw_tokens`.
      top_k: as :func:`draw_tokens`.
      banned: as :func:`draw_tokens`.

    Returns:
      int32 ``[N, length]``, without the prompt.

    Raises:
      ValueError: if the prompt is empty, the length is negative, or as :func:`draw_tokens`.
    """
    check_layout("prompt", prompt, "N P")
    check_integer(prompt=prompt)
    if prompt.shape[1] == 0:
        raise ValueError("prompt: got no token, expected at least one, such as the end of a sentence")
    if length < 0:
        raise ValueError(f"length: expected 0 tokens or more, got {length}")

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        logits, states = carry
        token = draw_tokens(key, logits, temperature=temperature, top_k=top_k, banned=banned)
        logits, states = model.apply(variables, token[:, None], states=states, train=False)
        return (logits[:, -1], states), token

    logits, states = model.apply(variables, prompt, train=False)
    _, drawn = lax.scan(step, (logits[:, -1], states), jax.random.split(key, length))
    return drawn.T  # [N, length]
