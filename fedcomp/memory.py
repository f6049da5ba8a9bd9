"""How much memory a run took, worker processes included."""

import os
import resource
from pathlib import Path

_PROCESSES = Path("/proc")


def peak_memory_mb() -> float:
    """Return the peak resident memory of the largest of this process and its living descendants, in MB.

    Workers are descendants but not children (a fork server starts them), so the operating system's sums leave them out.
    What several processes map together, such as cached features, counts in each. Where there is no ``/proc``, this
    process alone is measured.
    """
    parents = _parents()
    family, grew = {os.getpid()}, True
    while grew:
        found = {process for process, parent in parents.items() if parent in family} - family
        family |= found
        grew = bool(found)
    peak = max(_peak_kb(process) for process in family)
    # getrusage is second choice: across fork and exec Linux keeps the peak of whoever started this process
    return (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def _parents() -> dict[int, int]:
    """Return the parent of each process that can be seen."""
    parents = {}
    for status in _PROCESSES.glob("[0-9]*/status"):
        parent = _field(status, "PPid:")
        if parent is not None:
            parents[int(status.parent.name)] = parent
    return parents


def _peak_kb(process: int) -> int:
    return _field(_PROCESSES / str(process) / "status", "VmHWM:") or 0


def _field(status: Path, name: str) -> int | None:
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None  # it ended in between
    values = [line.split()[1] for line in lines if line.startswith(name)]
    return int(values[0]) if values else None
