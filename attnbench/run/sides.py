"""The environments in which a suite is measured, and what they and their backends say of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from attnbench.core.errors import RefusedError, SuiteError, UsageError, WorkerError
from attnbench.core.git import commit_of
from attnbench.core.protocol import Described, Introduced
from attnbench.core.record import Environment
from attnbench.run.interpreter import Interpreter, find_interpreter, this_interpreter
from attnbench.run.process_pool import Participant, ProcessPool
from attnbench.suite.expansion import Suite


@dataclass(kw_only=True)
class Side:
    """One of the environments in which a suite is measured: ``run`` has one, ``ab`` has two."""

    suite: Suite
    name: str = ""
    interpreter: Interpreter = field(default_factory=this_interpreter)
    """Of the participants that name none of their own."""
    named: str = "this environment"
    """As the user named it."""
    known_backends: tuple[str, ...] = ()
    """Names that mean a backend in one of the two environments."""
    participants: list[Participant] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    """Why there is no environment, by label."""

    def __post_init__(self) -> None:
        for choice in self.suite.choices:
            interpreter = self.interpreter
            if choice.python is not None:
                try:
                    interpreter = find_interpreter(self.suite.path_of(choice.python), "python")
                except UsageError as error:
                    self.missing[choice.label] = str(error)
            self.participants.append(Participant(choice=choice, interpreter=interpreter, side=self.name))


def describe_suite(pool: ProcessPool, suite: Suite) -> Described:
    """Ask what the machine is that a suite is measured on.

    Raises:
        SuiteError: There is no such device, or it cannot do what the suite asks: with the line at fault.
        WorkerError: Nothing starts.
    """
    try:
        return pool.describe(suite.device)
    except RefusedError as error:
        raise SuiteError(f"{suite.where(*error.key)}: {error}") from None


def introduce(pool: ProcessPool, side: Side, device: str) -> dict[Participant, Introduced]:
    """Let every backend of a side say what it is, each in a process of its own."""
    found = {}
    for participant in side.participants:
        missing = side.missing.get(participant.label)
        found[participant] = Introduced(unavailable=missing) if missing else pool.introduce(participant, device)
    return found


def described_sides(pool: ProcessPool, sides: Mapping[str, Side], judge: Described) -> dict[str, Environment]:
    """The environment of every side, with those of participants that have one of their own.

    Of participants whose environment cannot be used, their side is told why.

    Raises:
        SuiteError: A side has no such device.
        WorkerError: Nothing starts in one of them.
    """
    environments = {}
    for name, side in sides.items():
        environment = judge.environment
        if side.interpreter != this_interpreter():
            mine = Participant(choice=side.participants[0].choice, interpreter=side.interpreter, side=name)
            try:
                theirs = pool.describe_environment(mine, judge.environment.device).environment
            except RefusedError as error:
                where = side.suite.where(*error.key)
                raise SuiteError(f"{where}: in the {name} environment ({side.named}), {error}") from None
            except WorkerError as error:
                raise WorkerError(f"in the {name} environment ({side.named}), {error}") from None
            # What the machine is, the judge knows better: nothing but torch need be installed there.
            environment = replace(theirs, driver=judge.environment.driver, clocks=judge.environment.clocks)
        if side.interpreter.path is not None:
            environment = replace(environment, commit=commit_of(side.interpreter.path))
        own = {one.label: _versions(pool, side, one, judge) for one in side.participants if one.choice.python}
        environments[name] = replace(environment, participants=own)
    return environments


def _versions(pool: ProcessPool, side: Side, participant: Participant, judge: Described) -> str:
    """Backend and versions of a participant's own environment; where it cannot be used, its side is told."""
    name = participant.choice.name
    if participant.label not in side.missing:
        try:
            found = pool.describe_environment(participant, judge.environment.device).environment
        except (RefusedError, WorkerError) as error:
            side.missing[participant.label] = f"python {participant.choice.python}: {error}"
        else:
            return f"{name} torch {found.torch} python {found.python}"
    return f"{name} missing"
