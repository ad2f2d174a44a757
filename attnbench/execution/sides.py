"""The two sides that are alternated: what they say of themselves, and what an earlier run left of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from attnbench.errors import NotComparableError, RefusedError, SuiteError, UsageError, WorkerError
from attnbench.execution import resumption
from attnbench.execution.interpreter import Interpreter
from attnbench.execution.messages import BackendAnswer, Described
from attnbench.execution.resumption import Progress
from attnbench.execution.session import Stop
from attnbench.execution.supervisor import Supervisor
from attnbench.pairing import ATTEMPTS, BASE, CANDIDATE, Pairing, Party, read_pairing
from attnbench.record import Environment, unlike
from attnbench.revision import commit_of
from attnbench.suite import Suite


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two environments."""

    suite: Suite
    interpreter: Interpreter
    named: str
    """As the user named it."""
    known_backends: tuple[str, ...]
    """Names that mean a backend in one of the two environments."""


def describe(name: str, side: Side, workers: Supervisor, stop: Stop) -> Described:
    """What the machine and the backends are on one side.

    Raises:
        SuiteError: It has no such device.
        WorkerError: No worker starts there.
        Abandoned: ``stop`` said so.
    """
    suite = side.suite
    try:
        described = workers.describe(
            device=suite.device, backends=suite.backends, measure=suite.measure, abandon=stop.now
        )
    except RefusedError as error:
        raise SuiteError(f"{suite.where(*error.key)}: in the {name} environment ({side.named}), {error}") from None
    except WorkerError as error:
        raise WorkerError(f"in the {name} environment ({side.named}), {error}") from None
    finally:
        workers.close()  # one worker at a time has the device
    environment = described.environment
    if side.interpreter.path is not None:
        environment = replace(environment, commit=commit_of(side.interpreter.path))
    return replace(described, environment=environment)


def check_devices(described: Mapping[str, Described]) -> None:
    """See that both sides have one device.

    Raises:
        NotComparableError: They have not: with the fields that differ.
    """
    base, candidate = (described[name].environment for name in (BASE, CANDIDATE))
    fields = unlike(base.fingerprint, candidate.fingerprint)
    if base.device != candidate.device:
        fields.insert(0, f"device {base.device} -> {candidate.device}")
    if fields:
        raise NotComparableError(
            f"the two environments see unlike devices: {'; '.join(fields)}; name the device in the suite, "
            "and see that both have a torch for it (attnbench doctor)"
        )


def answers_of(sides: Mapping[str, Side], described: Mapping[str, Described]) -> dict[str, dict[str, BackendAnswer]]:
    """What each side says of its backends.

    A backend of both that leads nowhere on one side cannot run there: that is what is to be found out. Elsewhere it is
    a mistake, and so are two paths that both sides pass by.

    Raises:
        SuiteError: There is one.
    """
    paths = {side.interpreter.path for side in sides.values()}
    both = zip(described[BASE].backends, described[CANDIDATE].backends, strict=True)
    for index, (ours, theirs) in enumerate(both):
        where = sides[BASE].suite.where("backends", index)
        lost = [(name, one.invalid) for name, one in ((BASE, ours), (CANDIDATE, theirs)) if one.invalid]
        if len(lost) == len(sides) or (lost and ours.name != theirs.name):
            raise SuiteError(f"{sides[lost[0][0]].suite.where('backends', index)}: {lost[0][1]}")
        if len(paths) > 1 and ":" in ours.name and ours.name == theirs.name and ours.file and ours.file == theirs.file:
            raise SuiteError(
                f"{where}: backend {ours.name} is {ours.file} on both sides; give --base-path and --candidate-path "
                "directories that hold its module"
            )
    return {
        name: {
            answer.name: replace(answer, unavailable=answer.invalid or answer.unavailable) for answer in one.backends
        }
        for name, one in described.items()
    }


def pairing_of(sides: Mapping[str, Side], described: Mapping[str, Described], *, kind: str, pairs: int) -> Pairing:
    """What is to be known of the two runs."""
    return Pairing(
        kind=kind,
        pairs=pairs,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        backends=tuple(zip(sides[BASE].suite.backends, sides[CANDIDATE].suite.backends, strict=True)),
        parties={
            name: Party(
                environment=side.named,
                python=described[name].environment.python,
                path=None if side.interpreter.path is None else str(side.interpreter.path),
            )
            for name, side in sides.items()
        },
    )


def check_resumable(directory: Path, sides: Mapping[str, Side]) -> None:
    """See that a directory holds an A/B comparison of this suite, before anything is started.

    Raises:
        StoredRunError: It does not.
        UsageError: It is of another suite.
        OutputError: It cannot be written.
    """
    read_pairing(directory)
    for name, side in sides.items():
        resumption.check_suite(directory / name, side.suite, side.known_backends)
        resumption.check_writable(directory / name)


def check_pairing(directory: Path, now: Pairing) -> Pairing:
    """See that it is the same two sides as before.

    Returns:
        What is known of them, as it was stored.

    Raises:
        UsageError: They are not: with what differs.
    """
    before = read_pairing(directory)
    was, is_now = _sides(before), _sides(now)
    for name, value in was.items():
        if value != is_now[name]:
            raise UsageError(
                f"--resume {directory}: {name} was {value} and is {is_now[name]}; give the same options, or run anew"
            )
    return before


def progress_of(
    directory: Path, sides: Mapping[str, Side], described: Mapping[str, Described]
) -> tuple[dict[str, Progress], dict[str, Environment]]:
    """What a directory holds of both sides, and their environments as they were stored.

    Of a pair that is not whole it holds nothing: its halves would lie hours apart.

    Raises:
        UsageError: It is of other cases.
        NotComparableError: An environment changed, or the commit of a directory on a Python path.
        StoredRunError: It is damaged.
    """
    progress, environments = {}, {}
    for name, side in sides.items():
        place, environment = directory / name, described[name].environment
        cases = side.suite.cases(environment.device)
        resumption.check_cases(place, cases, environment.device, side.known_backends)
        environments[name] = resumption.check_environment(place, environment, commit=side.interpreter.path is not None)
        progress[name] = resumption.read_progress(place, cases, side.suite.backends, attempts=ATTEMPTS)
    whole = progress[BASE].done & progress[CANDIDATE].done
    for one in progress.values():
        one.done = {key for key in one.done if key in whole or key[0] in one.failed}
    return progress, environments


def _sides(pairing: Pairing) -> dict[str, object]:
    """What must stay as it was, by how people call it."""
    found: dict[str, object] = {"kind": pairing.kind, "pairs": pairing.pairs, "backends": pairing.backends}
    for name, party in pairing.parties.items():
        found |= {f"--{name}": party.environment, f"the Python of {name}": party.python, f"--{name}-path": party.path}
    return found
