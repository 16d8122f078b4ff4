"""The tensors of a finished run that you can encode inputs as, besides what its head selects."""

from __future__ import annotations

from torch import Tensor

from seqmodels.engine import Task
from seqmodels.errors import UserError, choices
from seqmodels.heads import HEADS, Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.nn.outputs import Output


class FinalCell(Head):
    """`c_n` of the last layer, its directions side by side."""

    name = "c_n"
    reads = ("c_n",)

    def select(self, states: RNNOutput) -> Tensor:
        assert states.c_n is not None
        return states.c_n[-1].transpose(0, 1).flatten(1)  # (D, B, H) -> (B, D*H)


def head_for(task: Task, tensor: str | None) -> Head:
    """The head that selects this tensor: the task's own for None, or one without weights.

    Raises:
        UserError: with the names there are.
    """
    encoder, own = task.encoder, task.head
    if tensor in (None, own.name) and not task.contract.kind.decoder:
        return own
    h_n = "bidirectional_concat" if encoder.bidirectional else "last_hidden"
    known = {**HEADS, "output": HEADS["every_step"], "h_n": HEADS[h_n]}
    known["c_n"] = FinalCell
    fits = {
        name: head
        for name, head in known.items()
        if head.build is Head.build
        and head.output_class is None
        and head.requires_bidirectional in (None, encoder.bidirectional)
        and ("c_n" not in head.reads or encoder.has_cell_state)
    }
    if tensor is None:
        raise UserError(
            f"head {own.name!r} gives a decoder several tensors: set tensor to one of "
            f"{', '.join(fits)}"
        )
    if tensor not in fits:
        raise UserError(f"tensor={tensor}: {choices(tensor, fits)}")
    return fits[tensor](encoder, lambda width, **options: Output()).eval()
