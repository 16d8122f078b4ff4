"""Builds what stands before the head from plain values, as head and task need it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqmodels.engine.contract import Contract
from seqmodels.errors import UserError
from seqmodels.heads import Head
from seqmodels.nn.convolutions import Convolutions
from seqmodels.nn.embedding import EmbeddingOptions
from seqmodels.nn.encoder import RecurrentEncoder


def build_encoder(
    width: int, options: Mapping[str, Any], head: type[Head], contract: Contract
) -> RecurrentEncoder:
    """The encoder for this head and task.

    `bidirectional` None means what the head needs; where it fits one direction and two, two for a
    prediction at every step of a row that is there as a whole, else one. "if_possible" means two
    directions, unless head or task needs one.
    """
    options = dict(options)
    wanted = options.get("bidirectional")
    if wanted is None or wanted == "if_possible":
        reads_whole_rows = contract.per == "step" and not contract.live
        may_read_both = wanted == "if_possible" or reads_whole_rows
        needed = head.requires_bidirectional
        if needed is None:
            needed = may_read_both and not contract.causal
        options["bidirectional"] = needed
    if contract.causal and options["bidirectional"]:
        raise UserError(
            "this model predicts what comes next, so its encoder must read in one direction, "
            "because a backward direction has already seen it: set model.encoder.bidirectional=null"
        )
    try:
        return RecurrentEncoder(width, **options)
    except ValueError as error:
        raise UserError(f"model.{error}") from error


def build_convolutions(
    width: int, options: EmbeddingOptions, contract: Contract
) -> Convolutions | None:
    """The convolutions between embedding and encoder, if there are some."""
    if options.convolutions is None:
        return None
    if contract.causal:
        raise UserError(
            "this model predicts what comes next, which convolutions have already seen: set "
            "model.embedding.convolutions=null"
        )
    return Convolutions(width, options.channels, options.convolutions)
