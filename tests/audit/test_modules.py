"""Networks are found wherever a model keeps them, and what a black box hides is said."""

from __future__ import annotations

import copy
import functools
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import repeat
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from seqmodels.audit import audit, audit_stream
from seqmodels.audit.modules import find_modules
from tests.audit import stream_bank
from tests.audit.bank import Classifier, F, inputs_for, packed

Model = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Bundle:
    model: nn.Module
    others: list[Any] = field(default_factory=list)

    def logits(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.model(inputs, lengths)


class InSlots:
    __slots__ = ("missing", "parts")

    def __init__(self, model: nn.Module) -> None:
        self.parts = {"model": [model]}

    def __call__(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.parts["model"][0](inputs, lengths)


class OfTheClass:
    model: ClassVar[Any] = None

    @classmethod
    def logits(cls, inputs: Tensor, lengths: Tensor) -> Tensor:
        return cls.model(inputs, lengths)


class InAPlainList(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.models = [model]

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.models[0](inputs, lengths)


class NamesAGlobal(nn.Module):
    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return NETWORKS["only"](inputs, lengths)


NETWORKS: dict[str, nn.Module] = {}


def of_the_class(model: nn.Module) -> Model:
    OfTheClass.model = model
    return OfTheClass.logits


def of_a_global(model: nn.Module) -> Model:
    NETWORKS["only"] = model
    return NamesAGlobal()


def decorated(model: nn.Module) -> Model:
    @functools.lru_cache
    def loaded() -> nn.Module:
        return model

    @functools.wraps(model.forward)
    def run(inputs: Tensor, lengths: Tensor) -> Tensor:
        return loaded()(inputs, lengths)

    return run


def within_a_function(model: nn.Module) -> Model:
    def outer(inputs: Tensor, lengths: Tensor) -> Tensor:
        def inner() -> Tensor:
            return model(inputs, lengths)

        return inner()

    return outer


def in_a_cycle(model: nn.Module) -> Model:
    first, second = Bundle(model), Bundle(model)
    first.others, second.others = [second, first], [first]
    namespace = SimpleNamespace(bundles=deque([second]), itself=None)
    namespace.itself = namespace
    return lambda x, n: namespace.bundles[0].others[0].logits(x, n)


def by_name(x: Tensor, n: Tensor, *, model: nn.Module) -> Tensor:
    return model(x, n)


HIDDEN: dict[str, Callable[[nn.Module], Model]] = {
    "default": lambda model: lambda x, n, model=model: model(x, n),
    "default by name": lambda model: lambda x, n, *, model=model: model(x, n),
    "list": lambda model: (lambda models: lambda x, n: models[0](x, n))([model]),
    "tuple of dicts": lambda model: (lambda of: lambda x, n: of[0]["m"](x, n))(({"m": model},)),
    "ordered dict": lambda model: (lambda of: lambda x, n: of[1](x, n))(OrderedDict({1: model})),
    "dataclass": lambda model: Bundle(model).logits,
    "slots": InSlots,
    "class": of_the_class,
    "plain list of a module": InAPlainList,
    "global of a module": of_a_global,
    "decorator": decorated,
    "partial": lambda model: functools.partial(by_name, model=model),
    "partial of a method": lambda model: functools.partial(Bundle(model).logits),
    "partial of a container": lambda model: functools.partial(
        lambda of, x, n: of[0](x, n), [model]
    ),
    "function in a function": within_a_function,
    "cycle": in_a_cycle,
}


def of_two_directions() -> nn.Module:
    torch.manual_seed(0)
    return Classifier(bidirectional=True)  # which reads h_n[-1]


@pytest.mark.parametrize("name", HIDDEN)
def test_a_network_is_found_wherever_it_is_kept(name: str) -> None:
    model = of_two_directions()
    inputs, lengths = inputs_for(model, [9, 7, 4])
    result = audit(HIDDEN[name](model), inputs, lengths, thorough=False)
    assert result.names == ["unread_direction"] and result.untested == []


def black_box(model: nn.Module) -> Model:
    box = repeat(model)  # an iterator of C, into which nobody looks
    return lambda x, n: next(box)(x, n)


def test_what_a_black_box_hides_is_untested_by_name() -> None:
    model = of_two_directions()
    result = audit(black_box(model), *inputs_for(model, [9, 7, 4]))
    assert result.findings == []
    [said] = result.untested
    assert said.startswith("truncated_direction, unread_direction, lost_gradient: no recurrent")
    assert "audit its nn.Module" in said


def test_a_model_without_a_recurrent_network_says_so() -> None:
    model = nn.Linear(F, 3)
    inputs, lengths = inputs_for(model, [9, 9])
    result = audit(lambda x, n: model(x), inputs, lengths, kind="per_step")
    assert result.findings == [] and "no recurrent network was seen" in result.untested[0]


class Running:
    """A stream whose network is in what `hide` makes of it. A copy shares its network."""

    def __init__(self, hide: Callable[[Any], Any]) -> None:
        self.networks, self.state = hide(stream_bank.Base().eval()), None

    def __call__(self, chunk: Tensor) -> Tensor:
        network = next(iter(self.networks))
        with torch.no_grad():
            output, self.state = network.rnn(chunk, self.state)
            return network.out(output)

    def reset(self) -> None:
        self.state = None

    def __deepcopy__(self, memo: Any) -> Running:
        return copy.copy(self)


def test_a_stream_that_hides_its_network_says_what_is_untested() -> None:
    rows = torch.randn(3, 16, stream_bank.F)
    in_a_list = audit_stream(Running(lambda network: [network]), rows)
    assert (in_a_list.findings, in_a_list.untested) == ([], [])
    hidden = audit_stream(Running(repeat), rows)
    [said] = hidden.untested
    assert hidden.findings == [] and said.startswith("shared_state, of a second stream of the same")


def test_the_search_ends_soon_whatever_a_model_refers_to() -> None:
    rows, deep = [[number] for number in range(300_000)], [[]]
    for _ in range(5_000):
        deep = [deep]
    network, start = nn.GRU(2, 2), time.process_time()
    assert [*find_modules(lambda x: (network, rows, deep))] == [network]
    assert time.process_time() - start < 1


def test_what_has_code_of_its_own_is_not_run() -> None:
    class Odd(dict[str, Any]):
        @property
        def attribute(self) -> Any:
            raise AssertionError

        def values(self) -> Any:
            raise AssertionError

        __getattr__ = values
        __iter__ = values

    class WithoutAttributes:
        __slots__ = ("network",)

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("this stands for something else")

    network, slots = nn.GRU(2, 2), WithoutAttributes()
    assert [*find_modules(functools.partial(print, Odd(network=network)))] == [network]
    slots.network = network
    assert [*find_modules(functools.partial(print, slots))] == [network]


# ---------------------------------------------------------------- gradients


class Cut(nn.Module):
    """The final state of packed rows, through `cut`, to a linear layer."""

    def __init__(self, cut: Callable[[Tensor], Tensor], encode: Any = None) -> None:
        super().__init__()
        self.rnn, self.classify = nn.GRU(F, 8, batch_first=True), nn.Linear(8, 3)
        self.cut, self.encode = cut, encode or (lambda rnn, *given: rnn(packed(*given))[1][-1])

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        return self.classify(self.cut(self.encode(self.rnn, inputs, lengths)))


def without_gradients(rnn: nn.Module, inputs: Tensor, lengths: Tensor) -> Tensor:
    with torch.no_grad():
        return rnn(packed(inputs, lengths))[1][-1]


def audited(model: nn.Module) -> Any:
    return audit(model, *inputs_for(model, [9, 7, 4]))


@pytest.mark.parametrize(
    "cut",
    [
        Tensor.detach,
        lambda state: state.data,
        lambda state: torch.tensor(state.tolist()).to(state),
        torch.round,
        lambda state: (state > 0).to(state),
    ],
)
def test_a_network_that_no_gradient_reaches_is_found(cut: Any) -> None:
    result = audited(Cut(cut))
    assert result.names == ["lost_gradient"]
    [finding] = result.findings
    assert "GRU 'rnn'" in finding.evidence and "requires_grad_(False)" in finding.cure


@pytest.mark.parametrize("cut", [nn.Identity(), nn.Dropout(0.5), lambda state: 1e-3 * state])
def test_a_network_that_a_gradient_reaches_is_not_accused(cut: Any) -> None:
    torch.manual_seed(0)
    assert audited(Cut(cut)).findings == []


def test_gradients_that_are_cut_in_evaluation_alone_are_not_lost() -> None:
    class InEvaluation(Cut):
        def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
            self.cut = torch.tanh if self.training else Tensor.detach
            return super().forward(inputs, lengths)

    assert audited(InEvaluation(torch.tanh)).findings == []


def test_what_is_not_to_learn_is_untested() -> None:
    frozen = Cut(nn.Identity())
    frozen.rnn.requires_grad_(False)
    for_inference = Cut(nn.Identity())
    for_inference.forward = torch.no_grad()(for_inference.forward)  # type: ignore[method-assign]
    for model, why in (
        (frozen, "GRU 'rnn' is frozen (requires_grad=False)"),
        (Cut(nn.Identity(), without_gradients), "GRU 'rnn' runs without gradients (torch.no_grad)"),
        (for_inference, "GRU 'rnn' runs without gradients (torch.no_grad)"),
    ):
        result = audited(model)
        assert result.findings == [] and result.untested == [f"lost_gradient: {why}"]


def test_logits_without_gradients_are_untested() -> None:
    model = Cut(nn.Identity())
    inputs, lengths = inputs_for(model, [9, 7, 4])
    result = audit(lambda x, n: model(x, n).detach(), inputs, lengths)
    assert result.findings == []
    assert result.untested == ["lost_gradient: these logits have no gradient"]


def test_code_that_answers_for_missing_attributes_does_not_run() -> None:
    class Answering:
        __slots__ = ("network",)

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    value, network = Answering(), nn.Linear(2, 2)
    value.network = network
    assert [*find_modules(lambda x: value)] == [network]
