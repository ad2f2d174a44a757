"""A suite, checked, and the problems it stands for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attnbench.core.errors import ProblemError, SuiteError
from attnbench.core.problem import Mode, Problem
from attnbench.core.record import BackendChoice, Case, Measure
from attnbench.core.shipped_backends import GROUPS
from attnbench.core.text import chosen, echoed
from attnbench.suite.mistakes import did_you_mean, sentence
from attnbench.suite.schema import BackendEntry, BatchByDevice, Exclusion, Fields, SuiteFile
from attnbench.suite.source import Location, Source

_FIELDS = tuple(Fields.model_fields)
_MOST_CASES = 100_000
"""Of one sweep."""
_MOST_NAMED = 8
"""Cases that a message names."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite whose every value is allowed; only the device decides what its problems are."""

    name: str
    description: str
    device: str
    """``auto``, or as torch spells it."""
    choices: tuple[BackendChoice, ...]
    measure: Measure
    _places: tuple[int, ...]
    """By backend, the entry of the file that names it; a group names several."""
    _file: SuiteFile
    _source: Source

    @property
    def backends(self) -> tuple[str, ...]:
        """The labels of its backends."""
        return tuple(choice.label for choice in self.choices)

    @property
    def baseline(self) -> str:
        """The label that speed-ups refer to."""
        return self._file.baseline or self.backends[0]

    def path_of(self, named: str) -> str:
        """A path that the suite names, as seen from here; on the command line it was meant so already."""
        beside = self._source.path.parent / Path(named).expanduser()
        given_here = not self.where("backends").startswith(f"{self._source.path}:")
        return named if given_here or ("/" not in named and not beside.exists()) else str(beside)

    @property
    def text(self) -> str:
        """The YAML as run: with what the command line changed, every backend, and absolute paths to environments."""
        return self._source.text_with("backends", [_entry(choice) for choice in self.resolved])

    @property
    def resolved(self) -> tuple[BackendChoice, ...]:
        """Its backends, with absolute paths to environments."""
        return tuple(
            replace(choice, python=self._absolute(choice.python)) if choice.python else choice
            for choice in self.choices
        )

    def _absolute(self, named: str) -> str:
        path = self.path_of(named)
        # Not resolved: a virtual environment's interpreter is a link out of it. A bare command stays one.
        return str(Path(path).absolute()) if "/" in path or Path(path).exists() else path

    def where(self, *keys: str | int) -> str:
        """``file:line`` of a key, or of one of the ``backends``, or the option that set it."""
        match keys:
            case ("backends", int(index)):
                return self._source.where(("backends", self._places[index]))
        return self._source.where(keys)

    @property
    def trains(self) -> bool:
        """Whether it asks for gradients."""
        entries = [self._file.sweep, *self._file.cases]
        return any(entry and Mode.FORWARD_BACKWARD in entry.mode for entry in entries)

    def needs_device(self) -> bool:
        """Whether what there is to run depends on which device there is."""
        entries = [self._file.sweep, *self._file.cases]
        return self.device == "auto" and any(entry and isinstance(entry.batch, BatchByDevice) for entry in entries)

    def cases(self, device: str) -> list[Case]:
        """Every case, in the order of the file.

        Args:
            device: As torch spells it: ``cpu``, ``cuda:0``.

        Raises:
            SuiteError: A problem contradicts itself, two cases share a name, ``only`` names one that there is not, or
                nothing is left to run.
        """
        cases: dict[str, Case] = {}
        for location, name, problem in self._problems(device.partition(":")[0]):
            case = Case(name=name, problem=problem, device=device, threads=self.measure.threads)
            if cases.setdefault(name, case).problem != problem:
                raise SuiteError(f"{self._source.where(location)}: two cases are named {name!r}; rename one")
        if not cases:
            raise SuiteError(
                f"{self._source.where(('exclude',))}: nothing is left to run; "
                "give a sweep or cases, and exclude less than all of them"
            )
        return self._chosen(cases) if self._file.only else list(cases.values())

    def _chosen(self, cases: Mapping[str, Case]) -> list[Case]:
        kept: set[str] = set()
        for asked in dict.fromkeys(self._file.only):
            found = chosen(cases, asked)
            kept.update(found)
            if not found:
                known = [*islice(cases, _MOST_NAMED), *(["..."] if len(cases) > _MOST_NAMED else [])]
                raise SuiteError(
                    f"{self._source.where(('only', self._file.only.index(asked)))}: no case is named {echoed(asked)}"
                    f"{did_you_mean(asked, cases)} (allowed: {', '.join(known)})"
                )
        return [case for name, case in cases.items() if name in kept]

    def _problems(self, device_type: str) -> Iterator[tuple[Location, str, Problem]]:
        unmatched = dict(enumerate(self._file.exclude))
        entries: list[tuple[Location, Fields, str | None]] = []
        if self._file.sweep:
            entries.append((("sweep",), self._file.sweep, None))
        entries += [(("cases", index), entry, entry.name) for index, entry in enumerate(self._file.cases)]
        for location, entry, name in entries:
            values = _values(entry, device_type)
            if (count := math.prod(map(len, values.values()))) > _MOST_CASES:
                raise SuiteError(
                    f"{self._source.where(location)}: {count} cases, which nobody could measure "
                    f"(allowed: {_MOST_CASES}); sweep fewer values"
                )
            varying = [field for field, options in values.items() if len(options) > 1]
            for combination in product(*values.values()):
                chosen = dict(zip(values, combination, strict=True))
                excluding = [index for index, one in enumerate(self._file.exclude) if _excludes(one, chosen)]
                for index in excluding:
                    unmatched.pop(index, None)
                if excluding:
                    continue
                try:
                    problem = _problem(chosen)
                except ProblemError as error:
                    where = self._source.where((*location, error.field))
                    raise SuiteError(f"{where}: {error}; change it, or name it under exclude") from None
                suffix = "".join(f"/{_spelled(field, chosen[field])}" for field in varying)
                yield location, f"{name}{suffix}" if name else problem.label, problem
        for index in unmatched if not self._source.overrides("sweep", "cases") else ():
            raise SuiteError(
                f"{self._source.where(('exclude', index))}: this entry of exclude matches no problem; "
                "mend it, or leave it out"
            )


