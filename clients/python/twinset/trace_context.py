"""The caller's span, told to the server: so that its calls and what comes of them are one trace."""

from __future__ import annotations

import sys


def trace_metadata() -> tuple[tuple[str, str], ...]:
    """Return metadata that names the span which is open here; empty where there is none, or no OpenTelemetry."""
    # Who opened a span has loaded this; nobody else pays for it.
    if "opentelemetry.trace" not in sys.modules:
        return ()
    from opentelemetry import propagate

    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple(carrier.items())
