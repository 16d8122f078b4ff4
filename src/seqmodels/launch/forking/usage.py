"""Which unit uses which, through imports, fixtures, class attributes and configurations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from seqmodels.launch.forking.python_units import Fact, Unit
from seqmodels.launch.forking.yaml_files import Config


class Usage:
    """The units of a project by the names that they define, and what each uses.

    Args:
        units: of all files.
        configs: what they name as `_target_` is used.
    """

    def __init__(self, units: Sequence[Unit], configs: Iterable[Config]) -> None:
        self.units, self.configs = units, list(configs)
        self.defining: dict[str, list[Unit]] = defaultdict(list)
        self.methods: dict[Unit, list[Unit]] = defaultdict(list)
        for unit in units:
            for name in unit.names:
                self.defining[name].append(unit)
            if unit.owner:
                self.methods[unit.owner].append(unit)
        self._of_fact = {
            fact: [found for name in names(unit, fact) for found in self.defining.get(name, ())]
            for unit in units
            for fact in unit.facts
        }
        self._roots = {tests: self._find_roots(tests) for tests in (False, True)}

    def of(self, unit: Unit) -> Iterator[Unit]:
        """The units that it uses; a class uses its methods."""
        yield from self.methods.get(unit, ())
        for fact in unit.mentions():
            yield from self._of_fact[fact]

    def definitions(self, name: str) -> Iterator[Unit]:
        """What a name stands for, through imports."""
        for unit in self.defining.get(name, ()):
            if unit.alias:
                yield from self.definitions(unit.facts[0].value)
            else:
                yield unit

    def reached(self, *, tests: bool, gone: Iterable[str] = ()) -> set[Unit]:
        """Everything that is used by what nothing else uses: scripts, configurations, heads.

        Args:
            tests: whether to begin with tests too.
            gone: configuration files that do not count.
        """
        todo = [
            unit
            for config in self.configs
            if config.file not in set(gone)
            for target in config.targets
            for unit in self.defining.get(target, ())
        ]
        todo += self.roots(tests=tests)
        reached: set[Unit] = set()
        while todo:
            unit = todo.pop()
            if not unit.gone and unit not in reached:
                reached.add(unit)
                todo += self.of(unit)
        return reached

    def roots(self, *, tests: bool) -> list[Unit]:
        """What nothing else uses."""
        return self._roots[tests]

    def _find_roots(self, tests: bool) -> list[Unit]:
        units = [unit for unit in self.units if tests or not unit.in_tests]
        used = {u for unit in units for u in self.of(unit) if u not in (unit, unit.owner)}
        for config in self.configs:
            used.update(u for target in config.targets for u in self.defining.get(target, ()))
        return [unit for unit in units if unit not in used]


def names(unit: Unit, fact: Fact) -> list[str]:
    """The full names that a fact may mean."""
    if fact.kind == "parameter":  # a fixture, of the test's own file or for all
        return [f"{unit.module}.{fact.value}", f"tests.conftest.{fact.value}"][: 2 * unit.in_tests]
    if fact.kind == "text":  # an entry of `__all__`, or a full name
        return [f"{unit.module}.{fact.value}", fact.value]
    return [fact.value] if fact.kind == "name" else []
