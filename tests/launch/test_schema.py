"""configs/schema.json: what editors complete and check is what a run checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match
from omegaconf import OmegaConf

from seqmodels.launch.keys import name_of
from seqmodels.launch.schema import FILE, PLAIN, kind_of_file, main, schema
from tests.conftest import ROOT, Config
from tests.shipped import ALL_HEADS, lacks_its_task

CONFIGS = ROOT / "configs"
COMMITTED = json.loads((ROOT / FILE).read_text())
FILES = [f for f in sorted(CONFIGS.rglob("*.yaml")) if "hydra" not in f.relative_to(CONFIGS).parts]


def errors(content: Any, kind: str = "train", of: dict[str, Any] = COMMITTED) -> list[str]:
    """What the schema finds wrong, as the dotted key and the message."""
    part = of if kind == "train" else {**of["definitions"][kind], "definitions": of["definitions"]}
    found = (best_match([error]) for error in Draft7Validator(part).iter_errors(content))
    return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in found if e]


def contained(part: Any, whole: Any) -> bool:
    """Whether `whole` holds all that `part` does, and perhaps more names."""
    if isinstance(part, dict):
        return all(key in whole and contained(value, whole[key]) for key, value in part.items())
    if isinstance(part, list):
        return all(any(contained(each, other) for other in whole) for each in part)
    return bool(part == whole)


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    return schema(CONFIGS)


def test_the_schema_is_that_of_the_signatures(fresh: dict[str, Any]) -> None:
    again = "configs/schema.json is of an older state: run python -m seqmodels.launch.schema"
    own = (*map(name_of, PLAIN), "explain", "seqmodels.data.", "seqmodels.tasks.")
    same_libraries = COMMITTED["$comment"] == fresh["$comment"]
    assert COMMITTED["properties"] == fresh["properties"], again
    for name, definition in COMMITTED["definitions"].items():
        if same_libraries or name.startswith(own):
            # a head, data or task of yours adds to the groups, and you need not write it here
            is_group = not name.startswith((*own, "torch.", "lightning.", "seqmodels."))
            now = fresh["definitions"].get(name)
            assert contained(definition, now) if is_group else definition == now, f"{name}: {again}"
    [names, _] = COMMITTED["definitions"]["model.head"]["anyOf"]
    assert {*ALL_HEADS} <= {*names["enum"]}, again


def test_every_file_fits_the_schema(fresh: dict[str, Any]) -> None:
    Draft7Validator.check_schema(fresh)
    for file in [file for file in FILES if not lacks_its_task(file)]:
        content = OmegaConf.to_container(OmegaConf.load(file))
        assert errors(content, kind_of_file(file, CONFIGS), fresh) == [], file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: 3", ": Additional properties are not allowed ('seeds' was unexpected)"),
        ("seed: -1", "seed: "),
        ("paths: {cache: 3}", "paths.cache: 3 is not of type 'string', 'null'"),
        ("trainer: {max_epochs: ten}", "trainer.max_epochs: "),
        ("trainer: {max_epoch: 3}", "trainer: Additional properties"),
        ("trainer: {callbacks: []}", "trainer: Additional properties"),
        ("data: {pool: 0}", "data.pool: "),
        (
            "data: {_target_: seqmodels.tasks.classification.Needle, tokenizer: char}",
            "data: Additional",
        ),
        (
            "data: {_target_: seqmodels.tasks.classification.Needle, position: top}",
            "data.position: ",
        ),
        ("model: {hed: max_pool}", "model: Additional properties"),
        ("model: {encoder: {packing: pakced}}", "model.encoder.packing: "),
        ("model: {encoder: {size: 3}}", "model.encoder: Additional properties"),
        ("model: {optimizer: {lr: fast}}", "model.optimizer.lr: "),
        ("model: {optimizer: {betas: [0.9, 1.0]}}", "model.optimizer.betas"),
        ("callbacks: {last: {minutes: soon}}", "callbacks.last.minutes: "),
        ("callbacks: {mine: 3}", "callbacks.mine: "),
    ],
)
def test_a_wrong_value_is_found(text: str, message: str) -> None:
    found = errors(yaml.safe_load(text))
    assert found and all(each.startswith(message) for each in found), found


@pytest.mark.parametrize(
    "text",
    [
        "trainer: {min_epochs: 2, max_time: {hours: 1}, precision: '${fastest_precision:auto}'}",
        "model: {head: mine, head_options: {k: 3}, scheduler: null}",
        "model: {optimizer: {_target_: torch.optim.SGD, momentum: 0.9}}",
        "model: {scheduler: {total_steps: total_steps}}",
        "data: {_target_: mine.Data, depth: 3}",
        "data: {train: a.csv, batch_size: '${seed}'}",
        "callbacks: {progress: null, mine: {_target_: mine.Callback, depth: 3}}",
        "defaults: [{override /data: text}]",
    ],
)
def test_what_is_right_or_your_own_is_let_through(text: str) -> None:
    assert errors(yaml.safe_load(text)) == []


def test_the_command_adds_the_classes_of_your_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "configs" / "data").mkdir(parents=True)
    (tmp_path / "configs" / "data" / "mine.yaml").write_text("_target_: my_data.Data\n")
    (tmp_path / "my_data.py").write_text("class Data:\n    def __init__(self, depth: int): ...\n")
    monkeypatch.chdir(tmp_path)
    main()
    assert capsys.readouterr().out == "configs/schema.json\n"
    made = json.loads((tmp_path / FILE).read_text())
    assert errors({"data": {"_target_": "my_data.Data", "depth": "x"}}, of=made)
    assert errors({"data": {"depth": 3}}, of=made) == [] != errors({"data": {"depth": 3}})


def test_the_editor_checks_the_files_of_the_whole_program() -> None:
    [(file, globs)] = json.loads((ROOT / ".vscode" / "settings.json").read_text())[
        "yaml.schemas"
    ].items()
    mapped = {path for glob in globs for path in ROOT.glob(glob)}
    assert (ROOT / file).is_file()
    assert mapped == {path for path in FILES if kind_of_file(path, CONFIGS) == "train"}


def test_every_logger_trainer_and_data_set_composes(config: Config) -> None:
    # tests/launch/test_debug.py trains with every experiment
    for group in ("logger", "trainer", "data"):
        for file in (ROOT / "configs" / group).glob("*.yaml"):
            assert config(f"{group}={file.stem}")
