"""What each command works out anew, and what all tests of a process share instead.

The tests run hundreds of commands in one process. Hydra reads and merges the same files for each,
most of them parse the same series, Lightning and we look through all installed packages, and
PyTorch's exporter registers a thousand functions for each graph. Here, what was made of a file is
given again as long as the file is the same: the tests take a third less time.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf

Key = Callable[..., Hashable]


@functools.cache  # once is enough
def keep_what_libraries_give() -> None:
    """From now on, for the whole process."""
    import lightning.fabric.utilities.registry  # slow to import

    import seqmodels.plugins

    keep(OmegaConf, "load", _content_of_yaml)  # Hydra and we read each file by it.
    keep(ConfigLoaderImpl, "_compose_config_from_defaults_list", _versions_of_configs)
    keep(defaults_list, "_create_interpolation_map", _words_of_choices)
    for module in (seqmodels.plugins, lightning.fabric.utilities.registry):
        keep(module, "entry_points", _versions_of_places, as_it_is=True)  # Nobody changes them.
    _keep_series_of_archive()
    _keep_registry_of_exporter()


def keep(owner: Any, name: str, key: Key, *, as_it_is: bool = False) -> None:
    """From now on, a function is called once for each key, and then gives what it gave. Where its
    key is None, it is called each time.

    Args:
        as_it_is: gives the same object each time, and not a copy.
    """
    function = getattr(owner, name)
    results: dict[Hashable, Any] = {}

    @functools.wraps(function)
    def kept(*arguments: Any, **options: Any) -> Any:
        version = key(*arguments, **options)
        if version is None:
            return function(*arguments, **options)
        if version not in results:
            result = function(*arguments, **options)
            results[version] = result if as_it_is else pickle.dumps(result)
        return results[version] if as_it_is else pickle.loads(results[version])

    setattr(owner, name, kept)


def _version(path: str) -> Hashable:
    """What changes with a file or a folder; None if there is none."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return path, status.st_ino, status.st_mtime_ns, status.st_size


def _content_of_yaml(file: Any) -> Hashable:
    """What stands in a file, which is open, or a path."""
    if isinstance(file, str | Path):
        try:
            return Path(file).read_bytes()
        except OSError:
            return None
    start = file.tell()
    content = file.read()
    file.seek(start)
    return content


def _version_of_config(source: Any, config_path: str) -> Hashable:
    """The version of one file of a configuration, where Hydra reads it from a file."""
    file = Path(source.path) / source._normalize_file_name(config_path)
    version = _version(os.path.realpath(file))
    return version and (source.provider, source.path, version)


def _versions_of_configs(loader: Any, defaults: list[Any], repo: Any) -> Hashable:
    """The versions of all files that Hydra merges, in their order."""
    versions = []
    for default in defaults:
        source = repo.delegate._find_object_source(default.config_path, ObjectType.CONFIG)
        if source is None:
            return None
        versions.append((repr(default), _version_of_config(source, default.config_path)))
    return tuple(versions)


def _words_of_choices(overrides: Any, defaults: list[Any], self_added: bool) -> Hashable:
    """The groups that are chosen so far, and those that a file chooses, with where that file lies,
    which Hydra doesn't print."""
    places = [(default.parent_base_dir, default.parent_package) for default in defaults]
    return str(overrides.known_choices), str(defaults), str(places), self_added


def _versions_of_places(*, group: str) -> Hashable:
    """The versions of all places where packages may be installed."""
    versions = [_version(os.path.realpath(place)) for place in sys.path]
    return (group, *versions)


def _keep_series_of_archive() -> None:
    """Each `.ts` file is parsed once, which takes as long as some trainings."""
    import seqmodels.data.series

    rows_of_ts = seqmodels.data.series.rows_of_ts
    seqmodels.data.series.rows_of_ts = lambda path: list(rows_of_ts(path))  # type: ignore[assignment]
    keep(seqmodels.data.series, "rows_of_ts", _version)


def _keep_registry_of_exporter() -> None:
    """The first export fills the registry, for all."""
    export = torch.onnx.export

    @functools.wraps(export)
    def export_with_one_registry(*arguments: Any, **options: Any) -> Any:
        from torch.onnx._internal.exporter._registration import ONNXRegistry  # slow to import

        if not hasattr(ONNXRegistry.from_torchlib, "cache_info"):
            ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
        return export(*arguments, **options)

    torch.onnx.export = export_with_one_registry
