"""Inputs of a cell that change from turn to turn, and outputs that the judge looks at."""

from __future__ import annotations

import random
from collections.abc import Sequence

from attnbench.core.protocol import Expect, Expected, Message, Outcome, Show, Shown, Variation, Verdict, Verify
from attnbench.core.record import Status
from attnbench.run.cell_state import CellEnds, Setting, Work
from attnbench.run.events import Stage
from attnbench.run.requests import Line, Reply, ask_judge


class Outputs:
    """What a cell computes from what, and whether that is right.

    Args:
        work: The cell.
        line: To its participant.
        setting: What all cells of a session have in common.
    """

    def __init__(self, work: Work, line: Line, setting: Setting) -> None:
        self._work, self._line, self._setting = work, line, setting
        self._random = random.SystemRandom()  # nobody shall know what changes next

    def expect(self) -> int:
        """Have the judge make inputs; the file they lie in.

        Raises:
            CellEnds: It cannot.
        """
        try:
            expected, descriptors = self._ask_judge(Expect(problem=self._work.problem), Expected)
        except CellEnds as end:
            raise CellEnds(end.status, f"the reference cannot be computed here: {end.reason}", spoils=False) from None
        self._work.expected = expected
        return descriptors[0]

    def check_last_turn(self) -> None:
        """Have the judge look at what a timed call of the last turn gave.

        Raises:
            CellEnds: It is wrong.
        """
        self.check(Shown.TIMED, self._work.timed_variation, "right when it was checked, but when it was timed ")
        self._work.checked = True

    def check(self, what: Shown, variation: Variation, prefix: str) -> None:
        """Have the judge look at an output that a participant kept.

        Args:
            what: Which.
            variation: Of its inputs.
            prefix: What to say before the reason.

        Raises:
            CellEnds: It is wrong.
        """
        with self._work.timed("check_s"):
            shown = self._line.ask(Show(what=what), Outcome, Stage.MEASURE)
            self.verify(shown, variation, prefix=prefix, timed=True)

    def verify(self, outcome: Outcome, variation: Variation, *, prefix: str = "", timed: bool = False) -> Verdict:
        """Have the judge look at what a call gave.

        Args:
            outcome: That.
            variation: Of its inputs.
            prefix: What to say before the reason.
            timed: Whether it was timed.

        Raises:
            CellEnds: It is wrong, or the input is not what it was.
        """
        if outcome.modified:
            raise CellEnds(Status.WRONG_RESULT, "the input was modified in place")
        asked = Verify(problem=self._work.problem, variation=variation, tensors=outcome.tensors, timed=timed)
        verdict, _ = self._ask_judge(asked, Verdict, descriptors=(self._work.outputs,))
        if verdict.reason:
            # That one tells by itself when it was.
            said = verdict.reason if verdict.reason.startswith("the first output") else prefix + verdict.reason
            raise CellEnds(Status.WRONG_RESULT, said)
        return verdict

    def varied(self) -> Variation:
        """Other inputs than there are now, so that nothing remembered is right."""
        assert self._work.expected is not None
        roll, rolls = self._work.variation.roll, self._work.expected.rolls
        if rolls > 1:
            roll = (roll + self._random.randrange(1, rolls)) % rolls
        return Variation(signs=self._random.randrange(1, 2**31), roll=roll)

    def new_values(self) -> Variation:
        """Inputs whose outputs follow from nothing that was computed before."""
        moves, number = self._setting.moves.setdefault(self._work.cell.case.name, []), self._work.fresh_calls
        if number == len(moves):
            moves.append(self._random.randrange(1, 2**31))
        self._work.fresh_calls += 1
        return Variation(move=moves[number])

    def _ask_judge(
        self, message: Message, expected: type[Reply], *, descriptors: Sequence[int] = ()
    ) -> tuple[Reply, list[int]]:
        return ask_judge(self._setting, message, expected, device=self._work.cell.case.device, descriptors=descriptors)
