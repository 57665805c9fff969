"""gRPC failures to exceptions of `twinset.errors`."""

from __future__ import annotations

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status  # type: ignore[import-untyped]

from twinset import errors

_BY_CODE: dict[str, type[errors.TwinsetError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "NOT_FOUND": errors.NotFound,
    "FAILED_PRECONDITION": errors.FailedPrecondition,
    "ABORTED": errors.Aborted,
    "UNAUTHENTICATED": errors.Unauthenticated,
    "PERMISSION_DENIED": errors.PermissionDenied,
    "UNAVAILABLE": errors.Unavailable,
    "RESOURCE_EXHAUSTED": errors.ResourceExhausted,
    "DEADLINE_EXCEEDED": errors.DeadlineExceeded,
    "INTERNAL": errors.Internal,
}

_CUT_OFF_RETRY_S = 0.5

# What gRPC's core says where no connection came about, as opposed to one that broke.
_NEVER_CONNECTED = ("failed to connect", "DNS resolution failed", "errors resolving", "connect an http1.x server")


def error_from_status(status: status_pb2.Status) -> errors.TwinsetError:
    """Return the exception for a `google.rpc.Status`, its details read."""
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    reason = field = request_id = ""
    retry_after_s = None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, request = error_details_pb2.RetryInfo(), error_details_pb2.RequestInfo()
    for detail in status.details:
        try:
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(bad) and bad.field_violations:
                field = bad.field_violations[0].field
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
            elif detail.Unpack(request):
                request_id = request.request_id
        except DecodeError:
            continue  # A detail that can't be read takes nothing from the code and the message.
    message = status.message or f"the server answered {code} without a word"
    if request_id and code == "INTERNAL":
        # All else says itself what is wrong.
        message = f"{message} (request {request_id} in the server's log)"
    return _BY_CODE.get(code, errors.TwinsetError)(
        message, code=code, reason=reason, field=field, retry_after_s=retry_after_s, request_id=request_id
    )


def error_from_call(failure: grpc.RpcError, server: str) -> errors.TwinsetError:
    """Return the exception for a failed call to `server`.

    What gRPC itself says, as opposed to a twinset server, is put into words of what to do.
    """
    if not isinstance(failure, grpc.Call):
        return errors.TwinsetError(f"the call to {server} failed: {failure}")
    try:
        status = rpc_status.from_call(failure)
    except (ValueError, DecodeError):
        status = None
    if status is not None:
        return error_from_status(status)
    code, details = failure.code(), failure.details() or ""
    name = code.name if code is not None else "UNKNOWN"
    if name == "UNAVAILABLE" and "andshake failed" in details:
        return errors.Unavailable(
            f"{server} and this client don't trust each other's TLS ({details.rpartition('OPENSSL_internal:')[2]}): "
            "name the authority that signed the server's certificate with --tls-authority, and show a certificate of "
            "your own where the server asks for one",
            code=name,
            reason="UNTRUSTED",
        )
    if name == "UNAVAILABLE":
        if any(words in details for words in _NEVER_CONNECTED):
            return errors.Unavailable(
                f"no twinset server at {server}: start one with `twinset-server serve`, or name another with --server",
                code=name,
                reason="NO_SERVER",
            )
        return errors.Unavailable(
            f"the connection to {server} broke ({details}): see whether the server runs, then try again",
            code=name,
            reason="CONNECTION_LOST",
        )
    if name == "CANCELLED":
        return errors.Unavailable(
            f"{server} cut the call off before it looked at it, having too many: try again in a moment",
            code=name,
            reason="CUT_OFF",
            retry_after_s=_CUT_OFF_RETRY_S,
        )
    if name == "UNIMPLEMENTED":
        return errors.TwinsetError(
            f"what listens at {server} is no twinset server, or one of another version: name another with --server",
            code=name,
            reason="NOT_A_TWINSET_SERVER",
        )
    if name == "DEADLINE_EXCEEDED":
        return errors.DeadlineExceeded(
            f"{server} did not answer in time: allow more with timeout_s, or ask for less", code=name
        )
    return _BY_CODE.get(name, errors.TwinsetError)(f"{server} answered {name}: {details}", code=name)
