"""CPU seconds of a process tree, by part, read from /proc."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def seconds_by_part(root: int) -> Counter[str]:
    """Return the CPU seconds used so far by the process `root` and all its descendants, by command name."""
    stats = {int(path.parent.name): path for path in Path("/proc").glob("[0-9]*/stat")}
    children: dict[int, list[int]] = {}
    used: dict[int, tuple[str, float]] = {}
    for pid, path in stats.items():
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        # The name stands in parentheses and may hold anything, so split after the last one.
        name = text[text.index("(") + 1 : text.rindex(")")]
        fields = text[text.rindex(")") + 2 :].split()
        children.setdefault(int(fields[1]), []).append(pid)
        used[pid] = (name, (int(fields[11]) + int(fields[12])) * _TICK_S)
    parts: Counter[str] = Counter()
    line = [root]
    while line:
        pid = line.pop()
        line += children.get(pid, [])
        if pid in used:
            name, seconds = used[pid]
            parts[name] += seconds
    return parts
