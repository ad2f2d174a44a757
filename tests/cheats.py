"""Backends that cheat, or harm whoever is beside them, for tests of what happens to them. Found as ``cheats:Class``."""

from __future__ import annotations

import builtins
import ctypes
import hashlib
import itertools
import mmap
import os
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Attend
from attnbench.core.problem import Problem
from tests.faults import Faulty, right


class Honest(Faulty):
    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return self.make()

    def make(self) -> Attend:
        return right


class RemembersByAddress(Honest):
    def make(self) -> Attend:
        known: dict[int, Tensor] = {}

        def attend(qkv: Tensor) -> Tensor:
            if qkv.data_ptr() not in known:
                known[qkv.data_ptr()] = right(qkv)
            return known[qkv.data_ptr()]

        return attend


class RemembersByAFewValues(Honest):
    """Knows values it has seen by a few of them, so that it is right whenever somebody looks."""

    def make(self) -> Attend:
        known: dict[bytes, Tensor] = {}

        def attend(qkv: Tensor) -> Tensor:
            seen = repr(qkv.reshape(-1)[:: max(1, qkv.numel() // 64)].tolist()).encode()
            if seen not in known:
                known.clear()
                known[seen] = right(qkv.double()).to(qkv.dtype)  # so long that what is saved stands out
            return known[seen]

        return attend


class KnowsHowInputsVary(Honest):
    """Has read how inputs change from turn to turn: it finds out which change it was, and changes an old output so."""

    def make(self) -> Attend:
        known: list[tuple[Tensor, Tensor]] = []

        def attend(qkv: Tensor) -> Tensor:
            for seen, output in known[-1:]:
                first = seen[:, 0, 0].flatten(1)[:, :4]
                (rolled,) = (first == qkv[0, 0, 0].flatten()[:4]).all(1).nonzero(as_tuple=True)
                if rolled.numel():
                    roll = int(rolled[0])
                    signs = (qkv[0, 0, 2] * seen[roll, 0, 2]).sign()
                    return torch.cat([output[roll:], output[:roll]]) * signs
            known.append((qkv.clone(), right(qkv.double()).to(qkv.dtype)))
            return known[-1][1].clone()

        return attend


class _Lazy(Tensor):
    qkv: Tensor

    @staticmethod
    def __new__(cls, qkv: Tensor) -> Self:  # noqa: ANN001
        windows, tokens, _, heads, dim = qkv.shape
        made: Self = Tensor._make_wrapper_subclass(
            cls, (windows, tokens, heads, dim), dtype=qkv.dtype, device=qkv.device
        )
        made.qkv = qkv
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return func(*(right(one.qkv) if isinstance(one, _Lazy) else one for one in args), **(kwargs or {}))


class ComputesLater(Honest):
    def make(self) -> Attend:
        return _Lazy


class ComputesNothingWhenTimed(Honest):
    def make(self) -> Attend:
        def attend(qkv: Tensor) -> Tensor:
            frame: Any = sys._getframe()
            while frame is not None:
                if frame.f_code.co_name == "take_turn":
                    return qkv[:, :, 0]
                frame = frame.f_back
            return right(qkv)

        return attend


class SkipsNowAndThen(Honest):
    """Computes nothing for a tenth of its calls: the fastest of many loops would be one of those."""

    def make(self) -> Attend:
        calls = itertools.count()

        def attend(qkv: Tensor) -> Tensor:
            return qkv[:, :, 0] if next(calls) % 20 > 17 else right(qkv)

        return attend


class ComputesOnlyTheLastOfALoop(Honest):
    """Where it was called from tells whether what it gives is kept."""

    def make(self) -> Attend:
        seen: set[int] = set()

        def attend(qkv: Tensor) -> Tensor:
            frame = sys._getframe(2)
            if frame.f_code.co_name != "_loop":
                return right(qkv)
            seen.add(frame.f_lineno)
            return right(qkv) if frame.f_lineno == max(seen) and len(seen) > 1 else qkv[:, :, 0]

        return attend


class GivesGarbageOnNewValues(Honest):
    """Computes what it has seen twice: a call on new values is fast, and nobody looks at what it gives."""

    def make(self) -> Attend:
        known: dict[str, Any] = {"seen": None, "found": None, "calls": 0}

        def attend(qkv: Tensor) -> Tensor:
            known["calls"] += 1
            if known["calls"] <= 8:
                known["found"] = right(qkv)
                return known["found"]
            seen = qkv[0, 0, 2].reshape(-1).tolist()
            if seen != known["seen"]:
                known.update(seen=seen, fresh=True)
            elif known.pop("fresh", False):
                known["found"] = right(qkv)
            return known["found"]

        return attend


class SlowsOurClockForAMoment(Honest):
    """In every loop the clock is another one, and its own again before anybody looks."""

    above = 2
    """Frames between the call and the loop."""

    def make(self) -> Attend:
        from attnbench.worker import timing

        real = timing._now_ns

        def attend(qkv: Tensor) -> Tensor:
            frame = sys._getframe(self.above)
            if frame.f_code.co_name == "_loop" and timing._now_ns is real:
                began = frame.f_locals["began"]

                def slow() -> int:
                    timing._now_ns = real
                    return began + (real() - began) // 4

                timing._now_ns = slow
            return right(qkv)

        return attend


class SlowsTheClock(Honest):
    def make(self) -> Attend:
        real = time.perf_counter_ns
        time.perf_counter_ns = lambda: real() // 10
        return right


class SlowsOurClock(Honest):
    """The one that attnbench bound, too, where it is kept."""

    def make(self) -> Attend:
        from attnbench.worker import timing

        real = time.perf_counter_ns
        timing._now_ns = lambda: real() // 10
        return right


class SlowsOurClockUnseen(Honest):
    """As long as it is timed, and no longer."""

    def make(self) -> Attend:
        from attnbench.worker import prepared, timing

        real, known = time.perf_counter_ns, timing._now_ns
        real_s, known_s = time.monotonic, prepared._now

        def attend(qkv: Tensor) -> Tensor:
            frame: Any = sys._getframe()
            while frame is not None and frame.f_code.co_name != "_take_turn":
                frame = frame.f_back
            slow = frame is not None
            timing._now_ns = (lambda: real() // 10) if slow else known
            prepared._now = (lambda: real_s() / 10) if slow else known_s
            return right(qkv)

        return attend


class ShortensLoops(Honest):
    def make(self) -> Attend:
        real: Any = builtins.range
        builtins.range = lambda *bounds: real(*bounds) if len(bounds) > 1 else real(min(bounds[0], 1))  # type: ignore[assignment,misc]
        return right


class WorksInAnotherThread(Honest):
    """Gives memory that is filled later."""

    def make(self) -> Attend:
        def attend(qkv: Tensor) -> Tensor:
            out = torch.empty(qkv.shape[0], qkv.shape[1], *qkv.shape[3:], dtype=qkv.dtype)
            threading.Thread(target=lambda: out.copy_(right(qkv)), daemon=True).start()
            return out

        return attend


class SpinsForAWhile(Honest):
    """As some runtimes do: a thread of its own stays at work for a while after the last call, and then sleeps."""

    def make(self) -> Attend:
        until_s, called = [0.0], threading.Event()

        def spin() -> None:
            while called.wait():
                called.clear()
                while time.monotonic() < until_s[0]:
                    hashlib.sha256(bytes(2**20))  # without the interpreter's lock

        threading.Thread(target=spin, daemon=True).start()

        def attend(qkv: Tensor) -> Tensor:
            until_s[0] = time.monotonic() + 0.15
            called.set()
            return right(qkv)

        return attend


def _sockets() -> list[int]:
    found = []
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found.append(descriptor)
        except OSError:
            continue
    return found


class WritesGarbageToItsParent(Honest):
    def make(self) -> Attend:
        for descriptor in _sockets():
            os.write(descriptor, b"\xff\xfe{\n")
        return right


class WritesItsOwnAnswer(Honest):
    def make(self) -> Attend:
        answer = b'{"kind": "Outcome", "number": 3, "descriptors": 0, "message": {"tensors": {}, "modified": false}}\n'
        for descriptor in _sockets():
            os.write(descriptor, 3 * answer)
        return right


class ClosesEverything(Honest):
    def make(self) -> Attend:
        os.closerange(3, 256)
        return right


class ReplacesSdpa(Honest):
    """What a popular kernel's README recommends; this one takes ten times as long."""

    def make(self) -> Attend:
        real = scaled_dot_product_attention

        def slow(*arguments: Any, **options: Any) -> Tensor:
            for _ in range(9):
                real(*arguments, **options)
            return real(*arguments, **options)

        functional.scaled_dot_product_attention = slow
        return lambda qkv: functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4)).transpose(1, 2)


class LeavesAFunctionMode(Honest):
    def make(self) -> Attend:
        class Slow(torch.overrides.TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                for _ in range(20000):
                    pass
                return func(*args, **(kwargs or {}))

        Slow().__enter__()  # type: ignore[no-untyped-call]
        return right


class SetsTf32(Honest):
    def make(self) -> Attend:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        return right


class ClearsItsWorld(Honest):
    def make(self) -> Attend:
        os.chdir("/")
        sys.path[:] = []
        os.environ.clear()
        return right


class LeavesADaemon(Honest):
    """Twice forked, in a session of its own, without an environment."""

    def make(self) -> Attend:
        marker = Path("daemons").resolve()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with marker.open("a") as notes:
                    notes.write(f"{os.getpid()}\n")
                os.execve("/bin/sleep", ["sleep", "3600"], {})
            os._exit(0)
        return right


class KillsItsStarter(Honest):
    def make(self) -> Attend:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(5)
        return right


class StopsItself(Honest):
    def make(self) -> Attend:
        os.kill(os.getpid(), signal.SIGSTOP)
        return right


class Waits(Honest):
    """Right, slow, and tells who it is."""

    def make(self) -> Attend:
        with Path("waiting").open("a") as notes:
            notes.write(f"{os.getpid()}\n")

        def attend(qkv: Tensor) -> Tensor:
            time.sleep(0.005)
            return right(qkv)

        return attend


class Hangs(Honest):
    def make(self) -> Attend:
        time.sleep(3600)
        return right


class ReasonCannotBeTold(Honest):
    def make(self) -> Attend:
        class Error(Exception):
            def __str__(self) -> str:
                raise SystemExit(0)

        raise Error


class ReasonIsHuge(Honest):
    def make(self) -> Attend:
        raise RuntimeError("first\n\x1b[31m\ud800" + "x" * 10_000_000)


class LetsItsChildAnswer(Honest):
    """The process that is watched sleeps; its child answers, and its clocks are slow until somebody looks."""

    def make(self) -> Attend:
        if os.fork():
            time.sleep(3600)
        from attnbench.worker import prepared, timing

        real, real_s = time.perf_counter_ns, time.monotonic
        known, known_s = timing._now_ns, prepared._now

        def attend(qkv: Tensor) -> Tensor:
            frame = sys._getframe()
            while frame.f_back is not None and frame.f_code.co_name != "_take_turn":
                frame = frame.f_back
            if prepared._now is known_s and frame.f_code.co_name == "_take_turn":
                began, began_s = real(), real_s()
                timing._now_ns = lambda: began + (real() - began) // 10

                def last() -> float:
                    timing._now_ns, prepared._now = known, known_s
                    return began_s + (real_s() - began_s) / 10

                prepared._now = last
            return right(qkv)

        return attend


class HasItFilledLater(Honest):
    """Gives back memory that another process fills: right whenever somebody looks, and nothing takes any time here."""

    slots = 16

    def make(self) -> Attend:
        shared: list[Tensor] = []
        seen = [b""]

        def attend(qkv: Tensor) -> Tensor:
            if sys._getframe(2).f_code.co_name != "_loop":
                return right(qkv)
            if not shared:
                shared.extend(self.helped(qkv))
            inputs, outputs, asked = shared
            if (now := ctypes.string_at(qkv.data_ptr(), 256)) != seen[0]:
                seen[0] = now
                inputs[(int(asked.item()) + 1) % self.slots] = qkv
                asked += 1
            return outputs[int(asked.item()) % self.slots]

        return attend

    def helped(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def shared(count: int, dtype: torch.dtype) -> Tensor:
            return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype, count=count)

        inputs = shared(self.slots * qkv.numel(), qkv.dtype).view(self.slots, *qkv.shape)
        out = right(qkv)
        outputs, asked = (
            shared(self.slots * out.numel(), out.dtype).view(self.slots, *out.shape),
            shared(1, torch.int64),
        )
        if not os.fork():
            done = 0
            while True:
                if asked.item() == done:
                    time.sleep(1e-4)
                else:
                    done += 1
                    outputs[done % self.slots] = right(inputs[done % self.slots])
        return inputs, outputs, asked


class WaitsBesideItsOwnThreads(SlowsOurClockForAMoment):
    """Slows the clock for a moment, as above, and keeps its main thread off the core with threads of its own."""

    above = 3

    def make(self) -> Attend:
        slowed = super().make()
        active = [0.0]

        def spin() -> None:
            while True:
                if time.monotonic() - active[0] < 0.003:
                    hashlib.sha256(b"x" * 10_000_000).digest()  # without the interpreter's lock
                else:
                    time.sleep(0.001)

        started: list[threading.Thread] = []

        def attend(qkv: Tensor) -> Tensor:
            if not started:
                os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
                started.extend(threading.Thread(target=spin, daemon=True) for _ in range(3))
                for thread in started:
                    thread.start()
            active[0] = time.monotonic()
            return slowed(qkv)

        return attend
