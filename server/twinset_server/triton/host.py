"""The seam between the supervisor and where Triton runs."""

from __future__ import annotations

from typing import Protocol

from twinset_server.triton.connection import Connection
from twinset_server.triton.served_model import ServedModel


class Host(Protocol):
    """Where Triton runs: a child process, or elsewhere."""

    @property
    def address(self) -> str:
        """Where Triton listens, or will: `host:port`, the same after every start."""

    async def start(self) -> str:
        """Return the address to connect to. Raises StartupError."""

    async def describe(self, connection: Connection, *, timeout_s: float) -> ServedModel:
        """Return the model to use. Raises StartupError, TransportError."""

    async def load(self, name: str, connection: Connection, *, timeout_s: float) -> None:
        """Have Triton serve one more model. Raises StartupError, TransportError."""

    def fault(self) -> str | None:
        """Return what is plainly wrong with its processes, None where nothing is."""

    def asleep(self) -> bool:
        """Return True where none of its processes runs, or would if it had a processor."""

    def last_words(self) -> str:
        """Return the last lines of its log, to end an error message with."""

    async def stop(self, *, grace_s: float = 0) -> None:
        """End it, and all that belongs to it."""

    def close(self) -> None:
        """Remove its traces; it has been stopped."""
