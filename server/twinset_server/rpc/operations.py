"""Operations as messages, and Google's service that follows them."""

from __future__ import annotations

import datetime
from typing import Any

import grpc.aio
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import any_pb2, empty_pb2, timestamp_pb2
from google.protobuf.message import Message

from twinset.v1 import admin_pb2
from twinset_server.errors import BadPageToken, InvalidRequest, TwinsetError
from twinset_server.maintenance import (
    BackupReport,
    CheckReport,
    CompactReport,
    RebuildReport,
    Report,
    RestoreReport,
    Severity,
)
from twinset_server.operations import Defect, Operation, Operations
from twinset_server.rpc.deadline import time_left_s
from twinset_server.rpc.status import internal, to_status

MAX_FINDINGS = 1000
"""Findings in an answer; the others are counted."""

_PAGE = 100
_MARGIN_S = 0.5
"""A wait ends so long before the caller's deadline, so that the answer arrives."""

_SEVERITIES = {
    Severity.INFO: admin_pb2.SEVERITY_INFO,
    Severity.WARNING: admin_pb2.SEVERITY_WARNING,
    Severity.ERROR: admin_pb2.SEVERITY_ERROR,
}

_Context = grpc.aio.ServicerContext[Any, Any]


def to_message(operation: Operation) -> operations_pb2.Operation:
    """Return the operation as it is now."""
    progress = operation.work.progress
    metadata = admin_pb2.OperationMetadata(
        kind=operation.kind,
        stage=progress.stage,
        unit=progress.unit,
        done=progress.done,
        total=progress.total,
        start_time=_timestamp(operation.started),
        end_time=_timestamp(operation.ended) if operation.ended else None,
        cancel_requested=operation.work.cancel_requested,
    )
    message = operations_pb2.Operation(name=operation.name, metadata=_packed(metadata))
    match operation.outcome:
        case None:
            return message
        case TwinsetError() as error:
            message.error.CopyFrom(to_status(error))
        case Defect() as defect:
            message.error.CopyFrom(internal(defect.request_id))
        case report:
            message.response.CopyFrom(_packed(_response(report)))
    message.done = True
    return message


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """Implements `google.longrunning.Operations`."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def GetOperation(  # noqa: N802
        self, request: operations_pb2.GetOperationRequest, context: _Context
    ) -> operations_pb2.Operation:
        """Return an operation as it is now."""
        return to_message(self._operations.get(request.name))

    async def ListOperations(  # noqa: N802
        self, request: operations_pb2.ListOperationsRequest, context: _Context
    ) -> operations_pb2.ListOperationsResponse:
        """Return the operations in the order of their starts, page by page."""
        if request.filter:
            raise InvalidRequest("filter", "there are no filters here: leave it empty")
        if request.page_size < 0:
            raise InvalidRequest("page_size", f"is {request.page_size}: give 0 for the default, or more")
        operations = self._operations.all()
        if request.page_token:
            # The name of the last one seen, which may be gone by now; numbers rise.
            last = _number(request.page_token)
            operations = [one for one in operations if _number(one.name) > last]
        page = operations[: min(request.page_size or _PAGE, _PAGE)]
        return operations_pb2.ListOperationsResponse(
            operations=[to_message(one) for one in page],
            next_page_token=page[-1].name if len(page) < len(operations) else "",
        )

    async def WaitOperation(  # noqa: N802
        self, request: operations_pb2.WaitOperationRequest, context: _Context
    ) -> operations_pb2.Operation:
        """Return an operation when it has ended, or as it is when the time is over."""
        left_s = max(0.0, time_left_s(context) - _MARGIN_S)
        if request.HasField("timeout"):
            left_s = min(left_s, request.timeout.ToTimedelta().total_seconds())
        return to_message(await self._operations.wait(request.name, left_s))

    async def CancelOperation(  # noqa: N802
        self, request: operations_pb2.CancelOperationRequest, context: _Context
    ) -> empty_pb2.Empty:
        """Ask an operation to end; it does so soon, with the status CANCELLED, or is done before."""
        self._operations.cancel(request.name)
        return empty_pb2.Empty()

    async def DeleteOperation(  # noqa: N802
        self, request: operations_pb2.DeleteOperationRequest, context: _Context
    ) -> empty_pb2.Empty:
        """Forget a finished operation."""
        self._operations.delete(request.name)
        return empty_pb2.Empty()


def _response(report: Report) -> Message:
    match report:
        case BackupReport():
            return admin_pb2.BackupResponse(
                path=str(report.path),
                sequence=report.sequence,
                item_count=report.items,
                picture_count=report.pictures,
                size_bytes=report.size_bytes,
                lost_pictures=report.lost_pictures,
            )
        case RestoreReport():
            return admin_pb2.RestoreResponse(
                sequence=report.sequence,
                item_count=report.items,
                picture_count=report.pictures,
                replaced_sequence=report.replaced_sequence,
            )
        case CheckReport():
            return _checked(report)
        case CompactReport():
            return admin_pb2.CompactResponse(
                bytes_before=report.bytes_before,
                bytes_after=report.bytes_after,
                row_count=report.rows,
                picture_count=report.pictures,
                rebuilt_spaces=report.rebuilt,
            )
        case RebuildReport():
            return admin_pb2.RebuildResponse(spaces=report.spaces)


def _checked(report: CheckReport) -> admin_pb2.CheckResponse:
    findings = [
        admin_pb2.Finding(
            severity=_SEVERITIES[finding.severity],
            subject=finding.subject,
            description=finding.description,
            advice=finding.advice,
        )
        for finding in report.findings[:MAX_FINDINGS]
    ]
    return admin_pb2.CheckResponse(
        findings=findings,
        finding_count=len(report.findings),
        sequence=report.sequence,
        vector_count=report.vectors,
        picture_count=report.pictures,
        generation_count=report.generations,
    )


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    if not digits.isascii() or not digits.isdigit():
        raise BadPageToken("page_token", "isn't one of this server: start again without it")
    return int(digits)


def _timestamp(time: datetime.datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time)
    return message


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
