"""A finished run: load it to evaluate it or to use it."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.nn.utils.rnn import unpad_sequence

from seqmodels.batch import UNKNOWN_ID, SequenceBatch
from seqmodels.data import SPLITS, DataModule
from seqmodels.data.examples import InputRow
from seqmodels.data.sources import as_file, has_names
from seqmodels.data.tokens import unknown
from seqmodels.dataflow.attribution import Attributions
from seqmodels.dataflow.steps import attributed
from seqmodels.engine import Task
from seqmodels.errors import (
    SettingError,
    UserError,
    choices,
    refusing,
    unusable,
    within_memory,
)
from seqmodels.files import called
from seqmodels.heads import HEADS, Head
from seqmodels.machine import find_device
from seqmodels.network import Network
from seqmodels.nn.outputs import Output
from seqmodels.runs.checkpoint import read_checkpoint
from seqmodels.runs.folder import RunFolder
from seqmodels.runs.plan import make_plan
from seqmodels.runs.result import Result
from seqmodels.runs.streaming import Stream
from seqmodels.runs.trainer import Trainer, quieten_lightning
from seqmodels.runs.trust import trusted_config
from seqmodels.screen import visible_line

log = logging.getLogger(__name__)

WRONG_KIND = TypeError, AttributeError, ValueError  # what an encoder raises of another input


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its task with trained weights, and its data, ready to encode as in training,
    whose own files are read only when `evaluate` asks for a split of them."""

    folder: Path
    config: dict[str, Any]
    result: Result
    task: Task
    data: DataModule
    epoch: int | None = None  # that the weights are of
    is_tested: bool = True  # whether the result is of these weights

    @property
    def network(self) -> Network:
        """The model itself: a plain `nn.Module`, in evaluation."""
        return self.task.network

    def __repr__(self) -> str:
        known, head = self.result, self.network.head
        sizes = "".join(f", {split} {n:,}" for split, n in known.examples.items())
        scores = ", ".join(f"{name} {value:.4f}" for name, value in known.metrics.items())
        if not self.is_tested:
            scores = "not those that were tested"
        lines = (
            f"{type(self.task).__name__}: {head.name} reads {', '.join(head.reads)}",
            f"data: {known.data}{sizes}",
            f"weights of epoch {self.epoch}: {scores}",
            f"folder: {self.folder}",
        )
        return "\n".join(map(visible_line, lines))  # the folder may be a stranger's

    def evaluate(
        self,
        split: str = "test",
        file: Any = None,
        accelerator: str = "auto",
        *,
        callbacks: Sequence[Callback] = (),
    ) -> dict[str, float]:
        """The task's metrics on a split of the run's data, or on a file like it.

        Args:
            file: with targets, or such rows in memory, as `as_file` takes them; for a language
                model, plain text.
            callbacks: of the test, such as `Predictions`; what they write goes into the run folder.
        """
        with self._usable(), TemporaryDirectory() as place:
            find_device(accelerator)  # if it is missing, say so before the data is read
            if file is not None:
                split, loader = "file", self.data.file_loader(as_file(file, "file", place))
            elif split not in SPLITS:
                raise UserError(f"split={split}: {choices(split, SPLITS)}")
            else:
                self.data.setup()
                if self.result.fingerprint not in ("", self.data.fingerprint):
                    log.warning("the model was trained on other data (fingerprint differs)")
                loader = self.data.split_loader(split)
            for note in self.data.notes:
                log.warning(note)
            trained, kept = self.config["trainer"], ("precision", "float32_matmul_precision")
            trainer = Trainer(
                accelerator=accelerator,
                devices=1,
                **{key: trained[key] for key in kept if key in trained},
                logger=False,
                enable_checkpointing=False,
                enable_model_summary=False,
                callbacks=[*callbacks],
                default_root_dir=self.folder,
            )
            [metrics] = trainer.test(self.task, loader, verbose=False)
            return {name.replace("test/", f"{split}/"): value for name, value in metrics.items()}

    @torch.no_grad()
    def predict(
        self,
        inputs: Any,
        source: str = "inputs",
        accelerator: str = "auto",
        *,
        attribute: bool = False,
        **options: Any,
    ) -> list[dict[str, Any]]:
        """The task's description of each input, in order: for a classifier its label and the
        probability of every class. Of more inputs than fit into memory, `predictions` gives them
        one after the other; it takes the same arguments.

        Args:
            inputs: raw, as the data module's `read_inputs` gives them: texts, lists of tokens, or
                series `(T, F)`; or with the columns of the training files a DataFrame or a list of
                them, a table of pyarrow, a dict of columns, or a list of dicts.
            source: what to call the inputs in an error.
            attribute: adds `steps`, what `attribute` gives for what is predicted, as lists.
            options: for the task's `describe`: `beam` and `best` if the model writes texts.

        Raises:
            UserError: for an input that cannot be encoded, naming its number; or at the end, if
                training never saw most of the tokens of texts to write others for.
        """
        return [*self.predictions(inputs, source, accelerator, attribute=attribute, **options)]

    @torch.no_grad()
    def predictions(
        self,
        inputs: Any,
        source: str = "inputs",
        accelerator: str = "auto",
        *,
        attribute: bool = False,
        **options: Any,
    ) -> Iterator[dict[str, Any]]:
        """An iterator over what `predict` gives, each as soon as it is there."""
        task = self.task
        takes = {*inspect.signature(task.describe).parameters} - {"batch", "states"}
        for name in options.keys() - takes:
            raise UserError(
                f"{name}={options[name]} is for a model that writes texts, and {self.folder} is "
                f"the run of a {self.result.task}: leave it out"
            )
        with self._usable():
            first = 1
            for chunk, batch in self._batches(inputs, accelerator, source):
                rows = task.describe(batch, **options)
                if attribute:
                    for row, steps in zip(rows, attributed(task, batch, first=first), strict=True):
                        row["steps"] = steps.tolist()
                first += len(chunk)
                described = self.data.described([row.raw for row in chunk], rows)
                for input_row, prediction in zip(chunk, described, strict=True):
                    yield {**input_row.identity, **prediction}

    @torch.no_grad()
    def encode(
        self, inputs: Any, tensor: str | None = None, accelerator: str = "auto"
    ) -> Tensor | list[Tensor]:
        """The features of each input, in order: `(N, S)`, or where there is a vector for each step,
        as a tagger has it, a list of N tensors `(T, S)`.

        Args:
            inputs: as `predict` takes them.
            tensor: `h_n`, `c_n` or another final state of the last layer, directions side by side,
                `(N, D*H)`; `output`, a list of N `(T, D*H)`; or a head without weights, such as
                `mean_pool`. None: what the run's own head selects.
        """
        final = tensor if tensor in self.network.encoder.state_sizes else None
        head = self.network.head if final else head_for(self.task, tensor)
        found = list[Tensor]()
        by_step = not final and head.per == "step"
        with self._usable():
            for _, batch in self._batches(inputs, accelerator):
                states = self.network.encode(batch)
                if by_step:
                    steps = unpad_sequence(head.select(states), states.lengths, batch_first=True)
                    found += self._a_row_each(steps, batch)
                    continue
                # of the last layer: (D, B, H) -> (B, D*H)
                last = states.finals[final][-1].transpose(0, 1).flatten(1) if final else None
                features = head.features(states) if last is None else last
                # a forecaster may read each column of an input as a row of its own
                found += features.reshape(len(batch), -1).cpu()
        return found if by_step else torch.stack(found)

    def attribute(
        self,
        inputs: Any,
        of: str | int | None = None,
        method: str = "integrated_gradients",
        baseline: str | Sequence[Any] = "zero",
        accelerator: str = "auto",
    ) -> Attributions:
        """How much each step of each input adds to a logit or a value, as
        `seqmodels.dataflow.attribute` documents it: `(T, F)` each, or `(T,)` of tokens.

        Args:
            inputs: as `predict` takes them.
            of: a class, by default the predicted one; a value, by default the first; or a token to
                come after the last step. Of predictions at each step, also a step, counted from 0;
                by default, the mean over all of them counts.
            method: `integrated_gradients` or `left_out`.
            baseline: `zero`, where scaled features have their mean in training, and tokens the
                embedding of padding; or a number for each scaled feature.
        """
        rows, remainders = list[Tensor](), [torch.zeros(0)]
        with self._usable():
            for _, batch in self._batches(inputs, accelerator):
                attributions = attributed(
                    self.task, batch, of, method, baseline, first=1 + len(rows)
                )
                rows += attributions
                remainders.append(attributions.remainder)
        return Attributions(rows, torch.cat(remainders))

    @torch.no_grad()
    def attention(self, inputs: Any, accelerator: str = "auto") -> list[Tensor]:
        """How much each step of each input is weighed: `(T,)`, which sums to 1; if a decoder
        attends, `(S, T)` for the tokens that it writes greedily, and the end. Takes inputs as
        `predict` does."""
        if not hasattr(self.network.head, "weights"):
            names = sorted(name for name, head in HEADS.items() if hasattr(head, "weights"))
            head = f"model.head={self.network.head.name} of {self.folder} does not weigh steps"
            raise UserError(f"{head}: heads with attention are {', '.join(names)}")
        found = list[Tensor]()
        with self._usable():
            for _, batch in self._batches(inputs, accelerator):
                found += self._a_row_each(self.network.attention(batch), batch)
        return found

    def _a_row_each(self, rows: Sequence[Tensor], batch: SequenceBatch) -> list[Tensor]:
        if len(rows) != len(batch):
            several = "reads an input in several rows, so its steps have no one value each"
            raise UserError(f"{self.folder} {several}: choose a tensor such as h_n")
        return [row.cpu() for row in rows]

    def _batches(
        self, inputs: Any, accelerator: str, source: str = "inputs"
    ) -> Iterator[tuple[list[InputRow], SequenceBatch]]:
        """Some raw inputs and the batch of them, on the task's device, until there are no more."""
        task, unseen, total = self.task.to(find_device(accelerator)).eval(), 0, 0
        # a person gets the answer to each line at once
        most = 1 if source == "-" and sys.stdin.isatty() else self.data.batch_size
        given, first = self._rows(inputs, source), 1
        while chunk := [*islice(given, most)]:
            batch = self._batch_of([row.raw for row in chunk], source, first)
            yield chunk, task.ready(batch)
            first += len(chunk)
            if not batch.inputs.is_floating_point():
                tokens = batch.inputs if batch.inputs.dim() == 2 else batch.inputs[..., 0]
                unseen += int((tokens == UNKNOWN_ID).sum())
                total += int(batch.lengths.sum())
        if note := unknown(unseen, total, source):
            log.warning(note)
        self.data.warn()

    def _batch_of(self, chunk: list[Any], source: str, first: int) -> SequenceBatch:
        try:
            return self.data.batch_of(chunk, source, first)
        except UserError:
            raise
        except WRONG_KIND:
            for number, each in enumerate(chunk, first):
                kind = "a number" if isinstance(each, Real) else f"of type {type(each).__name__}"
                wrong = f"{source}: input {number} is {kind}, which this run cannot read"
                with refusing(wrong, *WRONG_KIND):
                    self.data.batch_of([each], source, number)
            raise

    def stream(self, batch_size: int = 1, accelerator: str = "auto") -> Stream:
        """Reads rows some steps at a time, as `Stream` documents it."""
        return Stream(self.task.to(find_device(accelerator)), self.data, batch_size)

    def generate(
        self, prompt: str = "", length: int = 200, accelerator: str = "auto", **options: Any
    ) -> Iterator[str]:
        """Continues the prompt with `length` tokens, and gives their text as soon as it is made;
        `options` as `write` of `seqmodels.tasks.language_model.generation` documents them."""
        if not hasattr(self.task, "generate"):
            kind = f"{self.folder} is the run of a {self.result.task}"
            raise UserError(f"only a language model can generate text, and {kind}")
        task: Any = self.task.to(find_device(accelerator))
        with self._usable():
            pieces = task.generate(self.data, prompt, length, **options)
        return self._guarded(pieces)

    def export(self, folder: str | Path | None = None, *, stream: bool = False) -> Path:
        """Writes the task for programs without this package, as `seqmodels.export.export` does;
        returns the folder.

        Args:
            folder: None: `export` in the run folder.
            stream: a graph that carries its state from call to call.
        """
        from seqmodels.export import export  # here, because it is seldom needed

        if not folder:
            RunFolder(self.folder).check_links()
        place = Path(folder or self.folder / "export")
        export(self.task.cpu(), place, stream=stream)
        return place

    def _guarded(self, pieces: Iterator[str]) -> Iterator[str]:
        with self._usable():
            yield from pieces

    def _rows(self, inputs: Any, source: str) -> Iterator[InputRow]:
        """The raw inputs of a table, of frames, or of a list that holds them."""
        if self.data.reads_tables and has_names(inputs):
            # A service would fill the cache with its questions.
            with TemporaryDirectory() as place, within_memory(called(source)):
                for row in self.data.read_rows(as_file(inputs, source, place)):
                    # Rows in memory have no file; their order says which is which.
                    identity = {k: v for k, v in row.identity.items() if k != "source_row"}
                    yield replace(row, identity=identity)
            return
        one = not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes | Mapping)
        if one or hasattr(inputs, "columns"):  # of a table, whose names it would predict for
            kind = type(inputs).__name__
            raise UserError(f"{source}: not a list of inputs, but one {kind}: write [...]")
        with within_memory(called(source)):
            for raw in inputs:
                yield raw if isinstance(raw, InputRow) else InputRow(raw)

    def read_inputs(self, path: str, *, steps: bool = False) -> Iterator[Any]:
        """The inputs of a file like the training file, for `predict`; `-` is standard input.

        Args:
            steps: one step of a long row after the other, for `stream`.
        """
        with self._usable(), within_memory(called(path)):
            yield from self.data.read_steps(path) if steps else self.data.read_rows(path)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Within: what keeps this run from being used is a `UserError`, whose advice doesn't name
        keys that only a training takes."""
        with unusable(f"{self.folder} cannot be used"):
            try:
                yield
            except SettingError as error:
                raise UserError(error.message_of_run) from error


def head_for(task: Task, tensor: str | None) -> Head:
    """The head that selects this tensor: the task's own for None, or one without weights."""
    encoder, own = task.network.encoder, task.network.head
    if tensor in (None, own.name) and not task.contract.kind.decoder:
        return own
    if tensor is None:
        several = f"head {own.name!r} gives a decoder several tensors"
        raise UserError(f"{several}: set tensor, such as h_n or output")
    plain = {n: h for n, h in HEADS.items() if h.build is Head.build and h.output_class is None}
    known = {**plain, "output": HEADS["every_step"]}
    if tensor not in known:
        raise UserError(f"tensor={tensor}: {choices(tensor, {*known, *encoder.state_sizes})}")
    return known[tensor](encoder, lambda width, **options: Output()).eval()


