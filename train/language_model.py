"""Trains a language model of words or characters and tells its perplexity; or writes text with a trained one.

Train on docstrings that come with Python, words or characters:

    python train/language_model.py
    python train/language_model.py --data.tokens characters --data.window 100 --data.batch-size 32

Train the small network of Zaremba et al. on the Penn Treebank as they did:

    python train/language_model.py --recipe small --data.source ptb --data.paths ptb.zip

Train on your own text, of which a tenth is held out for validation and another for the test; or on three:

    python train/language_model.py --data.source files --data.paths novel.txt
    python train/language_model.py --data.source files --data.paths a.txt --data.validation b.txt \\
        --data.test c.txt --model.cell gru --model.tied

Go on with a text:

    python train/language_model.py sample --prompt "return the" \\
        --weights runs/python-small-1/weights.safetensors

--recipe small, medium or large: begin with the options of that network in the paper; each may be changed.
Its learning rate and clip go with --data.window, so that updates stay the paper's.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxvision import optimizers, sequence, training, weights
from jaxvision.core import name_some
from jaxvision.data import END, UNKNOWN, Vocabulary, check_same_vocabulary, create_tokenizer
from jaxvision.tasks import (
    EpochOptions,
    LanguageModelData,
    LanguageModelTrainer,
    TextBatches,
    language_model_task,
    recipe_options,
)
from jaxvision.tasks.language_model_options import LanguageText
from jaxvision.tasks.report_files import write_curves, write_scores
from jaxvision.tasks.scripts import explain_end, read_run_metadata, write_run_weights

PROGRAM = "train/language_model.py"
_VOCABULARY = "vocabulary.txt"  # in the run's folder


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """The network."""

    variant: str = "small"
    """small, medium or large of Zaremba et al.: width, layers, dropout and start, where nothing else is given
    below."""
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    """Of the recurrent layers."""
    features: int | None = None
    """Width of the recurrent layers."""
    layers: int | None = None
    """Number of recurrent layers."""
    embedding_features: int | None = None
    """Width of the vectors of tokens; by default that of the layers."""
    tied: bool = False
    """Use the vectors of tokens as the weights of the output too."""
    dropout: float | None = None
    """Share of elements dropped on the way into, between and out of the recurrent layers."""
    variational: bool = False
    """One mask of this dropout for all steps of a window."""
    recurrent_dropout: float = 0.0
    """Share of the hidden state dropped on the way to the next step, one mask a window."""
    init_scale: float | None = None
    """All parameters start uniform in plus or minus this."""
    bfloat16: bool = False
    """Multiply in bfloat16; parameters, states and losses stay float32."""

    def build(self, vocab_size: int) -> sequence.LanguageModel:
        """The network for a vocabulary.

        Raises:
          ValueError: for an unknown variant.
        """
        fields = {
            "features": self.features,
            "num_layers": self.layers,
            "embedding_features": self.embedding_features,
            "dropout_rate": self.dropout,
            "init_scale": self.init_scale,
            "dtype": jnp.bfloat16 if self.bfloat16 else None,
        }
        return sequence.language_model(
            self.variant,
            vocab_size=vocab_size,
            cell=self.cell,
            tied=self.tied,
            variational=self.variational,
            recurrent_dropout_rate=self.recurrent_dropout,
            **{name: value for name, value in fields.items() if value is not None},
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """A training run."""

    data: LanguageModelData = dataclasses.field(default_factory=LanguageModelData)
    model: ModelOptions = dataclasses.field(default_factory=lambda: ModelOptions(dropout=0.3))
    epochs: EpochOptions = dataclasses.field(default_factory=EpochOptions)
    optimizer: optimizers.OptimizerOptions = dataclasses.field(
        default_factory=lambda: optimizers.OptimizerOptions(name="adam", learning_rate=4e-3, clip_norm=1.0)
    )
    run: training.RunOptions = dataclasses.field(
        default_factory=lambda: training.RunOptions(
            steps=1000, log_every=50, eval_every=250, checkpoint_every=250
        )
    )


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Goes on with a text, and prints what comes."""

    weights: Path
    """weights.safetensors of a run."""
    prompt: str = ""
    """The text to go on with; by default the end of a line."""
    length: int = 100
    """Words or characters to write."""
    count: int = 1
    """How many texts to write."""
    temperature: float = 1.0
    """Below 1 what is likely becomes more likely; 0 always takes the most likely."""
    top_k: int | None = None
    """Choose among this many most likely words or characters only."""
    unknown: bool = False
    """Write the unknown word too, as <unk>."""
    seed: int = 0
    """Of what is drawn."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """All that is made from a configuration before anything is trained."""

    config: Config
    text: LanguageText
    trainer: LanguageModelTrainer
    batches: TextBatches
    num_devices: int


def prepare(config: Config, resumed: Path | None) -> Setup:
    """Reads the text and builds the network; whatever does not fit is said here."""
    data = config.data
    placement = training.open_placement(config.run)
    eval_rows = data.batch_size if data.eval_batch_size is None else data.eval_batch_size
    batches = TextBatches(rows=data.batch_size, window=data.window, eval_rows=eval_rows)
    for rows in (batches.rows, batches.eval_rows):
        placement.check_batch_size(rows)
    text = data.read()
    if resumed is not None and (resumed / _VOCABULARY).exists():
        check_same_vocabulary(
            text.vocabulary, Vocabulary.load(resumed / _VOCABULARY), name=str(resumed / _VOCABULARY)
        )
    per_epoch = batches.batches(text.parts["train"], seed=config.run.seed).batches_per_epoch
    run, optimizer = config.epochs.apply(config.run, config.optimizer, batches_per_epoch=per_epoch)
    model = config.model.build(len(text.vocabulary))
    task = language_model_task(
        model,
        batch_size=batches.rows,
        characters=text.characters,
        axis_name=placement.axis_name,
    )
    trainer = LanguageModelTrainer(task, model, placement, data=batches, optimizer=optimizer, run=run)
    return Setup(config, text, trainer, batches, placement.num_devices)


def train(config: Config, resumed: Path | None) -> int:
    """Trains, evaluates and reports; returns the exit code."""
    setup = prepare(config, resumed)
    text, parts = setup.text, setup.text.parts
    windows = setup.batches.batches(parts["train"], seed=config.run.seed)
    folder = training.open_folder(config, f"{config.data.source}-{config.model.variant}", resumed)
    if training.is_first_process():
        text.vocabulary.save(folder / _VOCABULARY)
    unknown = text.unknown_shares()
    shown = ", ".join(f"{name} {len(parts[name]):,} ({unknown[name]:.1%} unknown)" for name in parts)
    print(
        f"{folder}: {config.model.cell} on {len(text.vocabulary):,} different "
        f"{'characters' if text.characters else 'words'}; tokens: {shown}; {windows.batches_per_epoch:,} "
        f"batches an epoch, {setup.num_devices} device(s)"
    )
    progress = setup.trainer.fit(windows, folder, resumed=resumed is not None, validation=parts["validation"])
    if code := explain_end(progress, folder, program=PROGRAM):
        return code
    report(setup, progress.state, folder)
    return 0


def report(setup: Setup, state: training.TrainState, folder: Path) -> None:
    """Writes weights, scores and curves into the run's folder."""
    scores: dict[str, Any] = {}
    for name in ("validation", "test"):
        found = setup.trainer.evaluate(state, setup.text.parts[name])[0]
        scores |= {f"{name}_{score}": value for score, value in found.items()}
        print(f"{name}: " + "  ".join(f"{score} {value:.4f}" for score, value in found.items()))
    params = setup.trainer.host_variables(state)["params"]
    if not training.is_first_process():
        return
    write_scores(folder / "scores.json", scores)
    records = training.read_json_lines(folder / "metrics.jsonl")
    write_curves(folder / "curves.png", records, title="perplexity", metric="perplexity")
    write_run_weights(
        folder,
        setup.config,
        {"params": params},
        setup.text.vocabulary.tokens,
        tokens=setup.config.data.kind,
    )
    print(f"weights, scores and curves are in {folder}")


