"""Which models there are: in a folder of this machine, or on a Triton that others run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from twinset.contract import ModelContract
from twinset_server.config import TritonSettings
from twinset_server.errors import EmbedderUnavailable
from twinset_server.triton.connection import Connection
from twinset_server.triton.remote import RemoteTriton, list_remote_models
from twinset_server.triton.served_model import list_models, whole
from twinset_server.triton.transport import TransportError


async def list_repository(settings: TritonSettings) -> tuple[dict[str, ModelContract], list[str]]:
    """Return the models that embed pictures by name, but parts of others, and what is wrong with broken ones.

    On a Triton elsewhere those are listed that it has loaded.

    Raises:
        EmbedderUnavailable: it doesn't answer.
    """
    if settings.url is None:
        models, broken = await asyncio.to_thread(list_models, settings.model_repository)
    else:
        async with _connected(settings.url, settings) as connection:
            models, broken = await list_remote_models(connection, timeout_s=settings.request_timeout_s)
    return {name: model.contract for name, model in whole(models).items()}, [str(problem) for problem in broken]


async def load_remotely(settings: TritonSettings, name: str) -> None:
    """Have the Triton that `settings.url` names serve a model, unless it does.

    Raises:
        StartupError: it can't, or doesn't let anybody ask for that.
        EmbedderUnavailable: it doesn't answer.
    """
    url = settings.url or ""
    async with _connected(url, settings) as connection:
        await RemoteTriton(url, name).load(name, connection, timeout_s=settings.startup_timeout_s)


@asynccontextmanager
async def _connected(url: str, settings: TritonSettings) -> AsyncIterator[Connection]:
    connection = Connection(url, settings.transport)
    try:
        yield connection
    except TransportError as error:
        raise EmbedderUnavailable(f"the Triton at {url} doesn't answer ({error}): try again when it does") from error
    finally:
        with contextlib.suppress(TransportError):
            await connection.close()
