"""An audit finds common mistakes by name, and raises no false alarm."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqmodels import tasks
from seqmodels.audit import ADVICE, Audit, assert_clean, audit
from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.padding import reverse_by_length, valid_steps
from tests.audit.bank import (
    RIGHT,
    WRONG,
    Classifier,
    F,
    H,
    LastColumn,
    Tagger,
    Translator,
    V,
    W,
    inputs_for,
    mask_of,
    more_for,
)
from tests.audit.bank_calls import CALLS, FrontMasked, NextWord, OfPacked, OfTimeFirst, Series
from tests.audit.bank_sorting import MASKED, SORTED_RIGHT, SORTED_WRONG, MaskedById, PaddingIndex
from tests.conftest import ROOT
from tests.shipped import ALL_HEADS, DECODER_HEADS, TAGGER_HEADS, exported, fitting_directions

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

LENGTHS = [20, 17, 9, 3]
ALL_WRONG, ALL_RIGHT = WRONG | SORTED_WRONG, RIGHT | SORTED_RIGHT
ALL = ALL_WRONG | ALL_RIGHT


def audit_of(make: Callable[[], nn.Module]) -> Audit:
    torch.manual_seed(0)
    model = make()
    return audit(model, *inputs_for(model, LENGTHS))


@pytest.mark.parametrize("name", ALL)
def test_mistakes_are_found_by_name_and_right_models_are_clean(name: str) -> None:
    torch.manual_seed(0)
    make, kind, causal, expected = ALL[name]
    model = make()
    result = audit(model, *inputs_for(model, LENGTHS), kind, causal, **more_for(kind))
    assert result.names == expected
    for finding in result.findings:
        assert finding.advice and finding.evidence and finding.name in str(finding)


@pytest.mark.parametrize("name", CALLS)
def test_models_that_are_called_in_other_ways(name: str) -> None:
    torch.manual_seed(0)
    make, function, options, expected = CALLS[name]
    model = make()
    of_one_length = options.get("padding") == "none"
    inputs, lengths = inputs_for(model, LENGTHS[:1] * 4 if of_one_length else LENGTHS)
    more = more_for(options.get("kind", "sequence")) | options
    result = audit(function(model), inputs, None if of_one_length else lengths, **more)
    assert result.names == expected
    # by Python's random numbers, which nothing holds still
    assert any("training mode" in told for told in result.untested) == ("teacher" in name)


def test_the_functions_of_the_page() -> None:
    torch.manual_seed(0)
    right, translator = Classifier(), Translator()
    models: list[tuple[Any, dict[str, Any]]] = [  # in the page's order
        (Series(), {"padding": "none"}),
        (lambda x, mask: right(x, mask.sum(dim=1)), {}),
        (lambda x, padding: right(x, (~padding).sum(dim=1)), {}),
        (OfPacked(bidirectional=True), {}),
        (lambda batch: {"logits": right(batch["x"], batch["lengths"])}, {}),
        (OfTimeFirst(right), {}),
        (OfTimeFirst(Tagger()), {"kind": "per_step"}),
        (FrontMasked(), {"padding": 0}),
        (NextWord(), {"kind": "per_step", "causal": True}),
        (lambda x, n, tgt: translator(x, n, tgt), {"kind": "seq2seq"}),
    ]
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    functions = re.findall(r"\| `(lambda x, n.*)` \|$", page, re.MULTILINE)
    for function, (model, options) in zip(functions, models, strict=True):
        names = {"model": model, "pack_padded_sequence": nn.utils.rnn.pack_padded_sequence}
        names |= {"valid_steps": valid_steps, "reverse_by_length": reverse_by_length}
        module = model if isinstance(model, nn.Module) else right
        module = translator if "tgt" in function else module
        inputs, lengths = inputs_for(module, [20] * 4 if "none" in options.values() else LENGTHS)
        options |= more_for(options.get("kind", "sequence"))
        assert audit(eval(function, names), inputs, lengths, **options).findings == [], function


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_by_what_padding_holds(name: str) -> None:
    torch.manual_seed(0)
    make, kind, causal, expected = MASKED[name]
    model = make()
    inputs, lengths = inputs_for(model, LENGTHS)
    assert audit(model, inputs, lengths, kind, causal, padding=0).names == expected
    assert audit(model, inputs, lengths, kind, causal).names == ["padding_leak"]


@pytest.mark.parametrize("padding", [7, torch.nan], ids=str)
def test_padding_may_hold_any_value(padding: float) -> None:
    class Counted(Classifier):
        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            marked = torch.isclose(inputs, torch.tensor(padding).to(inputs), equal_nan=True)
            return super().forward(inputs.masked_fill(marked, 0), (~marked).any(2).sum(1))

    torch.manual_seed(0)
    inputs, lengths = inputs_for(model := Counted(), LENGTHS)
    inputs[~mask_of(lengths, 20)] = padding
    assert audit(model, inputs, lengths, padding=padding).findings == []


@pytest.mark.parametrize("padding", [1, 0.5, torch.nan], ids=str)
def test_padding_that_the_inputs_contradict(padding: float) -> None:
    inputs, lengths = inputs_for(model := MaskedById(), LENGTHS)
    with pytest.raises(UserError, match=f"padding={padding}, but inputs hold something else"):
        assert_clean(model, inputs, lengths, padding=padding)
    inputs[:, 5] = 0  # valid tokens that are padding: the audit leaves them out
    assert_clean(model, inputs, lengths, padding=0)
    with pytest.raises(AssertionError, match="padding_leak: 11 steps of padding"):
        assert_clean(PaddingIndex(), inputs, lengths, padding=0)


@pytest.mark.parametrize("as_given", [list, tuple, np.array, torch.IntTensor], ids=str)
def test_lengths_may_be_a_list(as_given: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    inputs, _ = inputs_for(model := LastColumn(), LENGTHS)
    expected = audit(model, inputs, torch.tensor(LENGTHS))
    assert audit(model, inputs, as_given(LENGTHS)) == expected
    assert_clean(Classifier(), inputs, as_given(LENGTHS))
    tokens, _ = inputs_for(Translator(), LENGTHS)
    assert_clean(Translator(), tokens, as_given(LENGTHS), "seq2seq", **more_for("seq2seq"))


def test_logits_that_are_not_finite_in_one_row_are_found() -> None:
    class NotFinite(Classifier):
        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            logits = super().forward(inputs, lengths)
            return logits.index_fill(0, (lengths[1:] > lengths[0]).nonzero()[:, 0] + 1, torch.nan)

    assert audit_of(NotFinite).names == ["batch_leak"]


def test_a_refusal_of_unsorted_rows_is_told() -> None:
    [told] = audit_of(RIGHT["rows sorted by length"][0]).untested
    assert told.startswith("batch_leak, of rows that are not the longest first: `lengths` array")


def our_task(head: str, bidirectional: bool | None = None, **encoder: Any) -> Task:
    options = {"hidden_size": H, "bidirectional": bidirectional, **encoder}
    if head in DECODER_HEADS:
        data = {"num_inputs": V, "num_targets": W, "start": 0, "end": 0}
        return tasks.Seq2Seq(data, options, head, dropout=0.3)
    if head in TAGGER_HEADS:
        tags = {"num_inputs": V, "classes": ["a", "b"]}
        return exported("Tagger")(tags, options, head, dropout=0.3)
    if HEADS[head].per == "step":
        return tasks.LanguageModel({"num_inputs": V}, options, head, dropout=0.3)
    data = {"inputs": "features", "num_inputs": F, "classes": ["a", "b", "c"]}
    return tasks.SequenceClassifier(data, options, head, dropout=0.3, embedding={"noise": 0.1})


def kind_of(task: Task) -> str:
    if task.contract.target == "text":
        return "seq2seq"
    return "per_step" if task.contract.per == "step" else "sequence"


def audit_task(task: Task, **options: Any) -> Any:
    inputs, lengths = inputs_for(task, LENGTHS)
    kind = kind_of(task)
    more = more_for(kind) | options
    return audit(task.as_function(), inputs, lengths, kind, task.contract.causal, **more)


@pytest.mark.parametrize("packing", ["padded", "packed"])
@pytest.mark.parametrize("head", ALL_HEADS)
def test_our_own_are_clean(head: str, packing: str) -> None:
    torch.manual_seed(0)
    bidirectional = fitting_directions(head)[-1]
    task = our_task(head, bidirectional, num_layers=2, dropout=0.2, packing=packing)
    assert audit_task(task.train()).findings == []


def test_every_name_is_tested_here() -> None:
    cases = [*ALL_WRONG.values(), *CALLS.values()]
    assert {name for case in cases for name in case[-1]} == set(ADVICE)
    assert len(RIGHT) >= 15


# ---------------------------------------------------------------- a head that a forker writes


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        # of shorter rows it reads the zeros that the encoder leaves at padding, and nothing else
        (
            lambda states: states.output[:, -1],
            ["padding_leak", "truncated_direction", "unread_step"],
        ),
        (lambda states: states.output.mean(dim=1), ["padding_leak"]),
        (lambda states: states.state[0].reshape(len(states.lengths), -1), ["batch_leak"]),
        (lambda states: states.h_n[-1, 1], ["unread_direction"]),
        (lambda states: states.output[:, 0], ["truncated_direction"]),
    ],
    ids=["last column", "mean of padding", "viewed", "backward only", "first column"],
)
def test_a_head_with_a_mistake_is_found(
    select: Callable[[RNNOutput], Tensor], expected: list[str]
) -> None:
    class Mistaken(Head, name="mistaken"):
        reads = ("output",)

        def select(self, states: RNNOutput) -> Tensor:
            return select(states)

    torch.manual_seed(0)
    assert audit_task(our_task("mistaken", bidirectional=True)).names == expected


# ---------------------------------------------------------------- whatever it is given


@pytest.mark.parametrize("lengths", [[1], [5], [1, 1, 1], [2, 1], [60, 2], [20] * 3], ids=str)
@pytest.mark.parametrize("tokens", [False, True], ids=["features", "tokens"])
def test_any_shape(lengths: list[int], tokens: bool) -> None:
    torch.manual_seed(0)
    data = {"inputs": "tokens" if tokens else "features", "num_inputs": V if tokens else F}
    task = tasks.SequenceClassifier(
        {**data, "classes": ["a", "b"]}, {"hidden_size": 4, "bidirectional": True}, "max_pool"
    )
    inputs, batch_lengths = inputs_for(task, lengths)
    assert audit(task.as_function(), inputs, batch_lengths).findings == []
    wrong = nn.ModuleList([LastColumn()])[0]
    if not tokens:
        assert audit(wrong, inputs, batch_lengths).names == ["padding_leak"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_types_and_modes(dtype: torch.dtype, training: bool) -> None:
    torch.manual_seed(0)
    right = Classifier(num_layers=2, dropout=0.5).to(dtype).train(training)
    wrong = LastColumn(num_layers=2, dropout=0.5).to(dtype).train(training)
    inputs, lengths = inputs_for(right, LENGTHS)
    assert audit(right, inputs.to(dtype), lengths).findings == []
    assert audit(wrong, inputs.to(dtype), lengths).names == ["padding_leak"]


@pytest.mark.parametrize("scale", [1e-3, 100.0], ids=["faint", "saturated"])
def test_faint_and_saturated_units(scale: float) -> None:
    torch.manual_seed(0)
    for name in ("masked maximum", "packed LSTM", "h_n of both directions"):
        model = RIGHT[name][0]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= scale
        assert audit(model, *inputs_for(model, LENGTHS)).findings == [], name


def test_a_black_box_gets_the_outer_findings() -> None:
    torch.manual_seed(0)
    models = [WRONG["last column"][0]().eval(), WRONG["h_n viewed"][0]().eval()]
    inputs, lengths = inputs_for(models[0], LENGTHS)

    def hidden(number: int, inputs: Tensor, lengths: Tensor) -> Tensor:
        return models[number](inputs, lengths)  # a list of modules, into which nobody looks

    assert audit(partial(hidden, 0), inputs, lengths).names == ["padding_leak"]
    assert audit(partial(hidden, 1), inputs, lengths).names == ["batch_leak"]


def test_modules_of_a_function_are_found() -> None:
    torch.manual_seed(0)
    rnn, classify = nn.GRU(F, H, batch_first=True, bidirectional=True), nn.Linear(2 * H, 3)

    def last_of_both(inputs: Tensor, lengths: Tensor) -> Tensor:
        return classify(rnn(inputs)[0][torch.arange(len(lengths)), lengths - 1])

    inputs, lengths = inputs_for(classify, LENGTHS)
    found = audit(last_of_both, inputs, lengths)
    assert found.names == ["padding_leak", "truncated_direction"]  # it does not pack, either
    called = audit(lambda rows, of_rows: last_of_both(rows, of_rows), inputs, lengths)
    assert called.names == found.names


def test_a_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = Classifier(num_layers=2, dropout=0.5)
    model.classify.eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    places = [parameter.data_ptr() for parameter in model.parameters()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    audit(model, *inputs_for(model, LENGTHS))
    assert torch.equal(torch.rand(3), expected)
    assert model.training and model.rnn.training and not model.classify.training
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    for name, value in model.state_dict().items():
        assert value.dtype == weights[name].dtype and torch.equal(value, weights[name])
    assert not model.rnn._forward_hooks


def test_the_hooks_by_which_processes_share_gradients_stay() -> None:
    model, seen, held = Classifier(num_layers=2), list[str](), []
    inputs = inputs_for(model, LENGTHS)
    for name, weight in model.named_parameters():
        node = weight.expand_as(weight).grad_fn.next_functions[0][0]  # as DDP finds it
        node.register_hook(lambda *_, name=name: seen.append(name))
        held.append(node)
    audit(model, *inputs)
    model(*inputs).sum().backward()
    assert sorted(seen) == sorted(name for name, _ in model.named_parameters())


def test_random_numbers_are_seeded_as_by_pytorch() -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    seed_random_numbers(3)
    assert torch.equal(torch.randn(4), expected)


def test_a_seed_decides_everything() -> None:
    torch.manual_seed(0)
    model = LastColumn()
    inputs, lengths = inputs_for(model, LENGTHS)
    once, again, other = (str(audit(model, inputs, lengths, seed=s).findings) for s in (3, 3, 4))
    assert once == again != other


def test_what_cannot_be_tested_is_said() -> None:
    result = audit_of(RIGHT["one shape only"][0])
    assert result.findings == []
    assert any(reason.startswith("padding_leak, by the amount") for reason in result.untested)


def test_a_model_of_single_steps_is_clean() -> None:
    class OneStep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.classify = nn.GRUCell(F, H), nn.Linear(H, 3)

        def forward(
            self, inputs: Tensor, lengths: Tensor, state: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            [step] = inputs.unbind(dim=1)
            state = self.cell(step, state)
            return self.classify(state).unsqueeze(1), state

    torch.manual_seed(0)
    assert audit(OneStep(), torch.randn(3, 1, F), torch.ones(3).long(), "per_step").findings == []


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (lambda inputs: inputs, {}, "cannot be run: TypeError: .*takes 1 positional argument"),
        (lambda inputs, mask: inputs[mask], {}, "; if your model takes or gives something else, "),
        (
            lambda inputs, lengths: (inputs, lengths),
            {},
            r"tuple instead of logits; if .*lambda inp",
        ),
        (lambda inputs, lengths: lengths.double() / 0, {}, "logits are not finite"),
        (lambda inputs, lengths: "logits", {}, "returns str instead of logits"),
        (lambda inputs, lengths: inputs, {}, "one for each step: set kind=per_step"),
        (lambda inputs, lengths: inputs, {"kind": "step"}, "kind=step: choose one of"),
        (lambda inputs, lengths: inputs[:, 0], {"causal": True}, "needs kind='per_step'"),
        (lambda inputs, lengths: inputs[:, 0], {"padding": "front"}, "padding=front: give what"),
        (lambda inputs, lengths: inputs[:, 0], {"padding": "none"}, "padding=none: give what"),
    ],
)
def test_a_model_that_cannot_be_audited_says_why(
    model: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        audit(model, torch.randn(3, 6, F), torch.tensor([6, 4, 1]), **options)


@pytest.mark.parametrize(
    ("inputs", "lengths", "message"),
    [
        (torch.randn(3, 6), torch.tensor([6, 4, 1]), r"tokens \(B, T\) or words"),
        (
            {"x": torch.randn(3, 6, F)},
            [6, 4, 1],
            "must be a tensor, not a dict: if your model takes",
        ),
        (torch.randn(3, 6, F), None, "give lengths, or padding='none'"),
        (torch.randn(3, 6, F), torch.tensor([6, 4]), "lengths"),
        (torch.randn(3, 6, F), torch.tensor([6, 4.5, 1]), r"integers \(B,\), got \(3,\) torch.f"),
        (torch.randn(3, 6, F), torch.tensor(6), r"integers \(B,\), got \(\) torch.int64"),
        (torch.randn(3, 6, F), [6, 4, 10**30], r"lengths must be integers \(B,\): "),
        (torch.randn(3, 6, F), torch.tensor([7, 4, 1]), "from 1 to T"),
        (torch.zeros(3, 6, dtype=torch.int64), torch.tensor([6, 4, 1]), "contain only token 0"),
    ],
)
def test_inputs_that_are_no_batch(inputs: Tensor, lengths: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        audit(Classifier(), inputs, lengths)


def test_an_audit_needs_only_torch() -> None:
    """You can use it in a project that has none of the template's other dependencies."""
    heavy = ("lightning", "hydra", "omegaconf", "matplotlib", "scipy", "tokenizers", "datasets")
    code = f"import sys, seqmodels.audit; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_assert_clean_lists_what_is_wrong() -> None:
    torch.manual_seed(0)
    inputs, lengths = inputs_for(nn.Linear(1, 1), LENGTHS)
    assert_clean(Classifier(), inputs, lengths)
    with pytest.raises(AssertionError, match="padding_leak: other content at padding moves logits"):
        assert_clean(LastColumn(), inputs, lengths)


