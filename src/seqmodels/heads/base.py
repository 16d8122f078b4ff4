"""What a head is: the one place that says which tensor of the network is read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.errors import UserError, choices
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput

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
        embedding: the embedding of the tokens, for heads that share it.
        options: handed to `build`.

    Raises:
        UserError: if the head cannot serve this encoder, saying what to change.
    """

    name: ClassVar[str]
    reads: ClassVar[tuple[Literal["output", "h_n", "c_n"], ...]]
    requires_bidirectional: ClassVar[bool | None] = None  # None: serves one direction and both
    because: ClassVar[str] = ""  # why it requires that
    every_step: ClassVar[bool] = False  # a prediction for each step, as a language model needs
    # what `select` does as one writes it without this package, for the explanation page: sets
    # `features` from output, h_n and c_n as PyTorch returns them, lengths, mask and D
    in_pytorch: ClassVar[str] = ""

    def __init_subclass__(cls, *, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name is None:  # a common base of several heads
            return
        if name in HEADS:
            raise ValueError(f"two heads are called {name!r}: {HEADS[name].__module__} has one")
        cls.name = name
        HEADS[name] = cls

    def __init__(
        self,
        encoder: RecurrentEncoder,
        num_classes: int,
        dropout: float = 0.0,
        *,
        embedding: nn.Embedding | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if self.requires_bidirectional not in (None, encoder.bidirectional):
            raise UserError(
                f"head {self.name!r} needs a "
                f"{'bidirectional' if self.requires_bidirectional else 'one-directional'} encoder"
                f"{self.because}: "
                "set model.encoder.bidirectional=null and it gets one, or choose another model.head"
            )
        if "c_n" in self.reads and encoder.cell != "lstm":
            raise UserError(
                f"head {self.name!r} reads c_n, which a {encoder.cell} does not have: "
                "set model.encoder.cell=lstm"
            )
        self.build(encoder, **options)
        self.dropout: nn.Module = nn.Dropout(dropout)
        self.project = self.projection(self._selected_width(encoder), num_classes, embedding)

    def build(self, encoder: RecurrentEncoder) -> None:
        """Makes the head's own parameters, if it has any; its keywords are `model.head_options`."""

    def projection(self, width: int, num_classes: int, embedding: nn.Embedding | None) -> nn.Module:
        """What turns selected features into logits; a head that needs another one redefines it."""
        return nn.Linear(width, num_classes)

    def select(self, states: RNNOutput) -> Float[Tensor, "*steps selected"]:
        """The features that the head reads: `(B, S)`, or `(B, T, S)` for a head of every step."""
        raise NotImplementedError(f"{type(self).__name__} must define select")

    def forward(self, states: RNNOutput) -> Float[Tensor, "*steps classes"]:
        """Logits: `(B, C)`, or `(B, T, C)` for a head of every step."""
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


def find_head(name: str, *, every_step: bool | None = None) -> type[Head]:
    """The head of that name.

    Args:
        every_step: True: it must serve a language model; False: a classifier; None: any.

    Raises:
        UserError: with the names there are, and the nearest.
    """
    fitting = [n for n, head in HEADS.items() if every_step in (None, head.every_step)]
    if name not in HEADS:
        raise UserError(f"model.head={name} is not a head: {choices(name, fitting)}")
    if name not in fitting:
        raise UserError(
            f"model.head={name} predicts the next token at every step, and a classifier needs one "
            f"label for the sequence: {choices(name, fitting)}; or set model=language_model"
            if HEADS[name].every_step
            else f"model.head={name} makes one prediction of a whole sequence, and a language "
            f"model needs one at every step: {choices(name, fitting)}"
        )
    return HEADS[name]


def build_head(
    name: str,
    encoder: RecurrentEncoder,
    num_classes: int,
    dropout: float = 0.0,
    options: Mapping[str, Any] | None = None,
    embedding: nn.Embedding | None = None,
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
    return cls(encoder, num_classes, dropout, embedding=embedding, **options)
