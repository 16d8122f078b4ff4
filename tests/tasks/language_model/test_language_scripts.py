"""A language model by the scripts: trained by two processes, scored, sampled, explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import Refused, Script, result_of
from tests.launch.test_scripts import QUICK, the_only_run


@pytest.fixture
def language_run(process: Script, tmp_path: Path) -> Path:
    """The run of a small language model, trained by two processes."""
    lines = [f"def f{n % 7}(x):\n    return x + {n % 5}\n\n" for n in range(300)]
    (tmp_path / "code.py").write_text("".join(lines))
    done = process(
        "train.py",
        "experiment=language_model",
        "data=text_lm",
        "data.train=code.py",
        "data.tokenizer=char",
        "data.batch_size=4",
        "data.window=25",
        "data.evaluation_streams=3",
        "callbacks.sample.length=40",
        *QUICK,
        "trainer=ddp_sim",
    )
    assert "output -> tied_softmax, every step" in done.stdout
    assert re.search(r"output .*\(4, 25, 16\) .*head: every step, 100%", done.stdout)
    assert re.search(r" lzma +│ +\d\.\d{4} │ +\d\.\d{4}", done.stdout)
    return the_only_run(tmp_path)


@pytest.mark.slow
def test_a_language_model_from_two_processes_to_its_text(
    script: Script, refused: Refused, language_run: Path
) -> None:
    result = result_of(language_run)
    assert result["status"] == "completed" and result["device"] == "2 x cpu"
    # each process scored streams of its own; together, what one process scores
    for split in ("validation", "test"):
        alone = script("evaluate.py", f"run={language_run}", f"split={split}", "accelerator=cpu")
        for name in ("loss", "perplexity", "bits_per_byte"):
            shown = re.search(rf" {name} +│ +([\d.]+)", alone.stdout)
            assert shown, alone.stdout
            assert float(shown[1]) == pytest.approx(result["metrics"][f"{split}/{name}"], abs=1e-4)

    common = (f"run={language_run}", "accelerator=cpu", "length=30", "seed=3")
    made = script("generate.py", *common, "prompt=def f3(x): ", "top_k=40", "top_p=0.95")
    assert made.stdout.startswith("def f3(x): ") and len(made.stdout) == 11 + 30 + 1
    assert made.stderr == ""
    again = script("generate.py", *common, "prompt=def f3(x): ", "top_k=40", "top_p=0.95")
    assert again.stdout == made.stdout
    greedy = [
        script("generate.py", *common[:3], f"seed={seed}", "temperature=0").stdout
        for seed in (1, 2)
    ]
    assert greedy[0] == greedy[1] and len(greedy[0]) == 31
    for arguments, message in (
        (["prompt=é@"], "prompt: '@', 'é' are not in the vocabulary; remove them from the prompt"),
        (["temperature=-1"], "temperature=-1: input should"),
    ):
        assert message in refused("generate.py", *common, *arguments)
    assert "has no labels to predict" in refused("predict.py", f"run={language_run}", "input=-")


def test_explain_a_language_model(script: Script) -> None:
    done = script("explain.py", "model=language_model", "folder=pictures")
    assert re.search(r"output .*head: every step, 100%", done.stdout)
    assert "p(x1)" in done.stdout and "pictures/dataflow.svg" in done.stdout
