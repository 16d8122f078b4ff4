"""Leave out files and tasks, and whatever is of no use without them.

What belongs to a task follows from names: `configs/model/<task>.yaml` names its class. With it go
the classes that serve only its kind of target; then what mentions something that has gone, and
what only something that has gone used; until nothing changes. Lines that nothing else tells apart
are marked by a comment with the task's name, such as `# language models`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cached_property
from pathlib import PurePosixPath

from seqmodels.launch.forking.prose import docstrings, markdown
from seqmodels.launch.forking.python_edits import without_units
from seqmodels.launch.forking.python_units import Fact, Unit, module_name, read_units
from seqmodels.launch.forking.usage import Usage, names
from seqmodels.launch.forking.yaml_files import Config, without_mentions

Files = dict[str, str]
Words = dict[str, str]


def tasks_of(files: Mapping[str, str]) -> list[str]:
    """The tasks by name: what `model=<task>` may choose."""
    found = [file for file in files if re.fullmatch(r"configs/model/\w+\.yaml", file)]
    return sorted(PurePosixPath(file).stem for file in found if Config(file, files[file]).target)


def leave_out(files: Files, tasks: Iterable[str], ours: Iterable[str]) -> Files:
    """The files without these tasks and without `ours` (patterns of paths)."""
    remaining = _Remaining(files, list(tasks), list(ours))
    while remaining.shrinks():
        pass
    return remaining.files()


class _Remaining:
    def __init__(self, files: Files, tasks: list[str], ours: list[str]) -> None:
        words = [task.replace("_", "[ _-]") for task in tasks]
        self.about = re.compile("|".join(words) or "(?!)", re.IGNORECASE)
        marks = re.compile(rf".*#\s*({self.about.pattern})s?(:.*)?\n", re.IGNORECASE)
        self.all = {f: marks.sub("", t) if f.endswith(".py") else t for f, t in files.items()}
        self.units = {f: read_units(f, t) for f, t in self.all.items() if f.endswith(".py")}
        self.flat = [unit for units in self.units.values() for unit in units]
        self.modules = {module_name(file): file for file in self.units}
        self.configs = {f: Config(f, t) for f, t in self.all.items() if f.endswith(".yaml")}
        self.usage = Usage(self.flat, self.configs.values())
        self.before = {tests: self.usage.reached(tests=tests) for tests in (False, True)}
        self.seen: set[str] = set()  # words that were looked for already
        self.gone = {file for file in files if any(fnmatch(file, pattern) for pattern in ours)}
        self.gone |= {f for f in files if f.startswith("docs/") and self._named_after_task(f)}
        if tasks:
            self._leave_out_tasks({f"configs/model/{task}.yaml" for task in tasks})
            self._leave_out_what_only_marked_lines_use(files)

    def _named_after_task(self, file: str) -> bool:
        """A page or a picture: `docs/language_model.svg`."""
        return self.about.fullmatch(PurePosixPath(file).stem) is not None

    def _leave_out_tasks(self, configs: set[str]) -> None:
        """Begins with their classes, and those for a kind of target that no task is left for."""
        targets = [self.configs[config].target for config in configs]
        left = {unit for target in targets for unit in self.usage.definitions(target or "")}
        kinds: dict[bool, set[str]] = {True: set(), False: set()}
        for unit in self.flat:
            kinds[unit in left].update(_predicted(unit))
        for unit in self.flat:
            served = _served(unit)
            only = bool(served & (kinds[True] - kinds[False])) and not served & kinds[False]
            unit.gone = unit in left or only
        self.gone |= configs

    def _leave_out_what_only_marked_lines_use(self, files: Files) -> None:
        marked = [file for file in self.units if self.all[file] != files[file]]
        units = {**self.units, **{file: read_units(file, files[file]) for file in marked}}
        whole = Usage([u for each in units.values() for u in each], self.configs.values())
        unused = {(unit.file, unit.names) for unit in whole.roots(tests=False)}
        for unit in self.usage.roots(tests=False):
            unit.gone |= (unit.file, unit.names) not in unused

    # one round

    def shrinks(self) -> bool:
        """Takes away one more layer; whether there was one."""
        size = self._size()
        words = {w: plain for w, plain in self._words().items() if w not in self.seen}
        methods = self._gone_methods()
        self.seen |= set(words)
        for unit in self.flat:
            if unit.file in self.gone or (unit.owner and unit.owner.gone):
                unit.gone = True
            elif not unit.gone:
                self._cut(unit, words, methods)
        for tests in (False, True):
            reached = self.usage.reached(tests=tests, gone=self.gone)
            for unit in self.before[tests] - reached:  # nothing uses it any more
                unit.gone |= tests or not unit.in_tests
        self.gone |= {file for file in self.units if self._is_empty(file)}
        self.gone |= {file for file in self.configs if self._is_useless(file)}
        return self._size() != size

    def _size(self) -> int:
        return len(self.gone) + sum(unit.gone + len(unit.cut) for unit in self.flat)

    def _cut(self, unit: Unit, words: Words, methods: set[str]) -> None:
        parts = [f.part for f in unit.mentions() if self._has_gone(unit, f, words, methods)]
        if None in parts:
            unit.gone = True
            if unit.owner and unit.names[0].endswith("__"):  # nothing without its __init__
                unit.owner.gone = True
            return
        unit.cut |= set(filter(None, parts))
        for decorator in getattr(unit.node, "decorator_list", ()) if parts else ():
            for display in ast.walk(decorator):
                elements = getattr(display, "values", None) or getattr(display, "elts", None) or []
                unit.gone |= bool(elements) and all(e in unit.cut for e in elements)

    def _has_gone(self, unit: Unit, fact: Fact, words: Words, methods: set[str]) -> bool:
        if fact.kind == "attribute":
            return fact.value in methods
        if fact.kind == "text" and _says(fact.value, words):
            return True
        return any(self._is_gone(name) for name in names(unit, fact))

    def _is_gone(self, name: str) -> bool:
        while name:
            if found := self.usage.defining.get(name):
                return all(unit.gone for unit in found)
            if name in self.modules:
                return self.modules[name] in self.gone
            name = name.rpartition(".")[0]
        return False

    def _gone_methods(self) -> set[str]:
        """Names of methods that no class has any more."""
        own = [unit for unit in self.flat if not unit.in_tests and not unit.alias]
        left = {name.rpartition(".")[2] for u in own if not u.gone for name in u.names}
        methods = [unit for unit in own if unit.owner and unit.gone and not unit.owner.gone]
        return {unit.names[0].rpartition(".")[2] for unit in methods} - left

    def _is_empty(self, file: str) -> bool:
        """Whether all functions and classes have gone, and nothing else in it is used; without any,
        whether all that it imports has gone, as the command that a script starts."""
        own = [unit for unit in self.units[file] if not unit.alias and not unit.owner]
        made = [unit for unit in own if isinstance(unit.node, ast.ClassDef | ast.FunctionDef)]
        if not made and not file.endswith("__init__.py"):
            aliases = [unit for unit in self.units[file] if unit.alias]
            return bool(aliases) and all(unit.gone for unit in aliases)
        if not made or not all(unit.gone for unit in made):
            return False
        rest = {unit for unit in own if not unit.gone}
        others = (unit for unit in self.flat if unit.file != file and not unit.gone)
        return not rest or not any(rest.intersection(self.usage.of(unit)) for unit in others)

    def _is_useless(self, file: str) -> bool:
        config, stem = self.configs[file], PurePosixPath(file).stem
        of_script = file in (f"configs/{stem}.yaml", f"configs/hydra/help/{stem}.yaml")
        return (
            (config.target is not None and self._is_gone(config.target))
            or any(included in self.gone for included in config.includes(self.all))
            or (of_script and f"scripts/{stem}.py" in self.gone)
            or ("/shared/" in file and file not in self._shared)
        )

    @property
    def _shared(self) -> set[str]:
        left = [config for file, config in self.configs.items() if file not in self.gone]
        return {included for config in left for included in config.includes(self.all)}

    def _words(self) -> Words:
        """What a text says if it is about something that has gone: what to look for, and the
        regular expression that has to match around it."""
        words = {}
        left = {file.partition("/")[0] for file in set(self.all) - self.gone}
        for file in self.gone:
            path = PurePosixPath(file)
            folder, *rest = path.parts
            if folder == "configs" and len(rest) == 2:
                words[rf"\b{rest[0]}=([\w.,]+,)?{path.stem}\b"] = path.stem
                if rest[0] in ("model", "data", "experiment"):
                    words[rf"^{path.stem}$"] = path.stem
            elif folder == "scripts" and len(rest) == 1:
                words |= {rf"\b{re.escape(path.name)}\b": path.name, rf"^{path.stem}$": path.stem}
            elif rest and folder not in left:
                words[rf"\b{folder}/"] = f"{folder}/"
            elif rest:
                words[re.escape(file)] = file
        for unit in self.flat:
            if not unit.gone or unit.in_tests or not unit.names:
                continue
            words[re.escape(unit.names[0]) + r"\b"] = unit.names[0]
            if isinstance(unit.node, ast.ClassDef):
                if re.search(r"[a-z][A-Z]", unit.node.name):
                    words[rf"\b{unit.node.name}\b"] = unit.node.name
                for keyword in unit.node.keywords:  # a head: `class Softmax(Head, name="softmax")`
                    if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
                        head = str(keyword.value.value)
                        words[rf"(head=|`|^){head}($|`|\b)"] = head
        return words

    # the result

    def files(self) -> Files:
        """The files that are left, with what is left of them."""
        left = {file: text for file, text in self.all.items() if file not in self.gone}
        return {file: self._left_of(file, text) for file, text in left.items()}

    def _left_of(self, file: str, text: str) -> str:
        if file.endswith(".py"):
            units = self.units[file]
            whole = not any(unit.gone or unit.cut for unit in units)
            return docstrings(text if whole else without_units(text, units), self._mentioned)
        if file.endswith(".yaml") and file.startswith(("configs/", "examples/")):
            return without_mentions(text, self._mentioned, self._choices)
        return markdown(text, self._mentioned) if file.endswith(".md") else text

    def _mentioned(self, text: str) -> bool:
        """Whether a text for people is about something that has gone."""
        return bool(self.about.search(text)) or _says(text, self._final_words)

    @cached_property
    def _final_words(self) -> Words:
        return self._words()

    @cached_property
    def _choices(self) -> dict[str, set[str]]:
        """By group of configurations, what can be chosen no longer."""
        groups: dict[str, set[str]] = defaultdict(set)
        for path in map(PurePosixPath, self.gone & set(self.configs)):
            groups[path.parent.name].add(path.stem)
        return groups


def _says(text: str, words: Words) -> bool:
    return any(p in text and re.search(word, text, re.MULTILINE) for word, p in words.items())


def _strings(node: ast.AST) -> set[str]:
    values = [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)]
    return {value for value in values if isinstance(value, str)}


def _class_values(unit: Unit, *attributes: str) -> Iterator[ast.expr]:
    if not isinstance(unit.node, ast.ClassDef):
        return
    for node in unit.node.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id in attributes for t in targets):
                yield node.value


def _predicted(unit: Unit) -> set[str]:
    """The kind of target that a task's contract states."""
    calls = [value for value in _class_values(unit, "contract") if isinstance(value, ast.Call)]
    stated = [word.value for call in calls for word in call.keywords if word.arg == "target"]
    return {string for value in stated for string in _strings(value)}


def _served(unit: Unit) -> set[str]:
    """The kinds of target that a data module, an encoder or an output states that it is for."""
    return {s for value in _class_values(unit, "target", "targets") for s in _strings(value)}