def _values(entry: Fields, device_type: str) -> dict[str, tuple[Any, ...]]:
    values = {field: getattr(entry, field) for field in _FIELDS}
    batch = values["batch"]
    if isinstance(batch, BatchByDevice):
        values["batch"] = getattr(batch, device_type)
    return values


def _excludes(exclusion: Exclusion, chosen: dict[str, Any]) -> bool:
    given = {field: getattr(exclusion, field) for field in exclusion.model_fields_set}
    return all(chosen[field] in options for field, options in given.items())


def _problem(chosen: dict[str, Any]) -> Problem:
    fields = dict(chosen)
    (height, width), (window_height, window_width) = fields.pop("resolution"), fields.pop("window")
    return Problem(height=height, width=width, window_height=window_height, window_width=window_width, **fields)


def _spelled(field: str, value: Any) -> str:
    """A value as part of a case's name; numbers say what they count."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        value = value[0] if value[0] == value[1] else f"{value[0]}x{value[1]}"
    return f"{field} {value}"


def load_suite(
    name: str | Path | Mapping[str, Any],
    *,
    known_backends: Sequence[str],
    backends: Sequence[str] = (),
    backends_option: str = "--backend",
    only: Sequence[str] = (),
    overrides: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Suite:
    """Read, override and check a suite.

    Args:
        name: A file, the name of a suite that comes with attnbench, or a suite's content.
        known_backends: Names that mean a backend; anything with a colon is taken for a module path.
        backends: Backends to run instead of the suite's own.
        backends_option: The option that gave them, for messages.
        only: Cases to run instead of all, by name or pattern.
        overrides: ``key=value`` pairs that change the file's content.
        values: Keys with other values; a mapping changes the keys that it names.

    Raises:
        SuiteError: One sentence with the file and line at fault.
    """
    try:
        source = Source.of(name) if isinstance(name, Mapping) else Source.read(find_suite(name))
    except OSError as error:
        raise SuiteError(f"{echoed(str(name))} cannot be read: {error.strerror}") from None
    for assignment in overrides:
        source.override(assignment)
    for keys, value in _leaves(values or {}):
        source.replace(keys, value, ".".join(keys))
    if backends:
        source.replace(("backends",), [_read_choice(text) for text in backends], backends_option)
    if only:
        source.replace(("only",), list(only), "--case")
    file = _validated(source)
    choices, places = _choices(file, known_backends, source)
    if file.baseline is not None and file.baseline not in {choice.label for choice in choices}:
        _check_backend(file.baseline, known_backends, source.where(("baseline",)))
    if not (file.sweep or file.cases):
        raise SuiteError(f"{source.where(())}: nothing to run; give a sweep or cases")
    return Suite(
        name=file.name,
        description=file.description,
        device=file.device,
        choices=choices,
        measure=file.measure.measure(),
        _places=places,
        _file=file,
        _source=source,
    )


def _leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value with the keys that lead to it."""
    for key, value in values.items():
        keys = (*above, *str(key).split("."))
        if isinstance(value, Mapping):
            yield from _leaves(value, keys)
        else:
            yield keys, list(value) if isinstance(value, tuple) else value


