"""`examples/reversal.py`: letters to be written backwards, and the study that reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Script, result_of

EXAMPLES = ("--config-dir", str(ROOT / "examples" / "configs"))


@pytest.mark.usefixtures("examples_importable")
def test_the_study_trains_with_each_head(script: Script, tmp_path: Path) -> None:
    quick = ("trainer=cpu", "trainer.max_steps=3", "data.sizes=[40,8,8]", "data.length=5", "seed=0")
    place = f"hydra.sweep.dir={tmp_path / 'sweep'}"
    script("train.py", "-m", *EXAMPLES, "experiment=study_bridge", *quick, place)
    jobs = sorted((tmp_path / "sweep").glob("*head-*"))
    assert len(jobs) == 2
    assert all("test/exact_match" in result_of(job)["metrics"] for job in jobs)
