"""Read the arguments of a class, with their types, from its source."""

from __future__ import annotations

import ast
import builtins
import itertools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ForwardRef

from seqmodels.signatures import ranges
from seqmodels.signatures.libraries import RANGES
from seqmodels.signatures.source import Source, find

# modules whose names are taken from the modules themselves, because they are imported anyway
KNOWN = {"typing": typing, "typing_extensions": typing, ranges.__name__: ranges}
BUILTINS = ("int", "float", "bool", "str", "list", "dict", "tuple", "set", "object", "None")


@dataclass(frozen=True)
class Signature:
    """What a class takes.

    Args:
        hints: the type of each argument, `Any` where it is unknown. A name in another module is a
            `ForwardRef`, which `resolved` follows.
        required: the arguments without a default.
        more: whether it may take others too.
        refused: those that it takes from something else; nobody may give them.
    """

    hints: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    more: bool = False
    refused: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> Signature:
        """The same for who must not give these arguments, because something else does."""
        given = frozenset(names)
        hints = {name: hint for name, hint in self.hints.items() if name not in given}
        return Signature(hints, self.required - given, self.more, self.refused | given)


BARE = (Any, int, float, str, bool, list, dict, dict[str, Any])
UNKNOWN = Signature(more=True)
OBJECT = type("Object", (), {})  # of any class: a configuration gives it by `_target_`


def signature(path: str, method: str = "__init__") -> Signature | None:
    """The arguments of the class with this full name, or of a method of it, without `self`.

    Arguments that `__init__` passes on as `**options` to `super().__init__` are among them. None
    if there is no source that says it.
    """
    place = find(path)
    if place is None or not isinstance(place.node, ast.ClassDef):
        return None
    return _of_class(place.source, place.node, method, depth=0)


def not_taken(target: Any, names: Iterable[Any]) -> list[str]:
    """Those of the names that are not arguments of this class; none if its source is unknown."""
    takes = signature(target) if isinstance(target, str) else None
    if takes is None or takes.more:
        return []
    return [name for name in names if name not in takes.hints and not name.startswith("_")]


def resolved(hint: Any) -> Any:
    """What a `ForwardRef` of a signature refers to: a hint; `OBJECT` for a class that is not a
    plain value; `Any` if unknown."""
    if not isinstance(hint, ForwardRef):
        return hint
    module = typing.cast(str, hint.__forward_module__)
    expression = ast.parse(hint.__forward_arg__, mode="eval").body
    home = find(module)
    place = home and home.source.find(expression)
    if place is None:
        return Any
    if isinstance(place.node, ast.ClassDef):
        return OBJECT
    if isinstance(place.node, ast.expr):
        return resolved(_hint(place.node, place.source))
    return Any