def _validated(source: Source) -> SuiteFile:
    try:
        return SuiteFile.model_validate(source.data)
    except ValidationError as error:
        raise SuiteError(sentence(error.errors(), source)) from None


def _read_choice(text: str) -> str | dict[str, str]:
    """A backend as the command line spells it: ``label=name@python``, of which the name alone is needed."""
    label, equals, rest = text.partition("=") if "=" in text.partition("@")[0] else ("", "", text)
    name, at, python = rest.partition("@")
    if not (equals or at):
        return text
    given = {"label": label, "name": name, "python": python}
    return {key: value for key, value in given.items() if value or (key == "name")}


def _choices(
    file: SuiteFile, known_backends: Sequence[str], source: Source
) -> tuple[tuple[BackendChoice, ...], tuple[int, ...]]:
    """The backends of a suite, and by backend the entry that names it.

    Raises:
        SuiteError: A name leads nowhere, or two backends have one label.
    """
    entries = file.backends if file.backends is not None else [BackendEntry(name=name) for name in known_backends]
    found: dict[str, BackendChoice] = {}
    places: dict[str, int] = {}
    for index, entry in enumerate(entries):
        where = source.where(("backends", index))
        for choice in entry.choices():
            if choice.python is None:  # another environment may have names of its own
                _check_backend(choice.name, known_backends, where, groups=tuple(GROUPS))
            if found.setdefault(choice.label, choice) != choice:
                raise SuiteError(f"{where}: two backends are labelled {choice.label!r}; give one of them another label")
            places.setdefault(choice.label, index)
    return tuple(found.values()), tuple(places.values())


def _entry(choice: BackendChoice) -> str | dict[str, str]:
    """A backend as a suite spells it."""
    entry = {"name": choice.name}
    if choice.python is not None:
        entry["python"] = choice.python
    if choice.label != choice.name:
        entry["label"] = choice.label
    return choice.name if len(entry) == 1 else entry


def built_in_suites() -> dict[str, Path]:
    """The suites that come with attnbench, by name."""
    package = Path(__file__).resolve().parents[1]
    # Installed, they lie inside the package; in a checkout, beside it.
    for folder in (package / "suites", package.parent / "suites"):
        if found := {path.stem: path for path in sorted(folder.glob("*.yaml"))}:
            return found
    return {}


def find_suite(name: str | Path) -> Path:
    """The file of a suite: a path, or the name of one that comes with attnbench.

    Raises:
        SuiteError: Neither.
    """
    path, suites = Path(name), built_in_suites()
    if path.is_file():
        return path
    # A directory of results must not hide a suite of the same name.
    if str(name) in suites:
        return suites[str(name)]
    if path.exists():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise SuiteError(f"{path} does not exist{did_you_mean(path.stem, suites)}")
    known = ", ".join(suites)
    raise SuiteError(f"{name} is neither a file nor a suite{did_you_mean(str(name), suites)} (suites: {known})")


def _looks_like_a_class(name: str) -> str:
    """A hint where a backend of one's own is named without its class."""
    module, _, wanted = name.partition(".")
    with suppress(OSError, ValueError):  # a name may be longer than a file's, or none
        if Path(f"{module}.py").is_file():
            return f"; did you mean {module}:{wanted or 'Class'}?"
    return ""


def _check_backend(name: str, known: Sequence[str], where: str, *, groups: Sequence[str] = ()) -> None:
    if name in known or ":" in name:
        return
    if name in GROUPS:
        raise SuiteError(
            f"{where}: {name} is a group of backends; here one backend is meant (known: {', '.join(known)})"
        )
    hint = did_you_mean(name, [*known, *groups]) or _looks_like_a_class(name)
    also = f"; groups: {', '.join(groups)}" if groups else ""
    raise SuiteError(
        f"{where}: there is no backend {echoed(name)}{hint} "
        f"(known: {', '.join(known)}{also}; or give package.module:Class)"
    )
