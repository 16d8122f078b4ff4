"""A head for the study of heads: the end of a row, read with two directions."""

from torch import Tensor

from seqmodels.heads import Head
from seqmodels.nn.encoder import RNNOutput
from seqmodels.padding import last_step


class LastStepOfBoth(Head, name="last_step_of_both"):
    """`output` at each row's own last step: forward has read the row, backward its last step."""

    reads = ("output",)
    requires_bidirectional = True

    def select(self, states: RNNOutput) -> Tensor:
        return last_step(states.output, states.lengths)  # (B, T, 2H) -> (B, 2H)
