"""An audit finds common mistakes by name, and raises no false alarm."""

from __future__ import annotations

import random
import re
from inspect import signature
from itertools import product, repeat
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqmodels.audit import Audit, assert_clean, audit
from seqmodels.audit.isolation import seed_random_numbers
from seqmodels.audit.random_inputs import Sampler
from seqmodels.engine import Task
from seqmodels.errors import UserError
from seqmodels.mistakes import MISTAKES
from seqmodels.padding import reverse_by_length, valid_steps
from tests.audit.bank import (
    RIGHT,
    TARGETS,
    WRONG,
    Carried,
    Classifier,
    F,
    H,
    Tagger,
    Translator,
    inputs_for,
    last_column,
)
from tests.audit.bank_calls import CALLS
from tests.audit.bank_sorting import MASKED, SORTED_RIGHT, SORTED_WRONG, MaskedById
from tests.conftest import ROOT
from tests.networks import noisy_task
from tests.shipped import ALL_HEADS, fitting_directions

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

LENGTHS = [20, 17, 9, 3]
ALL_RIGHT = RIGHT | SORTED_RIGHT
ALL = WRONG | SORTED_WRONG | CALLS | ALL_RIGHT


def audit_of(model: nn.Module, **options: Any) -> Audit:
    inputs, lengths = inputs_for(model, LENGTHS)
    return audit(model, inputs, None if options.get("padding") == "none" else lengths, **options)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("most_numbers", [1, 7, 100_000])
