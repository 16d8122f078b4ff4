"""`RecurrentEncoder` against cells that are written out step by step, on any rows."""

from __future__ import annotations

from typing import Any
from unittest import mock

import jaxtyping
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from seqmodels.nn import ragged
from seqmodels.nn.cell import parts_of, state_of
from seqmodels.nn.encoder import (
    FEWEST_STEPS,
    FEWEST_STEPS_TO_TRAIN,
    LARGEST_BY_HAND,
    RecurrentEncoder,
)
from seqmodels.padding import valid_steps
from tests.nn.cases import Case, F, H, P, cases, parts, same, small_encoder
from tests.reference import run_reference

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

B, T, LENGTHS = 5, 9, [3, 7, 1, 7, 2]
CELLS = [("lstm", 0), ("lstm", P), ("gru", 0), ("rnn", 0)]
cells = pytest.mark.parametrize(("cell", "proj_size"), CELLS)
ways = st.sampled_from(["packed", "padded", "auto"])
blocks = st.sampled_from([1, 3, ragged.STEPS_PER_BLOCK])  # 1: as many blocks as rows


@given(case=cases(*CELLS), packing=ways, steps_per_block=blocks)
def test_a_row_gives_what_the_equations_make_of_it_alone(
    case: Case, packing: str, steps_per_block: int
) -> None:
    case.make()
    with mock.patch.object(ragged, "STEPS_PER_BLOCK", steps_per_block):
        states, _ = case.run(packing)
        with torch.inference_mode():
            state = state_of(*case.start) if case.start else None
            again = case.encoder(case.inputs, case.lengths, state)
    weights, inputs = case.encoder.rnn.state_dict(), case.inputs.nan_to_num(0.0, 0.0)
    wanted = run_reference(case.cell[0], weights, inputs, case.lengths, case.start or None)
    for found in (states, again):
        same(parts(found), [part for part in wanted if part is not None])
    assert not states.output[~states.mask].any() and states.lengths.tolist() == case.lengths
    assert states.h_n.shape[:2] == (case.layers, 1 + case.two)


@given(case=cases(*CELLS), steps_per_block=blocks, on_cpu=st.booleans())
def test_gradients_are_those_of_packed_rows_and_none_reaches_the_padding(
    case: Case, steps_per_block: int, on_cpu: bool
) -> None:
    case.make()
    _, wanted = case.run("packed")
    cut, most = ragged.time_blocks, ragged.MOST_STEPS
    with mock.patch.multiple(  # elsewhere whole batches, in calls as long as cuDNN takes
        ragged,
        STEPS_PER_BLOCK=steps_per_block,
        MOST_STEPS=most if on_cpu else 4,
        time_blocks=lambda lengths, **_: cut(lengths, on_cpu=on_cpu),
    ):
        _, found = case.run("padded")
    for one, other in zip(found, wanted, strict=True):
        same(one, other, 1e-9)
    padding = ~valid_steps(case.lengths, case.inputs.shape[1])
    assert not found[0][padding].any() and found[0][~padding].all()


@cells
def test_single_precision_and_bfloat16_are_near_the_equations(cell: str, proj_size: int) -> None:
    encoder, inputs = (
        small_encoder(cell, 3, bidirectional=True, proj_size=proj_size),
        torch.randn(B, T, F),
    )
    output, h_n, _ = run_reference(cell, encoder.rnn.state_dict(), inputs, LENGTHS)
    for encoder.packing in ("packed", "padded"):
        for half, tolerance in ((False, 1e-5), (True, 0.03)):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                states = encoder(inputs, LENGTHS)
            same(
                [states.output.float(), states.h_n.flatten(0, 1).float()], [output, h_n], tolerance
            )


