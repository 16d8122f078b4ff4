"""`audit_stream`: every wrong stream of the bank is found, no right one is accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from seqmodels.audit import Audit, assert_stream_clean, audit_stream
from seqmodels.errors import UserError
from seqmodels.mistakes import MISTAKES
from tests.audit import stream_bank as bank

WRONG = [(name, case) for name, cases in bank.WRONG.items() for case in cases]


def audited(make: Callable[[], Any], seed: int = 0, tokens: bool = False) -> Audit:
    torch.manual_seed(seed)
    made, reset = made if isinstance(made := make(), tuple) else (made, None)
    inputs = torch.randint(0, 11, (3, 16)) if tokens else torch.randn(3, 16, bank.F)
    return audit_stream(made, inputs, reset=reset, seed=seed)


@pytest.mark.parametrize("case", bank.RIGHT)
def test_a_right_stream_is_not_accused(case: str) -> None:
    for seed in range(3):
        assert audited(bank.RIGHT[case], seed, tokens=case == "tokens").findings == []


@pytest.mark.parametrize(("name", "case"), WRONG)
def test_a_wrong_stream_is_found(name: str, case: str) -> None:
    assert {*bank.WRONG} == {key for key, found in MISTAKES.items() if found.is_of_a_stream}
    for seed in range(3):
        found = audited(bank.WRONG[name][case], seed)
        assert name in found.names
        # where rows mix at the end of each chunk, both are true
        assert {*found.names} <= {name, *(["lost_state"] if name == "shared_state" else [])}


def test_a_stream_that_keeps_its_graph_is_warned_of() -> None:
    for seed in range(3):
        [finding] = audited(bank.KeepsGraph, seed).findings
        assert (finding.name, finding.severity) == ("kept_graph", "warning")
        assert "with gradients on" in finding.evidence and "torch.no_grad()" in finding.cure
        assert audited(bank.WithoutGradients, seed).findings == []

    class SharesAsWell(bank.KeepsGraph):
        def forward(self, chunk: torch.Tensor) -> torch.Tensor:
            return super().forward(chunk - chunk.mean(dim=0, keepdim=True))

    assert audited(SharesAsWell).names == ["shared_state", "kept_graph"]


def test_logits_after_a_chunk_may_be_of_one_step() -> None:
    assert audited(lambda: bank.Base(last=lambda logits: logits[:, -1:])).findings == []


def test_it_says_what_it_cannot_test() -> None:
    [line] = audited(bank.closure).untested
    assert line == "shared_state, of a second stream: it can't be copied"


def test_a_stream_of_frames_is_audited_as_a_function_with_a_frame_for_a_step() -> None:
    frames = bank.Base(features=4 * bank.F)
    stream = lambda chunk: frames(chunk.unflatten(1, (-1, 4)).flatten(2))  # noqa: E731
    rows = torch.randn(3, 16, bank.F)
    with pytest.raises(UserError, match=r"in chunks of 1 to 5 steps: .*audit a function"):
        audit_stream(stream, rows, reset=frames.reset)
    whole = lambda chunk: stream(chunk.unflatten(2, (4, -1)).flatten(1, 2))  # noqa: E731
    found = audit_stream(whole, rows.unflatten(1, (-1, 4)).flatten(2), reset=frames.reset)
    assert found.findings == []


def test_a_stream_is_left_as_it_was() -> None:
    stream, rows = bank.Base().train(), torch.randn(3, 16, bank.F)
    stream(rows)
    state, weights = stream.state, [*map(torch.clone, stream.parameters())]
    random = torch.get_rng_state()
    audit_stream(stream, rows)
    assert stream.state is state and stream.training
    assert all(map(torch.equal, weights, stream.parameters()))
    assert torch.equal(random, torch.get_rng_state())


def test_random_start_states_are_found() -> None:
    class RandomStart(bank.Base):
        def forward(self, chunk: torch.Tensor) -> torch.Tensor:
            if self.state is None:
                self.state = tuple(torch.randn(2, 1, len(chunk), bank.H))
            return super().forward(chunk)

    assert audited(RandomStart).names == ["random_state"]


def test_assert_stream_clean() -> None:
    assert_stream_clean(bank.Base(), torch.randn(3, 16, bank.F))
    with pytest.raises(AssertionError, match="^lost_state: .*; keep h and c"):
        assert_stream_clean(bank.ZerosForever(), torch.randn(3, 16, bank.F))


def test_what_cannot_be_audited_is_one_line() -> None:
    for inputs, key in (
        (torch.randn(2, 1, bank.F), "2 steps"),
        (torch.randn(2, 4, 6), "be run on"),
    ):
        with pytest.raises(UserError, match=key):
            audit_stream(bank.Base(), inputs)
    with pytest.raises(UserError, match="reset="):
        audit_stream(bank.Base().rnn, torch.randn(2, 4, bank.F))