def test_random_features_have_mean_and_spread_of_the_valid_steps(
    most_numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.audit.random_inputs.NUMBERS", most_numbers)
    inputs = torch.randn(4, 20, 3) * torch.tensor([1.0, 50.0, 0.0]) + torch.tensor([0.0, 1e4, 0.1])
    lengths = torch.tensor(LENGTHS)
    is_valid = valid_steps(lengths, 20)
    inputs[~is_valid] = -7.0
    sampler = Sampler(inputs, lengths, seed=0)
    expected = inputs[is_valid].double()
    torch.testing.assert_close(sampler.mean, expected.mean(dim=0))
    deviation = expected.std(dim=0, correction=0)
    deviation[2] = 1.0  # a feature that is always the same
    torch.testing.assert_close(sampler.spread, deviation)


# ---------------------------------------------------------------- the banks


@pytest.mark.parametrize("name", ALL)
def test_mistakes_are_found_by_name_and_right_models_are_clean(name: str) -> None:
    make, options, found = ALL[name]
    result = audit_of(make(), **options)
    assert result.names == found
    for finding in result.findings:
        assert finding.cure and finding.evidence and finding.name in str(finding)
    # Teacher forcing draws by Python's random numbers, which nothing holds still.
    untested_lines = [line for line in result.untested if "training mode" in line]
    expected_line = "leaks in training mode: its random numbers cannot be held still"
    assert untested_lines == ([expected_line] if "teacher" in name else [])


def beside_others(model: nn.Module, kind: str) -> nn.Module:
    """The model with more outputs, none of which is wrong: a large and a tiny one, a constant, and
    two masked ones."""

    def add_outputs(module: nn.Module, arguments: Any, options: Any, result: Any) -> Any:
        logits = result[0] if isinstance(result, tuple) else result
        inputs, lengths = arguments[0], arguments[1]
        columns = logits if logits.dim() > 1 else logits.unsqueeze(1)
        if kind == "seq2seq":
            content = options["target_inputs"].unsqueeze(2)
        else:
            content = inputs if inputs.is_floating_point() else inputs.unsqueeze(2)
            content = content.sum(dim=2, keepdim=True)
        if kind == "sequence":
            content = content.where(valid_steps(lengths, inputs.shape[1]).unsqueeze(2), 0)
            content = content.sum(dim=1).view(-1, *[1] * (columns.dim() - 1))
        else:
            content = content[:, : columns.shape[1]]
        content = content.to(logits).expand_as(columns[..., :1])
        constants = [torch.full_like(content, value) for value in (3.0, -1e9, -torch.inf)]
        wide = torch.cat([columns, 1e6 * content, 1e-7 * content, *constants], dim=-1)
        return (wide, result[1]) if isinstance(result, tuple) else wide

    model.register_forward_hook(add_outputs, with_kwargs=True)
    return model


@pytest.mark.parametrize("name", sorted(set(ALL) - {"proj_size viewed"}))
def test_other_outputs_hide_no_mistake_and_accuse_no_right_one(name: str) -> None:
    make, options, found = ALL[name]
    result = audit_of(beside_others(make(), options.get("kind", "sequence")), **options)
    # The other outputs read all steps, so that a wrong output may be stale, but no step is unread.
    expected = {*found} - {"unread_step"}
    optional = {"stale_state"} if "unread_step" in found else set()
    assert expected <= {*result.names} <= expected | optional | {"constant_logit"}
    # After a call that changes the next, nothing else is tested.
    if name != "state kept between calls":
        [warning] = [finding for finding in result.findings if finding.name == "constant_logit"]
        assert warning.severity == "warning"


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_by_what_padding_holds(name: str) -> None:
    make, options, found = MASKED[name]
    model = make()
    assert audit_of(model, padding=0, **options).names == found
    assert audit_of(model, **options).names == ["padding_leak"]


def test_every_name_is_tested_here() -> None:
    names = {name for name, mistake in MISTAKES.items() if not mistake.is_of_a_stream}
    assert {name for case in ALL.values() for name in case.found} == names


def test_the_functions_of_the_page() -> None:
    right, tagger, by_id, language = Classifier(), Tagger(), MaskedById(), Carried()
    translator, rows = Translator(), torch.full((6,), 20)
    steps, carried = {"kind": "per_step"}, {"kind": "per_step", "causal": True}
    models: list[tuple[Any, nn.Module, dict[str, Any]]] = [  # in the page's order
        (lambda x: right(x, rows[: len(x)].clamp(max=x.shape[1])), right, {"padding": "none"}),
        (lambda x, mask: right(x, mask.sum(dim=1)), right, {}),
        (lambda x, padding: right(x, (~padding).sum(dim=1)), right, {}),
        (lambda rows: right(*nn.utils.rnn.pad_packed_sequence(rows, True)), right, {}),
        (lambda batch: {"logits": right(batch["x"], batch["lengths"])}, right, {}),
        (lambda x, n: right(x.transpose(0, 1), n), right, {}),
        (lambda x, n: tagger(x.t(), n).transpose(0, 1), tagger, steps),
        (lambda x: by_id(x.flip(1), None), by_id, {"padding": 0}),
        (lambda x, hidden: language(x, None, hidden), tagger, carried),
        (lambda x, n, tgt: translator(x, n, tgt), translator, WITH_TARGETS),
    ]
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    functions = re.findall(r"\| `(lambda x, n.*)` \|$", page, re.MULTILINE)
    for function, (model, module, options) in zip(functions, models, strict=True):
        names = {"model": model, "pack_padded_sequence": pack_padded_sequence}
        names |= {"valid_steps": valid_steps, "reverse_by_length": reverse_by_length}
        inputs, lengths = inputs_for(module, [20] * 4 if "none" in options.values() else LENGTHS)
        assert audit(eval(function, names), inputs, lengths, **options).findings == [], function


# ---------------------------------------------------------------- what one of several tries finds


def filled_from_other_rows(inputs: Tensor, lengths: Tensor) -> Tensor:
    valid = valid_steps(lengths, inputs.shape[1]).unsqueeze(2)
    mean = (inputs * valid).sum(dim=0) / valid.sum(dim=0)  # of each step
    return inputs.where(valid, mean).tanh().sum(dim=1)


def counts_peaks(inputs: Tensor, lengths: Tensor) -> Tensor:
    return nn.functional.hardshrink(inputs, 5.0).sum(dim=1)


def divides_by_all_columns(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Of a row with one step, it takes that step."""
    mean = inputs.sum(dim=1) / inputs.shape[1]
    return torch.where(lengths.unsqueeze(1) > 1, mean, inputs[:, 0])


def centred_after_some_steps(inputs: Tensor, lengths: Tensor) -> Tensor:
    return torch.cat([inputs[:, :5], inputs[:, 5:] - inputs.mean(dim=1, keepdim=True)], dim=1)


def a_step_late(inputs: Tensor, lengths: Tensor) -> Tensor:
    """The last step is read in the padding alone."""
    return inputs.roll(1, dims=1)


def masked_by_a_product(inputs: Tensor, lengths: Tensor) -> Tensor:
    """0 times the root of padding is nan, once padding is negative."""
    valid = valid_steps(lengths, inputs.shape[1]).unsqueeze(2)
    return inputs.where(valid, 0 * inputs.sqrt()).sum(dim=1)


CAUSAL = {"kind": "per_step", "causal": True, "padding": "none"}


@pytest.mark.parametrize(
    ("model", "options", "found"),
    [
        (filled_from_other_rows, {}, ["batch_leak"]),  # the longest row has no padding
        (counts_peaks, {}, ["padding_leak"]),
        (masked_by_a_product, {}, ["padding_leak"]),
        (divides_by_all_columns, {"padding": 0}, ["padding_leak"]),
        (centred_after_some_steps, CAUSAL, ["future_leak"]),
        (a_step_late, {"kind": "per_step"}, ["padding_leak", "unread_step"]),
    ],
)
def test_a_rare_mistake_is_found(model: Any, options: dict[str, Any], found: list[str]) -> None:
    inputs, lengths = inputs_for(Classifier(), LENGTHS)
    inputs[~valid_steps(lengths, 20)] = 0
    given = None if options.get("padding") == "none" else lengths
    assert audit(model, inputs, given, **options).names == found


def test_one_direction_may_be_read_at_its_start_and_its_end() -> None:
    model = Classifier(lambda output, h_n, n: torch.cat([output[:, 0], h_n[-1]], 1), width=2 * H)
    assert audit_of(model).findings == []


@pytest.mark.parametrize(("place", "unread"), [(-1, "forward"), (-2, "backward")])
def test_the_direction_that_is_not_read_is_named(place: int, unread: str) -> None:
    model = Classifier(lambda output, h_n, lengths: h_n[place], bidirectional=True)
    [finding] = audit_of(model).findings
    assert f"the last layer's {unread} states" in finding.evidence


def test_what_a_decoder_reads_begins_as_it_was_given() -> None:
    model, targets, seen = Translator(), TARGETS.clone(), set[int]()
    targets[:, 0] = 7

    def translate(inputs: Tensor, lengths: Tensor, target_inputs: Tensor) -> Tensor:
        seen.update(target_inputs[:, 0].tolist())
        return model(inputs, lengths, target_inputs)

    inputs, lengths = inputs_for(model, LENGTHS)
    audit(translate, inputs, lengths, "seq2seq", target_inputs=targets, thorough=False)
    assert seen == {7}


def test_frozen_weights_are_audited() -> None:
    for name in ("packed LSTM", "LSTMCell in a loop"):
        model = ALL[name].make()
        next(model.parameters()).requires_grad_(False)
        assert audit_of(model, **ALL[name].options).names == ALL[name].found


# ---------------------------------------------------------------- what it is given

WITH_TARGETS: dict[str, Any] = {"kind": "seq2seq", "target_inputs": TARGETS}


def test_padding_that_the_inputs_contradict() -> None:
    inputs, lengths = inputs_for(model := MASKED["tagger packed by id"].make(), LENGTHS)
    with pytest.raises(UserError, match="^padding=1, but inputs"):
        audit(model, inputs, lengths, "per_step", padding=1)
    inputs[:, 2:6] = 0  # valid tokens that are padding: the audit leaves them out
    assert audit(model, inputs, lengths, "per_step", padding=0).findings == []


def test_lengths_may_be_a_list_or_an_array() -> None:
    inputs, lengths = inputs_for(model := last_column(), LENGTHS)
    for given in (LENGTHS, np.array(LENGTHS)):
        assert audit(model, inputs, given) == audit(model, inputs, lengths)


def test_inputs_are_like_those_that_are_given() -> None:
    right, (inputs, lengths) = Classifier(), inputs_for(Classifier(), LENGTHS)
    assert_clean(lambda x, n: right(x.sub(100).log1p(), n), inputs.abs() + 105, lengths)
    assert_clean(right, 1e5 + 10 * inputs, lengths)  # which saturate it, whatever its weights


@pytest.mark.parametrize(
    ("lengths", "dtype", "scale"),
    [
        *((lengths, torch.float32, 1) for lengths in ([1], [2, 1], [60, 2], [20] * 3)),
        (LENGTHS, torch.bfloat16, 1),
        *((LENGTHS, torch.float32, scale) for scale in (1e-3, 100)),  # faint and saturated units
    ],
    ids=str,
)
def test_any_shape_type_and_size_in_both_modes(
    lengths: list[int], dtype: torch.dtype, scale: float
) -> None:
    names = ("packed LSTM", "masked maximum", "h_n of both directions", "last column")
    for name, training in product(names, (False, True)):
        model = ALL[name].make().to(dtype).train(training)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= scale
        inputs, own_lengths = inputs_for(model, lengths)
        assert audit(model, inputs.to(dtype), own_lengths).names == ALL[name].found


def test_a_coarse_model_is_audited_in_float64_however_short_the_audit() -> None:
    def mostly_right(output: Tensor, h_n: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(len(lengths)), lengths - 1] + output[:, -1] / 50

    model = Classifier(mostly_right, packs=False).bfloat16()
    inputs, lengths = inputs_for(model, LENGTHS)
    found = audit(model, inputs.bfloat16(), lengths, thorough=False)
    assert found.names == ["padding_leak"]


def test_what_cannot_be_tested_is_told() -> None:
    for name, told in (
        ("rows sorted by length", "batch_leak, of rows that are not the longest first: `lengths`"),
        ("one shape only", "padding_leak, by the amount of padding: "),
    ):
        result = audit_of(RIGHT[name].make())
        assert result.findings == []
        assert any(line.startswith(told) for line in result.untested)


def test_logits_that_rounding_alone_moves_are_told() -> None:
    inputs, lengths = inputs_for(Classifier(), LENGTHS)

    def amplifies(inputs: Tensor, lengths: Tensor) -> Tensor:
        valid = valid_steps(lengths, inputs.shape[1]).unsqueeze(2)
        return (1e14 * inputs).sin().where(valid, 0.0).sum(dim=1)

    result = audit(amplifies, inputs, lengths)
    assert result.findings == []
    assert result.untested[-1].startswith("leaks: rounding alone changes these logits by up to ")


# ---------------------------------------------------------------- what it leaves behind


def test_a_model_is_left_as_it_was() -> None:
    model = Classifier(num_layers=2, dropout=0.5)
    model.classify = nn.Sequential(nn.BatchNorm1d(H), model.classify)
    model.classify.eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    places = [parameter.data_ptr() for parameter in model.parameters()]

    def drawn() -> tuple[float, ...]:
        return float(np.random.rand()), float(torch.rand(1))

    seed_random_numbers(5)
    expected = drawn()
    seed_random_numbers(5)
    audit_of(model)
    assert drawn() == expected
    assert model.training and model.rnn.training and not model.classify.training
    assert [parameter.data_ptr() for parameter in model.parameters()] == places
    for name, value in model.state_dict().items():
        assert value.dtype == weights[name].dtype and torch.equal(value, weights[name])
    assert not model.rnn._forward_hooks


def test_the_hooks_by_which_processes_share_gradients_stay() -> None:
    model, seen, held = Classifier(num_layers=2), list[str](), []
    for name, weight in model.named_parameters():
        node = weight.expand_as(weight).grad_fn.next_functions[0][0]  # as DDP finds it
        node.register_hook(lambda *_, name=name: seen.append(name))
        held.append(node)
    audit_of(model)
    model(*inputs_for(model, LENGTHS)).sum().backward()
    assert sorted(seen) == sorted(name for name, _ in model.named_parameters())


def test_a_seed_decides_everything() -> None:
    once, again, other = (str(audit_of(LAST, seed=s).findings) for s in (3, 3, 4))
    assert once == again != other


# ---------------------------------------------------------------- mistakes

LAST, INPUTS, THREE = last_column(), torch.randn(3, 6, F), [6, 4, 1]
OTHERWISE = "if your model takes or gives something else"


@pytest.mark.parametrize(
    ("model", "options", "key"),
    [
        (lambda inputs: inputs, {}, f"TypeError: .*; {OTHERWISE}"),
        (lambda inputs, lengths: (inputs, lengths), {}, f"tuple .*; {OTHERWISE}"),
        (lambda inputs, lengths: lengths.double() / 0, {}, "not finite"),
        (lambda inputs, lengths: inputs, {}, "kind=per_step"),
        (LAST, {"kind": "step"}, "^kind=step: "),
        (LAST, {"kind": "seq2seq"}, "target_inputs"),
        (LAST, {"padding": "none"}, "^padding=none: "),  # rows of other lengths
        (LAST, {"inputs": INPUTS[..., 0]}, r"tokens .*, or features "),
        (LAST, {"lengths": None}, "^give lengths, or padding='none'"),
        (LAST, {"lengths": [6, 4]}, "lengths"),
        (LAST, {"lengths": [6, 4, 0]}, "from 1 to T"),
        (LAST, {"lengths": torch.tensor([6, 4.5, 1])}, "^lengths must be integers"),
    ],
)
def test_what_cannot_be_audited_says_why(model: Any, options: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError, match=key):
        audit(model, **{"inputs": INPUTS, "lengths": THREE, **options})


def test_assert_clean_lists_what_is_wrong() -> None:
    inputs, lengths = inputs_for(LAST, LENGTHS)
    assert_clean(Classifier(), inputs, lengths)
    with pytest.raises(AssertionError, match="padding_leak: other content at padding moves logits"):
        assert_clean(LAST, inputs, lengths)


# ---------------------------------------------------------------- no false alarm


def options_of(task: Task) -> dict[str, Any]:
    if task.contract.target == "text":
        return WITH_TARGETS
    kind = "per_step" if task.contract.per == "step" else "sequence"
    return {"kind": kind, "causal": task.contract.causal}


def black_box(model: Any, carries: bool) -> Any:
    """Hides a model in an iterator of C, into which nobody looks."""
    box = repeat(model)
    if carries:
        return lambda inputs, lengths, state: next(box)(inputs, lengths, state)
    return lambda inputs, lengths, **named: next(box)(inputs, lengths, **named)


def random_case(seed: int) -> list[str]:
    """What the audit says of a right model with random sizes, weights, type, mode and inputs."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    longest = rng.choice([1, 2, 5, 20, 60])
    lengths = [rng.randint(1, longest) for _ in range(rng.choice([1, 2, 5]))]
    if rng.random() < 1 / 3:
        name = rng.choice(sorted(set(ALL_RIGHT) - {"one shape only", "float32 only"}))
        make, options, _ = ALL_RIGHT[name]
        model: Any = (module := make())
        lengths.sort(reverse=True)
    else:
        name = rng.choice(ALL_HEADS)
        cell, layers = rng.choice(["lstm", "lstm", "gru", "rnn"]), rng.choice([1, 2, 3])
        hidden = rng.choice([1, 2, 5, 32])
        module = noisy_task(
            name,
            cell=cell,
            num_layers=layers,
            hidden_size=hidden,
            bidirectional=rng.choice(fitting_directions(name)),
            packing=rng.choice(["auto", "packed", "padded"]),
            dropout=0.3 if layers > 1 else 0.0,
            proj_size=hidden // 2 if cell == "lstm" and 2 < hidden < 32 else 0,
        )
        model, options = module.network, options_of(module)
    with torch.no_grad():
        scale = rng.choice([0.01, 1, 1, 30])
        for parameter in module.parameters():
            parameter *= scale
    dtype = rng.choice([torch.float32, torch.float32, torch.float64, torch.bfloat16])
    module.to(dtype).train(rng.random() < 0.5)
    inputs, batch_lengths = inputs_for(module, lengths, seed)
    if inputs.is_floating_point():
        inputs = (rng.choice([1e-3, 1, 1, 1000]) * inputs).to(dtype)
    if rng.random() < 0.25:
        carries = "state" in signature(getattr(model, "forward", model)).parameters
        module.eval()
        model = black_box(model, carries)
    result = audit(model, inputs, batch_lengths, seed=seed, **options)
    return [f"seed {seed}, {name}: {finding}" for finding in result.findings]


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, pytest.param(10_000, marks=pytest.mark.long)])
def test_no_false_alarm_in_random_cases(count: int) -> None:
    assert [finding for seed in range(count) for finding in random_case(seed)] == []


