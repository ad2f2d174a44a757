"""The two sides that are alternated: what they say of themselves, and what an earlier run left of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from attnbench.core.errors import NotComparableError, SuiteError, UsageError
from attnbench.core.protocol import Introduced
from attnbench.core.record import Environment, fingerprint_mismatch
from attnbench.results.pairs import ATTEMPTS, BASE, CANDIDATE, Pairing, Party, read_pairing
from attnbench.run import resume as resumption
from attnbench.run.process_pool import Participant
from attnbench.run.resume import Progress
from attnbench.run.sides import Side


def check_devices(environments: Mapping[str, Environment]) -> None:
    """See that both sides have one device.

    Raises:
        NotComparableError: They have not: with the fields that differ.
    """
    base, candidate = (environments[name] for name in (BASE, CANDIDATE))
    fields = fingerprint_mismatch(base.fingerprint, candidate.fingerprint)
    if base.device != candidate.device:
        fields.insert(0, f"device {base.device} -> {candidate.device}")
    if fields:
        raise NotComparableError(
            f"the two environments see different devices: {'; '.join(fields)}; name the device in the suite, "
            "and see that both have a torch for it (attnbench doctor)"
        )


def checked_introductions(
    sides: Mapping[str, Side], introduced: Mapping[Participant, Introduced]
) -> dict[Participant, Introduced]:
    """What the backends of both sides say of themselves.

    A backend of both that leads nowhere on one side cannot run there: that is what is to be found out. Elsewhere it is
    a mistake, and so are two paths that both sides pass by.

    Raises:
        SuiteError: There is one.
    """
    paths = {side.interpreter.path for side in sides.values()}
    for index, both in enumerate(zip(sides[BASE].participants, sides[CANDIDATE].participants, strict=True)):
        ours, theirs = (introduced[one] for one in both)
        names = [one.choice.name for one in both]
        lost = [(side, one.invalid) for side, one in ((BASE, ours), (CANDIDATE, theirs)) if one.invalid]
        if len(lost) == len(sides) or (lost and names[0] != names[1]):
            raise SuiteError(f"{sides[lost[0][0]].suite.where('backends', index)}: {lost[0][1]}")
        if len(paths) > 1 and ":" in names[0] and names[0] == names[1] and ours.file and ours.file == theirs.file:
            raise SuiteError(
                f"{sides[BASE].suite.where('backends', index)}: backend {names[0]} is {ours.file} on both sides; give "
                "--base-path and --candidate-path directories that hold its module"
            )
    return {
        participant: replace(found, unavailable=found.invalid or found.unavailable)
        for participant, found in introduced.items()
    }


def pairing_of(
    sides: Mapping[str, Side],
    environments: Mapping[str, Environment],
    introduced: Mapping[Participant, Introduced],
    *,
    kind: str,
    max_rounds: int,
) -> Pairing:
    """What is to be known of the two runs."""
    return Pairing(
        kind=kind,
        max_rounds=max_rounds,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        backends=tuple(zip(sides[BASE].suite.backends, sides[CANDIDATE].suite.backends, strict=True)),
        parties={
            name: Party(
                environment=side.named,
                python=environments[name].python,
                path=None if side.interpreter.path is None else str(side.interpreter.path),
                own_backends=_own_backends(side, introduced),
            )
            for name, side in sides.items()
        },
    )


def _own_backends(side: Side, introduced: Mapping[Participant, Introduced]) -> int | None:
    if side.interpreter.path is None:
        return None
    files = (introduced[one].file for one in side.participants if one in introduced)
    return sum(Path(file).resolve().is_relative_to(side.interpreter.path.resolve()) for file in files if file)


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
                f"--resume {directory}: {name} was {value} and is {is_now[name]}; "
                "give the same options, or measure again"
            )
    return before


def progress_of(
    directory: Path, sides: Mapping[str, Side], now: Mapping[str, Environment]
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
        place, environment = directory / name, now[name]
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
    found: dict[str, object] = {
        "kind": pairing.kind,
        "the number of rounds": pairing.max_rounds,
        "backends": pairing.backends,
    }
    for name, party in pairing.parties.items():
        found |= {f"--{name}": party.environment, f"the Python of {name}": party.python, f"--{name}-path": party.path}
    return found
