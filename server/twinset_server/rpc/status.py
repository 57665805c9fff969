"""Errors to gRPC statuses: the one table, and the details that go with each kind."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from twinset_server.errors import (
    Aborted,
    Cancelled,
    DeadlineExceeded,
    Exhausted,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    TwinsetError,
    Unauthenticated,
    Unavailable,
)

DOMAIN: Final = "twinset"

_CODES: Final[dict[type[TwinsetError], grpc.StatusCode]] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    Aborted: grpc.StatusCode.ABORTED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Cancelled: grpc.StatusCode.CANCELLED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}

CODE_BY_NUMBER: Final = {code.value[0]: code for code in grpc.StatusCode}


def code_of(error: TwinsetError) -> grpc.StatusCode:
    """Return the code of the nearest class in the error's MRO that has one."""
    return next(_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)


MAX_MESSAGE_CHARACTERS: Final = 500
"""A status travels in metadata, three times over, and callers take 8 KiB of that."""


def to_status(error: TwinsetError) -> status_pb2.Status:
    """Return the error as a status with its details; what is long in it, such as a name that was sent, is cut."""
    return status_pb2.Status(
        code=code_of(error).value[0], message=_cut(error.message), details=[_pack(detail) for detail in _details(error)]
    )


def internal(request_id: str) -> status_pb2.Status:
    """Return the status of a defect: fixed text, and the id under which the log tells more."""
    return status_pb2.Status(
        code=grpc.StatusCode.INTERNAL.value[0],
        message=f"internal error; the server's log names request {request_id}",
        details=[
            _pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN)),
            _pack(error_details_pb2.RequestInfo(request_id=request_id)),
        ],
    )


def _details(error: TwinsetError) -> Iterator[Message]:
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
    match error:
        case InvalidRequest():
            violation = error_details_pb2.BadRequest.FieldViolation(
                field=_cut(error.field), description=_cut(error.description)
            )
            yield error_details_pb2.BadRequest(field_violations=[violation])
        case NotFound():
            yield error_details_pb2.ResourceInfo(
                resource_type=f"twinset.v1/{error.kind}",
                resource_name=_cut(error.name),
                description=_cut(error.message),
            )
        case FailedPrecondition():
            violated = error_details_pb2.PreconditionFailure.Violation(
                type=error.reason, subject=_cut(error.subject), description=_cut(error.message)
            )
            yield error_details_pb2.PreconditionFailure(violations=[violated])
        case Exhausted() | Unavailable():
            delay = duration_pb2.Duration()
            delay.FromTimedelta(datetime.timedelta(seconds=error.retry_after_s))
            yield error_details_pb2.RetryInfo(retry_delay=delay)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[: MAX_MESSAGE_CHARACTERS - 3]}..."


def _pack(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
