"""Operations as messages."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

from google.protobuf import timestamp_pb2

from twinset.v1 import admin_pb2
from twinset_server import limits
from twinset_server.domain import ModelState
from twinset_server.errors import BadPageToken, InvalidRequest, TwinsetError
from twinset_server.maintenance import (
    BackupReport,
    CheckReport,
    CompactReport,
    ModelStatus,
    RebuildReport,
    RestoreReport,
    Severity,
    SwitchReport,
)
from twinset_server.operations import Defect, Operation
from twinset_server.rpc.status import internal, to_status

MAX_FINDINGS = 1000
"""Findings in an answer; the others are counted."""

_PAGE = 100

_DIGITS = re.compile(r"[0-9]{1,18}")

_KINDS = {
    "backup": admin_pb2.OPERATION_KIND_BACKUP,
    "restore": admin_pb2.OPERATION_KIND_RESTORE,
    "check": admin_pb2.OPERATION_KIND_CHECK,
    "compact": admin_pb2.OPERATION_KIND_COMPACT,
    "rebuild": admin_pb2.OPERATION_KIND_REBUILD,
    "activate": admin_pb2.OPERATION_KIND_ACTIVATE,
    "rollback": admin_pb2.OPERATION_KIND_ROLLBACK,
    "reembed": admin_pb2.OPERATION_KIND_REEMBED,
}

_STATES = {
    None: admin_pb2.MODEL_STATE_AVAILABLE,
    ModelState.ACTIVE: admin_pb2.MODEL_STATE_ACTIVE,
    ModelState.KEPT: admin_pb2.MODEL_STATE_KEPT,
    ModelState.FILLING: admin_pb2.MODEL_STATE_FILLING,
}

_SEVERITIES = {
    Severity.INFO: admin_pb2.SEVERITY_INFO,
    Severity.WARNING: admin_pb2.SEVERITY_WARNING,
    Severity.ERROR: admin_pb2.SEVERITY_ERROR,
}


def to_message(operation: Operation) -> admin_pb2.Operation:
    """Return the operation as it is now."""
    at = operation.work.progress
    message = admin_pb2.Operation(
        name=operation.name,
        kind=_KINDS[operation.kind],
        done=operation.outcome is not None,
        progress=admin_pb2.Progress(stage=at.stage, unit=at.unit, done=at.done, total=at.total),
        start_time=_timestamp(operation.started),
        end_time=_timestamp(operation.ended) if operation.ended else None,
        cancel_requested=operation.work.cancel_requested,
    )
    match operation.outcome:
        case None:
            pass
        case TwinsetError() as error:
            message.error.CopyFrom(to_status(error))
        case Defect() as defect:
            message.error.CopyFrom(internal(defect.request_id))
        case BackupReport() as report:
            message.backup.path = str(report.path)
            message.backup.sequence = report.sequence
            message.backup.item_count = report.items
            message.backup.picture_count = report.pictures
            message.backup.size_bytes = report.size_bytes
            message.backup.lost_pictures.extend(report.lost_pictures)
        case RestoreReport() as report:
            message.restore.sequence = report.sequence
            message.restore.item_count = report.items
            message.restore.picture_count = report.pictures
            message.restore.replaced_sequence = report.replaced_sequence
        case CheckReport() as report:
            message.check.CopyFrom(_checked(report))
        case CompactReport() as report:
            message.compact.bytes_before = report.bytes_before
            message.compact.bytes_after = report.bytes_after
            message.compact.row_count = report.rows
            message.compact.picture_count = report.pictures
            message.compact.rebuilt_spaces.extend(report.rebuilt)
        case RebuildReport() as report:
            message.rebuild.SetInParent()
            message.rebuild.spaces.extend(report.spaces)
        case SwitchReport() as report:
            message.switch.CopyFrom(_switched(report))
    return message


def model_message(status: ModelStatus) -> admin_pb2.ModelInfo:
    """Return what is told of a model."""
    contract = status.contract
    dimensions = {} if contract is None else {space.name: space.dimension for space in contract.spaces}
    return admin_pb2.ModelInfo(
        name=status.name,
        fingerprint=contract.fingerprint if contract else "",
        artifact=contract.artifact if contract else "",
        precision=contract.precision if contract else "",
        state=_STATES[status.state] if status.name else admin_pb2.MODEL_STATE_UNSPECIFIED,
        spaces=[
            admin_pb2.ModelSpace(name=name, fingerprint=fingerprint, dimension=dimensions.get(name, 0))
            for name, fingerprint in sorted(status.fingerprints.items())
        ],
        lacking_spaces=status.lacking,
        pending_items=status.pending,
        problem=status.problem,
    )


def page_of(operations: Sequence[Operation], size: int, token: str) -> tuple[Sequence[Operation], str]:
    """Return a page of operations, and the token of the next one, empty where there is none.

    Raises:
        InvalidRequest: the size is negative.
        BadPageToken: the token is none of this server's.
    """
    if size < 0:
        raise InvalidRequest("page_size", f"is {size}: give 0 for the default, or more")
    limits.check_text("page_token", token, limits.MAX_OPERATION_BYTES)
    if token:
        # The name of the last one seen, which may be gone by now; numbers rise.
        last = _number(token)
        operations = [one for one in operations if _number(one.name) > last]
    page = operations[: min(size or _PAGE, _PAGE)]
    return page, page[-1].name if len(page) < len(operations) else ""


def _checked(report: CheckReport) -> admin_pb2.CheckResult:
    findings = [
        admin_pb2.Finding(
            severity=_SEVERITIES[finding.severity],
            subject=finding.subject,
            description=finding.description,
            advice=finding.advice,
        )
        for finding in report.findings[:MAX_FINDINGS]
    ]
    return admin_pb2.CheckResult(
        findings=findings,
        finding_count=len(report.findings),
        sequence=report.sequence,
        vector_count=report.vectors,
        picture_count=report.pictures,
        generation_count=report.generations,
    )


def _switched(report: SwitchReport) -> admin_pb2.SwitchResult:
    switched = report.switched
    return admin_pb2.SwitchResult(
        model=switched.generation.model,
        former_model=switched.former,
        sequence=switched.sequence,
        item_count=report.items,
        picture_count=report.pictures,
        dropped_item_ids=switched.lost.item_ids,
        dropped_item_count=switched.lost.items,
        dropped_user_count=switched.lost.users,
    )


def _number(name: str) -> int:
    digits = name.rpartition("-")[2]
    if not _DIGITS.fullmatch(digits):
        raise BadPageToken("page_token", "isn't one of this server: start again without it")
    return int(digits)


def _timestamp(time: datetime.datetime) -> timestamp_pb2.Timestamp:
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(time)
    return message
