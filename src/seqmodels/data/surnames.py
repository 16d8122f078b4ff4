"""Surname to language group: an offline text example, from the lists inside `Faker`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from seqmodels.data.module import Split
from seqmodels.data.split import Examples
from seqmodels.data.text import Text
from seqmodels.errors import UserError

GROUPS = {
    "Celtic": ("ga_IE",),
    "English": ("en_GB",),
    "Germanic": ("da_DK", "de_DE", "nl_NL", "no_NO", "sv_SE"),
    "Romance": ("es_ES", "fr_FR", "it_IT", "pt_PT"),
    "Slavic": ("cs_CZ", "hr_HR", "sk_SK", "sl_SI"),
    "Uralic": ("et_EE", "fi_FI", "hu_HU"),
}


class Surnames(Text):
    """Surnames in Latin script; names that occur in several groups are left out.

    Args:
        options: as in `Text`, but for the files and columns.
    """

    title = "surnames"

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


def _surnames(locales: tuple[str, ...]) -> set[str]:
    names: set[str] = set()
    for locale in locales:
        try:
            module = importlib.import_module(f"faker.providers.person.{locale}")
        except ImportError as error:
            raise UserError(
                "data=surnames needs Faker, which is not installed: pip install -e '.[examples]'"
            ) from error
        for attribute in ("last_names", "last_names_male", "last_names_female"):
            names.update(vars(module.Provider).get(attribute, ()))
    return names
