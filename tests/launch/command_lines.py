"""Seeded command lines with mistakes: real keys with awkward values, and awkward keys."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from seqmodels.launch.config_files import keys_of, shipped_checker
from seqmodels.launch.settings import KEY

from seqmodels.plain_values import flattened
from tests.conftest import ROOT
from tests.shipped import lacks

CHECKER = shipped_checker()
PLAIN = ("audit", "compare", "evaluate", "export", "generate", "predict")

VALUES = (
    "", "''", "null", "true", "false", "yes", "0", "1", "2", "-1", "7", "0.5", "-0.5", "1.5", "2.0",
    "1e3", "1e-3", "1e400", "-1e9", "007", "1_000", "0x10", "nan", "-nan", "inf", "-inf", ".nan",
    "[]", "[1]", "[a]", "[1,2]", "[[1]]", "[null]", "['']", "[nan]", "{}", "{a:1}", "{a:{b:c}}",
    "{_target_:os.system}", "{_target_:torch.optim.SGD,lr:0.1}", "{_target_:3}", str(2**31),
    str(2**63), str(2**70), "-" + str(2**70), "9" * 400, "a", "x" * 300, "é", "日本", "🙂", "a b",
    "a=b", "a:b", "a.b", "..", "/", "/dev/null", "~", "'", '"', "[", "]", "{", "}", "(", "${",
    "${}", "${a}", "${seed", "${oc.env:NOWHERE}", "${model.head}", "${folder}", "$", "%s", "\\",
    "\\n", "a\nb", "a\tb", "\x1b[31m", "???", "a,b", "1,2", ",", "range(3)", "choice(1,2)",
    "glob(*)",
    "auto", "none", "None", "simple", "last_hidden", "max_pool", "softmax", "lstm", "2020", "best",
    "cpu", "torch.nn.Linear", "total_steps", "min", "32", "16-mixed", "ddp", "!!python/name:os",
)  # fmt: skip

KEYS = (
    "", "a", "seed.x", "model", "data", "trainer", "callbacks", "logger", "hydra", "model.head.x",
    "model..head", ".seed", "seed.", "MODEL.HEAD", "séed", "se ed", "seed[0]", "model[head]", "_",
    "model._recursive_", "model._partial_", "trainer._args_", "data._convert_", "trainer.logger",
    "trainer.callbacks", "model.data", "model.optimizer.params", "hydra.run.dir", "hydra.job.name",
    "hydra.sweep.dir", "hydra.verbose", "experiment", "debug", "lr", "epochs", "batch_size", "-m",
    "--cfg", "--config-name", "--config-dir", "-c", "--info", "--multirun", "--resolve",
    "--package",
)  # fmt: skip


# what no project can be made of
NO_PROJECTS = (
    (), ("",), ("",  "new"), ("Mine", "new"), ("1x", "new"), ("a-b", "new"), ("class", "new"),
    ("match", "new"), ("é", "new"), ("../x", "new"), ("json", "new"), ("torch", "new"),
    ("seqmodels", "new"), ("tests", "new"), ("mine", "classifier"), ("mine", "models.py"),
    ("mine", "models.py/new"), ("mine", "/dev/null"), ("mine", "/proc/new"), ("mine", "x" * 300),
    ("mine", "new", "another"), ("mine", "new", "--without=x"), ("mine", "new", "-x"),
)  # fmt: skip

NO_NUMBERS = ("", "''", "nan", "-inf", "inf", "true", "[]", "{}", "[[1]]", "a", str(2**70))


def _file(name: str) -> tuple[Any, Any]:
    """What the file of a script holds, and the schema of its keys."""
    return OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / f"{name}.yaml")), keys_of(name)


@dataclass(frozen=True)
class Case:
    """A script, its words, and what comes on its standard input."""

    script: str
    words: tuple[str, ...]
    stdin: bytes = b""
    refused: bool = False  # whether nothing can be made of it

    def __str__(self) -> str:
        return f"{self.script} {' '.join(map(repr, self.words))} < {self.stdin[:60]!r}"


class CommandLines:
    """Draws cases from a seed.

    Args:
        runs: a finished run of a classifier of texts, and one of a language model, if there is one.
        texts: a CSV of labelled texts.
        models: the name of a module with models to audit.
    """

    def __init__(self, seed: int, runs: Sequence[Path], texts: Path, models: str) -> None:
        self.random = random.Random(seed)
        self.classifier, self.language_model = str(runs[0]), str(runs[-1])
        self.texts, self.models = str(texts), models
        small = ("model.encoder.hidden_size=4", "trainer=cpu", "baseline=false")
        stream = ("model=language_model", "data=text_lm", "data.batch_size=2", "data.window=5")
        stream += ("data.evaluation_streams=1", "data.tokenizer=char")
        bases = (
            ("data=needle", "data.sizes=[8,4,4]", "data.length=12", *small),
            ("data=text", f"data.train={texts}", *small),
            (*stream, f"data.train={texts}", *small),
        )
        self.bases = [base for base in bases if not lacks(" ".join(base))]
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            configs = [self._config("train", base) for base in self.bases]
            self.of_explain = list(self._config("explain", ()))
        self.keys = [list(config) for config in configs]
        self.numbers = [
            [k for k, v in config.items() if isinstance(v, int | float) and not isinstance(v, bool)]
            for config in configs
        ]
        self.numbers_of_plain = {
            name: [
                key
                for key, part in CHECKER.known_keys(*_file(name)).items()
                if not CHECKER.allows(part, "string") and not CHECKER.problems(1, part, key)
            ]
            for name in PLAIN
        }
        self.of_plain = {
            name: list(flattened(OmegaConf.to_container(OmegaConf.load(path), resolve=False)))
            for name in PLAIN
            if (path := ROOT / "configs" / f"{name}.yaml")
        }

    def _config(self, name: str, overrides: Sequence[str]) -> dict[str, Any]:
        config: Any = OmegaConf.to_container(compose(name, list(overrides)), resolve=False)
        return {k: v for k, v in flattened(config).items() if not k.startswith("hydra")}

    def case(self) -> Case:
        kind = self.random.choices(
            (self.train, self.sweep, self.explain, self.plain, self.new), (5, 1, 3, 16, 1)
        )[0]
        return kind()

    def word(self, keys: Sequence[str]) -> str:
        """One mistake, or a change that may be right."""
        draw = self.random.random()
        key, value = self.random.choice(keys), self.random.choice(VALUES)
        if draw < 0.75:
            return f"{key}={value}"
        if draw < 0.85:
            return f"{self.random.choice(KEYS)}={value}"
        if draw < 0.9:  # a typing mistake
            at = self.random.randrange(len(key))
            return f"{key[:at]}{self.random.choice('abc._-@')}{key[at + 1 :]}={value}"
        odd = self.random.choice(KEYS)
        forms = ["+K=V", "++K=V", "~K", "~K=V", "K@x=V", "+K.new=V", "K", "V", "K==V", "=V", "K:V"]
        form = self.random.choice([*forms, odd, f"+{odd}=V", f"~{odd}"])
        return "".join({"K": key, "V": value}.get(letter, letter) for letter in form)

    def words(self, keys: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.word(keys) for _ in range(self.random.choice((1, 1, 1, 2))))

    def train(self) -> Case:
        number = self.random.randrange(len(self.bases))
        refused = self.random.random() < 0.3
        words = self.words(self.keys[number])
        if refused:
            key = self.random.choice(self.numbers[number])
            words = (f"{key}={self.random.choice(NO_NUMBERS)}",)
        short = ("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.fast_dev_run=1")
        own = {word.partition("=")[0].lstrip("+") for word in words}
        stop = tuple(word for word in short if word.partition("=")[0] not in own)
        return Case("train", (*self.bases[number], *stop, *words), refused=refused)

    def sweep(self) -> Case:
        case = self.train()
        return Case("train", ("-m", *case.words))

    def explain(self) -> Case:
        return Case("explain", self.words(self.of_explain))

    def new(self) -> Case:
        return Case("new", self.random.choice(NO_PROJECTS), refused=True)

    def plain(self) -> Case:
        name = self.random.choice(PLAIN)
        right: dict[str, tuple[str, ...]] = {
            "audit": (f"target={self.models}:build", "input.features=3"),
            "compare": (self.classifier, "output=compared"),
            "evaluate": (f"run={self.classifier}", f"file={self.texts}", "accelerator=cpu"),
            "export": (f"run={self.classifier}", "format=safetensors", "output=exported"),
            "generate": (f"run={self.language_model}", "length=3", "accelerator=cpu"),
            "predict": (f"run={self.classifier}", "input=-", "accelerator=cpu"),
        }
        words = self.words(self.of_plain[name])
        numbers = self.numbers_of_plain[name]
        if wrong := numbers and self.random.random() < 0.2:
            words = (f"{self.random.choice(numbers)}={self.random.choice(NO_NUMBERS)}",)
        keys = [word.partition("=")[0] for word in words if "=" in word]
        unknown = {key for key in keys if KEY.fullmatch(key)} - {*self.of_plain[name]}
        refused = bool(wrong or unknown) and not {"-h", "--help"} & {*words}
        kept = [word for word in right[name] if self.random.random() < 0.95]
        stdin = self.stdin() if name == "predict" else b""
        return Case(name, (*kept, *words), stdin, refused=refused)

    def stdin(self) -> bytes:
        lines: tuple[bytes, ...] = (
            b"a fine film", b"", b" ", b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"\x1b[2J", b"\r",
            "ünï 🙂".encode(), b"x" * 5000, b"[[1, 2]]", b'"', json.dumps("\ud800").encode(),
        )  # fmt: skip
        return b"\n".join(self.random.choices(lines, k=self.random.randrange(4)))
