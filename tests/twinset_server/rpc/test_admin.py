"""AdminService over a real gRPC server, on a real folder or on a fake of the port."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from fakes.folder import FakeHandle, WrittenFolder, contents
from fakes.maintenance import FakeMaintenance
from twinset.v1 import admin_pb2, admin_pb2_grpc
from twinset_server.admin import AdminServer
from twinset_server.config import AdminSettings
from twinset_server.errors import DiskFull, StartupError
from twinset_server.rpc.admin import AdminRpcServer
from twinset_server.rpc.operations import MAX_FINDINGS

LOOPBACK = AdminSettings(port=0)


class Admin:
    """A stub, and what is asked of it most."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.service = admin_pb2_grpc.AdminServiceStub(channel)

    async def wait(self, name: str, timeout_s: float = 30) -> admin_pb2.Operation:
        request = admin_pb2.WaitOperationRequest(name=name)
        request.timeout.FromMilliseconds(int(timeout_s * 1000))
        return (await self.service.WaitOperation(request, timeout=60)).operation

    async def done(self, started: Any) -> admin_pb2.Operation:
        """Return the operation that a call answers with, once it has ended."""
        operation = await self.wait((await started).operation.name)
        assert operation.done
        return operation


@pytest.fixture
def maintenance() -> FakeMaintenance:
    return FakeMaintenance()


@pytest.fixture
async def admin(maintenance: FakeMaintenance, tmp_path: Path) -> AsyncIterator[Admin]:
    server = AdminRpcServer(tmp_path, maintenance)
    port = await server.start(LOOPBACK)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Admin(channel)
    await server.stop()


async def test_an_operation_tells_its_progress_and_then_its_result(maintenance: FakeMaintenance, admin: Admin) -> None:
    started = (await admin.service.Backup(admin_pb2.BackupRequest(folder="/b", name="one"))).operation
    assert (started.name, started.kind) == ("operations/backup-000001", admin_pb2.OPERATION_KIND_BACKUP)
    under_way = await admin.wait(started.name, 0.05)
    at = under_way.progress
    assert (at.stage, at.unit, at.done, at.total) == ("working", "pieces", 3, 4)
    assert not under_way.done
    assert under_way.WhichOneof("result") is None
    assert under_way.HasField("start_time")
    assert not under_way.HasField("end_time")
    maintenance.go.set()
    done = await admin.wait(started.name)
    assert done.done
    made = done.backup
    assert (made.path, made.sequence, made.item_count, made.picture_count) == ("/b/one", 7, 3, 2)
    assert made.lost_pictures == ["ab" * 32]
    assert done.HasField("end_time")
    assert maintenance.asked == [(Path("/b"), "one")]
    got = await admin.service.GetOperation(admin_pb2.GetOperationRequest(name=started.name))
    assert got.operation == done


