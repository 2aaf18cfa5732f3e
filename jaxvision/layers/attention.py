"""Multi-head attention and the block of transformers that is built of it."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.dropout import Dropout, DropPath
from jaxvision.layers.initializers import Initializer
from jaxvision.layers.norm import LayerNorm
from jaxvision.ops.activations import gelu
from jaxvision.ops.attention import attention_weights, weighted_values


class MultiHeadAttention(nn.Module):
    """Attention in several subspaces at once, as ``torch.nn.MultiheadAttention(batch_first=True)``.

    Submodules, dense layers: ``query``, ``key`` and ``value``, whose outputs are the heads side by side, and
    ``out``. Torch keeps the first three as one ``in_proj_weight`` ``[3 features, C]``: split it in thirds and
    transpose each. It also draws them as one matrix, whose Glorot bound is ``sqrt(2)`` lower than here.

    A query that may see no key gives the bias of ``out``. So does torch with ``need_weights=False``; asked
    for the weights, it gives nan. The weights, after dropout, ``[N, heads, T, S]``, are sown here as
    ``weights`` in the collection ``"intermediates"`` where it is mutable.

    Attributes:
      num_heads: number of subspaces; must divide ``features``.
      features: channels of all heads together and of the result; by default those of the query.
      dropout_rate: probability that a weight is zeroed in training.
      causal: whether a query sees the keys at its own place and before only.
      use_bias: whether the four dense layers have a bias.
      kernel_init: initialiser of the kernels.
      bias_init: initialiser of the biases.
      dtype: dtype of the computation; the softmax is in float32 at least.

    References:
      Vaswani et al. 2017, *Attention Is All You Need*, section 3.2.2.
    """

    num_heads: int
    features: int | None = None
    dropout_rate: float = 0.0
    causal: bool = False
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        *,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        where: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Attends from each query to all keys.

        Args:
          query: ``[N, T, C]``.
          key: ``[N, S, Ck]``; by default the query: self-attention.
          value: ``[N, S, Cv]``; by default the key.
          where: bool, ``[N, heads, T, S]`` or 1 in place of a size: true where a query may see a key, the
            opposite of torch's ``attn_mask`` and, as ``~key_padding_mask[:, None, None, :]``, of that.
          bias: added to the logits, floating, sizes as ``where``.
          train: whether to drop weights out (rng ``"dropout"``).

        Returns:
          ``[N, T, features]``.

        Raises:
          ValueError: if shapes do not fit, or ``num_heads`` does not divide the channels.
        """
        key = query if key is None else key
        value = key if value is None else value
        features = query.shape[-1] if self.features is None else self.features
        if self.num_heads < 1 or features % self.num_heads:
            raise ValueError(f"num_heads: expected a divisor of {features} channels, got {self.num_heads}")
        dense = functools.partial(
            nn.Dense,
            features,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            dtype=self.dtype,
        )
        heads = []
        for name, x in (("query", query), ("key", key), ("value", value)):
            check_layout(name, x, "N T C", remedy="flatten images to sequences [N, H W, C]")
            heads.append(
                dense(name=name)(x).reshape(*x.shape[:2], self.num_heads, features // self.num_heads)
            )
        if heads[2].shape != heads[1].shape:
            raise ValueError(f"value: expected one a key {list(key.shape)}, got {list(value.shape)}")
        weights = attention_weights(heads[0], heads[1], where=where, bias=bias, causal=self.causal)
        weights = Dropout(self.dropout_rate)(weights, train=train)
        self.sow("intermediates", "weights", weights)
        y = weighted_values(weights, heads[2])  # [N, T, heads, features / heads]
        return dense(name="out")(y.reshape(*y.shape[:2], features))


class MLPBlock(nn.Module):
    """Two dense layers with an activation between them: ``hidden`` and ``out``.

    Attributes:
      hidden_features: number of channels between the layers.
      dropout_rate: probability that an element is zeroed in training, after each layer.
      activation: elementwise function.
      kernel_init: initialiser of the kernels.
      bias_init: initialiser of the biases.
      dtype: dtype of the computation.

    References:
      Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words*, section 3.1.
    """

    hidden_features: int
    dropout_rate: float = 0.0
    activation: Callable[[jax.Array], jax.Array] = gelu
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.normal(1e-6)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[..., C]`` to its own shape, each place by itself."""
        dense = functools.partial(
            nn.Dense, kernel_init=self.kernel_init, bias_init=self.bias_init, dtype=self.dtype
        )
        y = self.activation(dense(self.hidden_features, name="hidden")(x))
        y = Dropout(self.dropout_rate)(y, train=train)
        y = dense(x.shape[-1], name="out")(y)
        return Dropout(self.dropout_rate)(y, train=train)


class TransformerBlock(nn.Module):
    """Self-attention and a perceptron, each normalised before and added to its input.

    .. math:: z = x + Attention(Norm(x)), \\quad y = z + MLP(Norm(z))

    Submodules ``norm1``, ``attention``, ``norm2`` and ``mlp``. As the encoder block of torchvision's vision
    transformers.

    Attributes:
      num_heads: number of heads of :class:`MultiHeadAttention`.
      mlp_features: hidden channels of :class:`MLPBlock`, usually four times those of the input.
      dropout_rate: probability that an element of either branch, or of the hidden channels, is zeroed in
        training.
      attention_dropout_rate: probability that a weight of the attention is zeroed in training.
      drop_path_rate: probability that a branch of a sample is left out in training.
      causal: whether a place sees itself and those before it only.
      norm: makes the normalisations from ``dtype`` and ``name``.
      activation: elementwise function of the perceptron; the exact GELU.
      dtype: dtype of the branches; the result is of the dtype of ``x`` and a branch together.

    References:
      Dosovitskiy et al. 2021, *An Image is Worth 16x16 Words*, equations 2 and 3.
    """

    num_heads: int
    mlp_features: int
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    causal: bool = False
    norm: Callable[..., nn.Module] = functools.partial(LayerNorm, epsilon=1e-6)
    activation: Callable[[jax.Array], jax.Array] = gelu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        where: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Maps sequences ``[N, T, C]`` to their own shape; ``where`` and ``bias`` as the attention's.

        Raises:
          ValueError: as :class:`MultiHeadAttention`.
        """
        y = self.norm(dtype=self.dtype, name="norm1")(x, train=train)
        y = MultiHeadAttention(
            self.num_heads,
            dropout_rate=self.attention_dropout_rate,
            causal=self.causal,
            dtype=self.dtype,
            name="attention",
        )(y, where=where, bias=bias, train=train)
        y = Dropout(self.dropout_rate)(y, train=train)
        x = x + DropPath(self.drop_path_rate)(y, train=train)
        y = self.norm(dtype=self.dtype, name="norm2")(x, train=train)
        y = MLPBlock(self.mlp_features, self.dropout_rate, self.activation, dtype=self.dtype, name="mlp")(
            y, train=train
        )
        return x + DropPath(self.drop_path_rate)(y, train=train)