# ---------------------------------------------------------------- a logit for several steps


class Halved(nn.Module):
    """Logits for every `stride` steps, as before a CTC loss."""

    def __init__(self, way: str, stride: int, two: bool, packs: bool) -> None:
        super().__init__()
        width = H * (1 + two)
        self.way, self.stride, self.packs = way, stride, packs
        self.rnn = nn.LSTM(F, H, batch_first=True, bidirectional=two)
        self.convolve = nn.Conv1d(width, width, 3, stride=stride, padding=1)
        self.project = nn.Linear(width * stride if way == "joined" else width, 4)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        time = inputs.shape[1]
        output, _ = self.rnn(inputs)
        if self.packs:
            rows = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
            output, _ = pad_packed_sequence(self.rnn(rows)[0], batch_first=True, total_length=time)
        if self.way == "every second":
            output = output[:, :: self.stride]
        if self.way == "joined":
            whole = nn.functional.pad(output, (0, 0, 0, -time % self.stride))
            output = whole.unflatten(1, (-1, self.stride)).flatten(2)
        if self.way == "convolved":
            output = self.convolve(output.mT).mT
        logits = self.project(output)
        return logits.mT if self.way == "classes first" else logits


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("way", ["every second", "joined", "convolved"])
def test_logits_for_several_steps_each_are_right_unless_they_read_padding(
    way: str, stride: int, two: bool
) -> None:
    audit_of(Halved(way, stride, two, packs=True), kind="per_step").assert_clean()
    if two:
        result = audit_of(Halved(way, stride, two, packs=False), kind="per_step")
        assert result.names == ["padding_leak"]


@pytest.mark.parametrize("two", [False, True])
def test_of_logits_for_two_steps_each_a_look_at_later_steps_is_found(two: bool) -> None:
    model = Halved("every second", 2, two, packs=True)
    result = audit_of(model, kind="per_step", causal=True)
    assert [*result.names] == ["future_leak"] * two


def test_classes_before_steps_are_not_logits_for_several_steps() -> None:
    result = audit_of(Halved("classes first", 2, False, packs=True), kind="per_step")
    assert [*result.names] == ["row_count"]