def sample(config: SampleConfig) -> int:
    """Writes texts, each after the prompt."""
    if config.count < 1:
        raise ValueError(f"--count: got {config.count}, expected 1 or more")
    trained, metadata = read_run_metadata(config.weights, Config)
    vocabulary = Vocabulary(metadata["class_names"])
    model, variables = trained.model.build(len(vocabulary)), weights.read_variables(config.weights)
    prompt = encode_prompt(config.prompt, vocabulary, kind=metadata["tokens"])
    draw = functools.partial(
        sequence.sample_tokens,
        model,
        length=config.length,
        temperature=config.temperature,
        top_k=config.top_k,
        banned=() if config.unknown else (vocabulary.index(UNKNOWN),),
    )
    drawn = jax.jit(draw)(variables, jax.random.key(config.seed), np.tile(prompt, (config.count, 1)))
    for tokens in np.asarray(drawn):
        print(config.prompt + write_text(vocabulary.decode(tokens), kind=metadata["tokens"]))
        if config.count > 1:
            print("-" * 20)
    return 0


def encode_prompt(prompt: str, vocabulary: Vocabulary, *, kind: str) -> np.ndarray:
    """The tokens of a prompt; of an empty one, the end of a line."""
    tokens = create_tokenizer(kind)(prompt)
    if not tokens:
        line_end = END if END in vocabulary else "\n"
        tokens = [line_end if line_end in vocabulary else vocabulary.tokens[-1]]
    strange = [repr(token) for token in tokens if token not in vocabulary]
    if strange:
        print(f"not in the vocabulary, read as {UNKNOWN}: {name_some(strange)}")
    return vocabulary.encode(tokens)


def write_text(tokens: Sequence[str], *, kind: str) -> str:
    """Tokens as text."""
    if kind == "characters":
        return "".join(tokens)
    return "".join("\n" if token == END else f" {token}" for token in tokens)


def recipe_config(name: str, *, window: int | None = None) -> Config:
    """The configuration that a recipe of the paper begins with."""
    data, epochs, optimizer = recipe_options(name, window=window)
    return Config(data, ModelOptions(variant=name), epochs, optimizer)


def main(arguments: Sequence[str]) -> int:
    """Trains, or does what the first word says."""
    if arguments[:1] == ["sample"]:
        return sample(tyro.cli(SampleConfig, args=arguments[1:], prog=f"{PROGRAM} sample"))
    rest, recipe = training.take_option(list(arguments), "--recipe")
    parse = functools.partial(
        training.parse_command, Config, rest, description=__doc__ or "", program=PROGRAM
    )
    if recipe is None:
        config, resumed = parse()
    else:
        if any(word.split("=")[0] in ("--config", "--resume") for word in rest):
            raise ValueError(
                "--recipe: a run from --config or --resume has its options already; leave it out"
            )
        config, resumed = parse(default=recipe_config(str(recipe)))
        config, resumed = parse(default=recipe_config(str(recipe), window=config.data.window))
    return train(config, resumed)


if __name__ == "__main__":
    # A module that is not found is an extra that is not installed; the message has the command.
    errors = (ValueError, OSError, FloatingPointError, ModuleNotFoundError, training.CheckpointError)
    training.run_script(main, errors)