@pytest.mark.parametrize("scale", [30.0, 300.0])
@pytest.mark.parametrize("proj_size", [0, P])
def test_padded_c_n_is_exact_however_large_the_pre_activations(
    proj_size: int, scale: float
) -> None:
    torch.manual_seed(0)
    options = {"bidirectional": True, "proj_size": proj_size, "packing": "padded"}
    encoder, lengths = small_encoder(layers=2, **options).double(), [1, 40, 2, 17]
    with torch.no_grad():
        for name, weight in encoder.rnn.named_parameters():
            weight *= 1 if name.startswith("weight_hr") else scale  # the projection comes last
        encoder.rnn.bias_ih_l0[:H] = 3000.0  # the input gate open, the forget gate shut
        encoder.rnn.bias_ih_l0[H : 2 * H] = -3000.0
        inputs = 3 * torch.randn(4, 40, F).double()
        states = encoder(inputs, lengths)
        _, _, c_n = run_reference("lstm", encoder.rnn.state_dict(), inputs, lengths)
    same(states.c_n.flatten(0, 1), c_n)


# ---------------------------------------------------------------- cells by hand


def nodes(output: Tensor) -> list[str]:
    """The names of the operations that made it."""
    seen, ahead = set[Any](), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            ahead += [below for below, _ in node.next_functions]
    return [node.name() for node in seen]


