"""Write a JSON schema of the files in configs/, by which editors complete and check them.

python -m seqmodels.launch.schema
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from seqmodels.errors import UserError
from seqmodels.files import write_text
from seqmodels.launch import keys
from seqmodels.launch.config_files import config_folders
from seqmodels.launch.readable_errors import readable_errors
from seqmodels.signatures.checking import OF_HYDRA, arguments
from seqmodels.signatures.heads import heads_for
from seqmodels.signatures.ranges import ArgumentsOf, Built, Length, NotEmpty, OneOf, Range
from seqmodels.signatures.reading import Signature, kind_of, signature
from seqmodels.signatures.wording import is_union

FILE = Path("configs", "schema.json")

PLAIN = (keys.AuditKeys, keys.CompareKeys, keys.EvaluateKeys, keys.GenerateKeys, keys.PredictKeys)
GROUPS = ("data", "trainer", "callbacks", "logger")  # whose files hold keys of their own
OF_FILES = {"defaults": {"type": "array"}, "hydra": {"type": "object"}}
TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", type(None): "null"}
INTERPOLATION = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}

Schema = dict[str, Any]


def schema(*folders: Path) -> Schema:
    """Return the schema of the files in these folders.

    As a whole, it is that of `train.yaml` and of files with `# @package _global_`. The other kinds
    are in its definitions: `explain`, `predict` and so on, each of `GROUPS`, and each class that a
    file names, with the types and ranges of its arguments.
    """
    writer = _Writer(folders)
    train, explain = (writer.of(each, "") for each in (keys.TrainKeys, keys.ExplainKeys))
    for composed in (train, explain):
        composed["properties"] |= OF_FILES
    writer.definitions["explain"] = explain
    for plain in PLAIN:
        writer.definitions[keys.name_of(plain)] = writer.of(plain, f"{keys.name_of(plain)}.")
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
    """Turns hints into schemas. A place is a dotted key, such as `model.optimizer.`"""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.definitions: dict[str, Schema] = {"interpolation": INTERPOLATION}
        self.targets: dict[str, list[str]] = {}  # the classes that files name in each place
        for file, folder in ((f, d) for d in folders for f in sorted(d.rglob("*.yaml"))):
            group = kind_of_file(file, folder)
            place = f"{group}." if group in GROUPS else ""
            for where, target in _targets(OmegaConf.to_container(OmegaConf.load(file)), place):
                if target not in self.targets.setdefault(where, []):
                    self.targets[where].append(target)

    def of(self, hint: Any, place: str) -> Schema:
        kind, extras = kind_of(hint)
        if place == "model.head.":
            return self._group({"anyOf": [{"enum": self._heads()}, {"type": "string"}]}, place)
        for extra in extras:
            if isinstance(extra, Built):
                return self._built(extra, place)
            if isinstance(extra, ArgumentsOf):
                return self._object(arguments({}, hint) or Signature(more=True), place)
        if is_dataclass(kind):
            return self._object(arguments({}, kind) or Signature(), place)
        if is_union(kind):
            return _either([self.of(each, place) for each in typing.get_args(kind)])
        if typing.get_origin(kind) is Literal:
            return {"enum": list(typing.get_args(kind))}
        if (typing.get_origin(kind) or kind) is dict:
            return self._mapping(typing.get_args(kind), place)
        if (typing.get_origin(kind) or kind) in (list, tuple, set):
            return self._list(kind, place) | _limits(extras, "Items")
        name = TYPES.get(type(None) if kind is None else kind)
        return {} if name is None else {"type": name} | _limits(extras, "Length")

    def _value(self, hint: Any, place: str) -> Schema:
        """Of a key, whose value may be an interpolation."""
        made = self.of(hint, place)
        takes_any_text = "string" in made.get("type", ()) and "enum" not in made
        if not made or takes_any_text or {"$ref", "properties"} & made.keys():
            return made
        return _either([made, {"$ref": "#/definitions/interpolation"}])

    def _object(self, takes: Signature, place: str) -> Schema:
        properties = {name: self._value(h, f"{place}{name}.") for name, h in takes.hints.items()}
        return {"type": "object", "properties": properties, "additionalProperties": takes.more}

    def _mapping(self, inner: tuple[Any, ...], place: str) -> Schema:
        """Of keys of any name, those that files use among them."""
        hint = inner[1] if inner else Any
        used = [where[len(place) :] for where in self.targets if where.startswith(place)]
        names = dict.fromkeys(name.partition(".")[0] for name in used if name)
        made = {
            "type": "object",
            "properties": {name: self._value(hint, f"{place}{name}.") for name in names},
            "additionalProperties": self._value(hint, f"{place}*."),
        }
        return self._group(made, place) if place.removesuffix(".") in GROUPS else made

    def _built(self, built: Built, place: str) -> Schema:
        """Of a mapping that names its class; without a name, it is one of those that files name."""
        known = self.targets.get(place, [])
        takes = {target: signature(target) for target in known}
        for target, found in takes.items():
            own = (found or Signature(more=True)).without(built.given)
            own = Signature({**own.hints, **OF_HYDRA}, more=own.more)
            made = self._object(own, place)
            for key, value in made["properties"].items() if built.stand_in else ():
                made["properties"][key] = _either([value, {"const": built.stand_in}])
            if place.removesuffix(".") in GROUPS:
                made["properties"] |= {"defaults": OF_FILES["defaults"]}
            self.definitions[target] = made
        if not known:
            return {"type": "object"}
        is_named = {"required": ["_target_"]}
        branches = [
            {
                "if": {"properties": {"_target_": {"const": target}}, **is_named},
                "then": {"$ref": f"#/definitions/{target}"},
            }
            for target in known
        ]
        branches.append({"if": {"not": is_named}, "then": self._any_of(known)})
        name = {"anyOf": [{"enum": known}, {"type": "string"}]}
        return self._group(
            # said, because an editor may add what the whole schema says to a definition
            {
                "type": "object",
                "properties": {"_target_": name},
                "additionalProperties": True,
                "allOf": branches,
            },
            place,
        )

    def _any_of(self, targets: list[str]) -> Schema:
        """The keys of all these classes."""
        made = [self.definitions[target] for target in targets]
        names = dict.fromkeys(name for each in made for name in each["properties"])
        properties = {
            name: _either([e["properties"][name] for e in made if name in e["properties"]])
            for name in names
        }
        more = any(each["additionalProperties"] for each in made)
        return {"properties": properties, "additionalProperties": more}

    def _group(self, made: Schema, place: str) -> Schema:
        name = place.removesuffix(".")
        self.definitions[name] = made
        return {"$ref": f"#/definitions/{name}"}

    def _list(self, kind: Any, place: str) -> Schema:
        inner = [each for each in typing.get_args(kind) if each is not ...]
        if typing.get_origin(kind) is tuple and ... not in typing.get_args(kind):
            items = [self.of(each, place) for each in inner]
            return {"type": "array", "items": items, "minItems": len(items), "maxItems": len(items)}
        return {"type": "array", **({"items": self.of(inner[0], place)} if inner else {})}

    def _heads(self) -> list[str]:
        models = self.targets.get("model.", [])
        return sorted({name for target in models for name in heads_for({"_target_": target})})


def _targets(config: Any, place: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items() if isinstance(config, Mapping) else ():
        if key == "_target_" and isinstance(value, str):
            yield place, value
        elif key != "hydra":
            yield from _targets(value, f"{place}{key}.")


def _either(schemas: list[Schema]) -> Schema:
    """Any of these; null joins the types of another one."""
    distinct: list[Schema] = []
    for each in schemas:
        distinct += [s for s in each.get("anyOf", [each]) if s not in distinct]
    if {} in distinct:
        return {}
    null = {"type": "null"}
    if null in distinct and len(distinct) == 2:
        [other] = [each for each in distinct if each != null]
        if isinstance(other.get("type"), str):
            enum = {"enum": [*other["enum"], None]} if "enum" in other else {}
            return {**other, "type": [other["type"], "null"], **enum}
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _limits(extras: tuple[Any, ...], size: str) -> Schema:
    made: Schema = {}
    for extra in extras:
        if isinstance(extra, Range):
            ends = {
                "minimum": extra.least,
                "maximum": extra.most,
                "exclusiveMinimum": extra.above,
                "exclusiveMaximum": extra.below,
            }
            made |= {word: end for word, end in ends.items() if end is not None}
        elif isinstance(extra, OneOf):
            enum = {"enum": list(extra.names)}
            made |= {"anyOf": [enum, {"type": "string"}]} if extra.own else enum
        elif isinstance(extra, NotEmpty):
            made |= {f"min{size}": 1}
        elif isinstance(extra, Length):
            made |= {"minItems": extra.size, "maxItems": extra.size}
    return made


def main() -> None:
    """Write `configs/schema.json`, with the classes of your own files too."""
    with readable_errors():
        if not FILE.parent.is_dir():
            raise UserError("there is no folder configs/ here")
        write_text(FILE, as_text(schema(*config_folders())))
        print(FILE)


if __name__ == "__main__":
    main()
