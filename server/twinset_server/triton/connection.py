"""A connection to one Triton: its channel, and what the server asks over it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc

from twinset_server.domain import Float32Array, Int32Array, UInt8Array
from twinset_server.triton.codec import decode_reply, decode_scores, encode_pairs, encode_request
from twinset_server.triton.interaction_model import ServedInteraction
from twinset_server.triton.served_model import ServedModel
from twinset_server.triton.transport import StreamTransport, Transport, UnaryTransport, translated_errors

TransportKind = Literal["stream", "unary"]

_CHANNEL_OPTIONS = [
    # A batch of pictures is far above the default of 4 MiB.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Else channels to one address share a connection, and a new one inherits the back-off of a dead one.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A Triton behind a cut cable is noticed, though it never closes its connection.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class Connection:
    """A channel to one address, with the transport that runs over it."""

    def __init__(self, address: str, kind: TransportKind) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._transport: Transport = (
            StreamTransport(self._channel) if kind == "stream" else UnaryTransport(self._channel)
        )
        self._request_ids = itertools.count(1)

    async def infer(
        self,
        model: ServedModel,
        pictures: UInt8Array,
        categories: Int32Array,
        outputs: Sequence[str],
        *,
        timeout_s: float,
    ) -> dict[str, Float32Array]:
        """Return per output `[N, D]` float32, read-only, checked against the model's contract.

        Args:
            model: the model to ask.
            pictures: `[N, H, W, 3]` uint8, N at most the model's `max_batch_size`.
            categories: `[N]` int32, those of the pictures; 0 where one is unknown.
            outputs: names of the outputs wanted.
            timeout_s: how long to wait.
        Raises:
            TransportError: there is no reply.
            BadReply: the reply isn't what the contract promises.
        """
        request_id = str(next(self._request_ids))
        request = encode_request(model, pictures, categories, outputs, request_id=request_id, timeout_s=timeout_s)
        reply = await self._transport.infer(request, request_id, timeout_s=timeout_s)
        return decode_reply(model, reply, outputs, len(pictures))

    async def score(
        self, model: ServedInteraction, users: Float32Array, items: Float32Array, *, timeout_s: float
    ) -> Float32Array:
        """Return the scores of pairs of factors, `[N]` float32, read-only, higher being better.

        Args:
            model: the model to ask.
            users: `[N, D]` float32, N at most the model's `max_batch_size`.
            items: `[N, D]` float32.
            timeout_s: how long to wait.
        Raises:
            TransportError: there is no reply.
            BadReply: the reply isn't what the contract promises.
        """
        request_id = str(next(self._request_ids))
        request = encode_pairs(model.name, users, items, request_id=request_id)
        reply = await self._transport.infer(request, request_id, timeout_s=timeout_s)
        return decode_scores(reply, len(users))

    async def model_config(self, name: str, *, timeout_s: float) -> Any:
        """Return Triton's `ModelConfig` of the model.

        Raises:
            TransportError: there is no reply; Refused where Triton has no such model, or hasn't loaded it.
        """
        with translated_errors():
            request = service_pb2.ModelConfigRequest(name=name)
            return (await self._stub.ModelConfig(request, timeout=timeout_s)).config

    async def model_names(self, *, timeout_s: float) -> list[str]:
        """Return the names of the models that Triton has loaded.

        Raises:
            TransportError: there is no reply.
        """
        with translated_errors():
            request = service_pb2.RepositoryIndexRequest(ready=True)
            index = await self._stub.RepositoryIndex(request, timeout=timeout_s)
        return sorted({model.name for model in index.models})

    async def load(self, name: str, *, timeout_s: float) -> None:
        """Let Triton load a model of its repository, or load it again.

        Raises:
            TransportError: there is no reply; Refused where the model can't be loaded.
        """
        with translated_errors():
            await self._stub.RepositoryModelLoad(
                service_pb2.RepositoryModelLoadRequest(model_name=name), timeout=timeout_s
            )

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Let Triton forget a model; requests that it has begun end first. Raises like `load`."""
        with translated_errors():
            await self._stub.RepositoryModelUnload(
                service_pb2.RepositoryModelUnloadRequest(model_name=name), timeout=timeout_s
            )

    async def disconnected(self) -> None:
        """Return when the connection, once made, is lost."""
        state = self._channel.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()
        await self._channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Cancel what is under way and close the channel."""
        await self._transport.close()
        await self._channel.close()
