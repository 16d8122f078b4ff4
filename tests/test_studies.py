"""`examples/studies`: what is trained, what a look changes, and what is made of the results."""

from __future__ import annotations

import importlib
import json
import math
import re
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy import stats

from seqmodels.batch import SequenceBatch
from seqmodels.errors import UserError
from seqmodels.instantiate import instantiate
from seqmodels.nn.encoder import RecurrentEncoder
from tests.conftest import ROOT, Config

FOLDER = ROOT / "examples" / "studies"

pytestmark = pytest.mark.usefixtures("examples_importable", "modules_of_their_own")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("study")


@pytest.fixture
def looks(study: ModuleType) -> ModuleType:
    return importlib.import_module("looks")


def answers(name: str) -> ModuleType:
    return importlib.import_module(name)


# ---------------------------------------------------------------- what is trained


def test_a_later_table_replaces_a_set_and_its_files_lie_beside_it(
    study: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "a, b.csv").touch()
    (tmp_path / "mine.yaml").write_text("GunPoint: {kind: texts, data.train: 'a, b.csv'}")
    sets = study.read_sets([FOLDER / "sets.yaml", tmp_path / "mine.yaml"])
    assert len(sets) == 22 and Counter(words["kind"] for words in sets.values())["texts"] == 6
    assert sets["GunPoint"] == {"kind": "texts", "data.train": tmp_path / "a, b.csv"}
    words = study.words_of(sets["GunPoint"], study.Arm("a", ("model.head=max_pool",)), 2)
    read = OverridesParser.create().parse_overrides(words)
    values = {word.key_or_group: word for word in read}
    assert values["data.train"].value() == str(tmp_path / "a, b.csv")
    assert not any(word.is_sweep_override() for word in read)
    assert values["seed"].value() == 2 and values["trainer.max_epochs"].value() == -1


def test_a_file_that_was_not_fetched_is_named_with_its_command(study: ModuleType) -> None:
    words = {"kind": "texts", "data.train": "files/nowhere.csv"}
    with pytest.raises(UserError, match="files/nowhere.csv is missing: python .*fetch.py"):
        study.words_of(words, study.Arm("a", ()), 0)


