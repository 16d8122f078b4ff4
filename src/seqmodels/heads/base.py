"""What a head is: the one place that says which tensor of the network is read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.encoder import RecurrentEncoder, RNNOutput
from seqmodels.errors import UserError, choices

HEADS: dict[str, type[Head]] = {}


class Head(nn.Module):
    """Turns an `RNNOutput` into logits: `select` one vector a sequence, then `project` it.

    A new head is a subclass with a name, `reads` and `select`, in a file of its own in this folder:

        class FirstOutput(Head, name="first_output"):
            reads = ("output",)

            def select(self, states: RNNOutput) -> Tensor:
                return states.output[:, 0]  # (B, T, D*H) -> (B, D*H)

    Args:
        encoder: the network whose tensors will be read.
        num_classes: how many logits.
        dropout: on the selected features, in training.
        options: handed to `build`.

    Raises:
        UserError: if the head cannot serve this encoder, saying what to change.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[Literal["output", "h_n", "c_n"], ...]]
    requires_bidirectional: ClassVar[bool | None] = None  # None: serves one direction and both

    def __init_subclass__(cls, *, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name in HEADS:
            raise ValueError(f"two heads are called {name!r}: {HEADS[name].__module__} has one")
        cls.name = name
        HEADS[name] = cls

    def __init__(
        self, encoder: RecurrentEncoder, num_classes: int, dropout: float = 0.0, **options: Any
    ) -> None:
        super().__init__()
        if self.requires_bidirectional not in (None, encoder.bidirectional):
            raise UserError(
                f"head {self.name!r} needs a "
                f"{'bidirectional' if self.requires_bidirectional else 'one-directional'} encoder: "
                "set model.encoder.bidirectional=null and it gets one, or choose another model.head"
            )
        if "c_n" in self.reads and encoder.cell != "lstm":
            raise UserError(
                f"head {self.name!r} reads c_n, which a {encoder.cell} does not have: "
                "set model.encoder.cell=lstm"
            )
        self.build(encoder, **options)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(self._selected_width(encoder), num_classes)

    def build(self, encoder: RecurrentEncoder) -> None:
        """Makes the head's own parameters, if it has any; its keywords are `model.head_options`."""

    def select(self, states: RNNOutput) -> Float[Tensor, "batch selected"]:
        """The features that the head reads, `(B, S)`."""
        raise NotImplementedError(f"{type(self).__name__} must define select")

    def forward(self, states: RNNOutput) -> Float[Tensor, "batch classes"]:
        return self.project(self.dropout(self.select(states)))

    def _selected_width(self, encoder: RecurrentEncoder) -> int:
        # asked of `select` itself, so that no head has to say it twice
        layers, directions, width = encoder.num_layers, encoder.num_directions, encoder.output_size
        cell_state = torch.zeros(layers, directions, 1, encoder.rnn.hidden_size)
        with torch.no_grad():
            selected = self.select(
                RNNOutput(
                    output=torch.zeros(1, 1, directions * width),
                    h_n=torch.zeros(layers, directions, 1, width),
                    c_n=cell_state if encoder.cell == "lstm" else None,
                    lengths=torch.ones(1, dtype=torch.int64),
                )
            )
        return selected.shape[-1]


def find_head(name: str) -> type[Head]:
    """The head of that name.

    Raises:
        UserError: with the names there are, and the nearest.
    """
    if name not in HEADS:
        raise UserError(f"model.head={name} is not a head: {choices(name, HEADS)}")
    return HEADS[name]


def build_head(
    name: str,
    encoder: RecurrentEncoder,
    num_classes: int,
    dropout: float = 0.0,
    options: Mapping[str, Any] | None = None,
) -> Head:
    """The head of that name for this encoder; `options` are checked against its `build`."""
    cls, options = find_head(name), options or {}
    accepted = [p for p in inspect.signature(cls.build).parameters if p not in ("self", "encoder")]
    for option in options:
        if option not in accepted:
            offers = f"it takes {', '.join(accepted)}" if accepted else "it takes none"
            raise UserError(
                f"model.head_options.{option}: head {name!r} has no such option; {offers}"
            )
    return cls(encoder, num_classes, dropout, **options)
