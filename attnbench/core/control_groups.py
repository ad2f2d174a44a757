"""CPU quotas of control groups, from a process's own group to the outermost one: each of them may stop it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


@dataclass(frozen=True, kw_only=True)
class CpuGroup:
    """A control group that may limit CPU time."""

    directory: Path
    is_unified: bool
    """Whether it is of version 2, which counts in other units under other names."""

    @property
    def cores(self) -> float | None:
        """How many cores its processes may use on average; None without a limit."""
        if self.is_unified:
            quota, _, period = _text(self.directory / "cpu.max").partition(" ")
        else:
            quota, period = (_text(self.directory / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if not (quota.isdigit() and period.isdigit() and int(period)):  # else "max" or -1
            return None
        return int(quota) / int(period)

    @property
    def waited_s(self) -> float | None:
        """Seconds its processes were stopped since it was made; None where that is not counted."""
        key, unit_s = ("throttled_usec", 1e-6) if self.is_unified else ("throttled_time", 1e-9)
        for line in _text(self.directory / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == key and value.isdigit():
                return int(value) * unit_s
        return None


def cpu_groups(own: str | None = None, mount: Path = MOUNT) -> tuple[CpuGroup, ...]:
    """The control groups around this process that are there, its own first.

    Args:
        own: What /proc/self/cgroup says; by default it is read.
        mount: Where control groups are mounted. In a container the paths may be the host's: then those parts of them
            count that are there, and the mount itself, which is the container's own group.
    """
    found: dict[Path, CpuGroup] = {}
    for line in (_text(OWN) if own is None else own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = (mount / controllers, mount / "cpu") if controllers else (mount, mount / "unified")
        for root in roots:
            for directory in _upwards(root, path):
                if directory.is_dir():
                    # Names of one directory, such as cpu and cpu,cpuacct, are links to one another.
                    found.setdefault(directory.resolve(), CpuGroup(directory=directory, is_unified=not controllers))
    return tuple(found.values())


def quota_cores(groups: Sequence[CpuGroup]) -> float | None:
    """The tightest limit of all; None without one."""
    return min((group.cores for group in groups if group.cores is not None), default=None)


def waited_s(groups: Sequence[CpuGroup]) -> float:
    """Seconds that any of the groups stopped its processes."""
    return sum(group.waited_s or 0.0 for group in groups)


def _upwards(root: Path, path: str) -> Iterator[Path]:
    # "/../.." leads out of what a container sees.
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for length in range(len(parts), -1, -1):
        yield root.joinpath(*parts[:length])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