def test_a_set_needs_a_kind(study: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine: {data.train: a.csv}")
    with pytest.raises(UserError, match="mine has kind=None: series or texts"):
        study.read_sets([tmp_path / "mine.yaml"])


@pytest.mark.parametrize(
    ("words", "message"),
    [(("hedas",), "hedas: .*heads"), ((), "Gunpoint is no data set: .*GunPoint")],
)
def test_an_unknown_name_is_named(study: ModuleType, words: tuple[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        study.main.__wrapped__(*words, only=["Gunpoint"])


def test_a_study_that_is_whole_says_so_and_trains_nothing(
    study: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    study.main.__wrapped__(only=["GunPoint", "trec"])
    assert capsys.readouterr().out.endswith("results.jsonl has all of these trainings\n")


def test_cells_have_as_many_weights_as_the_lstm(study: ModuleType) -> None:
    study.prepare_process()
    arms = sys.modules["arms"]

    def weights(cell: str, inputs: int, units: int) -> int:
        encoder = RecurrentEncoder(inputs, units, cell=cell, bidirectional=True)
        return sum(weight.numel() for weight in encoder.parameters())

    for (kind, inputs), cell in product((("series", 128), ("texts", 256)), arms.CELLS):
        wanted = weights("lstm", inputs, arms.UNITS)
        units = arms.UNITS_OF_CELL[kind][cell]
        near = [weights(cell, inputs, units + more) / wanted - 1 for more in (-1, 0, 1)]
        assert min(near, key=abs) == near[1], (kind, cell)


@pytest.mark.parametrize("cut", [False, True])
def test_training_on_a_fifth_leaves_validation_and_test_as_they_are(
    config: Config, tmp_path: Path, cut: bool
) -> None:
    rows = [f"{'ab'[n % 2]} {n},{'xy'[n % 2]}" for n in range(200)]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "test.csv").write_text("\n".join(["text,label", "a 0,x", "b 1,y"]))
    words = ["data=text", f"data.train={tmp_path / 'train.csv'}"]
    words += [] if cut else [f"data.test={tmp_path / 'test.csv'}"]
    fifth = "data._target_=examples.studies.fifth.FifthOfTexts"
    imported = "imports=[examples.studies.fifth]"
    found: list[Any] = []
    for more in ([], [fifth]):
        composed = config(*words, imported, *more)
        data = instantiate(composed.data, key="data", allowed_targets=[fifth.partition("=")[2]])
        data.setup()
        found.append(data.examples)
    whole, less = found
    for split in ("validation", "test"):
        assert [*less[split].inputs] == [*whole[split].inputs]
    assert {*less["train"].inputs} < {*whole["train"].inputs}
    assert len(less["train"].inputs) == round(len(whole["train"].inputs) / 5)
    assert Counter(less["train"].targets)["x"] == len(less["train"].inputs) / 2


# ---------------------------------------------------------------- what is looked at


@pytest.mark.parametrize(("dtype", "hides"), [(torch.float32, 0), (torch.int64, 1)])
def test_a_quarter_of_each_row_is_hidden_and_no_padding(
    looks: ModuleType, dtype: torch.dtype, hides: int
) -> None:
    lengths, times = torch.tensor([9, 5]), torch.zeros(2, 9)
    for quarter in range(4):
        inputs = torch.full((2, 9, 3), 5.0) if dtype is torch.float32 else torch.full((2, 9), 5)
        batch = looks.hide_quarter(SequenceBatch(inputs, lengths), quarter)
        hidden = (batch.inputs == hides).reshape(2, 9, -1).all(2)
        assert hidden.any(1).all() and hidden.sum() <= 5
        times += hidden
    assert times.tolist() == [[1] * 9, [1] * 5 + [0] * 4]


@pytest.fixture
def small_set(tmp_path: Path) -> dict[str, Any]:
    rows = [f"{'good' if n % 2 else 'bad'} text {n % 7},{n % 2}" for n in range(60)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    return {"kind": "texts", "data.train": tmp_path / "texts.csv", "data.batch_size": 8}


def test_looks_change_nothing_of_a_training(
    study: ModuleType, looks: ModuleType, small_set: dict[str, Any], tmp_path: Path
) -> None:
    """Twelve steps with a look at every second, at the last alone, and at none."""
    study.prepare_process()
    weights = []
    arm = study.Arm("a", ("model.head=max_pool", "model.encoder.hidden_size=4"))
    for number, (interval, watches) in enumerate([(2, True), (12, True), (12, False)]):
        words = study.words_of(small_set, arm, 0)
        words += ["trainer.max_steps=12", f"trainer.val_check_interval={interval}"]
        words.append(f"folder={tmp_path / str(number)}")
        watching = looks.Looks(takes_best=False)
        kept = looks.Looks(takes_best=False)
        if not watches:
            kept.logits_of = lambda split: (torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
            watching = kept
        study.train(study.compose(*words), words, [watching])
        watching.take_weights()
        weights.append(torch.cat([w.flatten() for w in watching.network.parameters()]))
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[1], weights[2])


def test_a_line_holds_what_the_weights_of_the_best_validation_give(
    study: ModuleType, small_set: dict[str, Any]
) -> None:
    study.prepare_process()
    [arm] = [arm for arm in sys.modules["arms"].arms_of_heads("texts") if arm.name == "mean_pool"]
    run = study.Run("mine", "mean_pool", 0)
    found = study.train_run(run, small_set, arm, 3)
    assert found["steps"] == [1, 2, 3] and sum(found["examples"].values()) == 60
    best = max(found["validation_accuracy"])
    assert found["validation_accuracy"][found["taken"]] == best
    assert found["test"] == found["test_accuracy"][found["taken"]]
    # The weights that are tested afterwards are those of that look.
    assert found["loss_as_it_is"] == pytest.approx(found["test_loss"][found["taken"]], abs=1e-4)
    assert len(found["hidden"]) == 4 and found["parameters"] > 100_000
    assert 0 <= found["error_as_it_is"] <= 1 and found["seconds"] > 0
    assert json.loads(json.dumps(found)) == found


# ---------------------------------------------------------------- what is made of the results


def result(name: str, arm: str, seed: int, test: float, **more: Any) -> dict[str, Any]:
    return {
        **{"set": name, "arm": arm, "seed": seed, "test": test, "taken": 1, "kind": "series"},
        **{
            "examples": {"train": 50, "validation": 40},
            "length": 10,
            "parameters": 1000,
            "seconds": 2.0,
        },
        **{"test_accuracy": [0.5, test], "validation_accuracy": [0.6, 0.5]},
        **{"validation_loss": [1.0, 1.0], "hidden": [test] * 4, "temperature": 2.0},
        **{"error_as_it_is": 0.2, "error_divided": 0.1, "loss_as_it_is": 1.0, "loss_divided": 0.9},
        **more,
    }


def results_of_heads() -> list[dict[str, Any]]:
    """Eight sets on which each head is a point worse than the one before; two seeds."""
    arms = sys.modules["arms"]
    found = []
    for number, seed in product(range(8), (0, 1)):
        name, kind = f"set_{number}", "texts" if number > 5 else "series"
        more = {
            "kind": kind,
            "length": number,
            "examples": {"train": 80 + 10 * number, "validation": 40},
        }
        for place, head in enumerate(arms.HEADS):
            test = 0.9 - place / 100 - number / 50 + seed / 1000
            hidden = [test - 0.2 * (quarter == number % 2) for quarter in range(4)]
            found.append(result(name, head, seed, test, hidden=hidden, **more))
            few = more | {"examples": {"train": 10 * number, "validation": 40}}
            found.append(result(name, f"{head}, a fifth", seed, test - 0.1, **few))
        for place, arm in enumerate((arms.END_OF_BOTH.name, arms.ONE_DIRECTION.name)):
            found.append(result(name, arm, seed, 0.8 + place / 100, **more))
        for wrong_head in arms.WRONG:
            batches = {"one by one": 0.1, "all in one": 0.2}
            found.append(result(name, wrong_head, seed, 0.3, **batches, **more))
    return found


def test_the_tables_of_heads(study: ModuleType, tmp_path: Path) -> None:
    text = "\n".join(answers("heads").answer(results_of_heads(), tmp_path))
    for line in (
        "| `concat_pool` | 8 | 1.00 | 83.05 | 8 |  |  |  |  |",
        "| `max_pool` | 8 | 2.00 | 82.05 | 0 | -1.00 | -1.00 | -1.00 | 0.164 |",
        "| head | series (6) | texts (2) | short (4) | long (4) | small (4) | large (4) |",
        "| up to 95 series (2) | -1.0 | -5.0 | -6.0 |",
        "| `max_pool` | 10.00 | 10.00 | 0.00 | 0.00 |",
        "| `max_pool` | -10.00 |",
        "Final states alone beside poolings: 0.00 points in the median, p = 1.000.",
        "on 5 sets with at most 40 series in the fifth, `max_pool` is above `concat_pool` on 0 and "
        "below on 5, -1.00 points",
        "| *median* | -48.0 | -68.0 | -58.0 | -49.0 | -69.0 | -59.1 |",
    ):
        assert line in text, line
    assert {file.name for file in tmp_path.iterdir()} == {
        *("which_head_ranks.png", "which_head_sets.png")
    }


@pytest.mark.parametrize(("sets", "told"), [(7, True), (8, False)])
def test_a_difference_that_hangs_on_a_set_is_told(study: ModuleType, sets: int, told: bool) -> None:
    points = [-1.0, *range(2, sets + 1)]  # The smallest difference is against the others.
    scores = {f"set_{n}": {"x": 50 + point, "y": 50.0} for n, point in enumerate(points)}
    p_without = [
        stats.wilcoxon([*points[:n], *points[n + 1 :]], method="exact").pvalue for n in range(sets)
    ]
    assert sum(p >= 0.05 for p in p_without) == (6 if told else 0)
    across = answers("tables").compared(scores, ["x", "y"])
    sentence = "`x` and `y`: p = 0.031, but not below 0.05 without any one of 6 of the 7 sets."
    assert answers("heads").pairs_that_hang_on_a_set(across) == [sentence] * told


def test_pictures_of_your_own_results_come_into_a_new_folder(
    study: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [json.dumps(found) for found in results_of_heads()]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    folder = tmp_path / "new" / "pictures"
    monkeypatch.setattr(sys, "argv", ["heads.py", str(tmp_path / "mine.jsonl"), str(folder)])
    answers("tables").print_answer(answers("heads").answer)
    assert "| `concat_pool` | 8 |" in capsys.readouterr().out
    assert (folder / "which_head_ranks.png").is_file()


@pytest.mark.parametrize("name", ["heads", "cells", "chosen_by_test", "calibration"])
def test_a_study_that_has_just_begun_says_what_it_lacks(study: ModuleType, name: str) -> None:
    answer = answers(name).answer
    assert "No set has all of this yet." in answer([])
    [one_seed_of_a_head] = results_of_heads()[:1]
    lines = answer([one_seed_of_a_head])
    assert ("No set has all of this yet." in lines) == (name != "calibration")


def test_what_the_test_chooses(study: ModuleType, tmp_path: Path) -> None:
    module = answers("chosen_by_test")
    found = []
    for number in range(8):
        test = [0.5, 0.8 + number / 100, 0.7, 0.75]
        more = {"test_accuracy": test, "validation_accuracy": [0.5, 0.6, 0.9, 0.9]}
        more["validation_loss"] = [1, 1, 0.5, 0.6]
        found.append(result(f"set_{number}", "concat_pool", 0, 0.75, **more))
    text = "\n".join(module.answer(found, tmp_path))
    # The accuracy of the validation is best at the last two looks, and the loss at the third.
    assert "| set_3 | 75.00 | 70.00 | 83.00 |" in text
    assert "by the test above last: 8.50 points in the median of 8 sets" in text
    assert "by the test above by the validation: 13.50 points" in text
    assert (tmp_path / "chosen_by_test.png").is_file()


def test_the_lstm_stands_in_the_published_table_by_its_accuracy(study: ModuleType) -> None:
    module = answers("chosen_by_test")
    numbers = {"last": 99.0}
    settings = {module.EPOCHS_TOO.format("test"): 99.5}
    lines = module.published_with_lstm(
        dict.fromkeys(module.SETS, numbers), dict.fromkeys(module.SETS, settings)
    )
    best = [line.split(" | ")[0].strip("| *") for line in lines[2:6]]
    chosen_by_test = "LSTM: setting and epoch by the test"
    assert best == ["InterpGN", chosen_by_test, "TimeMixer++", "LSTM: the recipe, the last epoch"]
    assert len(module.published_with_lstm({}, {})) == len(lines) - 2


def test_a_setting_is_chosen_of_those_that_are_drawn(study: ModuleType) -> None:
    module = answers("chosen_by_test")
    # The validation orders the settings as the test does not: the best of it is the worst.
    settings = [
        result(
            "a",
            "concat_pool" if n == 7 else str(n),
            0,
            n / 100,
            **{"validation_accuracy": [0, -n / 100], "test_accuracy": [0.1, n / 100]},
        )
        for n in range(20)
    ]
    chosen = module.choices_of(settings)
    assert chosen["all by the test"] == 19 and chosen["all by the validation"] == 0
    assert chosen["the recipe"] == pytest.approx(7)
    # The validation prefers a first look, and the test the last one of its best setting.
    assert chosen[module.EPOCHS_TOO.format("validation")] == 10
    assert chosen[module.EPOCHS_TOO.format("test")] == 19
    # Of five of the numbers 0 to 19, the largest is 16.5 on average, and the smallest 2.5.
    assert chosen["5 by the test"] == pytest.approx(16.5, abs=0.6)
    assert chosen["5 by the validation"] == pytest.approx(2.5, abs=0.6)


def test_the_tables_of_cells_and_sizes(study: ModuleType) -> None:
    arms = sys.modules["arms"]
    names = ["concat_pool", *arms.CELLS, *(f"{units} x {layers}" for units, layers in arms.SIZES)]
    found = [
        # The second seed was trained on another machine.
        result(f"set_{n}", arm, seed, 0.9 - place / 100, seconds=50.0 if seed else 2.0 + place)
        for n, seed, (place, arm) in product(range(6), (0, 1), enumerate(names))
    ]
    # A third seed of one cell alone is compared with nothing.
    found += [result(f"set_{n}", "gru", 2, 1.0) for n in range(6)]
    text = "\n".join(answers("cells").answer(found))
    assert "| `lstm` | 6 | 1.00 |" in text and "| `128 x 1` | 6 | 1.00 |" in text
    assert "`gru` above `lstm`: -1.00 points in the median" in text
    assert "| `gru` | 1.00 | 1.50 |" in text  # thousands of parameters, and time by the LSTM's


def test_the_table_of_calibration_reads_the_head_of_each_recipe(study: ModuleType) -> None:
    found = []
    for number in range(8):
        kind, head = (("texts", "max_pool"), ("series", "concat_pool"))[number % 2]
        error = 0.3 if number == 0 else 0.1
        found.append(result(f"set_{number}", head, 0, 0.5, kind=kind, error_divided=error))
        found.append(result(f"set_{number}", "mean_pool", 0, 0.5, kind=kind, error_divided=9.0))
    text = "\n".join(answers("calibration").answer(found))
    assert "| set_0 | 20.00 | 30.00 | 100.00 | 90.00 | 2.00 |" in text
    assert "error, %: falls on 7 of 8 sets, by 10.00 in the median" in text


def test_a_mean_is_over_the_seeds_that_all_arms_of_a_set_have(study: ModuleType) -> None:
    found = [result("a", "x", seed, test) for seed, test in enumerate((0.1, 0.3, 0.8))]
    found += [result("a", "y", seed, 0.5) for seed in (1, 0)]
    found += [result("b", "x", 2, 0.7), result("c", "x", 0, 0.7), result("c", "y", 1, 0.7)]
    scores = answers("tables").mean_over_seeds(found)
    assert scores == {"a": {"x": pytest.approx(0.2), "y": 0.5}, "b": {"x": 0.7}}
    assert answers("tables").mean_over_seeds(found, ["x"])["a"] == {"x": pytest.approx(0.4)}
    assert answers("tables").mean_over_seeds([]) == {}


def test_an_interval_of_a_median_holds_it(study: ModuleType) -> None:
    middle, low, high = answers("tables").median_with_interval([1.0, 2.0, 3.0, 4.0, 100.0])
    assert middle == 3 and 1 <= low < 3 < high <= 100
    assert answers("tables").median_with_interval([2.0]) == (2, 2, 2)


# The pages of the studies, and the file that makes their tables.
PAGES = [("which_head", "heads"), ("which_cell", "cells"), ("chosen_by_test", "chosen_by_test")]


@pytest.mark.parametrize(("page", "name"), PAGES)
def test_every_number_of_a_page_is_in_the_results_that_are_kept(
    study: ModuleType, page: str, name: str
) -> None:
    made = [*answers(name).answer(sys.modules["tables"].read_results())]
    numbers = {*re.findall(r"\d+\.\d\d+", "\n".join(made))}
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    for section in text.split("\n## "):
        rows = [line for line in section.splitlines() if line.startswith("| ")]
        assert {*rows} <= {*made}, section.partition("\n")[0]
    shown = re.findall(r"\d+\.\d\d+", text)
    assert shown and {*shown} <= numbers
    sentences = "\n".join(made)
    for p in re.findall(r"p [=<] 0\.\d+", text):
        assert p in sentences, p


def test_the_lines_that_are_kept_are_those_of_the_studies(study: ModuleType) -> None:
    """The file of the results has each training once, of sets, arms and seeds that there are."""
    results = study.read_results(FOLDER / "results.jsonl")
    runs = [study.run_of(found) for found in results]
    sets = study.read_sets([FOLDER / "sets.yaml"])
    names = {
        kind: {arm.name for arm in arms} for kind, arms in study.arms_by_kind(study.STUDIES).items()
    }
    assert len({*runs}) == len(runs)
    for run, found in zip(runs, results, strict=True):
        assert run.arm in names[sets[run.set]["kind"]] and run.seed in range(3)
        assert len(found["steps"]) == 20 == len(found["test_accuracy"])
        assert math.isfinite(found["test_loss"][-1]) and 0 <= found["test"] <= 1


# ---------------------------------------------------------------- as a user runs it


def test_files_are_made_of_what_others_publish(study: ModuleType, tmp_path: Path) -> None:
    fetch = answers("fetch")
    (tmp_path / "texts.all").write_bytes("1 b caf\xe9\n\n0 a\n".encode("latin-1"))
    table = fetch.labelled_lines((tmp_path / "texts.all").as_uri())
    assert table.to_dict("list") == {"text": ["a", "b caf\xe9"], "label": ["0", "1"]}
    made = fetch.pd.DataFrame({"tid": [2, 1, 1], "time": [0, 5, 3]})
    made["space"], made["label"] = ["1.5 2", "3 4", "-5 6"], ["x", "y", "y"]
    made.to_parquet(tmp_path / "made.parquet")
    table = fetch.trajectories((tmp_path / "made.parquet").as_uri())
    assert table[["tid", "time", "x", "y"]].to_numpy().tolist() == [
        *([1, 3, -5, 6], [1, 5, 3, 4], [2, 0, 1.5, 2])
    ]
    assert {name.partition(".")[0] for name in fetch.SOURCES} == {
        Path(words["data.train"]).stem if "test" not in key else Path(words[key]).stem
        for words in study.read_sets([FOLDER / "sets.yaml"]).values()
        for key in words
        if key in ("data.train", "data.test")
    }


@pytest.mark.long
def test_a_small_study_is_finished_by_the_same_command(
    small_set: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text("mine: {kind: texts, data.train: texts.csv}")
    command = [sys.executable, str(FOLDER / "study.py"), "heads", "mistakes", "fifth"]
    command += ["sets=mine.yaml", "only=[GunPoint,mine]", "output=made.jsonl", "seeds=1", "steps=2"]

    def run() -> list[str]:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "made.jsonl").read_text().splitlines()

    first = run()
    assert len(first) == 2 * (9 + 2 + 7)
    (tmp_path / "made.jsonl").write_text("\n".join(first[3:]) + "\n")
    second = run()
    assert second[: len(first) - 3] == first[3:] and len(second) == len(first)
    done = subprocess.run(
        [sys.executable, str(FOLDER / "heads.py"), "made.jsonl", "."],
        **{"cwd": tmp_path, "capture_output": True, "text": True},
    )
    assert done.returncode == 0 and "| `concat_pool` | 2 |" in done.stdout, done.stderr
