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

# What an encoder may raise for an input of another type.
ERRORS_OF_TYPE = (TypeError, AttributeError, ValueError)


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its task with trained weights, and its data, ready to encode as in training,
    whose own files are read only when `evaluate` asks for a split of them."""

    folder: Path
    config: dict[str, Any]
    result: Result
    task: Task
    data: DataModule
    epoch: int | None = None  # After this one, the weights were saved.
    is_tested: bool = True  # The result is of these weights.

    @property
    def network(self) -> Network:
        """The model itself: a plain `nn.Module`, in evaluation."""
        return self.task.network

    def __repr__(self) -> str:
        head = self.network.head
        data = self.result.data
        for split, num_examples in self.result.examples.items():
            data += f", {split} {num_examples:,}"
        scores = "not those that were tested"
        if self.is_tested:
            metrics = self.result.metrics
            scores = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        lines = (
            f"{type(self.task).__name__}: {head.name} reads {', '.join(head.reads)}",
            f"data: {data}",
            f"weights of epoch {self.epoch}: {scores}",
            f"folder: {self.folder}",
        )
        return "\n".join(map(visible_line, lines))  # The folder may be a stranger's.

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
        with self._usable(), TemporaryDirectory() as temporary_folder:
            find_device(accelerator)  # If it is missing, say so before the data is read.
            if file is not None:
                split = "file"
                loader = self.data.file_loader(as_file(file, "file", temporary_folder))
            else:
                loader = self._loader_of_split(split)
            for note in self.data.notes:
                log.warning(note)
            trainer = self._tester(accelerator, callbacks)
            [metrics] = trainer.test(self.task, loader, verbose=False)
            return {name.replace("test/", f"{split}/"): value for name, value in metrics.items()}

    def _loader_of_split(self, split: str) -> Any:
        """Reads the run's own data, for a split of it."""
        if split not in SPLITS:
            raise UserError(f"split={split}: {choices(split, SPLITS)}")
        self.data.setup()
        if self.result.fingerprint not in ("", self.data.fingerprint):
            log.warning("the model was trained on other data (fingerprint differs)")
        return self.data.split_loader(split)

    def _tester(self, accelerator: str, callbacks: Sequence[Callback]) -> Trainer:
        """A trainer that tests as precisely as the training did, and writes no checkpoints."""
        options_of_training = self.config["trainer"]
        options = {}
        for name in ("precision", "float32_matmul_precision"):
            if name in options_of_training:
                options[name] = options_of_training[name]
        return Trainer(
            accelerator=accelerator,
            devices=1,
            **options,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[*callbacks],
            default_root_dir=self.folder,
        )

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
            UserError: for an input that cannot be encoded, naming its number. If training never saw
                most of the tokens, that is a warning at the end.
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
        names = {*inspect.signature(task.describe).parameters} - {"batch", "states"}
        for name in options.keys() - names:
            raise UserError(
                f"{name}={options[name]} is for a model that writes texts, and {self.folder} is "
                f"the run of a {self.result.task}: leave it out"
            )
        with self._usable():
            first = 1
            for chunk, batch in self._batches(inputs, accelerator, source):
                descriptions = task.describe(batch, **options)
                if attribute:
                    attributions = attributed(task, batch, first=first)
                    for description, steps in zip(descriptions, attributions, strict=True):
                        description["steps"] = steps.tolist()
                first += len(chunk)
                raw_inputs = [row.raw for row in chunk]
                predictions = self.data.described(raw_inputs, descriptions)
                for row, prediction in zip(chunk, predictions, strict=True):
                    yield {**row.identity, **prediction}

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
        final_state = None
        head = self.network.head
        has_steps = False
        if tensor in self.network.encoder.state_sizes:
            final_state = tensor
        else:
            head = head_for(self.task, tensor)
            has_steps = head.per == "step"
        rows = list[Tensor]()  # (S,) or (T, S) each
        with self._usable():
            for _, batch in self._batches(inputs, accelerator):
                states = self.network.encode(batch)
                if has_steps:
                    selected = head.select(states)
                    steps = unpad_sequence(selected, states.lengths, batch_first=True)
                    rows += self._on_cpu(steps, batch)
                    continue
                if final_state is not None:
                    last_layer = states.finals[final_state][-1]  # (D, B, H)
                    features = last_layer.transpose(0, 1).flatten(1)  # (B, D*H)
                else:
                    features = head.features(states)
                # A forecaster may read each column of an input as a row of its own.
                rows += features.reshape(len(batch), -1).cpu()
        if has_steps:
            return rows
        return torch.stack(rows)

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
            names = [name for name, head in HEADS.items() if hasattr(head, "weights")]
            raise UserError(
                f"model.head={self.network.head.name} of {self.folder} does not weigh steps: heads "
                f"with attention are {', '.join(sorted(names))}"
            )
        rows = list[Tensor]()  # (T,) or (S, T) each
        with self._usable():
            for _, batch in self._batches(inputs, accelerator):
                rows += self._on_cpu(self.network.attention(batch), batch)
        return rows

    def _on_cpu(self, rows: Sequence[Tensor], batch: SequenceBatch) -> list[Tensor]:
        """These rows on the CPU. Raises UserError if a batch doesn't have one for each input."""
        if len(rows) != len(batch):
            raise UserError(
                f"{self.folder} reads an input in several rows, so its steps have no one value "
                "each: choose a tensor such as h_n"
            )
        return [row.cpu() for row in rows]

    def _batches(
        self, inputs: Any, accelerator: str, source: str = "inputs"
    ) -> Iterator[tuple[list[InputRow], SequenceBatch]]:
        """Some raw inputs and the batch of them, on the task's device, until there are no more.
        Then it warns if training never saw most of the tokens."""
        task = self.task.to(find_device(accelerator)).eval()
        batch_size = self.data.batch_size
        is_typed = source == "-" and sys.stdin.isatty()
        if is_typed:  # A person gets the answer to each line at once.
            batch_size = 1
        rows = self._rows(inputs, source)
        first = 1
        num_unknown = 0
        num_tokens = 0
        while chunk := [*islice(rows, batch_size)]:
            batch = self._batch_of([row.raw for row in chunk], source, first)
            yield chunk, task.ready(batch)
            first += len(chunk)
            if not batch.inputs.is_floating_point():
                tokens = batch.inputs  # (B, T)
                if tokens.dim() == 3:  # Words with their characters.
                    tokens = tokens[..., 0]
                num_unknown += int((tokens == UNKNOWN_ID).sum())
                num_tokens += int(batch.lengths.sum())
        note = unknown(num_unknown, num_tokens, source)
        if note:
            log.warning(note)
        self.data.warn()

    def _batch_of(self, raw_inputs: list[Any], source: str, first: int) -> SequenceBatch:
        """The batch of raw inputs, of which the first has this number. Raises UserError for one
        that the run cannot read, naming its number."""
        try:
            return self.data.batch_of(raw_inputs, source, first)
        except UserError:
            raise
        except ERRORS_OF_TYPE:
            for number, raw in enumerate(raw_inputs, first):
                description = f"of type {type(raw).__name__}"
                if isinstance(raw, Real):
                    description = "a number"
                message = f"{source}: input {number} is {description}, which this run cannot read"
                with refusing(message, *ERRORS_OF_TYPE):
                    self.data.batch_of([raw], source, number)
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
            raise UserError(
                f"only a language model can generate text, and {self.folder} is the run of a "
                f"{self.result.task}"
            )
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
        from seqmodels.export import export  # It is imported here, because it is seldom needed.

        if not folder:
            RunFolder(self.folder).check_links()
            folder = self.folder / "export"
        export_folder = Path(folder)
        export(self.task.cpu(), export_folder, stream=stream)
        return export_folder

    def _guarded(self, pieces: Iterator[str]) -> Iterator[str]:
        """The same pieces, and the errors of `_usable` while they are written."""
        with self._usable():
            yield from pieces

    def _rows(self, inputs: Any, source: str) -> Iterator[InputRow]:
        """The raw inputs of a table, of frames, or of a list that holds them."""
        if self.data.reads_tables and has_names(inputs):
            # A service would fill the cache with its questions.
            with TemporaryDirectory() as temporary_folder, within_memory(called(source)):
                for row in self.data.read_rows(as_file(inputs, source, temporary_folder)):
                    # Rows in memory have no file; their order says which is which.
                    identity = {**row.identity}
                    identity.pop("source_row", None)
                    yield replace(row, identity=identity)
            return
        is_single = not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes | Mapping)
        # A table is iterated by the names of its columns, which would be predicted for.
        is_table = hasattr(inputs, "columns")
        if is_single or is_table:
            raise UserError(
                f"{source}: not a list of inputs, but one {type(inputs).__name__}: write [...]"
            )
        with within_memory(called(source)):
            for raw in inputs:
                yield raw if isinstance(raw, InputRow) else InputRow(raw)

    def read_inputs(self, path: str, *, steps: bool = False) -> Iterator[Any]:
        """The inputs of a file like the training file, for `predict`; `-` is standard input.

        Args:
            steps: one step of a long row after the other, for `stream`.
        """
        with self._usable(), within_memory(called(path)):
            if steps:
                yield from self.data.read_steps(path)
            else:
                yield from self.data.read_rows(path)

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
    encoder = task.network.encoder
    head_of_task = task.network.head
    if tensor in (None, head_of_task.name) and not task.contract.kind.decoder:
        return head_of_task
    if tensor is None:
        raise UserError(
            f"head {head_of_task.name!r} gives a decoder several tensors: set tensor, such as h_n "
            "or output"
        )
    classes_by_name = {}
    for name, head_class in HEADS.items():
        has_weights = head_class.build is not Head.build or head_class.output_class is not None
        if not has_weights:
            classes_by_name[name] = head_class
    classes_by_name["output"] = HEADS["every_step"]
    if tensor not in classes_by_name:
        names = {*classes_by_name, *encoder.state_sizes}
        raise UserError(f"tensor={tensor}: {choices(tensor, names)}")
    head = classes_by_name[tensor](encoder, lambda width, **options: Output())
    return head.eval()


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

    If the run is being trained longer, or that was interrupted, it is the run before; only `last`
    has the weights of the longer training.

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
    files.read_config()  # A folder without one is no run, which is to be said first.
    result = files.read_result()
    config = trusted_config(files, allowed_targets, trains=False, stretches=result.stretches)
    name = checkpoint
    if checkpoint == "best":
        name = result.weights
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
    # The run shows its optimizer, too, as plain values.
    config["model"] = files.read_config(stretches=result.stretches)["model"]
    if result.calibration and not is_tested:
        log.warning(
            f"{path}: its intervals and probabilities are as they were learned; what the "
            f"validation split corrects is known of {result.weights}.ckpt alone"
        )
    return Run(files.path, config, result, task.eval(), data, saved.get("epoch"), is_tested)
