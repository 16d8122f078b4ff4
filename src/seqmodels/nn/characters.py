"""Read the characters of each word: what words that training has never seen are recognised by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqmodels.arguments import Count
from seqmodels.batch import PADDING_ID, Words
from seqmodels.nn.embedding import SmallEmbedding
from seqmodels.nn.encoder import RecurrentEncoder


@dataclass(frozen=True)
class CharacterOptions:
    """The sizes of a `CharacterEncoder`.

    Args:
        embedding_size: the width of the embedding of characters.
        hidden_size: the width of the state in each direction.
    """

    embedding_size: Count = 32
    hidden_size: Count = 32


class CharacterEncoder(nn.Module):
    """Reads each word in both directions and gives its final states side by side, `(B, T, 2 * H)`
    (Lample et al. 2016, https://arxiv.org/abs/1603.01360).

    So it is the head `bidirectional_concat` once more, with a word for a sequence and characters
    for its steps. A step without characters, such as padding, gives zeros.

    Args:
        dropout: acts on the embedded characters and on the final states.
    """

    def __init__(self, num_characters: int, options: CharacterOptions, dropout: nn.Module) -> None:
        super().__init__()
        self.embedding = SmallEmbedding(num_characters, options.embedding_size)
        self.encoder = RecurrentEncoder(
            options.embedding_size, options.hidden_size, bidirectional=True
        )
        self.dropout = dropout
        self.width = 2 * self.encoder.output_size

    def forward(
        self, characters: Int[Tensor, "batch time most"], words: Words | None = None
    ) -> Float[Tensor, "batch time width"]:
        """`(B, T, K) -> (B, T, 2 * H)`; `words` are the different ones, if you know them."""
        different, lengths, places = words or Words.of(characters)
        h_n = self.encoder(self.embedding(different), lengths).h_n[-1]  # (D, N, H)
        final = torch.cat([*h_n], dim=-1) * (different != PADDING_ID).any(dim=1, keepdim=True)
        return self.dropout(final[places])
