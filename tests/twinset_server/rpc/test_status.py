"""Every error has a code and the details that the protos promise."""

from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from twinset_server import errors
from twinset_server.errors import TwinsetError
from twinset_server.rpc.status import code_of, internal, to_status


def _subclasses(kind: type[TwinsetError]) -> Iterator[type[TwinsetError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


ALL = sorted(set(_subclasses(TwinsetError)), key=lambda kind: kind.__name__)


def _make(kind: type[TwinsetError]) -> TwinsetError:
    if issubclass(kind, errors.FingerprintMismatch):
        return kind("vector", given="a" * 64, expected="b" * 64, space="visual")
    if issubclass(kind, errors.InteractionMismatch):
        return kind("rerank.model", model="m-aaaaaaaa", given="a" * 64, expected="b" * 64)
    if issubclass(kind, errors.FactorsConflict):
        return kind("taste", given="a" * 64, stored="b" * 64, filled_by="callers")
    if issubclass(kind, errors.GenerationNotFound):
        return kind("7", [1, 2])
    if issubclass(kind, errors.SpaceNotFound):
        return kind("nowhere", ["visual"])
    if issubclass(kind, errors.StaleEtag):
        return kind("item", "a", given="1", stored="2")
    if issubclass(kind, errors.VectorsLost):
        return kind("net-aaaaaaaa", ["a"], 1, 2)
    if issubclass(kind, errors.ModelSwitched):
        return kind("visual", given="a" * 64, expected="b" * 64)
    if issubclass(kind, errors.InvalidRequest | errors.FailedPrecondition):
        return kind("field", "what is wrong")
    return kind("what is wrong")


def _details(status: status_pb2.Status) -> dict[str, object]:
    found: dict[str, object] = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.type_url.rpartition(".")[2])
        message = kind()
        packed.Unpack(message)
        found[kind.__name__] = message
    return found


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_reason_of_its_own(kind: type[TwinsetError]) -> None:
    status = to_status(_make(kind))
    assert status.code == code_of(_make(kind)).value[0]
    info = _details(status)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.domain == "twinset"
    assert info.reason == kind.reason != TwinsetError.reason


def test_no_two_errors_share_a_reason() -> None:
    reasons = [kind.reason for kind in ALL]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (errors.BadPicture("content", "is cut off"), grpc.StatusCode.INVALID_ARGUMENT, "BadRequest"),
        (errors.ItemNotFound("a"), grpc.StatusCode.NOT_FOUND, "ResourceInfo"),
        (errors.NoVector("a", "none"), grpc.StatusCode.FAILED_PRECONDITION, "PreconditionFailure"),
        (errors.StaleEtag("item", "a", given="1", stored="2"), grpc.StatusCode.ABORTED, "ErrorInfo"),
        (errors.IndexBehind("behind"), grpc.StatusCode.RESOURCE_EXHAUSTED, "RetryInfo"),
        (errors.DiskFull("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, "RetryInfo"),
        (errors.EmbedderUnavailable("gone"), grpc.StatusCode.UNAVAILABLE, "RetryInfo"),
        (errors.DeadlineExceeded("late"), grpc.StatusCode.DEADLINE_EXCEEDED, "ErrorInfo"),
    ],
)
def test_an_error_carries_the_code_and_detail_of_its_kind(
    error: TwinsetError, code: grpc.StatusCode, detail: str
) -> None:
    assert code_of(error) is code
    assert detail in _details(to_status(error))


def test_a_bad_field_is_named() -> None:
    bad = _details(to_status(errors.InvalidRequest("k", "is -1").within("request")))["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [(v.field, v.description) for v in bad.field_violations] == [("request.k", "is -1")]


def test_a_fingerprint_mismatch_names_both() -> None:
    error = errors.FingerprintMismatch("vector", given="a" * 64, expected="b" * 64, space="visual")
    assert "a" * 64 in to_status(error).message
    assert "b" * 64 in to_status(error).message


def test_an_internal_status_tells_the_request_and_nothing_else() -> None:
    status = internal("17")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    request = _details(status)["RequestInfo"]
    assert isinstance(request, error_details_pb2.RequestInfo)
    assert request.request_id == "17"