# ---------------------------------------------------------------- no false alarm


def random_case(seed: int) -> tuple[str, list[str]]:
    """A right model with random sizes, weights, type, mode and inputs; and what the audit says."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    longest = rng.choice([1, 2, 5, 20, 60])
    lengths = [rng.randint(1, longest) for _ in range(rng.choice([1, 2, 5]))]
    if rng.random() < 1 / 3:
        name = rng.choice(sorted(set(ALL_RIGHT) - {"one shape only"}))
        make, kind, causal, _ = ALL_RIGHT[name]
        module = make()
        model: Any = module
        lengths.sort(reverse=True)
    else:
        name = rng.choice(ALL_HEADS)
        cell, layers = rng.choice(["lstm", "lstm", "gru", "rnn"]), rng.choice([1, 2, 3])
        hidden = rng.choice([1, 2, 5, 32])
        encoder = {
            "cell": cell,
            "num_layers": layers,
            "hidden_size": hidden,
            "packing": rng.choice(["auto", "packed", "padded"]),
            "dropout": 0.3 if layers > 1 else 0.0,
            "proj_size": hidden // 2 if cell == "lstm" and 2 < hidden < 32 else 0,
        }
        fitting = fitting_directions(name)
        task = our_task(name, fitting[-1] if len(fitting) == 1 else rng.random() < 0.5, **encoder)
        module, model = task, task.as_function()
        kind, causal = kind_of(task), task.contract.causal
        name += f" {encoder}"
    scale, size = rng.choice([0.01, 1, 1, 30]), rng.choice([1e-3, 1, 1, 1000])
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= scale
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    if name == "float32 only":
        dtype = torch.float32
    module.to(dtype).train(rng.random() < 0.5)
    inputs, batch_lengths = inputs_for(module, lengths, seed)
    if inputs.is_floating_point():
        inputs = (size * inputs).to(dtype)
    elif not bool(inputs.any(dim=0).any()):
        inputs += 1
    if rng.random() < 0.25:  # a black box
        box, carries = [model], "state" in signature(getattr(model, "forward", model)).parameters
        module.eval()
        model = lambda inputs, lengths, **named: box[0](inputs, lengths, **named)  # noqa: E731
        if carries:
            model = lambda inputs, lengths, state: box[0](inputs, lengths, state)  # noqa: E731
    what = f"seed {seed}: {name}, weights * {scale}, inputs * {size}, {dtype}, {lengths}"
    result = audit(model, inputs, batch_lengths, kind, causal, seed=seed, **more_for(kind))
    return what, [str(finding) for finding in result.findings]


def false_alarms(seeds: range) -> list[tuple[str, list[str]]]:
    return [case for case in map(random_case, seeds) if case[1]]


@pytest.mark.slow
def test_no_false_alarm_in_60_random_cases() -> None:
    assert false_alarms(range(60)) == []


@pytest.mark.long
def test_no_false_alarm_in_ten_thousand_random_cases() -> None:
    assert false_alarms(range(10_000)) == []


def test_mask_of_is_what_it_says() -> None:
    assert mask_of(torch.tensor([2, 1]), 3).tolist() == [[True, True, False], [True, False, False]]
