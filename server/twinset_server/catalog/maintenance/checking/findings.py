"""What a check has found so far, and how much it compared."""

from __future__ import annotations

from twinset_server.maintenance import CheckReport, Finding, Severity

RESTORE = "restore the folder from a backup"
PUT_AGAIN = "put the item again"
COMPACT = "twinset-server compact removes it"
REBUILD = "twinset-server rebuild makes a new index"


class Findings:
    """Gathers findings, of one thread at a time.

    Attributes:
        sequence: of the last change that the check knows.
        vectors, pictures, generations: compared so far.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.sequence = self.vectors = self.pictures = self.generations = 0
        self._found: list[Finding] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

    def add(self, severity: Severity, subject: str, description: str, advice: str) -> None:
        """Take note of a finding."""
        self._found.append(Finding(severity, subject, description, advice))

    def report(self) -> CheckReport:
        """Return all of it, the worst first."""
        worst_first = sorted(self._found, key=lambda one: -one.severity.value)
        return CheckReport(worst_first, self.sequence, self.vectors, self.pictures, self.generations)
