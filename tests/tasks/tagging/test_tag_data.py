"""Tags and what they stand at: words of files, exactly as they stand there, and steps of
series."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from seqmodels import compose, load_run, train
from seqmodels.data import SeriesTable
from seqmodels.data.baseline_features import token_windows
from seqmodels.errors import UserError
from seqmodels.tasks.tagging import TaggedText
from seqmodels.tasks.tagging.task import draw_tags

TEXTS = [(["the", "cat"], ["B", "I"]), (["#", "sat"], ["B", "O"])]
Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write("a.txt", "the B")`: the path of a file."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8", newline="")
        return str(path)

    return write


def read(path: str, **options: Any) -> list[tuple[list[str], list[str]]]:
    return [(words, tags) for words, tags, *_ in TaggedText(**options).read_file(path)]


def inputs(path: str, **options: Any) -> list[list[str]]:
    return [*TaggedText(**options).read_inputs(path)]


# ---------------------------------------------------------------- files

COLUMNS = "-DOCSTART- -X- O\n\nthe DT B\ncat NN I\n\n# NN B\nsat VB O"
NAMED = {"columns": ["id", "tag", "form"], "token_column": "form", "tag_column": "tag"}
LISTS = '{"words": ["the", "cat"], "pos": ["B", "I"]}\n{"words": ["#", "sat"], "pos": ["B", "O"]}\n'


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt", COLUMNS, {}),
        ("a.txt", COLUMNS.replace("\n", "\r\n") + "\r\n\r\n\r\n", {}),
        ("a.conll", "1\tB\tthe\n2\tI\tcat\n\n1\tB\t#\n2\tO\tsat\n", NAMED),
        ("a.tsv", "Word\tTag\nthe\tB\ncat\tI\n\n#\tB\nsat\tO\n", {}),
        ("a.json", LISTS, {"token_column": "words", "tag_column": "pos"}),
        ("a.jsonl", LISTS.replace("words", "tokens").replace("pos", "tags"), {}),
    ],
)
def test_a_file_has_words_and_tags(
    write: Write, name: str, content: str, options: dict[str, Any]
) -> None:
    assert read(write(name, content), **options) == TEXTS


CONLLU = """# text = Vámonos al mar
1-2 Vámonos _ _ _ _ _ _ _ _
1 Vamos vamos VERB x _ _ root _ _
2 nos nos PRON x _ _ obj _ _
2.1 fue _ _ _ _ _ _ _ _
3 # # SYM x _ _ punct _ _

