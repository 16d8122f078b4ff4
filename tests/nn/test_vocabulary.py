"""The loss over a vocabulary: however it is computed, it is that of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.nn import vocabulary
from seqmodels.nn.vocabulary import linear_cross_entropy, token_costs

N, V, H = 101, 57, 8  # steps, tokens, width
# what makes the function choose each way, with a last part that is shorter than the others
WAYS: dict[str, dict[str, int]] = {
    "plain": {},
    "chunked": {"MOST_LOGITS": 0, "ROWS": 13},
    "by hand": {"FEWEST_BY_HAND": 0, "CACHED_LOGITS": 39 * V + 5},
    "by hand in one part": {"FEWEST_BY_HAND": 0},
    "by hand in chunks": {"FEWEST_BY_HAND": 0, "MOST_LOGITS": 0, "ROWS": 13},
}
every_way = pytest.mark.parametrize("way", WAYS)
with_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="without oneDNN")


@pytest.fixture
def constants(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "chunked" and not hasattr(torch.nn, "LinearCrossEntropyOptions"):
        pytest.skip(f"torch {torch.__version__} has no chunked loss")
    for name, value in WAYS[way].items():
        monkeypatch.setattr(vocabulary, name, value)


def output_and_targets(size: int = V) -> tuple[list[Tensor], Tensor]:
    """Features, weight and bias, and targets of which some are left out."""
    torch.manual_seed(4)
    values = [torch.randn(N, H), torch.randn(size, H), torch.randn(size)]
    targets = torch.randint(size, (N,))
    targets[::7] = -100
    return values, targets


def same_as_pytorch(values: list[Tensor], bias: bool, targets: Tensor, smoothing: float) -> None:
    """Asserts it of the loss, with and without a gradient, and of the gradients."""
    found = []
    for ours in (True, False):
        leaves = [value.clone().requires_grad_() for value in values[: 2 + bias]]
        x, w, b = (*leaves, None)[:3]
        for enabled in (False, True):
            with torch.set_grad_enabled(enabled):
                if ours and enabled:
                    loss = linear_cross_entropy(x, w, b, targets, smoothing)
                elif ours:
                    known = targets != -100
                    loss = token_costs(x, w, b, targets, smoothing).sum() / known.sum()
                else:
                    logits = F.linear(x, w, b)
                    loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
            found.append(loss.detach())
        (3 * loss).backward()
        found += [leaf.grad for leaf in leaves]
    half = len(found) // 2
    for ours, theirs in zip(found[:half], found[half:]):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6, equal_nan=True)


@every_way
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("constants")
def test_loss_and_gradients_are_those_of_pytorch(smoothing: float, bias: bool) -> None:
    values, targets = output_and_targets()
    values[0][::5] *= 40  # losses of hundreds of nats, whose probabilities are 0 in float32
    same_as_pytorch(values, bias, targets, smoothing)


@pytest.mark.parametrize("way", ["plain", "by hand", "by hand in chunks"])
@pytest.mark.usefixtures("constants")
def test_without_a_target_there_is_no_loss(way: str) -> None:
    values, targets = output_and_targets()
    same_as_pytorch(values, True, targets.fill_(-100), 0.0)


@every_way
@pytest.mark.usefixtures("constants")
def test_in_bfloat16_loss_and_gradients_are_close() -> None:
    values, targets = output_and_targets(size=2100)
    found = []
    for enabled in (True, False):
        leaves = [value.clone().requires_grad_() for value in values]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = linear_cross_entropy(*leaves, targets)
        assert loss.dtype == torch.float32
        loss.backward()
        found.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for ours, exact in zip(*found):
        assert float((ours - exact).norm() / exact.norm()) < 0.02


class Storages(TorchDispatchMode):
    """Keeps all memory of tensors with more than so many elements."""

    def __init__(self, elements: int) -> None:
        super().__init__()
        self.elements, self.found = elements, {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.numel() > self.elements:
            self.found[result.untyped_storage().data_ptr()] = result.untyped_storage()
        return result


@pytest.mark.parametrize(
    ("way", "matrices"), [("chunked", 0), ("by hand in chunks", 0), ("by hand", 1)]
)
@pytest.mark.usefixtures("constants")
def test_the_logits_take_no_more_memory_than_the_way_says(way: str, matrices: int) -> None:
    values, targets = output_and_targets()
    leaves = [value.requires_grad_() for value in values]
    with Storages(N * V - 1) as storages:
        linear_cross_entropy(*leaves, targets).backward()
    assert len(storages.found) == matrices


@with_onednn
def test_products_by_onednn_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    monkeypatch.setattr(vocabulary, "FEWEST_PRODUCTS", 0)
    monkeypatch.setattr(vocabulary, "onednn_is_faster", lambda: not used.append(1))
    torch.manual_seed(0)
    for left in (torch.randn(101, 64), torch.randn(64, 101).t(), torch.randn(101, 70)[:, 3:67]):
        for right in (torch.randn(64, 57), torch.randn(57, 64).t()):
            torch.testing.assert_close(vocabulary.product(left, right), left @ right)
    assert len(used) == 6
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert vocabulary.product(left, right).dtype == torch.bfloat16


def on_processor(monkeypatch: pytest.MonkeyPatch, described: str) -> bool:
    monkeypatch.setattr(Path, "is_file", lambda _: True)
    monkeypatch.setattr(Path, "read_text", lambda _, **options: described)
    return vocabulary.onednn_is_faster.__wrapped__()


@with_onednn
def test_onednn_multiplies_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    # by a name that isn't public, so a release may rename it
    assert on_processor(monkeypatch, "AuthenticAMD avx512f"), (
        f"torch {torch.__version__} has no torch.ops.mkldnn._linear_pointwise: until "
        "seqmodels.nn.vocabulary calls what replaces it, products take twice the time on AMD"
    )


@pytest.mark.parametrize("processor", ["AuthenticAMD avx2", "GenuineIntel avx512f"])
def test_pytorch_multiplies_on_other_processors(
    monkeypatch: pytest.MonkeyPatch, processor: str
) -> None:
    assert not on_processor(monkeypatch, processor)
