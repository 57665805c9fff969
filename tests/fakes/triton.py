"""A Triton in this process that serves the tiny model over real gRPC, and misbehaves on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from fakes.interactions import score_locally
from fakes.models import KNOWN_COUNT, KNOWN_SEED, SIDE, run_locally, tiny_config, tiny_contract
from twinset.contract import ModelContract
from twinset.interaction_contract import SCORE, USER, InteractionContract
from twinset.known_answer import known_input
from twinset_exporter.interaction import triton_config
from twinset_exporter.targets import Target
from twinset_server.domain import UInt8Array

Spoil = Callable[[Any], None]


class FakeTriton:
    """Serves the tiny model of `seed`.

    `spoil` changes a reply to other pictures than the known ones; `before_reply` is awaited ahead of each of those.
    `batch_sizes` has the size of each such request, `most_at_once` how many were under way at a time, and `proofs` how
    often the whole known answer was asked for. `interactions` are models that rank, by name; `pairs` has how many each
    request to one of them held, and `spoil_scores` is added to what they answer. Those in `loadable` it can load.
    """

    def __init__(self, *contracts: ModelContract, seed: int = 0) -> None:
        self.configs = {c.model: c for c in contracts or (tiny_contract(seed),)}
        self.seed = seed
        self.port = 0
        self.spoil: Spoil | None = None
        self.before_reply: Callable[[], Awaitable[None]] | None = None
        self.before_known_reply: Callable[[], Awaitable[None]] | None = None
        self.batch_sizes: list[int] = []
        self.most_at_once = 0
        self.proofs = 0
        self.interactions: dict[str, InteractionContract] = {}
        self.loadable: dict[str, InteractionContract] = {}
        self.pairs: list[int] = []
        self.spoil_scores = 0.0
        self._at_once = 0
        self._known = known_input(KNOWN_SEED, KNOWN_COUNT, SIDE, SIDE)
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeTriton:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of last time where there was one."""
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(self), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Break all connections."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def answer(self, request: Any) -> Any:
        if request.inputs[0].name == USER:
            return await self._ranked(request)
        shape = list(request.inputs[0].shape)
        pictures = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(shape)
        known = self._is_known(pictures)
        self._at_once += 1
        try:
            if known:
                self.proofs += len(pictures) == KNOWN_COUNT
                if self.before_known_reply:
                    await self.before_known_reply()
            else:
                self.batch_sizes.append(len(pictures))
                self.most_at_once = max(self.most_at_once, self._at_once)
                if self.before_reply:
                    await self.before_reply()
        finally:
            self._at_once -= 1
        rows = run_locally(pictures, self.seed)
        reply = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        for name in [output.name for output in request.outputs]:
            reply.outputs.add(name=name, datatype="FP32", shape=rows[name].shape)
            reply.raw_output_contents.append(rows[name].tobytes())
        if self.spoil and not known:
            self.spoil(reply)
        return reply

    async def _ranked(self, request: Any) -> Any:
        if request.model_name not in self.interactions:
            raise Refusal(f"unknown model {request.model_name}")
        shape = list(request.inputs[0].shape)
        users, items = (np.frombuffer(raw, "<f4").reshape(shape) for raw in request.raw_input_contents)
        self.pairs.append(len(users))
        if self.before_reply:
            await self.before_reply()
        reply = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        reply.outputs.add(name=SCORE, datatype="FP32", shape=[len(users), 1])
        reply.raw_output_contents.append((score_locally(users, items) + self.spoil_scores).astype("<f4").tobytes())
        return reply

    def _is_known(self, pictures: UInt8Array) -> bool:
        return len(pictures) <= KNOWN_COUNT and np.array_equal(pictures, self._known[: len(pictures)])


class Refusal(Exception):
    """Raise it in `spoil` or `before_reply`: Triton answers with this error."""


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, triton: FakeTriton) -> None:
        self._triton = triton

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the proto
        try:
            return await self._triton.answer(request)
        except Refusal as error:
            await context.abort(grpc.StatusCode.INTERNAL, str(error))

    async def ModelStreamInfer(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        replies: asyncio.Queue[Any] = asyncio.Queue()

        async def answer(request: Any) -> None:
            try:
                message = service_pb2.ModelStreamInferResponse(infer_response=await self._triton.answer(request))
            except Refusal as error:
                message = service_pb2.ModelStreamInferResponse(error_message=str(error))
                message.infer_response.id = request.id
            replies.put_nowait(message)

        async def read() -> None:
            async for request in requests:
                running.append(asyncio.create_task(answer(request)))

        running = [asyncio.create_task(read())]
        try:
            while True:
                yield await replies.get()
        finally:
            for task in running:
                task.cancel()

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if (ranking := self._triton.interactions.get(request.name)) is not None:
            text = triton_config.render(ranking, Target.CPU)
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
            return service_pb2.ModelConfigResponse(config=config)
        contract = self._triton.configs.get(request.name)
        if contract is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown model {request.name}")
        config = text_format.Parse(tiny_config(contract), model_config_pb2.ModelConfig())
        return service_pb2.ModelConfigResponse(config=config)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model_name not in self._triton.loadable:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"failed to load {request.model_name}")
        self._triton.interactions[request.model_name] = self._triton.loadable[request.model_name]
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._triton.interactions.pop(request.model_name, None)
        return service_pb2.RepositoryModelUnloadResponse()

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        reply = service_pb2.RepositoryIndexResponse()
        for name in (*self._triton.configs, *self._triton.interactions):
            reply.models.add(name=name, state="READY")
        return reply
