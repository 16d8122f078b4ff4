"""A finished run: evaluate it again, predict with it, or have it write."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from seqmodels.data import SPLITS, DataModule, SequenceDataModule, StreamDataModule
from seqmodels.data.loading import available
from seqmodels.errors import UserError, choices, one_line
from seqmodels.files import read_json
from seqmodels.instantiate import instantiate
from seqmodels.machine import find_device, quieten_lightning
from seqmodels.runs.folder import read_checkpoint
from seqmodels.tasks import LanguageModel, SequenceClassifier, TrainingTask
from seqmodels.tasks.dynamic_evaluation import dynamic_evaluation
from seqmodels.tasks.generation import generate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A finished run: its task with trained weights, and its data, ready to encode as in training.

    Nothing is read from the data's own files until `evaluate` asks for a part of them.
    """

    folder: Path
    config: DictConfig
    result: dict[str, Any]
    task: TrainingTask
    data: DataModule

    def evaluate(
        self,
        split: str = "test",
        file: str | None = None,
        accelerator: str = "auto",
        *,
        dynamic: bool = False,
        dynamic_learning_rate: float = 0.1,
        dynamic_decay: float = 1e-3,
    ) -> dict[str, float]:
        """The task's metrics on a part of the run's data, or on a file like it.

        Args:
            file: labelled, for a classifier; plain text, for a language model.
            dynamic: a language model goes on learning from each window after it is scored.
            dynamic_learning_rate, dynamic_decay: as in `dynamic_evaluation`.

        Raises:
            UserError: for an unknown part, or a file that is absent, broken or without labels.
        """
        device = find_device(accelerator)
        if file is not None:
            split, loader = "file", self.data.file_loader(file)
        elif split not in SPLITS:
            raise UserError(f"split={split}: {choices(split, SPLITS)}")
        else:
            self.data.setup()
            if self.result.get("fingerprint") not in (None, self.data.fingerprint):
                log.warning("the data are not those of the training: their fingerprint has changed")
            loader = self.data.split_loader(split)
        if dynamic:
            if not isinstance(self.task, LanguageModel):
                raise UserError(f"dynamic=true: {self.folder} is not the run of a language model")
            metrics = dynamic_evaluation(
                self.task.to(device),
                loader,
                learning_rate=dynamic_learning_rate,
                decay=dynamic_decay,
            )
        else:
            trainer = pl.Trainer(
                accelerator=accelerator,
                devices=1,
                precision=self.config.trainer.precision,
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
            )
            [tested] = trainer.test(self.task, loader, verbose=False)
            metrics = dict(tested)
        return {name.replace("test/", f"{split}/"): value for name, value in metrics.items()}

    def predict(
        self, inputs: Iterable[Any], source: str = "inputs", accelerator: str = "auto"
    ) -> Iterator[dict[str, Any]]:
        """The label and the probability of every class, for each input, in order, as they come.

        Args:
            inputs: raw, as the data module's `read_file` gives them: texts, or series `(T, F)`.
            source: what to call them in an error.

        Raises:
            UserError: for an input that cannot be encoded, naming its number.
        """
        task, data = self.classifier
        task = task.to(find_device(accelerator)).eval()
        classes = task.hparams["data"]["classes"]
        for first, chunk in available(inputs, data.batch_size):
            batch = data.batch_of(chunk, source, first)
            with torch.inference_mode():
                probabilities = task.predict_step(batch.to(task.device))
            for row in probabilities.tolist():
                ranked = dict(zip(classes, row, strict=True))
                yield {"label": max(ranked, key=ranked.__getitem__), "probabilities": ranked}

    def generate(
        self, prompt: str = "", length: int = 200, accelerator: str = "auto", **options: Any
    ) -> Iterator[str]:
        """Text that goes on from the prompt, in pieces, as it is made: `length` tokens of it.

        Args:
            options: `temperature`, `top_k`, `top_p` and `seed`, as in `generation.generate`.

        Raises:
            UserError: for a prompt that the vocabulary does not know, or a wrong option.
        """
        task, data = self.language_model
        ids, first = open_end(data.vocabulary, data.ids_of(prompt))
        known = data.text_of([first[0]]) if first else ""
        made = generate(task.to(find_device(accelerator)), ids, length, first=first, **options)
        return self._decoded(data, made, skip=len(known))  # a wrong option was found by now

    @staticmethod
    def _decoded(data: StreamDataModule, ids: Iterator[int], skip: int) -> Iterator[str]:
        # a token may be a part of a character: pieces come out when they are whole
        decoder, made, shown = DecodeStream(skip_special_tokens=True), [], 0
        for token in ids:
            made.append(token)
            if piece := decoder.step(data.vocabulary, token):
                yield piece[max(skip - shown, 0) :]
                shown += len(piece)
        if rest := data.text_of(made)[max(skip, shown) :]:  # bytes that are no whole character
            yield rest

    @property
    def classifier(self) -> tuple[SequenceClassifier, SequenceDataModule]:
        if isinstance(self.task, SequenceClassifier) and isinstance(self.data, SequenceDataModule):
            return self.task, self.data
        raise UserError(
            f"{self.folder} is the run of a {self.result['task']}, which gives no labels: "
            "generate.py shows what a language model writes"
        )

    @property
    def language_model(self) -> tuple[LanguageModel, StreamDataModule]:
        if isinstance(self.task, LanguageModel) and isinstance(self.data, StreamDataModule):
            return self.task, self.data
        raise UserError(
            f"{self.folder} is the run of a {self.result['task']}, which writes no text: "
            "predict.py gives its labels"
        )


def open_end(vocabulary: Tokenizer, ids: list[int]) -> tuple[list[int], list[int] | None]:
    """A prompt without its last token, and the ids of the tokens that begin like it, itself first.

    A word may go on where the prompt ends: after `def `, the space belongs to the token of the name
    that follows, and the token of a lone space is followed by anything but a name. None where no
    other token begins like the last one.
    """
    if not ids:
        return ids, None
    tokens = vocabulary.get_vocab()
    last = next(token for token, i in tokens.items() if i == ids[-1])
    longer = sorted(i for token, i in tokens.items() if token.startswith(last) and i != ids[-1])
    if not longer or "\ufffd" in vocabulary.decode(ids[-1:]):  # a part of a character
        return ids, None
    return ids[:-1], [ids[-1], *longer]


def load_run(
    folder: str | Path,
    checkpoint: str = "best",
    *,
    batch_size: int | None = None,
    allowed_targets: Sequence[str] = (),
) -> Run:
    """A finished run from its folder.

    Args:
        checkpoint: `best` or `last`.
        batch_size: another one than in training.
        allowed_targets: as in `instantiate`; the folder's own are not believed.

    Raises:
        UserError: if the folder is none of a run, or its checkpoint is broken.
    """
    quieten_lightning()
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"run={folder} is not the folder of a run: it has no config.yaml")
    path = folder / "checkpoints" / f"{checkpoint}.ckpt"
    checkpoint_content = read_checkpoint(path)
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    if batch_size is not None:
        config.data.batch_size = batch_size
    data: DataModule = instantiate(config.data, allowed_targets=allowed_targets)
    spec = checkpoint_content["hyper_parameters"]["data"]
    task: TrainingTask = instantiate(config.model, data=spec, allowed_targets=allowed_targets)
    try:
        task.load_state_dict(checkpoint_content["state_dict"])
        data.use_spec(spec)
    except (RuntimeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not fit this version of the code: {one_line(error)}"
        ) from error
    return Run(folder, config, read_json(folder / "result.json"), task.eval(), data)