def kind_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type itself that a hint stands for, and its annotations of `ranges`."""
    hint = resolved(hint)
    if typing.get_origin(hint) is Annotated:
        return resolved(hint.__origin__), hint.__metadata__
    return hint, ()


def _of_class(source: Source, node: ast.ClassDef, method: str, depth: int) -> Signature:
    if depth > 20:
        return UNKNOWN
    own = [
        f
        for f in node.body
        if isinstance(f, ast.FunctionDef) and f.name == method and not _is_overload(f)
    ]
    if own:
        return _of_function(source, node, own[-1], depth)
    inherited = _of_bases(source, node, method, depth)
    if method == "__init__" and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return _of_dataclass(source, node, inherited)
    return inherited


def _of_bases(source: Source, node: ast.ClassDef, method: str, depth: int) -> Signature:
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base  # Generic[T]
        if ast.unparse(name) in ("object", "ABC", "Generic", "Protocol"):
            continue
        place = source.find(name)
        if place is None or not isinstance(place.node, ast.ClassDef):
            return UNKNOWN
        found = _of_class(place.source, place.node, method, depth + 1)
        if found != Signature():
            return found
    return Signature()


def _of_function(
    source: Source, owner: ast.ClassDef, function: ast.FunctionDef, depth: int
) -> Signature:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][1:]  # without self
    hints: dict[str, Any] = {}
    required = set()
    firsts = len(positional) - len(arguments.defaults)
    for number, argument in enumerate(positional):
        hints[argument.arg] = _annotated(argument, source, owner.name)
        if number < firsts:
            required.add(argument.arg)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        hints[argument.arg] = _annotated(argument, source, owner.name)
        if default is None:
            required.add(argument.arg)
    if arguments.kwarg is None:
        return Signature(hints, frozenset(required))
    call = _passed_on(function, arguments.kwarg.arg)
    if call is None:
        _, extras = kind_of(_annotated(arguments.kwarg, source, owner.name))
        more = not any(isinstance(extra, ranges.BySubclass) for extra in extras)
        return Signature(hints, frozenset(required), more)
    base = _of_bases(source, owner, function.name, depth)
    positions = zip(base.hints, itertools.takewhile(_is_one, call.args), strict=False)
    passed = dict(positions) | {k.arg: k.value for k in call.keywords if k.arg}
    for name, value in passed.items():
        if isinstance(value, ast.Name) and value.id == name and hints.get(name) in BARE:
            hints[name] = base.hints.get(name, hints[name])  # which may say more about it
    rest = base.without(passed.keys() | hints.keys())
    return Signature({**rest.hints, **hints}, rest.required | required, base.more)


def _is_one(argument: ast.expr) -> bool:
    return not isinstance(argument, ast.Starred)


def _passed_on(function: ast.FunctionDef, options: str) -> ast.Call | None:
    """The call of `super().<the same method>` that gets `**options`."""
    for node in ast.walk(function):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=function.name)
            ):
                for keyword in node.keywords:
                    if keyword.arg is None and ast.unparse(keyword.value) == options:
                        return node
    return None


def _of_dataclass(source: Source, node: ast.ClassDef, inherited: Signature) -> Signature:
    hints, required = dict(inherited.hints), set(inherited.required)
    for statement in node.body:
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        hints[statement.target.id] = _hint(statement.annotation, source)
        if statement.value is None:
            required.add(statement.target.id)
    return Signature(hints, frozenset(required), inherited.more)


def _is_overload(function: ast.FunctionDef) -> bool:
    return any("overload" in ast.unparse(each) for each in function.decorator_list)


def _annotated(argument: ast.arg, source: Source, owner: str) -> Any:
    for prefix, table in RANGES.items():
        if f"{source.name}.".startswith(prefix):
            for name in (f"{owner}.{argument.arg}", argument.arg):
                if name in table:
                    return table[name]
    return Any if argument.annotation is None else _hint(argument.annotation, source)


def _hint(node: ast.expr, source: Source) -> Any:
    """The type that an annotation stands for, `Any` where that is unknown."""
    try:
        return _evaluated(node, source)
    except (TypeError, ValueError, AttributeError, SyntaxError):  # more than is understood here
        return Any


def _evaluated(node: ast.expr, source: Source) -> Any:
    match node:
        case ast.Constant(value=str() as text):  # an annotation in quotes
            return _evaluated(ast.parse(text, mode="eval").body, source)
        case ast.Constant(value=value):
            return value
        case ast.Name() | ast.Attribute():
            return _named(node, source)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_evaluated(left, source), _evaluated(right, source)]  # noqa: UP007
        case ast.Subscript(value=value, slice=inner):
            return _subscripted(_evaluated(value, source), inner, source)
        case ast.Call(func=function, args=args, keywords=keywords):
            made = _evaluated(function, source)
            if getattr(made, "__module__", None) != ranges.__name__:
                return Any
            return made(
                *(ast.literal_eval(a) for a in args),
                **{str(k.arg): ast.literal_eval(k.value) for k in keywords},
            )
    return Any


def _subscripted(outer: Any, inner: ast.expr, source: Source) -> Any:
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if outer is typing.Literal:
        return outer[tuple(ast.literal_eval(part) for part in parts)]
    if outer is Any or isinstance(outer, ForwardRef):
        return Any
    hints = tuple(_evaluated(part, source) for part in parts)
    return outer[hints[0] if len(hints) == 1 else hints]


def _named(node: ast.Name | ast.Attribute, source: Source) -> Any:
    words = ast.unparse(node)
    first, _, rest = words.partition(".")
    full = source.imported.get(first)
    path = words if full is None else ".".join(filter(None, (full, rest)))
    module, _, name = path.rpartition(".")
    if module in KNOWN:
        return getattr(KNOWN[module], name)
    if module == "collections.abc":
        return {"Sequence": list, "Iterable": list, "Mapping": dict}.get(name, Any)
    if full is None and words in BUILTINS:
        return getattr(builtins, words)
    here = source.definition(first) if full is None and not rest else None
    if here is not None and isinstance(here.node, ast.expr):  # an alias in the same module
        return _evaluated(here.node, here.source)
    return ForwardRef(words, module=source.name)
