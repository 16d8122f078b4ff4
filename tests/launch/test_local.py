"""`configs/local/default.yaml`: values for one machine, which no run and no resume takes for typed
ones."""

from __future__ import annotations

import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from seqmodels.runs.folder import RunFolder, as_override
from tests.conftest import Script, result_of

TINY = ("data=uea", "data.name=UnitTest", "model.encoder.hidden_size=4")
LOCAL = """\
# @package _global_
defaults:
  - override /trainer: cpu
paths:
  runs: {tmp}/disk, 2/runs
  cache: {tmp}/disk, 2/cache
callbacks:
  dataflow: null
  last:
    minutes: 2.0
"""


def test_a_local_file_moves_runs_and_caches_and_a_resume_takes_it_for_defaults(
    script: Script, tmp_path: Path
) -> None:
    (tmp_path / "mine" / "local").mkdir(parents=True)
    (tmp_path / "mine" / "local" / "default.yaml").write_text(LOCAL.format(tmp=tmp_path))
    script("train.py", *TINY, "--config-dir", "mine", "trainer.max_epochs=1", "tags=[a]")
    [run] = (tmp_path / "disk, 2" / "runs").iterdir()
    assert (tmp_path / "disk, 2" / "cache" / "seqmodels" / "baselines").is_dir()
    assert not (tmp_path / "runs").exists() and not (tmp_path / "cache" / "seqmodels").exists()
    config = result_of(run)["config"]
    assert config["trainer"]["accelerator"] == "cpu"
    assert config["callbacks"]["last"]["minutes"] == 2.0

    [*_, resume] = shlex.split(RunFolder(run).how_to_resume())
    for epochs, here in ((2, ("--config-dir", "mine")), (3, ("tags=[b,c]",))):  # the 2nd elsewhere
        done = script("train.py", resume, f"trainer.max_epochs={epochs}", *here)
        changes = {line for line in done.stdout.splitlines() if " -> " in line}
        tags = {"tags: ['a'] -> ['b', 'c']"} if epochs == 3 else set()
        assert changes == {f"trainer.max_epochs: {epochs - 1} -> {epochs}"} | tags
    config = result_of(run)["config"]
    assert config["callbacks"]["last"]["minutes"] == 2.0 and config["tags"] == ["b", "c"]


@given(path=st.text(st.sampled_from("""ab/.-_ ,'"\\[]{}$:=é日"""), min_size=1).map(Path))
def test_a_path_is_written_so_that_it_is_read_again(path: Path) -> None:
    override = OverridesParser.create().parse_override(as_override("resume", path))
    assert override.value() == str(path)
