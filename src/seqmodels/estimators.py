"""Recurrent networks behind scikit-learn's `fit` and `predict`, for sequences of unequal length.

    model = SequenceClassifier(head="mean_pool", max_epochs=30)
    model.fit(X, y)  # X: a list of (T, C) arrays, or of texts
    cross_val_score(model, X, y, groups=subject, cv=GroupKFold(5))

A fit is `seqmodels.train` with the same words, so its run can be loaded, explained and exported.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from seqmodels.data.examples import Examples, cut_off
from seqmodels.data.sources import has_names, one_each, rows_of
from seqmodels.errors import UserError, unusable
from seqmodels.interruption import left_alone
from seqmodels.launch.composed import compose
from seqmodels.machine import one_thread, unchanged_process
from seqmodels.runs import fit, load_run, prepare
from seqmodels.runs.folder import RunFolder, read_metrics

KEYS = {
    "head": "model.head",
    "cell": "model.encoder.cell",
    "hidden_size": "model.encoder.hidden_size",
    "num_layers": "model.encoder.num_layers",
    "bidirectional": "model.encoder.bidirectional",
    "dropout": "model.dropout",
    "max_epochs": "trainer.max_epochs",
    "batch_size": "data.batch_size",
    "lr": "model.optimizer.lr",
    "class_weight": "model.output.class_weights",
    "missing": "data.missing",
}


class SequenceEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What classifiers and regressors share. `fit` checks the parameters.

    Args:
        head, cell, hidden_size, num_layers, bidirectional, dropout, max_epochs, batch_size, lr,
            class_weight, missing: as in the configuration; None: what `experiment` says, or the
            default.
        validation_fraction: the share of the examples that chooses the best weights, and is not
            learned from.
        experiment: a recipe by its name, such as `series_classification`.
        options: further words of the command line: `{"model.embedding.convolutions": [7, 5]}`.
        folder: where to keep the run; None: a temporary one, which goes with the object.
        random_state: the seed.
        verbose: 0 prints nothing.

    Attributes:
        n_features_in_: the number of channels; of series only.
        run_: the run, as `load_run` gives it: `run_.export(...)`.
        history_: the metrics of the training, a dict for each row.
        classes_: of a classifier, the labels in the order of `predict_proba`.
    """

    _task = ""

    def __init__(
        self,
        *,
        head: Any = None,
        cell: Any = None,
        hidden_size: Any = None,
        num_layers: Any = None,
        bidirectional: Any = None,
        dropout: Any = None,
        max_epochs: Any = None,
        batch_size: Any = None,
        lr: Any = None,
        class_weight: Any = None,
        validation_fraction: Any = 0.1,
        missing: Any = None,
        experiment: Any = None,
        options: Any = None,
        folder: Any = None,
        random_state: Any = None,
        verbose: Any = 0,
    ) -> None:
        # The values stay untouched, because `clone` compares them.
        for name, value in locals().copy().items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True  # 2-D is one channel
        tags.input_tags.allow_nan = self.missing not in (None, "error")
        tags.non_deterministic = self.random_state is None
        return tags

    def words(self, texts: bool, seed: int = 0) -> list[str]:
        """The words of the command line that a fit is."""
        words = []
        if self.experiment:
            words.append(f"experiment={self.experiment}")
        words.append(f"model={self._task}")
        if texts:
            words.append("data=text")
        else:
            words += ["data=series", "data.series=series"]
        values = {key: getattr(self, name) for name, key in KEYS.items()}
        values["seed"] = seed
        values.update(self.options or {})
        weights = values["model.output.class_weights"]
        if isinstance(weights, Mapping):  # Names of classes may be no words of a command.
            values["model.output.class_weights"] = None
        words += [f"{key}={_word(value)}" for key, value in values.items() if value is not None]
        return [*words, "baseline=false", f"trainer.enable_progress_bar={bool(self.verbose)}"]

    def fit(self, X: Any, y: Any, *, groups: Any = None, sample_weight: Any = None) -> Any:
        """Trains on sequences and their targets.

        Args:
            X: series `(T, C)`, or texts.
            y: a label or a number for each.
            groups: whose each is: the validation has groups of its own.
            sample_weight: how much each counts in the loss.

        Raises:
            ValueError: for parameters or data that don't fit, in one line.
            TypeError: for an object in the place of a number, such as a dict.
        """
        if y is None:
            raise ValueError("this estimator requires y to be passed, but the target y is None")
        rows = self._rows(X)
        further_columns = _further_columns(groups, sample_weight)
        if len(rows) < 2:
            raise ValueError("X has 1 sample: give one more, to choose the best weights by")
        if "weight" in further_columns and not any(further_columns["weight"]):
            raise ValueError("every sample_weight is zero")
        labels = self._labels(column_or_1d(y, warn=True))
        are_texts = not has_names(rows) and isinstance(rows[0], str)
        seed = self._seed()
        words = self.words(are_texts, seed)
        if "weight" in further_columns:
            words.append("data.weight_column=weight")
        if "group" in further_columns:  # Without this, it would be a channel.
            words.append("data.group=group")
        with _errors(), self._quiet():
            if not are_texts:
                further_columns["series"] = [f"X[{number}]" for number in range(len(rows))]
            tables = self._tables_by_split(rows, labels, further_columns, seed)
            folder = self.folder
            if folder is None:
                # A search would fill the cache with its tables.
                temporary_folder = self._temporary()
                folder = f"{temporary_folder}/run"
                words.append(f"paths.cache={temporary_folder}")
            config = compose(*words, f"folder={folder}")
            if isinstance(self.class_weight, Mapping):
                weights = {f"{name}": weight for name, weight in self.class_weight.items()}
                config.model.output.class_weights = weights
            training = prepare(config, words, tables)
            fit(training, words)
            self._load(folder)
        for guess in training.data.guesses:
            warnings.warn(guess, UserWarning, stacklevel=2)
        self.history_ = read_metrics(Path(folder) / "metrics.csv")
        return self

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _tables_by_split(
        self, rows: Any, labels: Any, further_columns: Mapping[str, Any], seed: int
    ) -> dict[str, Any]:
        """The tables of training and validation; the validation stands for a test, too, which a
        training needs."""
        table = rows_of((rows, labels, further_columns), "X")
        row_numbers = [*range(len(rows))]
        examples = Examples(row_numbers, labels, "fit", further_columns)
        strata = labels if self._task == "classifier" else None
        train, validation = cut_off(examples, self.validation_fraction, seed, "validation", strata)
        return {
            "train": table.take(train.inputs),
            "validation": table.take(validation.inputs),
            "test": table.take(validation.inputs),
        }

    def _temporary(self) -> str:
        """A folder that goes with this object."""
        folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _load(self, folder: str) -> None:
        self.run_ = load_run(folder)
        encoder = getattr(self.run_.data, "inputs", None)
        num_channels = getattr(encoder, "num_channels", None)
        if num_channels is not None:
            self.n_features_in_ = num_channels

    def _rows(self, X: Any) -> Any:
        """The sequences of X, one each."""
        is_tensor = hasattr(X, "unbind")
        if is_tensor:
            return one_each(X)
        if has_names(X) and not issparse(X):  # A sparse array by keys has names, too.
            rows = one_each(X)
            if has_names(rows):
                return rows
        array = np.asarray(X) if hasattr(X, "__array__") else None
        # An array of objects with one axis may hold texts, or an array for each series.
        holds_numbers = array is not None and (array.dtype != object or array.ndim > 1)
        if holds_numbers or issparse(X):
            allows_nan = self.missing not in (None, "error")
            must_be_finite = "allow-nan" if allows_nan else True
            return [
                *check_array(X, ensure_2d=False, allow_nd=True, ensure_all_finite=must_be_finite)
            ]
        if not len(X):
            raise ValueError("X is empty: 0 sample(s) while a minimum of 1 is required")
        return [*X]

    def _predicted(self, X: Any) -> list[dict[str, Any]]:
        check_is_fitted(self)
        with _errors(), self._quiet():
            return self.run_.predict(self._rows(X), "X")

    def encode(self, X: Any, tensor: str | None = None) -> np.ndarray:
        """Features `(N, S)` of sequences: what the head selects, or another tensor by its name."""
        check_is_fitted(self)
        with _errors(), self._quiet():
            features = [row.numpy() for row in self.run_.encode(self._rows(X), tensor)]
            return np.stack(features)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(unchanged_process())
            stack.enter_context(warnings.catch_warnings())
            if multiprocessing.parent_process():  # This is one of several fits at once.
                stack.enter_context(one_thread())
                stack.callback(left_alone.reset, left_alone.set(True))
            if not self.verbose:
                stack.enter_context(redirect_stdout(io.StringIO()))
                stack.enter_context(redirect_stderr(io.StringIO()))
            yield

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__()}
        run = state.pop("run_", None)
        if run is not None:
            state["_files"] = {name: path.read_bytes() for name, path in _files_of(run.folder)}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is None:  # It was not fitted.
            return
        with _errors(), unusable("this pickled fit is damaged: fit again, and pickle that"):
            folder = self._temporary()
            Path(folder, "checkpoints").mkdir()
            for name, path in _files_of(Path(folder)):
                if name not in files:
                    raise UserError(f"this pickled fit lacks {name}: fit again, and pickle that")
                path.write_bytes(files[name])
            self._load(folder)


