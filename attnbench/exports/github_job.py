"""A job on GitHub: where its step puts summary, annotations and outputs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attnbench.core.errors import LostOutputError, OutputError, UsageError
from attnbench.exports import files, github, summary
from attnbench.exports.escaping import one_line
from attnbench.exports.results import Subject
from attnbench.report import markdown

_SUMMARY, _OUTPUTS, _ACTIONS = "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the running step has; a part whose variable is not set is left out."""

    summary: Path | None
    outputs: Path | None
    annotates: bool

    @classmethod
    def current(cls) -> Job:
        """The job that this process is part of.

        Raises:
            UsageError: It is none of GitHub's.
        """
        summary, outputs = (Path(value) if (value := os.environ.get(name)) else None for name in (_SUMMARY, _OUTPUTS))
        annotates = os.environ.get(_ACTIONS) == "true"
        if summary is None and outputs is None and not annotates:
            raise UsageError(
                f"--export github: not a job on GitHub; it needs {_SUMMARY}, {_OUTPUTS} or {_ACTIONS} to be set"
            )
        return cls(summary=summary, outputs=outputs, annotates=annotates)

    def check(self) -> None:
        """See that the files can be written.

        Raises:
            OutputError: One cannot.
        """
        for name, path in ((_SUMMARY, self.summary), (_OUTPUTS, self.outputs)):
            if path is not None and (why := files.obstacle(path, appends=True)):
                raise OutputError(f"--export github: {path} of {name} cannot be written: {why}")

    def annotate(self, subject: Subject, *, say: Callable[[str], None]) -> None:
        """Say a line for every annotation, where the log is read for them."""
        if self.annotates:
            for line in github.annotate(subject):
                say(line)

    def tell(self, sentence: str, *, say: Callable[[str], None]) -> None:
        """Say why there is nothing to summarize.

        Raises:
            LostOutputError: The summary cannot be written.
        """
        if self.annotates:
            say(github.error("not judged", sentence))
        if self.summary is not None:
            files.append(self.summary, f"\n**NOT JUDGED: {markdown.escaped(one_line(sentence))}**\n")

    def append_summary(self, subject: Subject) -> None:
        """Append to the step's summary as much as finds room in it.

        Raises:
            LostOutputError: There is none, or the file cannot be written.
        """
        if self.summary is None:
            return
        taken_bytes = files.size_bytes(self.summary)
        text = summary.render(subject, room_bytes=summary.CAP_BYTES - taken_bytes - len("\n\n"))
        if not text:
            raise LostOutputError(f"{self.summary} is full: GitHub takes {summary.CAP_BYTES // 1024} KiB of a step")
        files.append(self.summary, f"\n{text}" if taken_bytes else text)

    def append_outputs(self, subject: Subject) -> None:
        """Append to the step's outputs.

        Raises:
            LostOutputError: The file cannot be written.
        """
        if self.outputs is not None:
            files.append(self.outputs, github.outputs(subject))
