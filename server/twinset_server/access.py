"""Who may do what: tokens, the scopes that each has, and how often it may call."""

from __future__ import annotations

import enum
import hashlib
import hmac
import logging
import secrets
import time
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinset_server.errors import PermissionDenied, StartupError, TooManyCalls, Unauthenticated
from twinset_server.stamps import stamp

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
"""How often the file is looked at: so long a token that was taken out may go on being good."""

_SECRET_BYTES = 32


class Scope(enum.StrEnum):
    """What a token may be good for."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class TokenFileError(ValueError):
    """The file of tokens can't be read, or is malformed; the message says where."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as the file has it: not itself, but its digest.

    Attributes:
        name: whose it is; told in the log.
        digest: SHA-256 of the token.
        scopes: what it is good for.
        calls_per_s: how many calls a second it may make, None without a limit. A stream is one call.
    """

    name: str
    digest: bytes
    scopes: frozenset[Scope]
    calls_per_s: float | None = None


def new_token(name: str, scopes: Collection[Scope], calls_per_s: float | None = None) -> tuple[str, Token]:
    """Return a random token, 256 bits as text, and what the file has of it."""
    secret = f"twinset-{secrets.token_hex(_SECRET_BYTES)}"
    return secret, Token(name, _digest(secret), frozenset(scopes), calls_per_s)


def to_toml(token: Token) -> str:
    """Return the lines that the file of tokens takes."""
    scopes = ", ".join(f'"{scope}"' for scope in sorted(token.scopes))
    rate = "" if token.calls_per_s is None else f"calls_per_s = {token.calls_per_s:g}\n"
    return f'[tokens."{token.name}"]\nsha256 = "{token.digest.hex()}"\nscopes = [{scopes}]\n{rate}'


def read_tokens(path: Path) -> list[Token]:
    """Return the tokens of a file.

    Raises:
        TokenFileError: it can't be read, or isn't of the form that `to_toml` writes.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenFileError(f"{path} can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TokenFileError(f"{path} is no TOML: {error}") from error
    entries = content.pop("tokens", {})
    if content or not isinstance(entries, dict):
        raise TokenFileError(f'{path}: expected tables [tokens."NAME"], and nothing else')
    return [_token(path, name, entry) for name, entry in entries.items()]


def _token(path: Path, name: str, entry: Any) -> Token:
    at = f'{path}, [tokens."{name}"]'
    if not isinstance(entry, dict):
        raise TokenFileError(f"{at}: is {entry!r}, expected sha256 and scopes")
    if unknown := sorted(entry.keys() - {"sha256", "scopes", "calls_per_s"}):
        raise TokenFileError(f"{at}: {unknown[0]} is no setting of a token")
    try:
        digest = bytes.fromhex(entry["sha256"])
        scopes = frozenset(Scope(scope) for scope in entry["scopes"])
    except (KeyError, TypeError, ValueError) as error:
        raise TokenFileError(f"{at}: needs sha256, 64 hexadecimal digits, and scopes: {error}") from error
    if len(digest) != hashlib.sha256().digest_size or not scopes:
        raise TokenFileError(f"{at}: needs sha256, 64 hexadecimal digits, and at least one scope")
    rate = entry.get("calls_per_s")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float) or not rate > 0):
        raise TokenFileError(f"{at}: calls_per_s is {rate!r}, expected a number above 0")
    return Token(name, digest, scopes, rate)


class _Bucket:
    """Calls that a token has left: so many a second, and never more than those of one second."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left = self._most
        self._at_s: float | None = None

    def has_rate(self, per_s: float) -> bool:
        """Return whether it lets so many through a second."""
        return self._per_s == per_s

    def take(self, now_s: float) -> float:
        """Take one call, and return 0; or how many seconds are to pass before there is one again."""
        if self._at_s is not None:
            self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0


class Access:
    """The file of tokens, read again when it changes. Used from one event loop."""

    def __init__(self, path: Path, workers: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Args:
            path: of the file.
            workers: how many processes share the calls of a token: each lets through its part.
            clock: seconds.
        Raises:
            StartupError: it can't be read, or is malformed.
        """
        self._path = path
        self._workers = workers
        self._clock = clock
        self._looked_s = clock()
        self._stamp = stamp(path)
        try:
            self._tokens: Sequence[Token] = read_tokens(path)
        except TokenFileError as error:
            raise StartupError(f"{error}: make one with `twinset-server token NAME --scope read`") from error
        self._buckets = self._new_buckets({})

    def check(self, secret: str | None, scope: Scope) -> Token:
        """Return the token that a call shows, if it is good for `scope` and has calls left.

        Raises:
            Unauthenticated: there is none, or it isn't known.
            PermissionDenied: it hasn't this scope.
            TooManyCalls: it has made too many.
        """
        self._refresh()
        if secret is None:
            raise Unauthenticated("the call needs a token: send the metadata 'authorization: Bearer TOKEN'")
        token = self._find(_digest(secret))
        if token is None:
            raise Unauthenticated("the token isn't known here: it is another server's, or was taken out")
        if scope not in token.scopes:
            has = ", ".join(sorted(token.scopes))
            raise PermissionDenied(f"the token {token.name!r} has {has}, and this call needs {scope}")
        bucket = self._buckets.get(token.name)
        wait_s = bucket.take(self._clock()) if bucket else 0.0
        if wait_s:
            raise TooManyCalls(
                f"the token {token.name!r} may make {token.calls_per_s:g} calls a second: call less often", wait_s
            )
        return token

    def _find(self, digest: bytes) -> Token | None:
        found = None
        for token in self._tokens:
            # All are compared, each in the same time: how long it takes tells nothing of any.
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found

    def _refresh(self) -> None:
        now_s = self._clock()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if (found := stamp(self._path)) == self._stamp:
            return
        self._stamp = found
        try:
            self._tokens = read_tokens(self._path)
        except TokenFileError as error:
            _log.error("tokens stay as they were: %s", error)
            return
        self._buckets = self._new_buckets(self._buckets)
        _log.info("tokens were read again: %d", len(self._tokens))

    def _new_buckets(self, old: Mapping[str, _Bucket]) -> dict[str, _Bucket]:
        """Return a bucket for each token with a limit; one of an unchanged rate goes on as it is."""
        buckets: dict[str, _Bucket] = {}
        for token in self._tokens:
            if token.calls_per_s is not None:
                per_s = token.calls_per_s / self._workers
                kept = old.get(token.name)
                buckets[token.name] = kept if kept is not None and kept.has_rate(per_s) else _Bucket(per_s)
        return buckets


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
