"""Backends that are wrong in every way, for tests of what survives them. Found as ``faults:Class``."""

from __future__ import annotations

import ctypes
import inspect
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from unittest.mock import Mock

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attnbench.backends.base import Attend, Backend, Level
from attnbench.core.problem import Bias, Padding, Pattern, Problem


def right(qkv: Tensor) -> Tensor:
    """Unmasked attention inside windows."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    return scaled_dot_product_attention(query, key, value).transpose(1, 2)


class Faulty(Backend):
    """Right, until a subclass says otherwise."""

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = [f"bias {problem.bias} (allowed: none)"] if problem.bias is not Bias.NONE else []
        if problem.masked:
            reasons.append("needs a mask (allowed: none)")
        return reasons

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        return self.attend

    def attend(self, qkv: Tensor) -> Tensor:
        return right(qkv)


class Right(Faulty):
    pass


class Raises(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        raise RuntimeError(f"no kernel\nfor {tuple(qkv.shape)}")


class RaisesUnpicklable(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        class LocalError(Exception):
            def __reduce__(self) -> str:
                raise TypeError("cannot be pickled")

        raise LocalError("local")


class RaisesInPrepare(Faulty):
    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        raise ValueError("cannot be prepared")


class Segfaults(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        ctypes.string_at(0)
        return right(qkv)


class Aborts(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        os.abort()


class Exits(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        os._exit(7)


class Leaves(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        sys.exit("I leave")


class Hangs(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        time.sleep(3600)
        return right(qkv)


class HangsInC(Faulty):
    """Never comes back from C, holding the interpreter's lock, deaf to every signal that can be blocked."""

    def attend(self, qkv: Tensor) -> Tensor:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            ctypes.PyDLL(None).sleep(3600)


class HangsInPrepare(Faulty):
    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        time.sleep(3600)
        return right


class HangsLater(Faulty):
    """Right in the first call, then never back: caught while it is measured."""

    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 1:
            time.sleep(3600)
        return right(qkv)


class Allocates(Faulty):
    """Asks for four tebibytes."""

    def attend(self, qkv: Tensor) -> Tensor:
        return qkv + torch.empty(2**42, dtype=torch.int8)


def limit_memory(spare_bytes: int) -> None:
    """Let this process have little more memory than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + spare_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


class AllocatesWithoutEnd(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        limit_memory(2**30)
        kept = []
        while True:
            kept.append(torch.ones(2**22))


class MeetsTheKillersLimit(Faulty):
    """Allocates in a control group of little memory, whose limit the system keeps by killing."""

    def attend(self, qkv: Tensor) -> Tensor:
        Path(os.environ["FAULTS_CONTROL_GROUP"], "cgroup.procs").write_text(str(os.getpid()))
        kept = []
        while True:
            kept.append(torch.ones(2**22))


class HangsInSample(Faulty):
    """Quick until it is sampled, then never back."""

    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 500 and any(frame.function == "take_turn" for frame in inspect.stack()):
            time.sleep(3600)
        return right(qkv)


class LeaksMemory(Faulty):
    """Keeps a little more in every call, where the next cell would find it."""

    kept: ClassVar[list[Tensor]] = []

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        limit_memory(2**29)
        return self.attend

    def attend(self, qkv: Tensor) -> Tensor:
        self.kept.append(torch.empty(2**24))
        return right(qkv)


class Poisons(Faulty):
    """What a CUDA error that stays does: from then on every operation in this process fails."""

    def attend(self, qkv: Tensor) -> Tensor:
        error = RuntimeError("CUDA error: an illegal memory access was encountered")
        for owner, name in ((torch, "ones"), (torch, "equal"), (Tensor, "transpose"), (Tensor, "permute")):
            setattr(owner, name, Mock(side_effect=error))
        raise error


class PoisonsLater(Poisons):
    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        return super().attend(qkv) if self.calls > 6 else right(qkv)


class LeavesAProcess(Faulty):
    """Starts something in a session of its own, and goes on."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        left = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        with Path("left").open("a") as notes:
            notes.write(f"{left.pid}\n")
        return self.attend


class Prints(Faulty):
    """Right, and prints a mebibyte to stdout and stderr, and JSON that looks like a message."""

    def attend(self, qkv: Tensor) -> Tensor:
        if not getattr(self, "printed", False):
            self.printed = True
            print('{"kind": "Finished"}\n' + "x" * 2**20)
            print("y" * 2**20, file=sys.stderr)
            os.write(1, b"z" * 2**16)
        return right(qkv)


class ForksAndDies(Faulty):
    """Dies while a grandchild keeps the pipes open."""

    def attend(self, qkv: Tensor) -> Tensor:
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(3)


