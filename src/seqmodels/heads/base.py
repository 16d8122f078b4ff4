"""Heads: the one place where a tensor of the network is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqmodels.arguments import arguments, validated
from seqmodels.batch import Per
from seqmodels.errors import UserError, choices
from seqmodels.nn.encoder import RecurrentEncoder, RNNOutput
from seqmodels.nn.outputs import Output
from seqmodels.nn.windows import mean_over_windows
from seqmodels.plugins import import_plugins
from seqmodels.target import find_target

HEADS: dict[str, type[Head]] = {}


class Head(nn.Module):
    """Reads an `RNNOutput`: `select` says which tensor, and `output` makes logits of it.

    A new head is a subclass with a name, `reads` and `select`:

        class AllLayers(Head, name="all_layers"):
            reads = ("h_n",)

            def select(self, states: RNNOutput) -> Tensor:
                return states.h_n.permute(2, 0, 1, 3).flatten(1)  # (L, D, B, H) -> (B, L*D*H)

    Args:
        encoder: the network whose tensors will be read.
        make_output: called with the width of the selected features, and with what `build` put into
            `output_options`.
        dropout: on the selected features; None for none.
        options: passed to `build`.

    Raises:
        UserError: if the head does not fit this encoder, saying what to change.
    """

    name: ClassVar[str]
    reads: tuple[Literal["output", "h_n", "c_n"], ...]
    per: ClassVar[Per] = "sequence"  # does `select` give one vector per sequence, or one per step?
    requires_bidirectional: ClassVar[bool | None] = None  # None: fits one direction and both
    because: ClassVar[str] = ""  # why it requires that
    output_class: ClassVar[type[Output] | None] = None  # None: the task's own
    # what `select` does as one writes it without this package, for the explanation page: sets
    # `features` from output, h_n and c_n as PyTorch returns them, lengths, mask and D
    in_pytorch: str = ""

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
        make_output: Callable[..., Output],
        dropout: nn.Module | None = None,
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
        if "c_n" in self.reads and not encoder.has_cell_state:
            raise UserError(
                f"head {self.name!r} reads c_n, which a {encoder.cell} does not have: "
                "set model.encoder.cell=lstm"
            )
        self.output_options: dict[str, Any] = {}
        self.build(encoder, **options)
        self.dropout = dropout or nn.Identity()
        self.output = self.make_output(encoder, make_output)
        self.register_load_state_dict_pre_hook(_rename_older_keys)

    def build(self, encoder: RecurrentEncoder) -> None:
        """Makes the head's own parameters, if it has any; its keywords are `model.head_options`."""

    def make_output(self, encoder: RecurrentEncoder, make: Callable[..., Output]) -> Output:
        """The output module for what `select` gives; made from its width, unless a head needs to
        say more."""
        return make(self._selected_width(encoder), **self.output_options)

    def select(self, states: RNNOutput) -> Any:
        """The features that the head reads: `(B, S)`, or `(B, T, S)` where `per` is "step". For a
        decoder, the tensors that it gets."""
        raise NotImplementedError(f"{type(self).__name__} must define select")

    @final
    def features(self, states: RNNOutput) -> Any:
        """What `select` gives, as a mean over the windows of a sequence, after dropout."""
        selected = self.select(states)
        if not isinstance(selected, Tensor):  # a decoder drops features of its own
            return selected
        if states.windows is not None:
            selected = mean_over_windows(selected, states.windows)
        return self.dropout(selected)

    @final  # type: ignore[misc]
    def forward(self, states: RNNOutput) -> Float[Tensor, "*steps logits"]:
        """Logits: `(B, C)`, or `(B, T, C)` where `per` is "step"."""
        return self.output(self.features(states))

    @final
    def loss(self, states: RNNOutput, targets: Tensor) -> Float[Tensor, ""]:
        """The mean loss over the targets that are there."""
        return self.output.loss(self.features(states), targets, self._mask(states))

    @final
    def losses(self, states: RNNOutput, targets: Tensor) -> Float[Tensor, " batch"]:
        """The mean loss of each row over its targets."""
        return self.output.losses(self.features(states), targets, self._mask(states))

    @final
    def decode(self, states: RNNOutput) -> Tensor:
        """The decision for each sequence `(B, ...)` or step `(B, T, ...)`."""
        return self.output.decode(self.features(states), self._mask(states))

    @final
    def loss_and_decision(self, states: RNNOutput, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both from the same features, so that dropout is drawn once."""
        return self.output.loss_and_decision(self.features(states), targets, self._mask(states))

    def _mask(self, states: RNNOutput) -> Tensor | None:
        return states.mask if self.per == "step" else None

    def _selected_width(self, encoder: RecurrentEncoder) -> int:
        # asked of `select` itself, so that a head never states its width twice
        layers, directions, width = encoder.num_layers, encoder.num_directions, encoder.output_size
        cell_state = torch.zeros(layers, directions, 1, encoder.rnn.hidden_size)
        with torch.no_grad():
            selected = self.select(
                RNNOutput(
                    output=torch.zeros(1, 1, directions * width),
                    h_n=torch.zeros(layers, directions, 1, width),
                    c_n=cell_state if encoder.has_cell_state else None,
                    lengths=torch.ones(1, dtype=torch.int64),
                )
            )
        return selected.shape[-1]


def _rename_older_keys(head: Head, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    # until version 0.1 the projection lay in the head itself, as in checkpoints of that time
    for name in ("project", "resize"):
        if not hasattr(head, name):
            for key in [key for key in state_dict if key.startswith(f"{prefix}{name}.")]:
                state_dict[f"{prefix}output.{key.removeprefix(prefix)}"] = state_dict.pop(key)


def find_head(name: str, *, per: Per | None = None, target: str | None = None) -> type[Head]:
    """The head of that name.

    Args:
        per: what its features must be for: each `sequence`, or each `step`; None: either.
        target: what is predicted from them; None: anything.

    Raises:
        UserError: with the names there are, and the nearest.
    """
    if name not in HEADS:
        import_plugins()  # one of them may have it
    fitting = [n for n, head in HEADS.items() if per in (None, head.per) and _makes(head, target)]
    if name not in HEADS:
        raise UserError(f"unknown model.head={name}: {choices(name, fitting)}")
    head = HEADS[name]
    if per not in (None, head.per):
        raise UserError(
            f"model.head={name} reads one vector for each {head.per}, and this model needs one for "
            f"each {per}: {choices(name, fitting)}"
        )
    if not _makes(head, target):
        why = head.output_class.misfit if head.output_class else ""
        if target and find_target(target).decoder:
            why = "starts no decoder, which this model needs"
        raise UserError(f"model.head={name} {why}: {choices(name, fitting)}")
    return head


def _makes(head: type[Head], target: str | None) -> bool:
    """Whether its output can be of this target; most heads leave that to the task, but not where a
    decoder writes it."""
    if target is None:
        return True
    takes = head.output_class.targets if head.output_class else ()
    return target in takes or not (takes or find_target(target).decoder)


def build_head(
    name: str,
    encoder: RecurrentEncoder,
    make_output: Callable[..., Output],
    dropout: nn.Module | None = None,
    options: Mapping[str, Any] | None = None,
) -> Head:
    """The head of that name for this encoder; `options` are checked against its `build`."""
    cls, options = find_head(name), options or {}
    options = validated(arguments(cls, "build"), options, "model.head_options", ["encoder"])
    return cls(encoder, make_output, dropout, **options)
