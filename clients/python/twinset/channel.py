"""The connections to a server: limits, retries, and how long they may take to come about."""

from __future__ import annotations

import json

import grpc

from twinset.batches import MAX_MESSAGE_BYTES
from twinset.connections import Connections
from twinset.tls import Tls

DEFAULT_SERVER = "localhost:50051"

KEEPALIVE_S = 20.0
"""A host that is gone is noticed after twice this time."""

# Reads alone: a write that was cut off may have happened, and only its caller knows whether twice does harm.
RETRIED = {
    "twinset.v1.EmbeddingService": ["Embed"],
    "twinset.v1.CatalogService": ["GetItem", "BatchGetItems", "ListItems", "GetUser", "ListFactors", "GetCatalog"],
    "twinset.v1.RecommenderService": [
        "Recommend",
        "BatchRecommend",
        "ScorePair",
        "BatchScorePairs",
        "CompleteSet",
        "RankForUser",
    ],
}
"""Methods by service."""

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": service, "method": name} for service, names in RETRIED.items() for name in names],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                # CANCELLED, though nobody here did: more calls waited in the server's gRPC than it could look at.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}


def open_channel(
    server: str, *, keepalive_s: float = KEEPALIVE_S, tls: Tls | None = None, token: str | None = None
) -> Connections:
    """Return a channel to `host:port`; it connects with the first call, and evens its calls out over the workers there.

    Args:
        server: the address.
        keepalive_s: how long a connection with calls under way may be silent until it is asked for a sign of life, and
            how long that may take. Servers count what comes more often than every 10 seconds as abuse.
        tls: how it is encrypted; None sends plaintext.
        token: shown with each call.
    Raises:
        ValueError: `server` isn't of that form, a file of `tls` can't be read, or the token is no visible ASCII text.
    """
    host, colon, port = server.rpartition(":")
    if not colon or not host or not port.isdecimal() or "/" in server:
        raise ValueError(f"the server's address is {server!r}, expected host:port such as {DEFAULT_SERVER}")
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
        # By default a request of more than 256 KiB, any photograph that is, would not be tried again.
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        # gRPC gives a connection 20 s to come about, and a host that drops packets would take them all.
        ("grpc.min_reconnect_backoff_ms", 3000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 3000),
        # Else all channels to one address are one connection, and so lead to one worker.
        ("grpc.use_local_subchannel_pool", 1),
        # A machine that is gone says nothing, and a commit may take as long as it likes: so it is asked.
        ("grpc.keepalive_time_ms", round(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(keepalive_s * 1000)),
        # gRPC measures the connection by pings as well, and while one is under way it sends no other.
        ("grpc.http2.ping_timeout_ms", round(keepalive_s * 1000)),
        # By default a stream without messages gets two of these and no more.
        ("grpc.http2.max_pings_without_data", 0),
    ]
    if host in ("localhost", "127.0.0.1", "[::1]"):
        options.append(("grpc.enable_http_proxy", 0))
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip() != ""):
        raise ValueError("the token is empty, or has characters that no token has: give it as `twinset-server` told it")
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    if tls is None:
        return Connections(lambda: grpc.insecure_channel(server, options=options), metadata)
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = tls.credentials()
    return Connections(lambda: grpc.secure_channel(server, credentials, options=options), metadata)
