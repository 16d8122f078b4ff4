"""Start, attention and decoder, against loops by hand; search, against every sequence there is."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqmodels.nn.cell import parts_of
from seqmodels.nn.encoder import RecurrentEncoder
from seqmodels.nn.vocabulary import Vocabulary
from seqmodels.tasks.seq2seq.decoder import Attention, Decoder, side_by_side
from seqmodels.tasks.seq2seq.search import Hypotheses, search

pytestmark = pytest.mark.filterwarnings(
    "ignore:LSTM with projections is not supported with oneDNN:UserWarning"
)

E, T, S, L = 5, 7, 4, 2
START, END = 0, 2
LENGTHS = torch.tensor([7, 3, 1])
SIZES = [("lstm", 0), ("lstm", 3), ("gru", 0), ("rnn", 0)]


def network(cell: str, proj: int, hidden: int, directions: int = 1) -> RecurrentEncoder:
    return RecurrentEncoder(E, hidden, L, cell=cell, proj_size=proj, bidirectional=directions == 2)


@pytest.mark.parametrize(("cell", "proj"), SIZES)
@pytest.mark.parametrize("directions", [1, 2])
def test_each_layer_is_handed_over_h_as_h_and_c_as_c(cell: str, proj: int, directions: int) -> None:
    torch.manual_seed(0)
    states = network(cell, proj, 6, directions)(torch.randn(3, T, E), LENGTHS)
    state = side_by_side(states.finals)
    for part, final in zip(parts_of(state), states.finals.values(), strict=True):
        for layer, row in product(range(L), range(3)):
            by_hand = torch.cat([final[layer, d, row] for d in range(directions)])
            torch.testing.assert_close(part[layer, row], by_hand)
    # PyTorch's own network takes it
    network(cell, proj * directions, 6 * directions).rnn(torch.randn(3, 1, E), state)


def test_attention_equals_a_loop_by_hand_and_is_0_at_padding() -> None:
    torch.manual_seed(0)
    states = network("gru", 0, 6, directions=2)(torch.randn(3, T, E), LENGTHS)
    attention = Attention(12, 12)
    query = torch.randn(3, S, 12)
    memory = states.output, attention.to_key(states.output), states.mask
    context, weights = attention(query, *memory)
    for row, step in product(range(3), range(S)):
        q, valid = query[row, step], range(int(LENGTHS[row]))
        scores = [q @ (attention.to_key.weight @ states.output[row, t]) for t in valid]
        by_hand = torch.stack(scores).softmax(0)
        torch.testing.assert_close(weights[row, step, : len(valid)], by_hand)
        assert bool((weights[row, step, len(valid) :] == 0).all())
        total = sum(by_hand[t] * states.output[row, t] for t in valid)
        torch.testing.assert_close(context[row, step], total)


W = 9  # target tokens


def made_decoder(cell: str, proj: int, attends: bool) -> tuple[RecurrentEncoder, Decoder]:
    encoder, rnn = network(cell, proj, 6, 2), network(cell, proj * 2, 12)
    attention = Attention(rnn.output_size, 2 * encoder.output_size) if attends else None
    made = nn.Embedding(W, E), lambda width: Vocabulary(width, W)
    return encoder, Decoder(rnn, *made, attention=attention, start=START, end=END)


@pytest.mark.parametrize(("cell", "proj"), SIZES)
@pytest.mark.parametrize("attends", [False, True])
def test_steps_one_by_one_equal_the_whole_target_and_a_row_equals_itself_alone(
    cell: str, proj: int, attends: bool
) -> None:
    torch.manual_seed(0)
    encoder, decoder = made_decoder(cell, proj, attends)
    source, tokens = torch.randn(3, T, E), torch.randint(2, W, (3, S))
    tokens[:, 0] = START
    start = encoder(source, LENGTHS)
    whole, _, weights = decoder.read(tokens, decoder.carried(start))
    carried = decoder.carried(start)
    for step in range(S):
        once, carried, now = decoder.read(tokens[:, step : step + 1], carried)
        torch.testing.assert_close(once[:, 0], whole[:, step], atol=1e-5, rtol=0)
        if attends:
            assert now is not None and weights is not None
            torch.testing.assert_close(now[:, 0], weights[:, step])
    for row in range(3):
        own = encoder(source[row : row + 1, : LENGTHS[row]])
        alone = decoder(own, tokens[row : row + 1])
        torch.testing.assert_close(alone[0], decoder(start, tokens)[row])
    order = torch.tensor([2, 0, 0])  # as a beam takes them
    again, _, _ = decoder.read(tokens[order], decoder.carried(start).take(order))
    torch.testing.assert_close(again, whole[order])


# ---------------------------------------------------------------- search

TOKENS, LONGEST, BEFORE = 4, 4, 1


class Chain(nn.Module):
    """Log-probabilities of the next token that depend on the source and on the last two tokens."""

    def __init__(self, rows: int, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shape = (rows, TOKENS, TOKENS, TOKENS)
        self.table = (2 * torch.randn(shape, generator=generator)).log_softmax(dim=-1)

    def start(self) -> tuple[Tensor, Tensor]:
        rows = torch.arange(len(self.table))
        return rows, torch.full_like(rows, BEFORE)

    def step(self, token: Tensor, carried: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        rows, before = carried
        return self.table[rows, before, token], (rows, token)

    def take(self, carried: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
        return carried[0][rows], carried[1][rows]

    def all_sequences(self, row: int) -> list[tuple[float, list[int]]]:
        """Every sequence that ends, or is as long as allowed, with its score; the best first."""
        found = []
        others = [token for token in range(TOKENS) if token != END]
        for length in range(LONGEST + 1):
            for tokens in product(others, repeat=length):
                ended = [*tokens, END][:LONGEST]
                log_p, before, token = 0.0, BEFORE, START
                for following in ended:
                    log_p += float(self.table[row, before, token, following])
                    before, token = token, following
                found.append((log_p / len(ended), [*tokens]))
        return sorted(found, reverse=True)

    def beam_by_hand(self, row: int, beam: int, longest: int) -> list[tuple[float, list[int]]]:
        """The sequences that a beam keeps, with their scores; the best first."""
        kept: list[tuple[float, float, list[int]]] = [(0.0, 0.0, [])]
        for _ in range(longest):
            found = [each for each in kept if END in each[2]]
            for _, total, tokens in kept:
                before, token = [BEFORE, START, *tokens][-2:]
                for following in range(TOKENS if END not in tokens else 0):
                    log_p = total + float(self.table[row, before, token, following])
                    made = [*tokens, following]
                    found.append((log_p / len(made), log_p, made))
            kept = sorted(found, reverse=True)[:beam]
        return [(score, tokens) for score, _, tokens in kept]


def run(chain: Chain, **options: Any) -> Hypotheses:
    given = (chain.step, chain.take, chain.start(), len(chain.table))
    return search(*given, start=START, end=END, **{"longest": LONGEST, **options})


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_full_width_finds_what_an_exhaustive_search_finds(seed: int) -> None:
    chain = Chain(3, seed)
    width = TOKENS**LONGEST
    found = run(chain, beam=width)
    for row in range(3):
        ranked = chain.all_sequences(row)
        scores = {tuple(tokens): score for score, tokens in ranked}
        made = set()
        for rank, (score, _) in enumerate(ranked[:10]):
            length = int(found.lengths[row, rank])
            tokens = (*found.tokens[row, rank, :length].tolist(),)
            assert math.isclose(scores[tokens], score, abs_tol=1e-5)  # or one that is as good
            assert math.isclose(float(found.scores[row, rank]), score, abs_tol=1e-5)
            assert bool((found.tokens[row, rank, length:] == END).all())
            made.add(tokens)
        assert len(made) == 10


@pytest.mark.parametrize("beam", [1, 2, 4, 30])
@pytest.mark.parametrize("longest", [1, LONGEST])
def test_a_beam_keeps_what_a_loop_by_hand_keeps(
    beam: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqmodels.tasks.seq2seq.search.LOOK_EVERY", 2)  # leaves finished ones out
    chain = Chain(12, seed=2)
    found = run(chain, beam=beam, longest=longest)
    for row in range(12):
        kept = chain.beam_by_hand(row, beam, longest)
        scores = torch.full((beam,), -torch.inf)  # where there are no more sequences
        scores[: len(kept)] = torch.tensor([score for score, _ in kept])
        torch.testing.assert_close(found.scores[row], scores, rtol=0, atol=1e-5)
        for rank, (_, tokens) in enumerate(kept):
            padded = tokens + [END] * (longest - len(tokens))
            assert found.tokens[row, rank].tolist() == padded
            assert found.lengths[row, rank] == len([t for t in tokens if t != END])
