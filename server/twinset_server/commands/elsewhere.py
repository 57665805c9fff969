"""A channel to the operators' port of a server elsewhere, with what it asks for: TLS, and a token."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from twinset_server.errors import StartupError

TOKEN = "TWINSET_TOKEN"  # noqa: S105 - the variable's name
AUTHORITY = "TWINSET_TLS_AUTHORITY"


class _Shown(grpc.aio.UnaryUnaryClientInterceptor):
    """Shows a token with each call."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(
        self,
        continuation: Callable[[Any, Any], Any],
        client_call_details: Any,  # a named tuple, which its declared type hides
        request: Any,
    ) -> Any:
        """Make the call with the token in its metadata."""
        metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
        metadata.add("authorization", f"Bearer {self._token}")
        return await continuation(client_call_details._replace(metadata=metadata), request)


def channel_to(address: str) -> grpc.aio.Channel:
    """Return a channel to `host:port`; TWINSET_TOKEN and TWINSET_TLS_AUTHORITY say what to show and whom to trust.

    Raises:
        StartupError: the authority's file can't be read.
    """
    token, authority = os.environ.get(TOKEN), os.environ.get(AUTHORITY)
    shown = [_Shown(token)] if token else []
    if not authority:
        return grpc.aio.insecure_channel(address, interceptors=shown)
    try:
        trusted = Path(authority).read_bytes()
    except OSError as error:
        raise StartupError(f"{AUTHORITY} names {authority}, which can't be read: {error.strerror}") from error
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(trusted), interceptors=shown)
