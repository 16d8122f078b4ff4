"""Write a JSON schema of the files in configs/, by which editors complete and check them.

python -m seqmodels.launch.schema
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import seqmodels.tasks  # noqa: F401  (registers their heads)
from seqmodels.checking import OF_HYDRA, Schema, without
from seqmodels.errors import UserError
from seqmodels.files import write_text
from seqmodels.heads import HEADS
from seqmodels.launch import keys
from seqmodels.launch.config_files import SHIPPED, own_configs
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.plugins import import_module
from seqmodels.signatures import arguments, either

FILE = Path("configs", "schema.json")

PLAIN = (
    *(keys.AuditKeys, keys.CompareKeys, keys.EvaluateKeys),
    *(keys.ExportKeys, keys.GenerateKeys, keys.PredictKeys),
)
GROUPS = ("data", "trainer", "callbacks", "logger")  # whose files hold keys of their own
OF_FILES = {"defaults": {"type": "array"}, "hydra": {"type": "object"}}
UNKNOWN: Schema = {"type": "object", "properties": {}, "additionalProperties": True}
INTERPOLATION = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}


def schema(*folders: Path) -> Schema:
    """Return the schema of the files in these folders.

    As a whole, it describes `train.yaml` and files with `# @package _global_`. The other kinds are
    in its definitions: `explain`, `predict` and so on, each of `GROUPS`, and each class that a file
    names, with the types and ranges of its arguments.
    """
    writer = _Writer(folders)
    train, explain = (writer.of_keys(each) for each in (keys.TrainKeys, keys.ExplainKeys))
    for composed in (train, explain):
        composed["properties"] |= OF_FILES
    writer.definitions["explain"] = explain
    for plain in PLAIN:
        writer.definitions[keys.name_of(plain)] = writer.of_keys(plain, plain=True)
    for head, cls in HEADS.items():
        if takes := arguments(cls, "build"):
            name = f"model.head_options.{head}"
            writer.definitions[name] = writer.of(without(takes, ["encoder"]), f"{name}.")
    names = ("lightning", "torch")
    versions = [f"{name} {metadata.version(name).partition('+')[0]}" for name in names]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"made from the signatures of {' and '.join(versions)}",
        **train,
        "definitions": dict(sorted(writer.definitions.items())),
    }


def as_text(made: Schema) -> str:
    """Return the schema as JSON, with a line for each definition."""
    lines = (f"  {json.dumps(n)}: {json.dumps(d)}" for n, d in made["definitions"].items())
    whole = (f" {json.dumps(n)}: {json.dumps(v)},\n" for n, v in made.items() if n != "definitions")
    return "{\n" + "".join(whole) + ' "definitions": {\n' + ",\n".join(lines) + "\n }\n}\n"


def kind_of_file(file: Path, configs: Path) -> str:
    """The definition for a file in `configs`; `train` for the whole schema."""
    is_global = "# @package _global_" in file.read_text()
    return "train" if is_global else file.relative_to(configs).with_suffix("").parts[0]


class _Writer:
    """Turns the schemas of classes into parts of one. A prefix is a dotted key, such as
    `model.optimizer.`"""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.definitions: dict[str, Schema] = {"interpolation": INTERPOLATION}
        self.targets: dict[str, list[str]] = {}  # the classes that files name at each prefix
        self.missing: set[str] = set()  # those that cannot be imported
        for file, folder in ((f, d) for d in folders for f in sorted(d.rglob("*.yaml"))):
            group = kind_of_file(file, folder)
            prefix = f"{group}." if group in GROUPS else ""
            for where, target in _targets(OmegaConf.to_container(OmegaConf.load(file)), prefix):
                if target not in self.targets.setdefault(where, []):
                    self.targets[where].append(target)

    def of_keys(self, keys: type, *, plain: bool = False) -> Schema:
        """The schema of a file that a script starts from; `plain`: none of its keys is built."""
        prefix = f"{keys.__name__}." if plain else ""
        return self.of(arguments(keys) or {}, prefix)

    def of(self, part: Schema, prefix: str) -> Schema:
        if prefix == "model.head.":
            return self._group({"anyOf": [{"enum": sorted(HEADS)}, {"type": "string"}]}, prefix)
        if "anyOf" in part:
            return either([self.of(each, prefix) for each in part["anyOf"]])
        if "built" in part:
            return self._built(part, prefix)
        if "properties" in part:
            return {**part, "properties": self._properties(part["properties"], prefix)}
        if isinstance(more := part.get("additionalProperties"), bool | dict):
            return self._mapping(part, more, prefix)
        if isinstance(part.get("items"), dict):
            return {**part, "items": self.of(part["items"], prefix)}
        return part

    def _value(self, part: Schema, prefix: str) -> Schema:
        """The schema of a key, whose value may be an interpolation."""
        made = self.of(part, prefix)
        takes_any_text = "string" in made.get("type", ()) and "enum" not in made
        if not made or takes_any_text or {"$ref", "properties"} & made.keys():
            return made
        return either([made, {"$ref": "#/definitions/interpolation"}])

    def _properties(self, parts: Schema, prefix: str) -> Schema:
        return {n: p and self._value(p, f"{prefix}{n}.") for n, p in parts.items()}

    def _mapping(self, part: Schema, inner: Any, prefix: str) -> Schema:
        """The schema of keys of any name, with the names that files use."""
        hint = {} if inner is True else inner
        used = [where[len(prefix) :] for where in self.targets if where.startswith(prefix)]
        names = dict.fromkeys(name.partition(".")[0] for name in used if name)
        made = {
            **part,
            "properties": self._properties(dict.fromkeys(names, hint), prefix),
            "additionalProperties": self._value(hint, f"{prefix}*."),
        }
        return self._group(made, prefix) if prefix.removesuffix(".") in GROUPS else made

    def _built(self, part: Schema, prefix: str) -> Schema:
        """The schema of a mapping that names its class; without a name, of the classes that files
        name."""
        known = self.targets.get(prefix, [])
        for target in known:
            self._define(target, part, prefix)
        found = [target for target in known if target not in self.missing]
        if not known:
            return {"type": "object", "built": part["built"]}
        is_named = {"required": ["_target_"]}
        branches = [
            {
                "if": {"properties": {"_target_": {"const": target}}, **is_named},
                "then": {"$ref": f"#/definitions/{target}"},
            }
            for target in known
        ]
        branches.append(
            {"if": {"not": is_named}, "then": self._any_of(found) if found else UNKNOWN}
        )
        name = {"anyOf": [{"enum": known}, {"type": "string"}]}
        return self._group(
            # `additionalProperties`, because an editor may add the whole schema's properties to a
            # definition
            {
                **part,
                "properties": {"_target_": name},
                "additionalProperties": True,
                "allOf": branches,
            },
            prefix,
        )

    def _define(self, target: str, part: Schema, prefix: str) -> None:
        """Adds the definition of a class; of one that cannot be imported, with any keys."""
        module, _, name = target.rpartition(".")
        try:
            takes = arguments(getattr(import_module(module, "_target_"), name)) or UNKNOWN
        except (UserError, AttributeError):  # not installed, or of another version
            takes = UNKNOWN
            self.missing.add(target)
        takes = without(takes, part["built"])
        made = self.of({**takes, "properties": {**takes["properties"], **OF_HYDRA}}, prefix)
        properties = {n: p for n, p in made["properties"].items() if p is not False}
        if "stand_in" in part:
            stand_in = {"const": part["stand_in"]}
            properties = {name: either([each, stand_in]) for name, each in properties.items()}
        if prefix.removesuffix(".") in GROUPS:
            properties["defaults"] = OF_FILES["defaults"]
        self.definitions[target] = {**made, "properties": properties}

    def _any_of(self, targets: list[str]) -> Schema:
        """The keys of all these classes."""
        made = [self.definitions[target] for target in targets]
        names = dict.fromkeys(name for each in made for name in each["properties"])
        properties = {
            name: _joined([e["properties"][name] for e in made if name in e["properties"]])
            for name in names
        }
        more = any(each["additionalProperties"] for each in made)
        return {"properties": properties, "additionalProperties": more}

    def _group(self, made: Schema, prefix: str) -> Schema:
        name = prefix.removesuffix(".")
        self.definitions[name] = made
        return {"$ref": f"#/definitions/{name}"}


def _joined(parts: list[Schema]) -> Schema:
    """Any of these; of mappings with the same keys, those keys with any of their values."""
    first, *others = (each.get("properties", {}) for each in parts)
    if not first or any(other.keys() != first.keys() for other in others):
        return either(parts)
    keys = {name: either([value, *(o[name] for o in others)]) for name, value in first.items()}
    return {**parts[0], "properties": keys}


def _targets(config: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key == "_target_" and isinstance(value, str):
            yield prefix, value
        elif key != "hydra":
            yield from _targets(value, f"{prefix}{key}.")


def main() -> None:
    """Write `configs/schema.json`, with the classes of your own files too."""
    with readable_errors():
        if not FILE.parent.is_dir():
            raise UserError("there is no folder configs/ here")
        write_text(FILE, as_text(schema(*own_configs(), SHIPPED)))
        print(FILE)


if __name__ == "__main__":
    main()
