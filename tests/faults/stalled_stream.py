"""A stream whose caller sends, and takes no answers."""

from __future__ import annotations

import socket
import struct

from faults.http2_frames import (
    ACK,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LARGEST_FRAME,
    PING,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    header_block,
)


class Stalled:
    """A stream on a connection of its own whose caller sends and takes no answers.

    One that `lives` heeds what the server says of the connection, but grants no more room for answers than HTTP/2 gives
    anybody at first, 64 KiB. One that doesn't reads nothing at all.
    """

    def __init__(self, address: str, path: str, message: bytes, *, lives: bool) -> None:
        host, _, port = address.rpartition(":")
        self.lives = lives
        self.is_over = False
        self.sent = 0
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setblocking(False)
        headers = header_block(path, "localhost", timeout_ms=3_600_000)
        self._unsent = bytearray(PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, headers))
        body = b"\0" + struct.pack(">I", len(message)) + message
        parts = (body[start : start + LARGEST_FRAME] for start in range(0, len(body), LARGEST_FRAME))
        self._frames = [frame(DATA, 0, 1, part) for part in parts]
        self._next = 0
        self._windows = {0: DEFAULT_WINDOW, 1: DEFAULT_WINDOW}
        self._initial_window = DEFAULT_WINDOW
        self._read = bytearray()

    def send(self) -> None:
        """Send what the socket and the server's windows take."""
        while not self.is_over:
            if not self._unsent:
                one = self._frames[self._next % len(self._frames)]
                if len(one) - 9 > min(self._windows.values()):
                    return
                for stream in self._windows:
                    self._windows[stream] -= len(one) - 9
                self._unsent += one
                self._next += 1
            try:
                count = self.socket.send(self._unsent)
                del self._unsent[:count]
                self.sent += count
            except BlockingIOError:
                return
            except OSError:
                self.is_over = True

    def heed(self) -> None:
        """Read what came, answer pings, and take note of room; answers to the stream are dropped."""
        try:
            content = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        if not content:
            self.is_over = True
            return
        self._read += content
        while len(self._read) >= 9 and len(self._read) >= 9 + (size := int.from_bytes(self._read[:3], "big")):
            kind, flags = self._read[3], self._read[4]
            stream = int.from_bytes(self._read[5:9], "big")
            payload = bytes(self._read[9 : 9 + size])
            del self._read[: 9 + size]
            if kind == WINDOW_UPDATE and stream in self._windows:
                self._windows[stream] += int.from_bytes(payload, "big")
            elif kind == PING and not flags & ACK:
                self._unsent += frame(PING, ACK, 0, payload)
                self.send()
            elif kind == SETTINGS and not flags & ACK:
                for name, value in struct.iter_unpack(">HI", payload):
                    if name == INITIAL_WINDOW_SIZE:
                        self._windows[1] += value - self._initial_window
                        self._initial_window = value
                self._unsent += frame(SETTINGS, ACK, 0)
                self.send()

    def close(self) -> None:
        """Break the connection."""
        self.socket.close()
