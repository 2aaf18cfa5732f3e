"""Networks of sequences, restated in PyTorch, on shared variables. Import only where torch is installed."""

from typing import Any

import numpy as np
import torch
from oracles.shared_weights import torch_images, torch_layout
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Variables = Any
_LEAVES = {
    "input_kernel": "weight_ih",
    "recurrent_kernel": "weight_hh",
    "input_bias": "bias_ih",
    "recurrent_bias": "bias_hh",
}


def recurrent(
    variables: Variables,
    prefix: str,
    kind: str,
    x: torch.Tensor,
    features: int,
    *,
    layers: int = 1,
    bidirectional: bool = True,
    lengths: Any = None,
) -> Any:
    """torch.nn.RNN, GRU or LSTM: outputs, and the last hidden states."""
    module = getattr(torch.nn, kind.upper())(
        x.shape[-1], features, layers, batch_first=True, bidirectional=bidirectional
    )
    named = {}
    for path, value in variables.items():
        if path.startswith(f"params/{prefix}/"):
            layer, leaf = path.split("/")[2:]
            number, _, suffix = layer.removeprefix("layer").partition("_")
            named[f"{_LEAVES[leaf]}_l{number}" + (f"_{suffix}" if suffix else "")] = (
                value.T if value.ndim == 2 else value
            )
    given = x
    if lengths is not None:
        given = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    y, last = torch.func.functional_call(module, named, (given,))
    if lengths is not None:
        y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, last[0] if kind == "lstm" else last


def dense(variables: Variables, path: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, variables[f"params/{path}/kernel"].T, variables.get(f"params/{path}/bias"))


def classifier(model: Any, variables: Variables, tokens: np.ndarray, classes: np.ndarray) -> Any:
    ids, lengths = torch.from_numpy(tokens).long(), (tokens != 0).sum(1)
    x = F.embedding(ids, variables["params/embedding/embedding"], padding_idx=0)
    last = None
    if model.cell is not None:
        x, last = recurrent(
            variables,
            "rnn",
            model.cell,
            x,
            model.features,
            layers=model.num_layers,
            bidirectional=model.bidirectional,
            lengths=lengths,
        )
    rows = [x[n, :length] for n, length in enumerate(lengths)]
    if model.pooling == "last":
        pooled = torch.cat([last[-2], last[-1]], 1) if model.bidirectional else last[-1]
    elif model.pooling == "mean":
        pooled = torch.stack([row.mean(0) for row in rows])
    elif model.pooling == "max":
        pooled = torch.stack([row.max(0).values for row in rows])
    else:
        hidden = [torch.tanh(dense(variables, "attention/hidden", row)) for row in rows]
        weights = [torch.softmax(dense(variables, "attention/context", h), 0) for h in hidden]
        pooled = torch.stack([(weight * row).sum(0) for weight, row in zip(weights, rows, strict=True)])
    logits = dense(variables, "head", pooled)
    return {"logits": logits, "loss": F.cross_entropy(logits, torch.from_numpy(classes), reduction="none")}


def tagger(
    model: Any, variables: Variables, tokens: np.ndarray, characters: np.ndarray, tags: np.ndarray
) -> Any:
    ids, lengths = torch.from_numpy(tokens).long(), (tokens != 0).sum(1)
    x = F.embedding(ids, variables["params/embedding/embedding"], padding_idx=0)
    if model.character_vocabulary_size is not None:
        spelled = torch.zeros(*tokens.shape, 2 * model.character_features)
        places = np.argwhere(tokens != 0)
        letters = torch.from_numpy(characters[tokens != 0]).long()
        table = variables["params/character_embedding/embedding"]
        embedded = F.embedding(letters, table, padding_idx=0)
        count = (letters != 0).sum(1).tolist()
        _, last = recurrent(
            variables, "character_rnn", "lstm", embedded, model.character_features, lengths=count
        )
        spelled[places[:, 0], places[:, 1]] = torch.cat([last[0], last[1]], 1)
        x = torch.cat([x, spelled], -1)
    y, _ = recurrent(variables, "rnn", model.cell, x, model.features, lengths=lengths)
    scores = dense(variables, "head", y)
    mask = ids != 0
    loss = F.cross_entropy(scores[mask], torch.from_numpy(tags)[mask])
    return {"scores": scores * mask[..., None], "loss": loss[None]}


def crnn(model: Any, variables: Variables, images: torch.Tensor, words: np.ndarray) -> Any:
    """Table 1 of the paper, from the bottom up."""
    x = images
    for number in range(1, 8):
        kernel, bias = (variables[f"params/conv{number}/{leaf}"] for leaf in ("kernel", "bias"))
        x = torch_images(F.conv2d, x, torch_layout(kernel), bias, padding=0 if number == 7 else 1)
        if f"params/norm{number}/scale" in variables:
            statistics = (variables[f"batch_stats/norm{number}/{leaf}"] for leaf in ("mean", "var"))
            affine = (variables[f"params/norm{number}/{leaf}"] for leaf in ("scale", "bias"))
            x = torch_images(F.batch_norm, x, *statistics, *affine, training=True)
        x = F.relu(x)
        if number in (1, 2):
            x = torch_images(F.max_pool2d, x, (2, 2))
        elif number in (4, 6):
            x = torch_images(F.max_pool2d, x, (2, 1))
    y, _ = recurrent(variables, "rnn", "lstm", x[:, 0], model.hidden, layers=model.num_layers)
    logits = dense(variables, "head", y)  # [N, T, K]
    count, steps = logits.shape[:2]
    lengths = torch.from_numpy((words >= 0).sum(1))
    loss = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        torch.from_numpy(np.maximum(words, 0)).long(),
        torch.full((count,), steps),
        lengths,
        reduction="none",
    )
    return {"logits": logits, "loss": loss}
