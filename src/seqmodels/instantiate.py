"""Build objects from configuration, from an allowlist: a config cannot run arbitrary code."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig

from seqmodels.arguments import arguments, call_checked, validated
from seqmodels.errors import UserError, missing_value, one_line, refusing
from seqmodels.plain_values import resolved
from seqmodels.plugins import import_plugins, project_packages

ALLOWED = (
    "seqmodels.",
    "torch.optim.",
    "torch.nn.",
    # These measure classes, numbers and texts, and load nothing.
    *(f"torchmetrics.{module}." for module in ("classification", "regression")),
    *(f"torchmetrics.text.{module}." for module in ("bleu", "chrf", "eed", "ter")),
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
    "lightning.pytorch.plugins.",
    "lightning.pytorch.trainer.",
)
KEYWORDS = ("_target_", "_recursive_")  # Others of Hydra's are not read.
# The task builds these itself, and gives them these arguments.
BUILT_LATER = {"optimizer": ("params",), "scheduler": ("optimizer",)}
TOTAL_STEPS = "total_steps"  # stands for the length of the training, which the task knows

# What the builds that are under way allow: an object may build the same while it is built.
_outer: ContextVar[tuple[str, ...]] = ContextVar("allowed targets", default=())


@dataclass(frozen=True)
class Blueprint:
    """An object that a configuration describes, checked. `check` draws it, and `build` follows it.

    Args:
        plain: the configuration as plain values, which its classes take.
        key: its key, to name in errors: `model`.
        allowed_targets: as `instantiate` takes them; what is built may build these, too.
    """

    plain: dict[str, Any]
    key: str
    allowed_targets: tuple[str, ...]

    def build(self, /, **kwargs: Any) -> Any:
        """The object; `kwargs` are passed to its class. Raises UserError for what that refuses."""
        token = _outer.set((*self.allowed_targets, *_outer.get()))
        where = ": ".join(filter(None, (self.key, self.plain["_target_"])))
        try:
            with refusing(where, TypeError, ValueError, MisconfigurationException):
                return _build(self.plain, **kwargs)
        finally:
            _outer.reset(token)


def instantiate(
    config: Mapping[str, Any] | DictConfig,
    /,
    *,
    key: str = "",
    allowed_targets: Iterable[str] = (),
    **kwargs: Any,
) -> Any:
    """Builds what `hydra.utils.instantiate` would, if every `_target_` in `config` is allowed. Of
    Hydra's keywords, it reads `_target_` and `_recursive_`; others are arguments like any.

    What is checked is what is built: Hydra would read texts once more, and resolve the `${...}` in
    them after the check.

    Args:
        config: with a `_target_`; nested ones are built too.
        key: the key of `config`, to name in errors: `model`.
        allowed_targets: more targets, each a full name, or a prefix that ends in a dot. Never take
            these from a checkpoint or a run folder.
        kwargs: passed to the target.

    Raises:
        UserError: if a target is not allowed, or an argument is unknown or has a wrong value.
    """
    return check(config, kwargs, key, allowed_targets=allowed_targets).build(**kwargs)


def check(
    config: Mapping[str, Any] | DictConfig,
    names_of_code: Iterable[str] = (),
    key: str = "",
    *,
    allowed_targets: Iterable[str] = (),
) -> Blueprint:
    """What `instantiate` would build, checked. Raises what `instantiate` does for a wrong value.

    Args:
        names_of_code: the arguments that the code will pass.
    """
    plain: Any = resolved(config) if isinstance(config, DictConfig) else config
    if "_target_" not in plain:
        raise UserError(missing_value(f"{key}._target_".lstrip(".")))
    allowed = tuple(allowed_targets)
    token = _outer.set((*allowed, *_outer.get()))
    try:
        checked_config = _checked(plain, key, tuple(names_of_code))
        return Blueprint(checked_config, key, allowed)
    finally:
        _outer.reset(token)


def _checked(node: Any, key: str, names_of_code: tuple[str, ...] = ()) -> Any:
    if isinstance(node, list | tuple):
        return [_checked(item, f"{key}.{number}") for number, item in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    values = {}
    for name, value in node.items():
        key_of_value = f"{key}.{name}".lstrip(".")
        values[name] = _checked(value, key_of_value, BUILT_LATER.get(name, ()))
    if "_target_" not in node:
        return values
    takes = arguments(allowed_class(node, key=key))
    keywords = {name: values.pop(name) for name in KEYWORDS if name in values}
    is_scheduler = key.endswith("scheduler")
    lengths_known_later = {
        name: value for name, value in values.items() if is_scheduler and value == TOTAL_STEPS
    }
    values |= dict.fromkeys(lengths_known_later, 1)  # Any length can be checked instead.
    checked_values = validated(takes, values, key or node["_target_"], names_of_code)
    return {**keywords, **checked_values, **lengths_known_later}


def _build(node: Any, /, **kwargs: Any) -> Any:
    if isinstance(node, list | tuple):
        return [_build(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    values = {name: value for name, value in node.items() if name not in KEYWORDS}
    if node.get("_recursive_", True):
        values = {name: _build(value) for name, value in values.items()}
    if "_target_" not in node:
        return values
    return call_checked(resolve_name(node["_target_"]), values, **kwargs)


def allowed_class(
    config: Mapping[str, Any] | DictConfig,
    allowed_targets: Iterable[str] = (),
    key: str = "",
    kind: Any = None,
) -> Any:
    """The class that `config._target_` names, if it is allowed.

    The check uses the module that defines the class, so an alias in a module of `ALLOWED` doesn't
    get through; nor does a function, or a method of a class. What `allowed_targets` and installed
    projects name is trusted by that name.

    Args:
        kind: of which it has to be a subclass; None: any.

    Raises:
        UserError: if it is not allowed, or there is no such class, or it is of another kind.
    """
    import_plugins()
    where = f"{key}._target_".lstrip(".")
    target = config.get("_target_")
    if not isinstance(target, str):
        raise UserError(missing_value(where))
    prefixes_of_projects = [f"{package}." for package in project_packages()]
    further_targets = (*allowed_targets, *_outer.get(), *prefixes_of_projects)
    refusal = UserError(
        f"{where}={target} is not allowed: if you trust it, add "
        f"imports=[{target.rpartition('.')[0]}], or allowed_targets=[{target}]; it is not a class "
        f"of {', '.join(prefix.rstrip('.') for prefix in ALLOWED)}"
    )
    # Other names are refused before they are looked up, because importing a module runs its code.
    allowed_packages = tuple(prefix.partition(".")[0] + "." for prefix in ALLOWED)
    if not target.startswith(allowed_packages) and not _listed(target, further_targets):
        raise refusal
    try:
        target_class = resolve_name(target)
    except Exception as error:  # The module's own code may raise anything.
        raise UserError(f"{where}={target} cannot be found: {one_line(error)}") from error
    module = getattr(target_class, "__module__", "")
    full_name = f"{module}.{getattr(target_class, '__qualname__', '')}"
    is_allowed_class = inspect.isclass(target_class) and full_name.startswith(ALLOWED)
    is_listed = _listed(full_name, further_targets) or _listed(target, further_targets)
    if not is_allowed_class and not is_listed:
        raise refusal
    if kind is not None and not (inspect.isclass(target_class) and issubclass(target_class, kind)):
        kind_name = getattr(kind, "__name__", kind)
        raise UserError(f"{where}={target} is not a {kind_name}: choose a subclass of it")
    return target_class


def _listed(name: str, targets: tuple[str, ...]) -> bool:
    """Whether these targets, full names or prefixes that end in a dot, have this one."""
    prefixes = tuple(target for target in targets if target.endswith("."))
    return name in targets or name.startswith(prefixes)
