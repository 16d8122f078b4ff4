"""Build objects from configuration, from an allowlist: a config cannot run arbitrary code."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pkgutil import resolve_name
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from seqmodels.checking import Checker, Schema, without
from seqmodels.errors import UserError, one_line, refusing
from seqmodels.plugins import import_plugins, project_packages
from seqmodels.signatures import arguments, raise_first

ALLOWED = (
    "seqmodels.",
    "torch.optim.",
    "torch.nn.",
    "torchmetrics.",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
    "lightning.pytorch.plugins.",
    "lightning.pytorch.trainer.",
)


# what the calls of `instantiate` allow that this one is within: what they build may build it, too
_outer: ContextVar[tuple[str, ...]] = ContextVar("allowed targets", default=())

KEYWORDS = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")  # Hydra's


def instantiate(
    config: Mapping[str, Any] | DictConfig,
    /,
    *args: Any,
    key: str = "",
    allowed_targets: Iterable[str] = (),
    **kwargs: Any,
) -> Any:
    """Builds what `hydra.utils.instantiate` would, if every `_target_` in `config` is allowed.

    What is checked is what is built: Hydra would read texts once more, and resolve the `${...}` in
    them after the check.

    You may name the classes in `ALLOWED` and of installed projects. The check uses the module that
    defines the class, so an alias doesn't get through. Functions, and methods of allowed classes,
    are refused.

    Args:
        config: with a `_target_`; nested and partial ones are checked too.
        key: the key of `config`, to name in errors: `model`.
        allowed_targets: more targets, each a full name, or a prefix that ends in a dot. Never take
            these from a checkpoint or a run folder.
        args, kwargs: passed to the target.

    Raises:
        UserError: if a target is not allowed, or an argument is unknown or has a wrong value.
    """
    token = _outer.set((*allowed_targets, *_outer.get()))
    try:
        plain = check(config, kwargs, key, by_position=len(args))
        with refusing(
            ": ".join(filter(None, (key, plain["_target_"]))),
            TypeError,
            ValueError,
            MisconfigurationException,
        ):
            return _build({**plain, "_partial_": True})(*args, **kwargs)
    finally:
        _outer.reset(token)


def check(
    config: Mapping[str, Any] | DictConfig,
    given: Iterable[str] = (),
    key: str = "",
    *,
    allowed_targets: Iterable[str] = (),
    by_position: int = 0,
) -> Any:
    """Checks what `instantiate` would build, and returns it as plain data.

    Args:
        config, key, allowed_targets: see `instantiate`.
        given: the arguments that the code will pass by name.
        by_position: how many it will pass by position.

    Raises:
        UserError: if a target is not allowed, or an argument is unknown or has a wrong value.
    """
    plain: Any = config
    if isinstance(config, DictConfig):
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    _check(plain, _with_projects(allowed_targets), where=f"{key}." if key else "")
    takes = _arguments(plain["_target_"])
    if takes is not None and "_args_" not in plain:
        takes = without(takes, [*[*takes["properties"]][:by_position], *given])
        values = {name: value for name, value in plain.items() if name not in KEYWORDS}
        problems = Checker(_arguments).of_arguments(values, takes, key)
        raise_first(problems, "" if key else f"{plain['_target_']}: ")
    return plain


def _arguments(target: str) -> Schema | None:
    return arguments(resolve_name(target))  # allowed: see `_check`


def allowed_class(
    config: Mapping[str, Any] | DictConfig, allowed_targets: Iterable[str] = (), key: str = ""
) -> Any:
    """The class that `config._target_` names, if it is allowed; see `instantiate`."""
    where = f"{key}._target_".removeprefix(".")
    _check_target(config["_target_"], _with_projects(allowed_targets), where)
    return resolve_name(config["_target_"])


def _with_projects(allowed_targets: Iterable[str]) -> tuple[str, ...]:
    """With the classes of installed projects, whose heads can be chosen by name from here on."""
    import_plugins()
    return (*allowed_targets, *_outer.get(), *(f"{package}." for package in project_packages()))


def _build(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_build(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    own = {key: value for key, value in node.items() if key not in KEYWORDS}
    if node.get("_recursive_", True):
        own = {key: _build(value) for key, value in own.items()}
    if "_target_" not in node:
        return own
    made = functools.partial(resolve_name(node["_target_"]), *_build(node.get("_args_", [])), **own)
    return made if node.get("_partial_") else made()


def _check(node: Any, extra: tuple[str, ...], where: str) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_target(node["_target_"], extra, f"{where}_target_")
        for key, value in node.items():
            _check(value, extra, f"{where}{key}.")
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            _check(value, extra, f"{where}{number}.")


def _check_target(target: Any, extra: tuple[str, ...], where: str) -> None:
    if not isinstance(target, str):
        raise UserError(f"{where} must be the name of a class, got {target!r}")
    refusal = UserError(
        f"{where}={target} is not allowed: if you trust it, add "
        f"imports=[{target.rpartition('.')[0]}], or allowed_targets=[{target}]; it is not a class "
        f"of {', '.join(prefix.rstrip('.') for prefix in ALLOWED)}"
    )
    # refuse other names before looking them up, because importing a module runs its code
    roots = tuple(prefix.partition(".")[0] + "." for prefix in ALLOWED)
    if not target.startswith(roots) and not _listed(target, extra):
        raise refusal
    try:
        found = resolve_name(target)
    except Exception as error:  # the module's own code may raise anything
        package = target.partition(".")[0]
        version = getattr(sys.modules.get(package), "__version__", None)
        which = f" in {package} {version}" if version else ""
        raise UserError(f"{where}={target} cannot be found{which}: {one_line(error)}") from error
    identity = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    ours = inspect.isclass(found) and identity.startswith(ALLOWED)
    if not ours and not _listed(identity, extra) and not _listed(target, extra):
        raise refusal


def _listed(name: str, extra: tuple[str, ...]) -> bool:
    return any(name == entry or (entry.endswith(".") and name.startswith(entry)) for entry in extra)