# text = sí
1 sí sí INTJ x _ _ root _ _
""".replace(" ", "\t")


def test_conllu_has_words_only_and_its_columns_by_name(write: Write) -> None:
    path = write("a.conllu", CONLLU)
    words, tags = [["Vamos", "nos", "#"], ["sí"]], [["VERB", "PRON", "SYM"], ["INTJ"]]
    assert read(path) == [*zip(words, tags, strict=True)]
    named = read(path, token_column="lemma", tag_column="deprel")
    assert named[0] == (["vamos", "nos", "#"], ["root", "obj", "punct"])
    assert inputs(path) == words  # to predict for


def test_class_numbers_of_hub_data_sets_become_names(tmp_path: Path) -> None:
    import datasets

    words, tags = datasets.Value("string"), datasets.ClassLabel(names=["O", "B-PER"])
    kinds = {"tokens": datasets.Sequence(words), "ner_tags": datasets.Sequence(tags)}
    (tmp_path / "hub").mkdir()
    for split, tags in (("train", [[1, 0], [0]]), ("test", [[1, 1]])):
        rows = {"tokens": [["x"] * len(t) for t in tags], "ner_tags": tags}
        made = datasets.Dataset.from_dict(rows, datasets.Features(kinds))
        made.to_parquet(tmp_path / "hub" / f"{split}.parquet")
    found = TaggedText(hub=str(tmp_path / "hub")).read()
    assert found["train"].targets == [["B-PER", "O"], ["O"]]
    assert found["test"].targets == [["B-PER", "B-PER"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "\na\nb\n", r"a.txt: line 2 is \['a'\]"),
        ("a.txt", "a A\n\nb c B\n", "line 3 is .* as many columns, 2"),
        ("a.json", '{"tokens": ["a"]}', "a.json has no column 'tags': set data.tag_column"),
        ("a.json", '{"tokens": "a b", "tags": "X"}', "tokens must have a list of tokens in each"),
        (
            "a.json",
            '{"tokens": ["a", ""], "tags": []}',
            "row 1 has an empty text in 'tokens'",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    write: Write, name: str, content: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read(write(name, content))


def test_a_column_file_may_have_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("café B\n".encode("latin-1"))
    with pytest.raises(UserError, match="a.txt cannot be read: line 1 is not utf-8 text"):
        read(str(tmp_path / "a.txt"))
    assert read(str(tmp_path / "a.txt"), encoding="latin-1") == [(["café"], ["B"])]


def test_a_file_without_such_a_column_has_no_groups(write: Write) -> None:
    with pytest.raises(UserError, match="a.txt: unknown ending '.txt': choose one of .csv"):
        TaggedText(write("a.txt", "a X\nb Y\n\nc X\n"), group="who").read()


# ---------------------------------------------------------------- inputs to predict for

WORD_SECOND = {"columns": ["id", "word", "tag"], "token_column": "word"}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.txt", "the cat\r\n#\tsat", {}),  # a line is a text
        ("a.conll", COLUMNS, {}),
        ("a.conll", "the\ncat\n\n#\nsat\n", {}),  # without tags
        ("a.conll", "1 the\n2 cat\n\n1 #\n2 sat\n", WORD_SECOND),
        ("a.jsonl", '{"tokens": ["the", "cat"]}\n{"tokens": ["#", "sat"], "tags": ["B", "O"]}', {}),
    ],
)
def test_a_file_to_predict_for_has_tags_or_none(
    write: Write, name: str, content: str, options: dict[str, Any]
) -> None:
    assert inputs(write(name, content), **options) == [["the", "cat"], ["#", "sat"]]


def test_baselines_of_tags_follow_the_vocabulary(write: Write) -> None:
    # `a2` is B twice as often as A, and A is the most frequent one of all
    train = write("a.txt", "\n\n".join(["a1 A\na2 B", "a2 A\na1 A", "a2 B"] * 9))
    test = write("b.txt", "a1 A\na2 B\nnew A\n\na2 B\n")
    for options, expected in (({}, 1.0), ({"characters": True}, 1.0), ({"min_count": 99}, 0.5)):
        data = TaggedText(train, test, test, **options)
        data.setup()
        found = data.baselines().scores["test/accuracy"]
        assert found["most frequent tag of each token"] == expected


def test_the_baseline_of_texts_reads_the_tokens_around_each(write: Write) -> None:
    random, blocks = np.random.default_rng(0), []
    for _ in range(40):
        tokens = random.choice(["a", "b"], random.integers(1, 9)).tolist()
        tags = ["after_a" if before == "a" else "other" for before in ["", *tokens]]
        blocks.append("\n".join(map(" ".join, zip(tokens, tags, strict=False))))
    data = TaggedText(write("a.txt", "\n\n".join(blocks)), min_count=1)
    data.setup()

    def windows(split: str) -> list[dict[str, str]]:  # by hand
        rows = []
        for tokens in data.examples[split].inputs:
            for step in range(len(tokens)):
                near = {n: tokens[step + n] for n in range(-5, 6) if 0 <= step + n < len(tokens)}
                rows.append({str(place): token for place, token in near.items()})
        return rows

    _, features, name = token_windows(data)
    by_hand = DictVectorizer(sparse=False).fit(windows("train"))
    for split in ("train", "test"):
        # The order of columns differs, so compare which rows have how much in common.
        made, wanted = features[split].toarray(), by_hand.transform(windows(split))
        assert np.array_equal(made @ made.T, wanted @ wanted.T)
    found = data.baselines().scores["test/accuracy"]
    assert name == "windows of 11 tokens"
    assert found["most frequent tag of each token"] < 0.9
    assert found["logistic regression on windows of 11 tokens"] == 1.0


# ---------------------------------------------------------------- first lines


@pytest.mark.parametrize(
    "header",
    ["Word POS NER_tag", "Token id Gold", "sentence_id word tag", "# Word tag", "Tokens id Labels"],
)
def test_a_line_that_names_the_columns_is_no_word(write: Write, header: str) -> None:
    names = header.split(" ")
    place = next(n for n, name in enumerate(names) if name.lower() in ("word", "token", "tokens"))
    rows = [["x", "x", "B"], ["y", "y", "O"]]
    for row, word in zip(rows, ("the", "cat"), strict=True):
        row[place] = word
    lines = [header, "", *map(" ".join, rows)]
    for text in ("\n".join(lines), "\n".join([lines[0], *lines[2:]])):
        data = TaggedText(write("a.txt", text))
        [(words, tags, _)] = data.read_file(data.paths["train"])
        assert (words, tags) == (["the", "cat"], ["B", "O"])
    [note] = data._notes_of_setup
    assert f"words are of {names[place]}, tags of {names[2]}" in note


def test_the_names_of_data_columns_are_no_words(write: Write) -> None:
    path = write("a.txt", "Wort Art\nder B\nHund O\n")
    [(words, *_)] = TaggedText(columns=["Wort", "Art"]).read_file(path)
    assert words == ["der", "Hund"]


def test_a_first_line_whose_tag_stands_nowhere_else_is_noted(write: Write) -> None:
    rows = "der ART\nHund NN\n\n" * 30
    for first, is_said in (("Wort Wortart", True), ("der ART", False), ("Rom B-LOC", False)):
        data = TaggedText(write("a.txt", f"{first}\n{rows}"))
        assert len([*data.read_file(data.paths["train"])]) == 30
        notes = [note for note in data._notes_of_setup if "no other word has the tag" in note]
        assert bool(notes) is is_said


def test_a_line_that_ends_before_its_word_is_named(write: Write) -> None:
    path = write("a.txt", "1 x the DT\n2 x\n")
    data = TaggedText(columns=["id", "kind", "word", "tag"], token_column="word")
    with pytest.raises(UserError, match="line 2 is .*each line needs a word"):
        [*data.read_file(path, needs_tags=False)]


def test_columns_may_have_another_separator(write: Write) -> None:
    path = write("a.txt", "the;DT;B\nbig cat;NN;I\n\n#;NN;B\n")
    assert read(path, separator=";") == [(["the", "big cat"], ["B", "I"]), (["#"], ["B"])]


# ---------------------------------------------------------------- a label for each step of series


QUICK = ("trainer=cpu", "trainer.max_epochs=2", "model.encoder.hidden_size=8")
NIGHTS = {"series": "night", "time": "epoch", "label_column": "stage", "missing": "last"}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stages that last, and two channels that show them with noise; some of both are missing."""
    random, rows = np.random.default_rng(0), []
    for night in range(24):
        stage = 0
        for epoch in range(random.integers(20, 60)):
            stage = stage if random.random() < 0.9 else int(random.integers(3))
            eeg, pulse = random.normal(stage), random.normal(2 * (stage == 1))
            known = "" if random.random() < 0.05 else ["wake", "light", "deep"][stage]
            rows.append(
                (f"n{night}", 30 * epoch, eeg if random.random() > 0.1 else "", pulse, known)
            )
    path = tmp_path_factory.mktemp("nights") / "nights.csv"
    pd.DataFrame(rows, columns=["night", "epoch", "eeg", "pulse", "stage"]).to_csv(
        path, index=False
    )
    return str(path)


