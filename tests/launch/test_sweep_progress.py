"""What a sweep says of its jobs while they run, in whatever processes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from seqmodels.launch.progress import SweepProgress
from seqmodels.runs.lock import locked

NAMES = ["0_a", "1_b", "2_c", "3_d", "4_e", "5_f", "6_g"]


def write(job: Path, status: str = "completed", minutes: float = 10) -> None:
    job.mkdir(parents=True, exist_ok=True)
    result = {
        "status": status,
        "error": None if status == "completed" else "no luck",
        "seed": 0,
        "config": {},
        "metric": "accuracy",
        "metrics": {"test/accuracy": 0.5},
        # an hour of baselines, which the other jobs take from the cache
        "seconds": {
            "setup": 60,
            "fit": 60 * minutes - 90,
            "test": 30,
            "total": 3600 + 60 * minutes,
        },
    }
    (job / "result.json").write_text(json.dumps(result))


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.strip() for line in capsys.readouterr().out.splitlines() if line[:1].isalnum()]


def test_the_first_job_says_how_long_the_sweep_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, NAMES[:4])
    write(tmp_path / "0_a")
    write(tmp_path / "1_b")
    progress.stop()
    first, *lines = said(capsys)
    assert first == f"sweep of 4 jobs: {tmp_path}"
    assert lines == [
        "0_a: test/accuracy 0.5000, 4200.0 s",
        "about 30 min in all, if all 4 jobs take as long",
        "1_b: test/accuracy 0.5000, 4200.0 s",
    ]


def test_jobs_that_train_together_share_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, NAMES[:7])
    with ExitStack() as training:
        for job in ("0_a", "1_b", "2_c"):
            training.enter_context(locked(tmp_path / job / "lock", "is training"))
            write(tmp_path / job, "interrupted")  # so it says until it ends
        write(tmp_path / "0_a")
        progress.stop()
    assert "about 20 min in all, if all 7 jobs take as long, 3 at once" in said(capsys)


def test_a_resumed_sweep_counts_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for job in ("0_a", "1_b", "2_c"):
        write(tmp_path / job)
    progress = SweepProgress(tmp_path, NAMES[:5])
    write(tmp_path / "3_d", minutes=300)
    progress.stop()
    assert said(capsys)[1:] == [
        "3 already completed",
        "3_d: test/accuracy 0.5000, 21600.0 s",
        "about 5.0 h in all, if all 2 jobs take as long",
    ]


def test_a_job_that_failed_says_nothing_about_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, NAMES[:2])
    write(tmp_path / "0_a", "failed")
    progress.stop()
    assert said(capsys)[1:] == ["0_a: failed, no luck"]


def test_a_failed_job_does_not_train_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, NAMES[:4])
    write(tmp_path / "0_a", "failed")
    write(tmp_path / "1_b")  # two are left
    progress.stop()
    assert "about 20 min in all, if all 4 jobs take as long" in said(capsys)


def test_a_job_that_was_resumed_says_nothing_about_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = SweepProgress(tmp_path, NAMES[:3])
    write(tmp_path / "0_a", minutes=2)
    file = tmp_path / "0_a" / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "resumed": [{}]}))
    write(tmp_path / "1_b")
    progress.stop()
    assert "about 10 min in all, if all 3 jobs take as long" in said(capsys)


def test_one_job_is_not_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = SweepProgress(tmp_path, NAMES[:1])
    write(tmp_path / "0_a")
    progress.stop()
    assert said(capsys)[0].startswith("sweep of 1 job: ") and len(said(capsys)) == 0
