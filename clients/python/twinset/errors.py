"""What a call can end in, as exceptions."""

from __future__ import annotations


class TwinsetError(Exception):
    """A call, or one element of a batch, that failed. The message says what to do.

    Attributes:
        message: one sentence or a few.
        code: the gRPC status by name, such as `NOT_FOUND`.
        reason: `UPPER_SNAKE_CASE`, stable: branch on it. Empty where the server gave none.
        field: the request's field at fault, such as `items[0].id`; empty where none is.
        retry_after_s: seconds to wait before another try; None where the server didn't say.
        request_id: what the server's log calls the call; empty where the server gave none.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: str = "",
        field: str = "",
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InvalidArgument(TwinsetError):
    """The request is wrong in itself: the same one fails again. `field` names the place."""


class NotFound(TwinsetError):
    """The item, picture or space isn't there."""


class FailedPrecondition(TwinsetError):
    """The catalogue's state forbids it, such as a vector of another model's fingerprint."""


class Aborted(TwinsetError):
    """Somebody else changed it since: the etag given is not the stored one. Read it again, then decide again."""


class Unavailable(TwinsetError):
    """The server, or what it needs, can't be reached. Reading again later helps, and so does putting again."""


class ResourceExhausted(TwinsetError):
    """Something bounded is full: wait `retry_after_s`, or free space on the server's disk."""


class Unauthenticated(TwinsetError):
    """The server asks for a token, and there was none, or one that it doesn't know."""


class PermissionDenied(TwinsetError):
    """The token is good, but not for this call."""


class DeadlineExceeded(TwinsetError):
    """The time allowed passed. What was asked may still have happened."""


class Internal(TwinsetError):
    """A defect of the server; `request_id` finds it in the server's log."""