def test_the_baseline_is_logistic_regression_on_windows_of_steps(nights: str) -> None:
    data = SeriesTable(nights, **NIGHTS)
    data.setup()
    found = data.compute_baselines().scores

    def windows(split: str) -> tuple[np.ndarray, np.ndarray]:  # by hand
        rows, tags = [], []
        dataset = data.datasets[split]
        for series, own in zip(dataset.sequences, dataset.targets, strict=True):
            for step, tag in enumerate(own.tolist()):
                near = [min(max(step + n, 0), len(series) - 1) for n in range(-5, 6)]
                rows.append(np.concatenate([series[n].numpy() for n in near]))
                tags.append(tag)
        return np.array(rows), np.array(tags)

    (inputs, tags), (tested, true) = windows("train"), windows("test")
    scaler, scores = StandardScaler().fit(inputs), set()
    for strength in (0.1, 1.0, 10.0, 100.0):
        model = LogisticRegression(C=strength, max_iter=2000)
        model.fit(scaler.transform(inputs)[tags >= 0], tags[tags >= 0])
        made = model.predict(scaler.transform(tested))[true >= 0]
        right = true[true >= 0]
        scores.add((np.mean(made == right), f1_score(right, made, average="macro")))
    name = "logistic regression on windows of 11 steps"
    pair = (found["test/accuracy"][name], found["test/macro_f1"][name])
    assert any(pair == pytest.approx(each, abs=0.01) for each in scores)
    assert found["test/accuracy"]["most frequent tag"] < pair[0]


def test_a_training_shows_its_tags_with_series_and_time(nights: str, tmp_path: Path) -> None:
    words = [f"data.{key}={value}" for key, value in NIGHTS.items()]
    words += ["experiment=series_tagging", f"data.train={nights}", *QUICK, "trainer.max_steps=20"]
    result = train(compose(*words, f"folder={tmp_path / 'run'}"))
    assert {"test/accuracy", "test/macro_f1"} <= result["baselines"].keys()
    assert (tmp_path / "run" / "figures" / "tags.png").is_file()
    rows = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert rows.series.str.startswith("n").all()
    assert json.loads(rows.time[0])[:3] == [0, 30, 60]
    run = load_run(tmp_path / "run")
    for each in run.predict(run.data.read_inputs(nights)):
        shares = np.array([*each["probabilities"].values()])  # (C, T)
        assert shares.shape[1] == len(each["time"]) == len(each["tags"])
        assert shares.sum(axis=0) == pytest.approx(1.0)
        likeliest = np.array([*each["probabilities"]])[shares.argmax(axis=0)]
        assert likeliest.tolist() == each["tags"]


def test_a_picture_has_a_bar_for_the_true_tags_above_that_of_those_predicted() -> None:
    rows = [(np.array([0, 1, -100]), np.array([0, 0, 1])), (np.array([1]), np.array([1]))]
    figure = draw_tags(rows, ["one", "$two$"], ["a", "b"])
    first, second = figure.axes
    shown = first.images[0].get_array()
    assert shown.shape == (2, 3) and shown.mask.tolist() == [[False, False, True], [False] * 3]
    assert shown[1].tolist() == [0, 0, 1] and second.images[0].get_array().shape == (2, 1)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert first.images[0].origin == "upper" and first.get_yticklabels()[0].get_text() == "true"