class WrongResult(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return 1.01 * right(qkv)


class WrongGradient(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        out = right(qkv)
        return out.detach() + 0 * out


class WrongShape(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return right(qkv).flatten(2)


class LosesAWindow(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return right(qkv)[:-1]


class SwitchesKernels(Faulty):
    """Sets torch's global switches, for everybody who comes after."""

    def attend(self, qkv: Tensor) -> Tensor:
        torch.backends.cuda.enable_flash_sdp(False)
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        return right(qkv)


class NotesSwitches(Faulty):
    """Notes the switches it finds in every call."""

    def attend(self, qkv: Tensor) -> Tensor:
        found = (torch.backends.cuda.flash_sdp_enabled(), torch.get_default_dtype(), torch.get_num_threads())
        with Path("switches").open("a") as notes:
            notes.write(f"{found}\n")
        return right(qkv)


class TakesThreads(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        torch.set_num_threads(2)
        return right(qkv)


class LeavesAThread(Faulty):
    """Right, with a thread that goes on computing beside whoever comes next."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        def spin() -> None:
            square = torch.randn(256, 256)
            while True:
                square @ square

        threading.Thread(target=spin, daemon=True).start()
        return right


class WrongDtype(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return right(qkv).double()


class NotANumber(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        out = right(qkv).clone()
        out[0, 0, 0, 0] = float("nan")
        return out


class GivesItsInput(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return qkv[:, :, 0]


class NotATensor(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        return None  # type: ignore[return-value]


class ModifiesInput(Faulty):
    def attend(self, qkv: Tensor) -> Tensor:
        out = right(qkv)
        with torch.no_grad():
            qkv.data.zero_()
        return out


class ReusesOutput(Faulty):
    """Right, but every call writes into the same output."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        kept: list[Tensor] = []

        def attend(qkv: Tensor) -> Tensor:
            out = right(qkv).detach()
            if not kept:
                kept.append(out.clone())
            return kept[0].copy_(out)

        return attend


class WrongLater(Faulty):
    """Right while it is checked, and wrong once it was called often."""

    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        return right(qkv) if self.calls < 5 else torch.zeros_like(right(qkv))


class RemembersFirst(Faulty):
    """Computes once and gives the same for whatever comes next."""

    first: Tensor | None = None

    def attend(self, qkv: Tensor) -> Tensor:
        if self.first is None:
            self.first = right(qkv)
        return self.first


class ModifiesInputLater(Faulty):
    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        out = right(qkv)
        if self.calls > 4:
            qkv.data.mul_(1.5)
        return out


class GivesText(Faulty):
    def unsupported(self, problem: Problem) -> list[str]:
        return "masks"  # type: ignore[return-value]


class NotesTurn(Faulty):
    """Right, and notes its module whenever it is called."""

    def attend(self, qkv: Tensor) -> Tensor:
        with Path("turns").open("a") as notes:
            notes.write(f"{type(self).__module__}\n")
        time.sleep(0.005)
        return right(qkv)


class DiesWhenAskedAboutAProblem(Faulty):
    def unsupported(self, problem: Problem) -> list[str]:
        os._exit(4)


class DiesInThirdSample(Faulty):
    calls = 0

    def attend(self, qkv: Tensor) -> Tensor:
        self.calls += 1
        time.sleep(0.01)
        if self.calls > 10:
            os._exit(5)
        return right(qkv)


class IgnoresPadding(Backend):
    """Right but for one thing that only some problems have: masked padding."""

    def unsupported(self, problem: Problem) -> list[str]:
        return ["no"] if problem.bias is not Bias.NONE or problem.shifted else []

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        assert problem.padding in Padding
        return right


class Unavailable(Faulty):
    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        return "faults are not installed: pip install [faults]"


class AvailabilityRaises(Faulty):
    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        raise OSError("libcudart.so.99: cannot open shared object file")


class LeavesWhenAsked(Faulty):
    """Takes the worker down when it is asked whether it is available."""

    @classmethod
    def unavailable(cls, device_type: str) -> str | None:
        os._exit(9)


class GivesNoReason(Faulty):
    def unsupported(self, problem: Problem) -> list[str]:
        return [""]


class RaisesLater(Faulty):
    """Right in the first worker that has it, and raises in every later one."""

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        marker = Path("raises-later")
        if marker.exists():
            raise RuntimeError("later")
        marker.touch()
        return right


class Unsupported(Faulty):
    def unsupported(self, problem: Problem) -> list[str]:
        return [f"heads {problem.heads} (allowed: 0)", "never"]


class OnMap(Backend):
    """A whole-map backend: LSA where windows divide the map, without anybody's partition."""

    level: ClassVar[Level] = Level.MAP

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = [f"pattern {problem.pattern} (allowed: grouped)"] if problem.pattern is not Pattern.GROUPED else []
        if problem.bias is not Bias.NONE:
            reasons.append(f"bias {problem.bias} (allowed: none)")
        if problem.padded and (problem.padding is Padding.MASKED or problem.scope != "layer"):
            reasons.append(f"map {problem.resolution} (allowed: multiples of the window {problem.window})")
        return reasons

    def prepare(self, problem: Problem, *, device: torch.device, bias: Tensor | None) -> Attend:
        k1, k2 = problem.window_height, problem.window_width
        assert not problem.padded, "a layer pads before it projects"

        def attend(qkv: Tensor) -> Tensor:
            b, height, width, _, heads, dim = qkv.shape
            tiles = qkv.view(b, height // k1, k1, width // k2, k2, 3, heads, dim).permute(5, 0, 1, 3, 6, 2, 4, 7)
            query, key, value = tiles.flatten(5, 6).unbind(0)
            out = scaled_dot_product_attention(query, key, value).unflatten(4, (k1, k2))
            return out.permute(0, 1, 4, 2, 5, 3, 6).reshape(b, height, width, heads, dim)

        return attend


class Slow(Faulty):
    """Right, and takes a while: something to interrupt. Leaves a file where it works."""

    def attend(self, qkv: Tensor) -> Tensor:
        Path(os.environ.get("FAULTS_STARTED", os.devnull)).touch()
        time.sleep(0.2)
        return right(qkv)


class NotABackend:
    prepare: Callable[[], None]


class Abstract(Backend):
    pass