@pytest.mark.parametrize(
    ("cell", "lengths", "packing", "by_hand"),
    [
        ("gru", LENGTHS, "padded", True),
        ("rnn", LENGTHS, "padded", True),
        ("gru", [FEWEST_STEPS] * 4, "auto", True),
        ("gru", [FEWEST_STEPS] * 4, "packed", False),
        ("gru", [FEWEST_STEPS] * (LARGEST_BY_HAND // H + 1), "auto", False),
        ("gru", [FEWEST_STEPS - 1] * 4, "auto", False),
        ("rnn", [FEWEST_STEPS] * 4, "auto", False),
        ("lstm", [FEWEST_STEPS] * 4, "auto", False),
    ],
)
def test_gru_and_rnn_train_by_hand_where_that_is_faster(
    cell: str, lengths: list[int], packing: str, by_hand: bool
) -> None:
    encoder, inputs = (
        small_encoder(cell, 2, packing=packing),
        torch.randn(len(lengths), max(lengths), F),
    )
    found = nodes(encoder(inputs, lengths).output)
    assert found.count("LayerByHandBackward") == (2 if by_hand else 0)  # a node for each layer
    with torch.autocast("cpu", torch.bfloat16):  # of which it knows nothing
        assert "LayerByHandBackward" not in nodes(encoder(inputs, lengths).output)


# ---------------------------------------------------------------- state, weights, dropout


@cells
def test_feeding_in_chunks_equals_feeding_at_once(cell: str, proj_size: int) -> None:
    encoder, lengths = (
        small_encoder(cell, 3, proj_size=proj_size).double(),
        torch.tensor([7, 5, 8, 6, 5]),
    )
    inputs = torch.randn(B, T, F).double()
    for encoder.packing in ("packed", "padded"):
        at_once, first = encoder(inputs, lengths), encoder(inputs[:, :3])
        second = encoder(inputs[:, 3:4], state=first.state)
        third = encoder(inputs[:, 4:], lengths - 4, second.state)
        outputs = torch.cat([states.output for states in (first, second, third)], dim=1)
        same([outputs, *parts(third)[1:]], parts(at_once))


@cells
@pytest.mark.parametrize("two", [False, True])
def test_it_is_pytorchs_own_network(cell: str, proj_size: int, two: bool) -> None:
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    options = {"proj_size": proj_size} if proj_size else {}
    plain = kind(F, H, 2, batch_first=True, bidirectional=two, **options)
    encoder, inputs = (
        small_encoder(cell, 2, bidirectional=two, proj_size=proj_size),
        torch.randn(B, T, F),
    )
    encoder.rnn.load_state_dict(plain.state_dict())
    output, final = plain(inputs)
    same(parts(encoder(inputs)), [output, *parts_of(final)], 0.0)
    assert type(encoder.rnn) is kind
    assert (encoder.num_layers, encoder.num_directions) == (2, 1 + two)
    assert (encoder.bidirectional, encoder.output_size) == (two, proj_size or H)


@pytest.mark.parametrize("packing", ["packed", "padded"])
def test_dropout_acts_between_layers_in_training_drops_its_share_and_scales_the_rest(
    packing: str,
) -> None:
    torch.manual_seed(0)
    p, lengths = 0.25, 1 + torch.arange(40) % 30
    encoder = small_encoder("rnn", 2, packing=packing, dropout=p).double()
    with torch.no_grad():  # the second layer passes on what it gets: tanh(x) is x for small x
        for name, weight in encoder.rnn.named_parameters():
            weight *= not name.endswith("_l1")
        encoder.rnn.weight_ih_l1.copy_(1e-4 * torch.eye(H))
        inputs = torch.randn(40, 30, F).double()
        kept, whole = encoder(inputs, lengths).output, encoder.eval()(inputs, lengths)
    ratio = (kept / whole.output)[whole.mask]
    same(ratio[ratio > 0], torch.full_like(ratio[ratio > 0], 1 / (1 - p)), 1e-6)
    deviation = (p * (1 - p) / ratio.numel()) ** 0.5
    assert abs(float((ratio == 0).double().mean()) - p) < 5 * deviation


# ---------------------------------------------------------------- which way, and accelerators


@pytest.mark.parametrize("recorded", [False, True], ids=["inference", "training"])
@cells
def test_auto_packs_rows_too_short_for_blocks(cell: str, proj_size: int, recorded: bool) -> None:
    fewest = FEWEST_STEPS_TO_TRAIN if recorded else FEWEST_STEPS
    encoder, calls = small_encoder(cell, proj_size=proj_size), list[Any]()
    encoder.rnn.register_forward_pre_hook(lambda _, given: calls.append(type(given[0])))
    for longest in (fewest - 1, fewest):
        with torch.set_grad_enabled(recorded):
            encoder(torch.randn(2, fewest + 1, F), [longest, 1])
    by_onednn = cell == "lstm" and not proj_size
    assert calls == [PackedSequence] * (1 if recorded or by_onednn else 2)


@cells
def test_an_accelerator_never_packs_and_is_never_waited_for(cell: str, proj_size: int) -> None:
    """`meta` stands for one: it refuses what would wait for its values."""
    encoder = small_encoder(cell, 2, dropout=0.1, bidirectional=True, proj_size=proj_size).to(
        "meta"
    )
    inputs = torch.randn(B, T, F, device="meta", requires_grad=True)
    torch.stack([part.sum() for part in parts(encoder(inputs, LENGTHS))]).sum().backward()
    with torch.inference_mode():
        encoder(inputs, LENGTHS)


# ---------------------------------------------------------------- errors


def test_a_wrong_argument_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    with pytest.raises(ValueError, match=r"^encoder.cell=lstn: .*did you mean lstm"):
        RecurrentEncoder(F, H, cell="lstn")
    with pytest.raises(ValueError, match=r"^encoder.dropout is 0.5.* encoder.num_layers=2"):
        RecurrentEncoder(F, H, dropout=0.5)


@pytest.mark.parametrize("packing", ["packed", "padded"])
@pytest.mark.parametrize("lengths", [[2], [2, T], [2, T, 1, 1]])
def test_each_row_has_a_length(packing: Any, lengths: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch would take one length for all rows, or leave out the rows without one."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as users run it
    encoder = RecurrentEncoder(F, H, packing=packing)
    with pytest.raises(ValueError, match=r"^lengths must be \(3,\) int64, got \("):
        encoder(torch.randn(3, T, F), lengths)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("lengths", [[T + 1, T, 2], [T, 0, 2]])
def test_a_length_that_the_inputs_do_not_have_is_refused(cell: str, lengths: list[int]) -> None:
    for encoder in (small_encoder(cell), small_encoder(cell, bidirectional=True)):
        with pytest.raises(ValueError, match=rf"^lengths are .* of inputs with {T} steps$"):
            encoder(torch.randn(3, T, F), lengths)
