"""Records what PyTorch computes for the networks of sequences in ``sequence.npz``.

python tests/reference/record_sequence.py
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.shared_weights import Case, initialized, record

from jaxvision.sequence import CRNN, SequenceTagger, TextClassifier
from jaxvision.tasks.sequence_tagging import tagging_loss
from jaxvision.tasks.text_recognition import ctc_losses

TOKENS = np.array([[3, 1, 4, 1, 5], [2, 6, 0, 0, 0], [5, 3, 6, 0, 0]], np.int32)
CHARACTERS = np.array([[[1, 2, 0], [3, 0, 0], [1, 1, 2], [3, 0, 0], [2, 3, 0]]] * 3, np.int32) * (
    TOKENS != 0
)[..., None].astype(np.int32)
CLASSES = np.array([2, 0, 1])
TAGS = np.array([[0, 1, 2, 2, 1], [3, 0, 0, 0, 0], [2, 1, 0, 0, 0]])
WORDS = np.array([[1, 1, 2], [3, -1, -1], [2, 1, -1]], np.int32)  # of 6 columns, "1 1 2" needs 4
SIZE = (32, 28)

CLASSIFIERS = {
    "bag of words": TextClassifier(7, 3, embedding_features=4, cell=None, pooling="mean"),
    "lstm last": TextClassifier(7, 3, embedding_features=4, features=3),
    "lstm forward": TextClassifier(7, 3, embedding_features=4, features=3, bidirectional=False),
    "gru stacked mean": TextClassifier(
        7, 3, embedding_features=4, cell="gru", features=3, num_layers=2, pooling="mean"
    ),
    "rnn max": TextClassifier(7, 3, embedding_features=4, cell="rnn", features=3, pooling="max"),
    "lstm attention": TextClassifier(7, 3, embedding_features=4, features=3, pooling="attention"),
}
TAGGERS = {
    "tagger": SequenceTagger(7, 4, embedding_features=4, features=3, use_crf=False, dropout_rate=0.0),
    "tagger with characters": SequenceTagger(
        7,
        4,
        character_vocabulary_size=4,
        embedding_features=4,
        character_features=2,
        features=3,
        use_crf=False,
        dropout_rate=0.0,
    ),
}
CRNNS = {
    "crnn": CRNN(4, features=(2, 3, 4, 4, 5, 5, 6), hidden=3),
    "crnn more norms": CRNN(4, features=(2, 3, 4, 4, 5, 5, 6), hidden=3, norm_from=2),
}


@dataclasses.dataclass(frozen=True)
class Net:
    """One network on both sides."""

    model: Any
    inputs: Any

    def apply(self, variables: Any, inputs: Any) -> tuple[Any, Any]:
        """Our side: outputs and changed collections."""
        given = inputs.get("images", self.inputs)
        if isinstance(self.model, CRNN):
            logits, state = self.model.apply(variables, given, train=True, mutable=["batch_stats"])
            return {"logits": logits, "loss": ctc_losses(logits, jnp.asarray(WORDS))}, state
        found = self.model.apply(variables, given, train=False)
        if isinstance(self.model, SequenceTagger):
            where = jnp.ones(len(TAGS), bool)
            loss = tagging_loss(found, jnp.asarray(TAGS), where=where).mean()
            return {"scores": found.scores * found.where[..., None], "loss": loss[None]}, {}
        losses = -jnp.take_along_axis(jax.nn.log_softmax(found), jnp.asarray(CLASSES)[:, None], 1)
        return {"logits": found, "loss": losses[:, 0]}, {}

    def case(self) -> Case:
        """Torch's side."""
        images = {"images": (3, *SIZE, 1)} if isinstance(self.model, CRNN) else {}
        example = jnp.zeros(images["images"]) if images else self.inputs
        variables = initialized(lambda key, x: self.model.init(key, x, train=False), example)

        def torch(inputs: Any, variables: Any) -> Any:
            from oracles import torch_sequence

            if isinstance(self.model, CRNN):
                return torch_sequence.crnn(self.model, variables, inputs["images"], WORDS)
            if isinstance(self.model, SequenceTagger):
                return torch_sequence.tagger(self.model, variables, TOKENS, CHARACTERS, TAGS)
            return torch_sequence.classifier(self.model, variables, TOKENS, CLASSES)

        return Case(torch, images, variables)


NETS = {
    **{name: Net(model, TOKENS) for name, model in CLASSIFIERS.items()},
    "tagger": Net(TAGGERS["tagger"], {"tokens": TOKENS}),
    "tagger with characters": Net(
        TAGGERS["tagger with characters"], {"tokens": TOKENS, "characters": CHARACTERS}
    ),
    **{name: Net(model, None) for name, model in CRNNS.items()},
}
CASES = {name: net.case() for name, net in NETS.items()}

if __name__ == "__main__":
    record("sequence", CASES)
