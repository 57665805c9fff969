"""A Triton that others run."""

from __future__ import annotations

from twinset.contract import ContractError
from twinset_server.errors import StartupError
from twinset_server.triton.connection import Connection
from twinset_server.triton.served_model import NoEmbedder, ServedModel, whole
from twinset_server.triton.transport import Refused


class RemoteTriton:
    """The Triton at `address`. It sees to itself: nothing here starts or stops it, and nothing can look into it."""

    def __init__(self, address: str, model: str | None) -> None:
        self._address = address
        self._model = model

    @property
    def address(self) -> str:
        """Where that Triton listens: `host:port`."""
        return self._address

    async def start(self) -> str:
        """Return the address."""
        return self._address

    async def describe(self, connection: Connection, *, timeout_s: float) -> ServedModel:
        """Return the model, as that Triton describes it.

        Raises:
            StartupError: the model isn't there or is no model of ours; or no name was given and the choice isn't clear.
            TransportError: Triton doesn't answer.
        """
        if self._model is not None:
            return await self._read(connection, self._model, timeout_s)
        models, broken = await list_remote_models(connection, timeout_s=timeout_s)
        if len(choice := whole(models)) == 1:
            return next(iter(choice.values()))
        if models:
            raise StartupError(
                f"the Triton at {self._address} serves several models: say which with --model NAME, NAME being one of "
                f"{', '.join(models)}"
            )
        others = "".join(f"\n  {problem}" for problem in broken)
        raise StartupError(
            f"the Triton at {self._address} serves no model of twinset: export one into its repository with "
            f"`twinset-exporter export efficientnet_lite0 --repository PATH` and load it{others}"
        )

    async def load(self, name: str, connection: Connection, *, timeout_s: float) -> None:
        """Have it load a model, unless it has.

        Raises:
            StartupError: it can't, or doesn't let anybody ask for that.
            TransportError: Triton doesn't answer.
        """
        if name in await connection.model_names(timeout_s=timeout_s):
            return
        try:
            await connection.load(name, timeout_s=timeout_s)
        except Refused as error:
            raise StartupError(
                f"the Triton at {self._address} doesn't load model {name} ({error}): load it there, then try again"
            ) from error

    async def _read(self, connection: Connection, name: str, timeout_s: float) -> ServedModel:
        try:
            return ServedModel.from_config(await connection.model_config(name, timeout_s=timeout_s))
        except ContractError as error:
            raise StartupError(f"model {name} of the Triton at {self._address}: {error}") from error
        except Refused as error:
            loaded = await connection.model_names(timeout_s=timeout_s)
            raise StartupError(
                f"the Triton at {self._address} doesn't serve model {name} ({error}): load it there, or choose among "
                f"{', '.join(loaded) or 'none'} with --model NAME"
            ) from error

    def fault(self) -> str | None:
        """Return None: the processes are elsewhere."""
        return None

    def asleep(self) -> bool:
        """Return False: the processes are elsewhere, and only a time-out tells that they hang."""
        return False

    def last_words(self) -> str:
        """Return nothing: the log is elsewhere."""
        return ""

    async def stop(self, *, grace_s: float = 0) -> None:
        """Leave it running."""

    def close(self) -> None:
        """Nothing of it is here."""


async def list_remote_models(
    connection: Connection, *, timeout_s: float
) -> tuple[dict[str, ServedModel], list[ContractError]]:
    """Return the models of ours that a Triton has loaded by name, heads apart, and why each other one is none.

    Raises:
        TransportError: Triton doesn't answer.
    """
    models: dict[str, ServedModel] = {}
    broken: list[ContractError] = []
    for name in await connection.model_names(timeout_s=timeout_s):
        try:
            models[name] = ServedModel.from_config(await connection.model_config(name, timeout_s=timeout_s))
        except NoEmbedder:
            continue
        except ContractError as error:
            broken.append(ContractError(f"{name}: {error}"))
    return models, broken
