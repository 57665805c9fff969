"""AdminService and Operations over a real gRPC server, on a real folder or on a fake of the port."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
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
    """Both stubs on one channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.service = admin_pb2_grpc.AdminServiceStub(channel)
        self.operations = operations_pb2_grpc.OperationsStub(channel)

    async def wait(self, operation: operations_pb2.Operation, timeout_s: float = 30) -> operations_pb2.Operation:
        request = operations_pb2.WaitOperationRequest(name=operation.name)
        request.timeout.FromMilliseconds(int(timeout_s * 1000))
        return await self.operations.WaitOperation(request, timeout=60)

    async def cancel(self, operation: operations_pb2.Operation) -> None:
        await self.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))


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


def metadata(operation: operations_pb2.Operation) -> admin_pb2.OperationMetadata:
    message = admin_pb2.OperationMetadata()
    assert operation.metadata.Unpack(message)
    return message


async def test_an_operation_tells_its_progress_and_then_responds(maintenance: FakeMaintenance, admin: Admin) -> None:
    operation = await admin.service.Backup(admin_pb2.BackupRequest(folder="/b", name="one"))
    assert operation.name == "operations/backup-000001"
    under_way = await admin.wait(operation, 0.05)
    assert not under_way.done
    at = metadata(under_way)
    assert (at.kind, at.stage, at.unit, at.done, at.total) == ("backup", "working", "pieces", 3, 4)
    assert at.HasField("start_time")
    assert not at.HasField("end_time")
    maintenance.go.set()
    done = await admin.wait(operation)
    assert done.done
    response = admin_pb2.BackupResponse()
    assert done.response.Unpack(response)
    assert (response.path, response.sequence, response.item_count, response.picture_count) == ("/b/one", 7, 3, 2)
    assert response.lost_pictures == ["ab" * 32]
    assert metadata(done).HasField("end_time")
    assert maintenance.asked == [(Path("/b"), "one")]


async def test_every_kind_has_its_response(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    for start, request, response in (
        (admin.service.Restore, admin_pb2.RestoreRequest(path="/b"), admin_pb2.RestoreResponse()),
        (admin.service.Check, admin_pb2.CheckRequest(), admin_pb2.CheckResponse()),
        (admin.service.Compact, admin_pb2.CompactRequest(), admin_pb2.CompactResponse()),
        (admin.service.Rebuild, admin_pb2.RebuildRequest(space="visual"), admin_pb2.RebuildResponse()),
    ):
        done = await admin.wait(await start(request))
        assert done.response.Unpack(response)
        assert response.ByteSize() > 0


async def test_findings_beyond_the_limit_are_counted(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    maintenance.findings = MAX_FINDINGS + 1
    done = await admin.wait(await admin.service.Check(admin_pb2.CheckRequest()))
    response = admin_pb2.CheckResponse()
    done.response.Unpack(response)
    assert (len(response.findings), response.finding_count) == (MAX_FINDINGS, MAX_FINDINGS + 1)
    assert response.findings[0].severity == admin_pb2.SEVERITY_WARNING


async def test_a_second_of_a_kind_is_refused_and_names_the_running_one(admin: Admin) -> None:
    running = await admin.service.Check(admin_pb2.CheckRequest())
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
    operation = await admin.service.Compact(admin_pb2.CompactRequest())
    await admin.cancel(operation)
    done = await admin.wait(operation)
    assert done.error.code == grpc.StatusCode.CANCELLED.value[0]
    assert metadata(done).cancel_requested


async def test_a_failed_operation_holds_the_status_with_its_details(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    maintenance.error = DiskFull("full")
    done = await admin.wait(await admin.service.Compact(admin_pb2.CompactRequest()))
    assert done.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in done.error.details)
    maintenance.error = KeyError("a secret")
    done = await admin.wait(await admin.service.Compact(admin_pb2.CompactRequest()))
    assert done.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in done.error.message


async def test_operations_are_listed_page_by_page_and_deleted(maintenance: FakeMaintenance, admin: Admin) -> None:
    maintenance.go.set()
    started = [await admin.wait(await admin.service.Check(admin_pb2.CheckRequest())) for _ in range(3)]
    await admin.operations.DeleteOperation(operations_pb2.DeleteOperationRequest(name=started[1].name))
    first = await admin.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1))
    rest = await admin.operations.ListOperations(
        operations_pb2.ListOperationsRequest(page_size=5, page_token=first.next_page_token)
    )
    assert [one.name for one in (*first.operations, *rest.operations)] == [started[0].name, started[2].name]
    assert not rest.next_page_token
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.operations.GetOperation(operations_pb2.GetOperationRequest(name=started[1].name))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "request_", [{"filter": "done"}, {"page_size": -1}, {"page_token": "nothing"}], ids=lambda one: next(iter(one))
)
async def test_a_malformed_list_request_is_refused(admin: Admin, request_: dict[str, object]) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin.operations.ListOperations(operations_pb2.ListOperationsRequest(**request_))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_address_is_in_the_folder_for_as_long_as_the_server_listens(
    maintenance: FakeMaintenance, tmp_path: Path
) -> None:
    server = AdminRpcServer(tmp_path, maintenance)
    port = await server.start(AdminSettings(host="0.0.0.0", port=0))
    assert json.loads((tmp_path / "server.json").read_text())["admin"] == f"127.0.0.1:{port}"
    other = AdminRpcServer(tmp_path, maintenance)
    with pytest.raises(StartupError, match=r"admin\.port"):
        await other.start(AdminSettings(host="0.0.0.0", port=port))
    await server.stop()
    assert not (tmp_path / "server.json").exists()
    await other.stop()


async def test_a_served_folder_is_backed_up_and_restored(tmp_path: Path) -> None:
    written = WrittenFolder(tmp_path / "catalogue")
    written.put("a", b"picture of a")
    server = AdminServer(LOOPBACK, FakeHandle(written))
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        admin = Admin(channel)
        saved = admin_pb2.BackupResponse()
        done = await admin.wait(await admin.service.Backup(admin_pb2.BackupRequest(folder=str(tmp_path / "backups"))))
        assert done.response.Unpack(saved), done.error
        before = contents(written.path)
        written.put("b")
        restored = await admin.wait(await admin.service.Restore(admin_pb2.RestoreRequest(path=saved.path)))
        assert not restored.HasField("error"), restored.error
        assert contents(written.path) == before
    await server.stop()
    written.connection.close()
