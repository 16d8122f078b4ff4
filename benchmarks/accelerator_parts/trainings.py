"""`trainer.fit` against loops by hand, and a word language model with a large vocabulary."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from unittest.mock import patch

import fit
import language_model
import torch
from report import heading, row, synchronize
from torch import nn

from accelerator_parts import (
    PRECISIONS,
    Line,
    Options,
    Sizes,
    autocast,
    described,
    job,
    judged,
    sizes,
)
from seqmodels.batch import SequenceBatch
from seqmodels.machine import keep_memory
from seqmodels.nn import vocabulary
from seqmodels.runs.trainer import quieten_lightning
from seqmodels.tasks.language_model import LanguageModel

AIM = 0.97  # of a loop by hand


def prepared(options: Options) -> Sizes:
    """As `fit.py` and `language_model.py` prepare their process."""
    quieten_lightning()
    keep_memory()
    return sizes(options)


def streams(options: Options) -> Iterator[Line]:
    """Rows of one length, which the loop gives to cuDNN as they are."""
    if options.where.type == "mps":
        yield "`language_model.py` measures CPU and CUDA."
        return
    size = prepared(options)
    yield from heading(["language model", "tokens/s", "of the loop's", "validation loss"])
    first = None
    for way in (language_model.PLAIN, language_model.FIT, language_model.HALF):
        few = min(size.vocabulary, 10_000)  # with more, the softmax would take all the time
        windows = language_model.WARM_UP + size.windows
        found = language_model.measure_training(way, few, windows, options.where)
        first = first or found.seconds
        tokens = size.windows * language_model.WINDOW * language_model.BATCH
        speed, share = tokens / found.seconds, first / found.seconds
        yield row([way.title, f"{speed:,.0f}", f"{share:.2f}", f"{found.validation_loss:.4f}"])
        if way is language_model.FIT:
            yield "streams", judged(options, share >= AIM), f"{share:.2f}"


def ragged(options: Options) -> Iterator[Line]:
    if options.where.type == "mps":
        yield "`fit.py` measures CPU and CUDA."
        return
    size = prepared(options)
    columns = ["fit / loop on packed nn.LSTM", "fit / loop over our model"]
    yield from heading(["setting", *columns, "ms a step: fit, packed, ours"])
    shares: list[float] = []
    for setting in (replace(one, train=size.train) for one in fit.SETTINGS):
        if size.rows not in setting.title:
            continue
        runner, rounds = fit.take_turns(setting, 2, size.rounds, options.where)
        ours, plain, hand, _ = (
            median(fitted.seconds for fitted in way) for way in zip(*rounds, strict=True)
        )
        steps = setting.steps * runner.epochs
        shares += [plain / ours, hand / ours]
        milliseconds = (f"{1000 * seconds / steps:.2f}" for seconds in (ours, plain, hand))
        ratios = (f"{share:.2f}" for share in shares[-2:])
        yield row([f"{setting.title}, B{setting.batch_size}", *ratios, ", ".join(milliseconds)])
        said = ", ".join(f"{share:.2f}" for share in shares)
        yield "ragged", judged(options, min(shares) >= AIM), f"{said} (packed, ours of each row)"


@job
def word_model(options: Options, precision: str, chunked: bool) -> dict[str, float]:
    """Milliseconds of a training step, the peak of memory in MiB, and the last loss."""
    size, device = sizes(options), options.where
    rows, steps = (4, 5) if options.small else (64, 128)
    torch.manual_seed(0)
    data = {"inputs": "tokens", "num_inputs": size.vocabulary, "window": steps}
    task = LanguageModel(data, {"hidden_size": 256, "num_layers": 2}).to(device)
    tokens = torch.randint(size.vocabulary, (rows, steps + 1))
    batch = SequenceBatch(tokens[:, :-1], torch.full((rows,), steps), tokens[:, 1:]).to(device)
    optimizer = torch.optim.SGD(task.parameters(), lr=1.0)
    dtype = PRECISIONS[precision][0]
    times = []
    with patch.object(vocabulary, "MOST_LOGITS", 0 if chunked else 2**62):
        for number in range(2 + size.repeats):
            if number == 2 and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            synchronize(device)
            started = time.perf_counter()
            with autocast(device, dtype):
                loss = task.training_step(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            synchronize(device)
            times.append(time.perf_counter() - started)
    peak = language_model.peak_memory(device)
    return {"ms": 1000 * median(times[2:]), "peak": peak, "loss": float(loss.detach())}


def words(options: Options) -> Iterator[Line]:
    size, peaks = sizes(options), dict[tuple[str, bool], float]()
    lacks = options.where.type != "cpu" and not hasattr(nn, "LinearCrossEntropyOptions")
    if lacks:
        yield "This torch has no chunked cross-entropy: both ways are the plain one.\n"
    if not options.small:
        logits = 64 * 128 * size.vocabulary
        chosen = "chunks" if logits > vocabulary.MOST_LOGITS else "the plain loss"
        yield f"{size.vocabulary:,} words, B64 T128: by itself, the task takes {chosen}.\n"
    yield from heading(["loss", "precision", "ms a step", "peak MiB", "loss after some steps"])
    for precision, chunked in itertools.product(("fp32", "bf16"), (False, True)):
        way = "linear_cross_entropy" if chunked else "plain"
        try:
            cost = word_model(options, precision=precision, chunked=chunked)
        except RuntimeError as error:
            yield row([way, precision, described(error), "", ""])
            continue
        cells = [f"{cost['ms']:.1f}", f"{cost['peak']:,.0f}", f"{cost['loss']:.4f}"]
        yield row([way, precision, *cells])
        peaks[precision, chunked] = cost["peak"]
    pairs = {kind: (peaks.get((kind, True)), peaks.get((kind, False))) for kind, _ in peaks}
    shares = {kind: ours / plain for kind, (ours, plain) in pairs.items() if ours and plain}
    said = ", ".join(f"{share:.2f} of it in {kind}" for kind, share in shares.items())
    saved = all(share < 1 for share in shares.values())
    known = shares and not lacks
    yield "memory", judged(options, saved) if known else None, said or "it failed"