def _further_columns(groups: Any, sample_weight: Any) -> dict[str, list[Any]]:
    """The columns of a fit beside its sequences and targets, by their names."""
    columns = {}
    if groups is not None:
        columns["group"] = column_or_1d(groups).tolist()
    if sample_weight is not None:
        columns["weight"] = column_or_1d(sample_weight).tolist()
    return columns


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files that a finished run needs, by name. The result comes before the weights, because it
    says which checkpoint has them."""
    run = RunFolder(folder)
    yield "config.yaml", run.config_file
    yield "result.json", run.result_file
    yield "checkpoints/best.ckpt", run.checkpoint_file(run.read_result().weights)


class SequenceClassifier(ClassifierMixin, SequenceEstimator):  # type: ignore[misc]
    """Classifies sequences. Parameters and attributes: `SequenceEstimator`."""

    _task = "classifier"

    def _labels(self, y: Any) -> list[str]:
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]}: a classifier needs two")
        return [f"{self.classes_[number]}" for number in numbers]

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, `(N, C)`."""
        predictions = self._predicted(X)
        names = [f"{label}" for label in self.classes_]
        probabilities = []
        for prediction in predictions:
            probability_by_name = prediction["probabilities"]
            probabilities.append([probability_by_name.get(name, 0.0) for name in names])
        return np.array(probabilities)

    def predict(self, X: Any) -> np.ndarray:
        """The label of each sequence, of the type of `y`."""
        numbers = self.predict_proba(X).argmax(axis=1)
        return self.classes_[numbers]


class SequenceRegressor(RegressorMixin, SequenceEstimator):  # type: ignore[misc]
    """Predicts a number for each sequence. Parameters and attributes: `SequenceEstimator`."""

    _task = "regressor"

    def words(self, texts: bool, seed: int = 0) -> list[str]:
        return [*super().words(texts, seed), "data.value_columns=[label]"]

    def _labels(self, y: Any) -> list[float]:
        return np.asarray(y, float).tolist()

    def predict(self, X: Any) -> np.ndarray:
        """The number of each sequence."""
        return np.array([row["label"] for row in self._predicted(X)])


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [f"{name}:{_word(content)}" for name, content in value.items()]
        return "{" + ",".join(pairs) + "}"
    if hasattr(value, "item"):  # It is a number of NumPy.
        value = value.item()
    return json.dumps(value)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except UserError as error:  # scikit-learn doesn't know this type.
        raise ValueError(str(error)) from error
