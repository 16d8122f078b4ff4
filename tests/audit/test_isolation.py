"""Random numbers are held still, whatever draws them."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from seqmodels.audit.isolation import WithoutNoise, isolated, seed_random_numbers

X = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) + 0.1
LSTM = nn.LSTM(4, 4, 2, dropout=0.5)
Q = X[None]  # of one head
# methods that draw in place, with what they take
IN_PLACE: dict[str, tuple[float, ...]] = {
    **{"normal_": (1.0, 2.0), "uniform_": (1.0, 2.0), "bernoulli_": (0.5,), "exponential_": ()},
}
DRAWS: dict[str, Callable[[], Tensor]] = {
    "rand": lambda: torch.rand(4),
    "randn": lambda: torch.randn(4),
    "randn_like": lambda: torch.randn_like(X),
    "randint": lambda: torch.randint(3, 9, (4,)),
    "randperm": lambda: torch.randperm(9),
    "normal": lambda: torch.normal(X, 2.0),
    "bernoulli": lambda: torch.bernoulli(X.clamp(max=1)),
    "poisson": lambda: torch.poisson(X),
    "binomial": lambda: torch.binomial(torch.full((4,), 9.0), torch.full((4,), 0.5)),
    "multinomial": lambda: torch.multinomial(X, 2),
    "dropout": lambda: functional.dropout(input=X, p=0.5),
    "feature_alpha_dropout": lambda: functional.feature_alpha_dropout(X, training=True),
    "gumbel_softmax": lambda: functional.gumbel_softmax(X),
    "attention": lambda: functional.scaled_dot_product_attention(Q, Q, Q, None, 0.5),
    "nn.LSTM": lambda: LSTM(X)[0],
    "nn.init": lambda: nn.init.kaiming_uniform_(X.clone()),
    "Gamma": lambda: torch.distributions.Gamma(X, X).sample(),
    "Categorical": lambda: torch.distributions.Categorical(X).sample((3,)),
    **{n: lambda n=n, a=a: getattr(X.clone(), n)(*a) for n, a in IN_PLACE.items()},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", DRAWS)
def test_two_draws_are_alike(name: str) -> None:
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return DRAWS[name]()

    assert not torch.equal(drawn(0), drawn(1))
    with WithoutNoise():
        assert torch.equal(drawn(0), drawn(1)) and drawn(0).isfinite().all()


def test_each_row_has_the_same_numbers_and_what_only_sounds_random_stays() -> None:
    with WithoutNoise():
        for drawn in (torch.rand(3, 4), X.clone().uniform_(), functional.dropout(X) / X):
            torch.testing.assert_close(drawn, drawn[:1].expand_as(drawn))
    calls: list[Callable[[], Any]] = [
        lambda: functional.normalize(X),
        lambda: torch.norm(X),
        lambda: functional.dropout(X, training=False),
        lambda: nn.init.ones_(X.clone()),
    ]
    for call in calls:
        expected = call()
        with WithoutNoise():
            assert torch.equal(call(), expected)


def test_random_numbers_are_as_before() -> None:
    def drawn() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    unchecked = contextmanager(inspect.unwrap(isolated))  # the checks of types draw numbers, too
    seed_random_numbers(5)
    expected = drawn()
    seed_random_numbers(5)
    with unchecked([]):
        assert drawn() != expected
    assert drawn() == expected


def test_a_seed_is_that_of_pytorch_and_is_not_kept_for_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    kept = list[object]()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", kept.append)
    seed_random_numbers(5)
    assert torch.equal(torch.rand(3), expected) and not kept
