"""Every RPC against every token: what is refused, and that it is refused before anything is read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from fakes.maintenance import FakeMaintenance
from fakes.service import FakeService
from twinset import Client, PermissionDenied, Unauthenticated
from twinset.v1 import admin_pb2, catalog_pb2, embedding_pb2, recommender_pb2
from twinset_server import logs
from twinset_server.access import Scope, new_token, to_toml
from twinset_server.config import AccessSettings, AdminSettings
from twinset_server.rpc import interceptor
from twinset_server.rpc.access import scope_of
from twinset_server.rpc.admin import AdminRpcServer, announced
from twinset_server.rpc.failures import FailureLog

METHODS = [
    method
    for module in (embedding_pb2, catalog_pb2, recommender_pb2, admin_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
WRITES = {
    "PutItems",
    "UpdateItems",
    "DeleteItem",
    "DeleteItems",
    "ReplaceCatalog",
    "PutUsers",
    "PutInteractions",
    "DeleteUser",
    "ImportFactors",
    "ActivateFactors",
}
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

SECRETS = {scope: new_token(scope, [scope]) for scope in Scope}
LIMITED, LIMITED_TOKEN = new_token("limited", [Scope.READ], calls_per_s=0.01)


def path_of(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def expected_scope(method: MethodDescriptor) -> Scope:
    if method.containing_service.name == "AdminService":
        return Scope.ADMIN
    return Scope.WRITE if method.name in WRITES else Scope.READ


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> AccessSettings:
    path = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    path.write_text("\n".join([*(to_toml(token) for _, token in SECRETS.values()), to_toml(LIMITED_TOKEN)]))
    return AccessSettings(tokens=path)


@pytest.fixture(scope="module")
def address(settings: AccessSettings) -> Iterator[str]:
    with FakeService(access=settings) as service:
        yield service.address


def ended(address: str, method: MethodDescriptor, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Return how a call with an empty request, or an empty stream, ends."""
    request = GetMessageClass(method.input_type)()
    with grpc.insecure_channel(address) as channel:
        kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        call: Any = getattr(channel, kind)(path_of(method), request_serializer=lambda one: one.SerializeToString())
        try:
            answer = call(iter(()) if method.client_streaming else request, metadata=metadata, timeout=10)
            if method.server_streaming:
                list(answer)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_each_rpc_needs_the_scope_that_its_name_says(method: MethodDescriptor) -> None:
    assert scope_of(path_of(method)) is expected_scope(method)


SERVED = [method for method in METHODS if method.containing_service.name != "AdminService"]


@pytest.mark.parametrize("method", SERVED, ids=lambda method: method.name)
def test_an_rpc_lets_its_scope_in_and_no_other(address: str, method: MethodDescriptor) -> None:
    for scope, (secret, _) in SECRETS.items():
        code = ended(address, method, bearer(secret))
        if scope is expected_scope(method):
            assert code not in REFUSED
        else:
            assert code is grpc.StatusCode.PERMISSION_DENIED
    assert ended(address, method, ()) is grpc.StatusCode.UNAUTHENTICATED
    assert ended(address, method, bearer("wrong")) is grpc.StatusCode.UNAUTHENTICATED


async def test_operators_need_the_scope_admin_unless_they_come_by_the_folder(
    settings: AccessSettings, tmp_path: Path
) -> None:
    server = AdminRpcServer(tmp_path, FakeMaintenance())
    port = await server.start(AdminSettings(port=0), access=settings)
    path = "/twinset.v1.AdminService/ListOperations"

    async def call(address: str, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
        async with grpc.aio.insecure_channel(address) as channel:
            try:
                await channel.unary_unary(path)(b"", metadata=metadata)
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    try:
        public = f"127.0.0.1:{port}"
        assert await call(public) is grpc.StatusCode.UNAUTHENTICATED
        assert await call(public, bearer(SECRETS[Scope.WRITE][0])) is grpc.StatusCode.PERMISSION_DENIED
        assert await call(public, bearer(SECRETS[Scope.ADMIN][0])) is grpc.StatusCode.OK
        assert await call(announced(tmp_path) or "") is grpc.StatusCode.OK
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "Basic YTpi"),),
        (("authorization", f"Bearer {SECRETS[Scope.READ][0]}"), ("authorization", "Bearer x")),
    ],
    ids=["another scheme", "twice"],
)
def test_a_malformed_authorization_is_refused(address: str, metadata: tuple[tuple[str, str], ...]) -> None:
    method = recommender_pb2.DESCRIPTOR.services_by_name["RecommenderService"].methods_by_name["Recommend"]
    assert ended(address, method, metadata) is grpc.StatusCode.UNAUTHENTICATED


def test_health_answers_without_a_token(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_rate_of_a_token_is_told_with_a_delay(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        get: Any = channel.unary_unary("/twinset.v1.CatalogService/GetCatalog")
        get(b"", metadata=bearer(LIMITED), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            get(b"", metadata=bearer(LIMITED), timeout=10)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    status = rpc_status.from_call(caught.value)
    assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)


def test_our_client_shows_its_token(address: str) -> None:
    with Client(address, token=SECRETS[Scope.READ][0]) as client:
        assert client.catalog().item_count == 0
        assert list(client.stream_embed([])) == []
        with pytest.raises(PermissionDenied, match="this call needs write"):
            client.delete_item("one")
    with Client(address) as client, pytest.raises(Unauthenticated, match="authorization"):
        client.catalog()


def test_a_refused_call_is_written_down_without_its_token(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interceptor, "_failures", FailureLog())  # others were refused within this second
    caplog.set_level(logging.INFO)
    method = next(one for one in METHODS if one.name == "Recommend")
    assert ended(address, method, (("authorization", "Bearer twinset-wrong"),)) is grpc.StatusCode.UNAUTHENTICATED
    told = [getattr(record, logs.FIELDS) for record in caplog.records if hasattr(record, logs.FIELDS)]
    assert told[-1]["method"] == path_of(method)
    assert told[-1]["code"] == "UNAUTHENTICATED"
    assert "wrong" not in str(told)
