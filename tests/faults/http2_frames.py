"""Bytes of HTTP/2 as gRPC has them: frames, header fields and requests. RFC 9113 and RFC 7541."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 1, 4
LARGEST_FRAME = 16_384
LARGEST_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = 65_535


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header_block(path: str, authority: str, timeout_ms: int, metadata: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return the header fields of a gRPC request; none of them enters the dynamic table, so it fits any connection."""

    def text(value: str) -> bytes:
        raw = value.encode()
        assert len(raw) < 127, f"{value!r} is too long for a length of one byte"
        return bytes([len(raw)]) + raw

    fields = [b"\x83\x86", b"\x04" + text(path), b"\x01" + text(authority), b"\x0f\x10" + text("application/grpc")]
    for name, value in (("te", "trailers"), ("grpc-timeout", f"{timeout_ms}m"), *metadata):
        fields.append(b"\x00" + text(name) + text(value))
    return b"".join(fields)


@dataclass(frozen=True, slots=True)
class Request:
    """What a call sends: its header fields, and its message as gRPC frames it."""

    headers: bytes
    body: bytes

    @classmethod
    def of(cls, path: str, message: bytes, *, timeout_ms: int = 30_000) -> Request:
        """Return the request that calls `path` with a serialised message."""
        return cls(header_block(path, "localhost", timeout_ms), b"\0" + struct.pack(">I", len(message)) + message)
