"""Recurrent networks of several layers and directions, as those of PyTorch, with states in and out.

Each is called ``outputs, states = net(x, states=states, where=where, train=train)``. ``states`` is a tuple of
one state a layer and direction, in PyTorch's order: both directions of the first layer, both of the second,
and so on. Outputs of the two directions are side by side.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike

from jaxvision.core import check_layout
from jaxvision.layers.dropout import Dropout, SpatialDropout
from jaxvision.layers.initializers import Initializer
from jaxvision.layers.recurrent_initializers import gate_initializer, uniform_of_width
from jaxvision.ops.dropout import dropout
from jaxvision.ops.recurrent import RecurrentParams, gru, rnn
from jaxvision.ops.recurrent_lstm import LSTMNorms, LSTMParams, LSTMState, lstm

Specs = Sequence[tuple[str, Initializer, tuple[int, ...]]]
"""Name, initialiser and shape of each parameter of a layer."""


class _Weights(nn.Module):
    """The parameters of one layer in one direction, float32."""

    specs: Specs

    @nn.compact
    def __call__(self) -> dict[str, jax.Array]:
        return {name: self.param(name, init, shape, jnp.float32) for name, init, shape in self.specs}


class _RecurrentNet(nn.Module):
    """What :class:`RNN`, :class:`GRU` and :class:`LSTM` share: layers, directions, states and dropout."""

    features: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout_rate: float = 0.0
    variational: bool = False
    recurrent_dropout_rate: float = 0.0
    use_bias: bool = True
    kernel_init: Initializer | None = None
    recurrent_init: Initializer | None = None
    bias_init: Initializer | None = None
    remat_chunk: int | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *,
        states: Sequence[Any] | None = None,
        where: jax.Array | None = None,
        train: bool,
    ) -> tuple[jax.Array, tuple[Any, ...]]:
        """Runs all layers over sequences.

        Args:
          x: ``[N, T, C]``, floating.
          states: first state of each layer and direction, such as those that another call returned; None for
            zeros.
          where: bool ``[N, T]``, true where there is a step: ``sequence_mask(lengths, T)``. Past its end a
            sequence has outputs of zero and keeps its state; the reverse direction begins at the end of each
            sequence. This is what PyTorch does with packed sequences.
          train: whether to drop out (rng ``"dropout"``).

        Returns:
          Outputs of the last layer, ``[N, T, D]`` with ``D`` the width of a direction's output times the
          number of directions, and the last state of each layer and direction.

        Raises:
          ValueError: if shapes do not fit, there are not as many states as layers and directions, or a number
            of layers, a rate or a chunk is out of range.
        """
        check_layout("x", x, "N T C", remedy="add a batch axis or flatten the last ones")
        if self.num_layers < 1:
            raise ValueError(f"num_layers: expected at least 1, got {self.num_layers}")
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        count = self.num_layers * len(suffixes)
        before = [None] * count if states is None else list(states)
        if len(before) != count:
            raise ValueError(
                f"states: expected {count}, one a layer and direction, got {len(before)}; initial_states has "
                "as many"
            )
        between = SpatialDropout if self.variational else Dropout
        last: list[Any] = []
        for layer in range(self.num_layers):
            if layer:
                x = between(self.dropout_rate, name=f"dropout{layer}")(x, train=train)
            outputs = []
            for suffix in suffixes:
                weights = _Weights(self._specs(x.shape[-1]), name=f"layer{layer}{suffix}")()
                options = {
                    "where": where,
                    "reverse": bool(suffix),
                    "recurrent_mask": self._recurrent_mask(x.shape[0], train),
                    "remat_chunk": self.remat_chunk,
                }
                y, state = self._run(weights, x, before[len(last)], options)
                outputs.append(y)
                last.append(state)
            x = jnp.concatenate(outputs, -1) if len(outputs) > 1 else outputs[0]  # [N, T, D]
        return x, tuple(last)

    def initial_states(self, batch_size: int) -> tuple[Any, ...]:
        """States of zeros, float32, for a batch of this size."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        return tuple(self._zeros(batch_size) for _ in range(count))

    def _zeros(self, count: int) -> Any:
        return jnp.zeros((count, self.features), jnp.float32)

    def _run(
        self, weights: dict[str, jax.Array], x: jax.Array, state: Any, options: dict[str, Any]
    ) -> tuple[jax.Array, Any]:
        """One layer in one direction."""
        raise NotImplementedError

    def _specs(self, channels: int) -> Specs:
        """The parameters of one layer in one direction."""
        raise NotImplementedError

    def _output_width(self) -> int:
        return self.features

    def _bias_constants(self, index: int) -> dict[int, float]:
        """Gates of the first or second bias that start at a number."""
        return {}

    def _recurrent_mask(self, count: int, train: bool) -> jax.Array | None:
        rate = self.recurrent_dropout_rate
        if not 0 <= rate <= 1:
            raise ValueError(f"recurrent_dropout_rate: expected a probability from 0 to 1, got {rate}")
        if not train or rate == 0:
            return None
        return dropout(self.make_rng("dropout"), jnp.ones((count, self._output_width())), rate=rate)

    def _kernels(self, channels: int, gates: int) -> list[tuple[str, Initializer, tuple[int, ...]]]:
        """Kernels and, if there are any, biases of so many gates, each gate drawn by itself."""
        plain = uniform_of_width(self.features)
        columns = gates * self.features
        specs: list[tuple[str, Initializer, tuple[int, ...]]] = [
            (
                "input_kernel",
                gate_initializer(self.kernel_init or plain, num_gates=gates),
                (channels, columns),
            ),
            (
                "recurrent_kernel",
                gate_initializer(self.recurrent_init or plain, num_gates=gates),
                (self._output_width(), columns),
            ),
        ]
        if self.use_bias:
            for index, name in enumerate(("input_bias", "recurrent_bias")):
                init = self.bias_init or plain
                constants = self._bias_constants(index)
                specs.append((name, gate_initializer(init, num_gates=gates, constants=constants), (columns,)))
        return specs

    def _cast(self, weights: dict[str, jax.Array], x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Input and kernels in the dtype of the computation; the rest as it is."""
        names = [name for name in weights if name.endswith("kernel")]
        x, *kernels = promote_dtype(x, *(weights[name] for name in names), dtype=self.dtype)
        return x, weights | dict(zip(names, kernels, strict=True))


class RNN(_RecurrentNet):
    """Elman's recurrent network, as ``torch.nn.RNN(batch_first=True)``. States are ``[N, features]``.

    Parameters, float32, in ``layer0``, ``layer0_reverse``, ``layer1`` and so on: ``input_kernel``
    ``[C, features]``, ``recurrent_kernel`` ``[features, features]``, ``input_bias`` and ``recurrent_bias``
    ``[features]``; see :class:`jaxvision.ops.RecurrentParams` and
    :func:`jaxvision.weights.recurrent_rules`.

    Attributes:
      features: number of units of a layer.
      num_layers: number of layers, each over the outputs of the one before.
      bidirectional: whether each layer also goes from the end to the begin.
      dropout_rate: probability that an element is zeroed in training on its way from layer to layer. As in
        PyTorch neither the input nor the output of the whole is dropped: Zaremba et al. do both with a
        ``Dropout`` in front and behind.
      variational: whether all steps of a sequence share one mask of this dropout; a ``SpatialDropout`` in
        front and behind does so for input and output.
      recurrent_dropout_rate: probability that a unit of the hidden state is zeroed in training where it goes
        into the next step, one mask a sequence, layer and direction.
      use_bias: whether there are biases.
      kernel_init: initialiser of the input kernels; None for PyTorch's, uniform in ±``1 / sqrt(features)``.
      recurrent_init: initialiser of the recurrent kernels, such as ``orthogonal()``; None as above.
      bias_init: initialiser of the biases; None as above.
      remat_chunk: steps that are computed again at a time for the gradient, to save memory; see
        :func:`jaxvision.ops.rnn`.
      dtype: dtype of products and outputs; states and gates are float32.
      activation: "tanh" or "relu".

    References:
      Elman 1990, *Finding Structure in Time*. Zaremba et al. 2014, *Recurrent Neural Network Regularization*,
      section 3.2. Gal and Ghahramani 2016, *A Theoretically Grounded Application of Dropout in Recurrent
      Neural Networks*, section 4.
    """

    activation: Literal["tanh", "relu"] = "tanh"

    def _run(
        self, weights: dict[str, jax.Array], x: jax.Array, state: Any, options: dict[str, Any]
    ) -> tuple[jax.Array, Any]:
        x, weights = self._cast(weights, x)
        return rnn(RecurrentParams(**weights), x, state, activation=self.activation, **options)

    def _specs(self, channels: int) -> Specs:
        return tuple(self._kernels(channels, 1))


class GRU(_RecurrentNet):
    """Gated recurrent units, as ``torch.nn.GRU(batch_first=True)``. States are ``[N, features]``.

    Parameters as :class:`RNN`, of three gates side by side: reset, update, new. An initialiser draws the
    matrix ``[C, features]`` of each gate by itself.

    Attributes:
      features: as :class:`RNN`, like all that is not below.
      num_layers: as :class:`RNN`.
      bidirectional: as :class:`RNN`.
      dropout_rate: as :class:`RNN`.
      variational: as :class:`RNN`.
      recurrent_dropout_rate: as :class:`RNN`.
      use_bias: as :class:`RNN`.
      kernel_init: as :class:`RNN`.
      recurrent_init: as :class:`RNN`.
      bias_init: as :class:`RNN`.
      remat_chunk: as :class:`RNN`.
      dtype: as :class:`RNN`.
      reset_after: whether the reset gate acts on the product of the hidden state, as in PyTorch and cuDNN, or
        on the hidden state before it, as in the paper.

    References:
      Cho et al. 2014, *Learning Phrase Representations using RNN Encoder-Decoder*.
    """

    reset_after: bool = True

    def _run(
        self, weights: dict[str, jax.Array], x: jax.Array, state: Any, options: dict[str, Any]
    ) -> tuple[jax.Array, Any]:
        x, weights = self._cast(weights, x)
        return gru(RecurrentParams(**weights), x, state, reset_after=self.reset_after, **options)

    def _specs(self, channels: int) -> Specs:
        return tuple(self._kernels(channels, 3))


class LSTM(_RecurrentNet):
    """Long short-term memory, as ``torch.nn.LSTM(batch_first=True)``, and its usual variants.

    States are :class:`jaxvision.ops.LSTMState`. Parameters as :class:`RNN`, of four gates side by side:
    input, forget, cell, output; and ``projection_kernel`` ``[features, projection]``, ``peepholes``
    ``[3, features]``, and ``input_norm_scale``, ``input_norm_bias``, ``recurrent_norm_scale``,
    ``recurrent_norm_bias``, ``cell_norm_scale``, ``cell_norm_bias`` in the variants that have them. An
    initialiser draws the matrix ``[C, features]`` of each gate by itself.

    Attributes:
      features: as :class:`RNN`, like all that is not below.
      num_layers: as :class:`RNN`.
      bidirectional: as :class:`RNN`.
      dropout_rate: as :class:`RNN`.
      variational: as :class:`RNN`.
      recurrent_dropout_rate: as :class:`RNN`.
      use_bias: as :class:`RNN`; with ``layer_norm`` the norms have biases instead.
      kernel_init: as :class:`RNN`; also of the projection.
      recurrent_init: as :class:`RNN`.
      bias_init: as :class:`RNN`.
      remat_chunk: as :class:`RNN`.
      dtype: as :class:`RNN`.
      projection: width of the outputs and the hidden state, below ``features``; torch's ``proj_size``. None
        for ``features`` and no projection.
      peephole: whether the gates see the cell state; peepholes start as zeros.
      layer_norm: whether the two products and the cell state on its way out are normalised.
      forget_bias: bias of the forget gate at the start, such as 1, whatever ``bias_init``: of the
        two biases one is this and the other zero. None leaves it to ``bias_init``.

    References:
      As :func:`jaxvision.ops.lstm`; Jozefowicz et al. 2015, *An Empirical Exploration of Recurrent Network
      Architectures*, for a forget bias of 1.
    """

    projection: int | None = None
    peephole: bool = False
    layer_norm: bool = False
    forget_bias: float | None = None

    def _zeros(self, count: int) -> LSTMState:
        widths = (self._output_width(), self.features)
        return LSTMState(*(jnp.zeros((count, width), jnp.float32) for width in widths))

    def _output_width(self) -> int:
        if self.projection is None:
            return self.features
        if not 0 < self.projection < self.features:
            raise ValueError(
                f"projection: expected from 1 to {self.features - 1}, below the features, got "
                f"{self.projection}; None is no projection"
            )
        return self.projection

    def _run(
        self, weights: dict[str, jax.Array], x: jax.Array, state: Any, options: dict[str, Any]
    ) -> tuple[jax.Array, Any]:
        x, weights = self._cast(weights, x)
        names = {
            name: f"{part}_norm_{leaf}" for name in LSTMNorms._fields for part, leaf in [name.split("_")]
        }
        norms = (
            LSTMNorms(**{name: weights.pop(key) for name, key in names.items()}) if self.layer_norm else None
        )
        return lstm(LSTMParams(**weights, norms=norms), x, state, **options)

    def _bias_constants(self, index: int) -> dict[int, float]:
        if self.forget_bias is None:
            return {}
        return {1: 0.0 if index else self.forget_bias}

    def _specs(self, channels: int) -> Specs:
        specs = self._kernels(channels, 4)
        if self.layer_norm:
            specs = specs[:2]  # without biases
        if self.projection is not None:
            init = self.kernel_init or uniform_of_width(self.features)
            specs.append(("projection_kernel", init, (self.features, self.projection)))
        if self.peephole:
            specs.append(("peepholes", nn.initializers.zeros_init(), (3, self.features)))
        if self.layer_norm:
            ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
            for part, width in (("input", 4), ("recurrent", 4), ("cell", 1)):
                constants = self._bias_constants(0) if part == "input" else {}
                bias = gate_initializer(zeros, num_gates=width, constants=constants)
                specs.append((f"{part}_norm_scale", ones, (width * self.features,)))
                specs.append((f"{part}_norm_bias", bias, (width * self.features,)))
        return tuple(specs)
