"""A language model in PyTorch: embedding, nn.LSTM, GRU or RNN, and a linear layer, with truncated BPTT."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

NETS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class TorchLanguageModel(nn.Module):
    def __init__(self, cell: str, vocab_size: int, features: int, layers: int, tied: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, features)
        self.net = NETS[cell](features, features, layers, batch_first=True)
        self.head = nn.Linear(features, vocab_size)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor, state: Any) -> Any:
        x, state = self.net(self.embedding(tokens), state)
        return self.head(x), state

    def fill(self, params: dict[str, Any]) -> None:
        """Takes the numbers of our parameters, layer by layer."""
        numbers = {"embedding.weight": params["embedding"]["embedding"], "head.bias": params["head"]["bias"]}
        if "kernel" in params["head"]:
            numbers["head.weight"] = params["head"]["kernel"].T
        for layer, leaves in params["recurrent"].items():
            numbers |= {f"net.{key}_l{layer[5:]}": array for key, array in _torch_layout(leaves).items()}
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.tensor(np.asarray(numbers[name])))

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: parameter.grad.numpy().copy() for name, parameter in self.named_parameters()}


def gradient_names(gradients: dict[str, Any]) -> dict[str, np.ndarray]:
    """Our gradients under torch's names."""
    found = {
        "embedding.weight": gradients["embedding"]["embedding"],
        "head.bias": gradients["head"]["bias"],
    }
    if "kernel" in gradients["head"]:
        found["head.weight"] = gradients["head"]["kernel"].T
    for layer, leaves in gradients["recurrent"].items():
        found |= {f"net.{key}_l{layer[5:]}": array for key, array in _torch_layout(leaves).items()}
    return {name: np.asarray(array) for name, array in found.items()}


def windows_of(model: TorchLanguageModel, windows: list[Any]) -> list[tuple[float, dict[str, np.ndarray]]]:
    """Loss and gradients of each window; the state goes on, its gradient does not."""
    state, results = None, []
    for tokens, targets in windows:
        model.zero_grad()
        logits, state = model(torch.tensor(tokens).long(), state)
        loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).long().flatten())
        loss.backward()
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        results.append((loss.item(), model.gradients()))
    return results


def _torch_layout(leaves: dict[str, Any]) -> dict[str, Any]:
    return {
        "weight_ih": leaves["input_kernel"].T,
        "weight_hh": leaves["recurrent_kernel"].T,
        "bias_ih": leaves["input_bias"],
        "bias_hh": leaves["recurrent_bias"],
    }
