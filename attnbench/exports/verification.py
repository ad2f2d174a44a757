"""What ``verify`` found, for programs: JSON, or JUnit with a test case per figure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from junitparser import Failure, Skipped, TestCase, TestSuite

from attnbench.core.errors import UsageError
from attnbench.core.escaping import legal
from attnbench.core.verification import Answer
from attnbench.exports.junit import document_text
from attnbench.verify.checks import CHECKS, Verification

SCHEMA_VERSION = 1


def json_text(found: Verification) -> str:
    """The document as text; a limit that is not there is null."""
    figures = [
        {**asdict(figure), "most": None if math.isinf(figure.most) else figure.most, "answer": figure.answer}
        for figure in found.figures
    ]
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "verification",
        **asdict(found),
        "passed": not found.failed,
        "headline": found.headline,
        "figures": figures,
    }
    return json.dumps(document, indent=1) + "\n"


def junit_text(found: Verification) -> str:
    """The document as text: a figure outside its limits is a failure, one that cannot be had is skipped."""
    cases = []
    for figure in found.figures:
        case = TestCase(legal(figure.of or figure.check), legal(f"attnbench verify.{figure.check}"))
        check = CHECKS[figure.check]
        told = f"{check.figure}: {figure.value} (allowed: {figure.least:g} to {figure.most:g})"
        match figure.answer:
            case Answer.FAIL:
                said = "; ".join(filter(None, (figure.broken, told, check.failure)))
                case.result = Failure(legal(said), figure.answer)
            case Answer.NOT_HERE:
                case.result = Skipped(legal(figure.absent), figure.answer)
            case Answer.PASS:
                case.system_out = legal(told)
        cases.append(case)
    suite = TestSuite("attnbench verify")
    suite.add_testcases(cases)
    return document_text([suite])


KINDS: dict[str, Callable[[Verification], str]] = {"json": json_text, "junit": junit_text}
"""By kind of export, what renders it."""


def parse_export(text: str) -> tuple[Path, Callable[[Verification], str]]:
    """Read ``KIND=FILE``.

    Raises:
        UsageError: There is no such kind, or no file.
    """
    kind, _, file = text.partition("=")
    if kind not in KINDS or not file:
        raise UsageError(f"--export {text}: not an export of verify (allowed: json=FILE, junit=FILE)")
    return Path(file), KINDS[kind]
