"""Surnames and their language groups, from the lists in the package `Faker`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from seqmodels.arguments import Count, Passed
from seqmodels.data.examples import Examples
from seqmodels.data.module import Split
from seqmodels.data.sequences import SequenceDataModule
from seqmodels.data.text import Text
from seqmodels.data.tokenizer import Level, TokenizerOptions
from seqmodels.data.tokens import Tokens
from seqmodels.installation import require

GROUPS = {
    "Celtic": ("ga_IE",),
    "English": ("en_GB",),
    "Germanic": ("da_DK", "de_DE", "nl_NL", "no_NO", "sv_SE"),
    "Romance": ("es_ES", "fr_FR", "it_IT", "pt_PT"),
    "Slavic": ("cs_CZ", "hr_HR", "sk_SK", "sl_SI"),
    "Uralic": ("et_EE", "fi_FI", "hu_HU"),
}


class Surnames(SequenceDataModule):
    """Surnames in Latin script. Surnames that occur in several language groups are dropped.

    Args:
        tokenizer, lowercase, min_count: see `TokenizerOptions`; `tokenizer` is its `level`.
        options: `batch_size` and the other arguments of `SequenceDataModule`.
    """

    def __init__(
        self,
        *,
        tokenizer: Level = TokenizerOptions.level,
        lowercase: bool = TokenizerOptions.lowercase,
        min_count: Count = TokenizerOptions.min_count,
        **options: Annotated[Any, Passed("inputs")],
    ) -> None:
        super().__init__(Tokens(TokenizerOptions(tokenizer, lowercase, min_count)), **options)

    def read(self) -> Mapping[Split, Examples]:
        groups = {group: _surnames(locales) for group, locales in GROUPS.items()}
        names = sorted(
            (name, group)
            for group, surnames in groups.items()
            for name in surnames
            if sum(name in others for others in groups.values()) == 1
        )
        texts, labels = zip(*names, strict=True)
        return {"train": Examples(texts, labels, "surnames")}

    def read_file(self, path: str) -> Iterator[tuple[str, str | None]]:
        return Text().read_file(path)

    def read_inputs(self, path: str) -> Iterator[str]:
        return Text().read_inputs(path)


def _surnames(locales: tuple[str, ...]) -> set[str]:
    require("faker", "data=surnames", "examples")
    names: set[str] = set()
    for locale in locales:
        module = importlib.import_module(f"faker.providers.person.{locale}")
        for attribute in ("last_names", "last_names_male", "last_names_female"):
            names.update(vars(module.Provider).get(attribute, ()))
    return names