async def test_every_kind_has_its_result(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    for start, request, kind in (
        (admin.service.Restore, admin_pb2.RestoreRequest(path="/b"), "restore"),
        (admin.service.Check, admin_pb2.CheckRequest(), "check"),
        (admin.service.Compact, admin_pb2.CompactRequest(), "compact"),
        (admin.service.Rebuild, admin_pb2.RebuildRequest(space="visual"), "rebuild"),
    ):
        done = await admin.done(start(request))
        assert done.WhichOneof("result") == kind
        assert admin_pb2.OperationKind.Name(done.kind) == f"OPERATION_KIND_{kind.upper()}"
        assert getattr(done, kind).ByteSize() > 0


async def test_a_result_without_a_word_in_it_is_a_result(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    maintenance.spaces = ()
    assert (await admin.done(admin.service.Rebuild(admin_pb2.RebuildRequest()))).WhichOneof("result") == "rebuild"


async def test_findings_beyond_the_limit_are_counted(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    maintenance.findings = MAX_FINDINGS + 1
    found = (await admin.done(admin.service.Check(admin_pb2.CheckRequest()))).check
    assert (len(found.findings), found.finding_count) == (MAX_FINDINGS, MAX_FINDINGS + 1)
    assert found.findings[0].severity == admin_pb2.SEVERITY_WARNING


async def test_a_second_of_a_kind_is_refused_and_names_the_running_one(admin: Admin) -> None:
    running = (await admin.service.Check(admin_pb2.CheckRequest())).operation
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.service.Check(admin_pb2.CheckRequest())
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    status = rpc_status.from_call(_Call(caught.value))
    assert status is not None
    violated = error_details_pb2.PreconditionFailure()
    assert status.details[1].Unpack(violated)
    assert violated.violations[0].subject == running.name


class _Call:
    """What `from_call` reads, which grpc.aio's error says by other names."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self._error = error

    def code(self) -> grpc.StatusCode:
        return self._error.code()

    def details(self) -> str | None:
        return self._error.details()

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return tuple(self._error.trailing_metadata())


async def test_a_cancelled_operation_holds_cancelled(admin: Admin) -> None:
    name = (await admin.service.Compact(admin_pb2.CompactRequest())).operation.name
    asked = await admin.service.CancelOperation(admin_pb2.CancelOperationRequest(name=name))
    assert asked.operation.cancel_requested
    done = await admin.wait(name)
    assert done.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert done.cancel_requested


async def test_a_failed_operation_holds_the_status_with_its_details(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    maintenance.error = DiskFull("full")
    done = await admin.done(admin.service.Compact(admin_pb2.CompactRequest()))
    assert done.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in done.error.details)
    maintenance.error = KeyError("a secret")
    done = await admin.done(admin.service.Compact(admin_pb2.CompactRequest()))
    assert done.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in done.error.message


async def test_operations_are_listed_page_by_page(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    started = [(await admin.done(admin.service.Check(admin_pb2.CheckRequest()))).name for _ in range(3)]
    first = await admin.service.ListOperations(admin_pb2.ListOperationsRequest(page_size=1))
    request = admin_pb2.ListOperationsRequest(page_size=5, page_token=first.next_page_token)
    rest = await admin.service.ListOperations(request)
    assert [one.name for one in (*first.operations, *rest.operations)] == started
    assert not rest.next_page_token


@pytest.mark.parametrize("call", ["Get", "Wait", "Cancel"])
async def test_an_unknown_operation_is_not_found(admin: Admin, call: str) -> None:
    request = getattr(admin_pb2, f"{call}OperationRequest")(name="operations/check-000009")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(admin.service, f"{call}Operation")(request)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("request_", [{"page_size": -1}, {"page_token": "nothing"}], ids=lambda one: next(iter(one)))
async def test_a_malformed_list_request_is_refused(admin: Admin, request_: dict[str, object]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.service.ListOperations(admin_pb2.ListOperationsRequest(**request_))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_address_is_in_the_folder_for_as_long_as_the_server_listens(
    maintenance: FakeMaintenance, tmp_path: Path
) -> None:
    server = AdminRpcServer(tmp_path, maintenance)
    port = await server.start(AdminSettings(host="0.0.0.0", port=0))
    address = json.loads((tmp_path / "server.json").read_text())["admin"]
    async with grpc.aio.insecure_channel(address) as channel:
        service = admin_pb2_grpc.AdminServiceStub(channel)
        assert (await service.ListOperations(admin_pb2.ListOperationsRequest())).operations == []
    other = AdminRpcServer(tmp_path, maintenance)
    with pytest.raises(StartupError, match=r"admin\.port"):
        await other.start(AdminSettings(host="0.0.0.0", port=port))
    await server.stop()
    assert not (tmp_path / "server.json").exists()
    assert not Path(address.removeprefix("unix:")).parent.exists()
    await other.stop()


async def test_a_served_folder_is_backed_up_and_restored(tmp_path: Path) -> None:
    written = WrittenFolder(tmp_path / "catalogue")
    written.put("a", b"picture of a")
    server = AdminServer(LOOPBACK, FakeHandle(written))
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        admin = Admin(channel)
        saved = await admin.done(admin.service.Backup(admin_pb2.BackupRequest(folder=str(tmp_path / "backups"))))
        assert saved.HasField("backup"), saved.error
        before = contents(written.path)
        written.put("b")
        restored = await admin.done(admin.service.Restore(admin_pb2.RestoreRequest(path=saved.backup.path)))
        assert restored.HasField("restore"), restored.error
        assert contents(written.path) == before
    await server.stop()
    written.connection.close()
