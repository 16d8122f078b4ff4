"""Several networks of one task that predict together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from seqmodels.batch import AnyBatch
from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.state import State, parts_of, state_of

if TYPE_CHECKING:
    from seqmodels.engine.network import Network


class Heads(Head):
    """Those of several networks. Its features are the logits of their mean prediction, or for a
    decoder what each of them gets."""

    def __init__(self, networks: Sequence[Network]) -> None:
        nn.Module.__init__(self)  # there is nothing to build
        heads: list[Any] = [network.head for network in networks]
        self.name, self.reads, self.per = heads[0].name, heads[0].reads, heads[0].per  # type: ignore[misc]
        self.networks, self.dropout = nn.ModuleList(networks), nn.Identity()
        self.output = heads[0].output.joined(heads)

    def read_all(self, batch: AnyBatch, state: State | None) -> RNNOutput:
        """What the first network returns for a batch, with what each does as `members`."""
        parts, made = iter(() if state is None else parts_of(state)), []
        for network in cast(Any, self.networks):
            own = (*islice(parts, 1 + network.encoder.has_cell_state),)
            start = state_of(*own) if own else None
            made.append(network.read(network.embed(batch), batch.lengths, start))
        return replace(made[0], windows=None, members=(*made,))

    def select(self, states: RNNOutput) -> Any:
        pairs = zip(self.networks, states.members, strict=True)
        return self.output.gather([(network.head, own) for network, own in pairs])