def load_run(
    folder: str | Path,
    checkpoint: str = "best",
    *,
    batch_size: int | None = None,
    labels: Any = None,
    allowed_targets: Sequence[str] = (),
) -> Run:
    """A finished run from its folder.

        run = load_run("runs/mine")
        print(run)  # what it is, its metrics
        run.predict(texts)  # a description of each input

    If the run is being trained longer, or that was interrupted, it is the run before.

    Args:
        checkpoint: `best`, the weights that were tested, or `last`, the newest ones.
        batch_size: for evaluation; None: as in training.
        labels: a second table with what is known of each series, in the place of `data.labels` of
            the training: a file, or rows as `as_file` takes them. It counts for columns that a file
            to predict for lacks itself.
        allowed_targets: classes to allow besides the built-in ones; the run folder's own entries
            are ignored (untrusted).
    """
    quieten_lightning()
    files = RunFolder(Path(folder))
    files.read_config()  # a folder without one is no run, which is to be said first
    result = files.read_result()
    config = trusted_config(files, allowed_targets, trains=False, stretches=result.stretches)
    name = result.weights if checkpoint == "best" else checkpoint
    path = files.checkpoint_file(name)
    saved = read_checkpoint(path)
    if batch_size is not None:
        config["data"]["batch_size"] = batch_size
    if labels is not None:
        if "labels" not in config["data"]:
            raise UserError(f"labels={labels}: {folder} reads no second table: leave it out")
        config["data"]["labels"] = as_file(labels, "labels")
    with unusable(f"{files.config_file} and {path.name} do not fit this version of the code"):
        plan = make_plan({key: config[key] for key in ("model", "data")}, allowed_targets)
        data: DataModule = plan.build("data")
        spec = saved["hyper_parameters"]["data"]
        task: Task = plan.build("model", data=spec)
        task.load_state_dict(saved["state_dict"])
        is_tested = name == result.weights
        if is_tested:
            task.calibration = result.calibration
        data.use_spec(spec)
    # with its optimizer, as plain values
    config["model"] = files.read_config(stretches=result.stretches)["model"]
    if result.calibration and not is_tested:
        log.warning(
            f"{path}: its intervals are as they were learned; how far to widen them is known of "
            f"{result.weights}.ckpt alone"
        )
    return Run(files.path, config, result, task.eval(), data, saved.get("epoch"), is_tested)
