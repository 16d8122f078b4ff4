"""scikit-learn's `fit` and `predict`: what it does with an estimator, on lists of ragged series."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import signal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from scipy.sparse import dok_array
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    StratifiedGroupKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.utils.estimator_checks import check_estimator

from seqmodels import compose, train
from seqmodels.errors import UserError
from seqmodels.estimators import SequenceClassifier, SequenceRegressor

SERIES, CHANNELS = 48, 2
SPLITS = ("train", "validation", "test")
GROUPS = np.arange(SERIES) % 6


def ragged() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [
        random.normal(size=(random.integers(3, 9), CHANNELS)) + 2 * (n % 2) for n in range(SERIES)
    ]


X, Y = ragged(), np.array(["no", "yes"])[np.arange(SERIES) % 2]


def small_estimator(**options: Any) -> SequenceClassifier:
    fast = {"max_epochs": 3, "hidden_size": 8, "head": "mean_pool", "lr": 0.03, "random_state": 0}
    return SequenceClassifier(**{**fast, **options})


@pytest.fixture(scope="module")
def fitted() -> SequenceClassifier:
    return small_estimator().fit(X, Y)


@pytest.mark.parametrize("names", [(True, False), ("a b", "c:d"), (1e3, 2e3), ("null", "[x]")])
def test_class_weights_are_by_any_name(names: tuple[Any, Any]) -> None:
    y = np.array([names[n % 2] for n in range(SERIES)], dtype=object if "a b" in names else None)
    model = small_estimator(max_epochs=1, class_weight={y[0]: 5, y[1]: 1}).fit(X, y)
    weights = model.run_.config["model"]["output"]["class_weights"]
    assert weights == {f"{y[0]}": 5, f"{y[1]}": 1}


# ---------------------------------------------------------------- what it promises


def test_a_fit_is_a_training_with_the_same_words(tmp_path: Path) -> None:
    model = small_estimator(folder=str(tmp_path / "fit"), options={"model.dropout": 0.2}).fit(X, Y)
    words = model.words(texts=False)
    assert "model.dropout=0.2" in words and 'model.head="mean_pool"' in words
    data = {s: pd.read_parquet(p) for s, p in model.run_.config["data"].items() if s in SPLITS}
    train(compose(*words, f"folder={tmp_path / 'train'}"), words, data=data)
    one, two = (
        torch.load(tmp_path / name / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for name in ("fit", "train")
    )
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_predictions_stand_in_the_order_of_the_inputs(fitted: SequenceClassifier) -> None:
    assert fitted.classes_.tolist() == ["no", "yes"] and fitted.n_features_in_ == CHANNELS
    shares = fitted.predict_proba(X)
    assert shares.shape == (SERIES, 2) and np.allclose(shares.sum(axis=1), 1)
    order = np.random.default_rng(1).permutation(SERIES)
    assert np.allclose(fitted.predict_proba([X[n] for n in order]), shares[order], atol=1e-6)
    assert (fitted.predict(X) == np.array(["no", "yes"])[shares.argmax(axis=1)]).all()
    assert fitted.score(X, Y) > 0.9 and fitted.encode(X).shape == (SERIES, 8)
    assert len(fitted.history_) >= 3 and fitted.run_.result.head == "mean_pool"


@pytest.mark.long
@pytest.mark.parametrize("labels", [np.array([3, 7]), np.array([False, True]), ["b", "a"]])
def test_labels_keep_their_type(labels: Any) -> None:
    y = np.asarray(labels)[np.arange(SERIES) % 2]
    made = small_estimator(max_epochs=1).fit(X, y).predict(X)
    assert made.dtype == y.dtype and {*made} <= {*y}


@pytest.mark.parametrize("dump", [pickle.dumps, None])
def test_what_was_fitted_outlives_its_folder(dump: Any, tmp_path: Path) -> None:
    model = small_estimator(max_epochs=1).fit(X, Y)
    shares, folder = model.predict_proba(X), model.run_.folder
    if dump:
        kept = dump(model)
    else:
        joblib.dump(model, tmp_path / "model.joblib")
    del model
    gc.collect()  # A training leaves objects that refer to each other.
    assert not folder.exists()
    loaded = pickle.loads(kept) if dump else joblib.load(tmp_path / "model.joblib")
    assert np.array_equal(loaded.predict_proba(X), shares)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda files: files.pop("checkpoints/best.ckpt"), "lacks checkpoints/best.ckpt: fit aga"),
        (lambda files: files.clear(), "this pickled fit lacks config.yaml: fit again, and pickle"),
        (
            lambda files: files.update({"result.json": None}),
            "pickled fit is damaged: fit again",
        ),
        (lambda files: files.update({"result.json": b"{"}), "result.json is not JSON"),
    ],
)
def test_a_damaged_pickle_is_a_value_error_of_one_line(
    fitted: SequenceClassifier, damage: Any, said: str
) -> None:
    state = fitted.__getstate__()
    damage(state["_files"])
    with pytest.raises(ValueError, match=said) as caught:
        SequenceClassifier().__setstate__(state)
    assert not isinstance(caught.value, UserError) and "\n" not in str(caught.value)


def test_a_fit_is_silent_and_leaves_the_process_as_it_was(capfd: Any) -> None:
    np.random.seed(3), torch.manual_seed(3)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    small_estimator(max_epochs=1).fit(X, Y).predict(X)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("worker", [False, True])
def test_a_fit_handles_signals_unless_it_is_a_worker_s(worker: bool, monkeypatch: Any) -> None:
    handled, handle = [], signal.signal
    monkeypatch.setattr(signal, "signal", lambda *given: handled.append(given) or handle(*given))
    if worker:  # of joblib's
        monkeypatch.setattr(multiprocessing, "parent_process", lambda: "parent")
    small_estimator(max_epochs=1).fit(X, Y)
    assert bool(handled) is not worker


def test_groups_and_weights_reach_the_training(tmp_path: Path) -> None:
    weights = np.where(GROUPS == 0, 2.0, 1.0)
    model = small_estimator(folder=str(tmp_path / "run"), max_epochs=1)
    model.fit(X, Y, groups=GROUPS, sample_weight=weights)
    assert model.n_features_in_ == CHANNELS  # neither is a channel
    assert model.predict(X).shape == (SERIES,)
    parts = {s: pd.read_parquet(model.run_.config["data"][s]) for s in SPLITS}
    assert not {*parts["train"].group} & {*parts["validation"].group}
    assert len(parts["train"]) + len(parts["validation"]) == SERIES
    assert parts["validation"].equals(parts["test"])
    assert (parts["train"].weight == np.where(parts["train"].group == 0, 2.0, 1.0)).all()


@pytest.mark.long
def test_a_regressor_predicts_numbers_and_texts_are_sequences_too() -> None:
    y = [x.mean() for x in X]
    fast = {"max_epochs": 15, "hidden_size": 8, "head": "mean_pool", "lr": 0.03}
    model = SequenceRegressor(**fast, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8 and model.predict(X).shape == (SERIES,)
    assert is_regressor(model) and is_classifier(small_estimator())
    texts = [f"{'good' if label == 'yes' else 'bad'} film {n % 3}" for n, label in enumerate(Y)]
    assert (
        small_estimator(max_epochs=8, options={"data.min_count": 1}).fit(texts, Y).score(texts, Y)
        > 0.9
    )


@pytest.mark.long
@pytest.mark.parametrize(
    "given",
    [
        pd.Series(X),
        np.array([x[:3] for x in X]),
        np.array([x[:3] for x in X], dtype=object),
        pd.DataFrame({"a": [[*x[:, 0]] for x in X], "b": [[*x[:, 1]] for x in X]}),
        [torch.tensor(x) for x in X],
        [x[:3, 0] for x in X],
        np.stack([x[:3, 0] for x in X]),
    ],
    ids=["Series", "array", "objects", "DataFrame", "tensors", "one channel", "2-D"],
)
def test_series_come_in_many_containers(given: Any) -> None:
    model = small_estimator(max_epochs=1).fit(given, Y)
    assert model.predict(given).shape == (SERIES,)


def test_the_validation_of_a_fit_has_the_shares_of_the_classes(tmp_path: Path) -> None:
    y = np.array(["rare", "usual", "usual", "usual"])[np.arange(SERIES) % 4]
    model = small_estimator(folder=str(tmp_path / "run"), max_epochs=1, validation_fraction=0.25)
    files = model.fit(X, y).run_.config["data"]
    labels = pd.read_parquet(files["validation"]).label
    assert labels.value_counts().to_dict() == {"usual": 9, "rare": 3}


def test_scikit_learn_is_told_whether_gaps_are_allowed() -> None:
    told = {m: small_estimator(missing=m).__sklearn_tags__().input_tags.allow_nan
            for m in (None, "error", "mark", "last")}  # fmt: skip
    assert told == {None: False, "error": False, "mark": True, "last": True}


# ---------------------------------------------------------------- inside scikit-learn


def test_a_cross_validation_by_groups_is_a_loop_by_hand() -> None:
    model, cv = small_estimator(), GroupKFold(3)
    scores = cross_val_score(model, X, Y, groups=GROUPS, cv=cv)
    by_hand = [
        clone(model).fit([X[n] for n in a], Y[a]).score([X[n] for n in b], Y[b])
        for a, b in cv.split(X, Y, GROUPS)
    ]
    assert scores.tolist() == by_hand


@pytest.mark.long
def test_routed_groups_keep_the_inner_validation_apart() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        model = small_estimator(max_epochs=1).set_fit_request(groups=True)
        how = {"params": {"groups": GROUPS}, "return_estimator": True, "error_score": "raise"}
        found = cross_validate(model, X, Y, cv=GroupKFold(3), **how)["estimator"]
    for each in found:
        data = each.run_.config["data"]
        groups = [{*pd.read_parquet(data[split]).group} for split in ("train", "validation")]
        assert len(groups[0] | groups[1]) == 4 and not groups[0] & groups[1]


@pytest.mark.long
def test_a_search_by_groups_finds_the_better_head() -> None:
    grid = {"head": ["mean_pool", "max_pool"], "hidden_size": [4]}
    cv = StratifiedGroupKFold(2)
    found = GridSearchCV(small_estimator(max_epochs=1), grid, cv=cv).fit(X, Y, groups=GROUPS)
    assert len(found.cv_results_["params"]) == 2 and found.best_estimator_.hidden_size == 4


@pytest.mark.parametrize(
    "use",
    [
        lambda model: cross_val_predict(model, X, Y, cv=2),
        lambda model: (
            HalvingGridSearchCV(model, {"head": ["mean_pool"]}, cv=2, min_resources=24)
            .fit(X, Y)
            .predict(X)
        ),
        lambda model: CalibratedClassifierCV(model, cv=2).fit(X, Y).predict(X),
        lambda model: TunedThresholdClassifierCV(model, cv=2).fit(X, Y).predict(X),
        lambda model: StackingClassifier([("a", model)], cv=2).fit(X, Y).predict(X),
        lambda model: VotingClassifier([("a", model), ("b", clone(model))]).fit(X, Y).predict(X),
        lambda model: learning_curve(model, X, Y, cv=2, train_sizes=[0.5, 1.0])[1],
        lambda model: cross_val_score(model, X, Y, cv=2, n_jobs=2),
    ],
    ids=["predict", "halving", "calibrated", "threshold", "stacking", "voting", "curve", "jobs"],
)
@pytest.mark.long
def test_scikit_learn_takes_a_list_of_ragged_series(use: Any) -> None:
    assert len(use(small_estimator(max_epochs=1)))


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of scikit-learn's own checks
@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_the_checks_of_scikit_learn_pass_but_those_that_cannot(kind: Any) -> None:
    model = kind(max_epochs=1, hidden_size=4, random_state=0)
    check_estimator(model, expected_failed_checks=FAILS, on_skip=None)


ONE_CHANNEL = "a row of a matrix is a series of one channel, so it may have any number of columns"
SHORT = "a network of one epoch on 20 rows is no better than chance"
FAILS = {
    **dict.fromkeys(("check_n_features_in", "check_n_features_in_after_fitting"), ONE_CHANNEL),
    **dict.fromkeys(("check_fit2d_predict1d",), ONE_CHANNEL),
    **dict.fromkeys(("check_classifiers_train", "check_regressors_train"), ONE_CHANNEL),
    **dict.fromkeys(("check_class_weight_classifiers",), SHORT),
    "check_sample_weight_equivalence_on_dense_data": "a repeated row changes the batches",
}

# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m: m.predict([x[:, :1] for x in X]), ValueError, "series 1 has shape"),
        (lambda m: small_estimator().predict(X), NotFittedError, "not fitted yet"),
        (lambda m: small_estimator().fit(X, ["a"] * SERIES), ValueError, "y has one class, a: "),
        (lambda m: m.fit(dok_array(np.eye(9)), Y[:9]), TypeError, "Sparse data was passed"),
        (
            lambda m: m.fit(np.array([[{}, 1]] * 9), Y[:9]),
            TypeError,
            "must be .* number, not 'dict'",
        ),
        (lambda m: small_estimator().fit([x.T for x in X], Y), ValueError, "steps come first"),
        (lambda m: small_estimator().fit(X, Y[:5]), ValueError, "48 inputs and 5 of"),
        (
            lambda m: small_estimator(head="nope").fit(X, Y),
            ValueError,
            "model.head=nope: choose one of",
        ),
        (
            lambda m: small_estimator().fit([*X[:-1], X[0][:0]], Y),
            ValueError,
            "X: series 48 has shape",
        ),
        (
            lambda m: small_estimator().fit([*X[:-1], X[0] * np.nan], Y),
            ValueError,
            r"series X\[47\] has",
        ),
        (
            lambda m: small_estimator().fit([pd.DataFrame({"label": x[:, 0]}) for x in X], Y),
            ValueError,
            "'label' is a channel and beside the series",
        ),
        (lambda m: small_estimator(missing="no").fit(X, Y), ValueError, "data.missing=no"),
        (lambda m: small_estimator(experiment="no").fit(X, Y), ValueError, "experiment"),
    ],
)
def test_what_is_wrong_is_one_line_that_scikit_learn_knows(
    call: Any, error: type, said: str, fitted: SequenceClassifier
) -> None:
    with pytest.raises(error, match=said) as found:
        call(fitted)
    assert type(found.value) is error and "\n" not in str(found.value)
