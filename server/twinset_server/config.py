"""Settings: arguments > `TWINSET_SERVER__PORT`-style variables > `twinset.toml` > defaults.

Sections are frozen, and a function gets the section that it needs, never the whole.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from twinset.contract import Metric
from twinset_server.domain import MAX_SPACE_BYTES, VISUAL, Dtype
from twinset_server.errors import StartupError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Section):
    """Where the service listens, and how much it takes on."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    decode_threads: int = Field(0, ge=0, description="Threads that decode pictures; 0 means one a core.")
    max_pictures_in_flight: int = Field(128, ge=1, description="Pictures of streams decoded or embedded at a time.")
    max_waiting_bytes: int = Field(
        512 << 20,
        ge=32 << 20,
        description="Bytes of encoded pictures held over all calls; more are refused.",
    )
    max_picture_wait_s: float = Field(
        1.0,
        gt=0,
        description="Pictures of single calls are refused that would wait longer for the model, by its pace of late.",
    )
    max_reads: int = Field(512, ge=1, description="Single calls that read, under way at a time; more are refused.")
    max_writes: int = Field(256, ge=1, description="Single calls that write, under way at a time; more are refused.")
    max_streams: int = Field(512, ge=1, description="Streams open at a time; more are refused.")
    max_stream_bytes: int = Field(
        128 << 20,
        ge=32 << 20,
        description="Bytes of requests that streams have read and not answered, over all; beyond it each gets to read "
        "one message at a time.",
    )
    max_backlog: int = Field(
        128,
        ge=8,
        description="Calls that may wait for each worker to look at them; those beyond it are cut off unseen.",
    )
    stream_idle_s: float = Field(
        60.0, ge=0, description="Seconds without a message after which a stream is ended; 0 means never."
    )
    workers: int = Field(0, ge=0, description="Processes that answer; 0 means one a core.")
    max_connection_age_s: float = Field(
        0.0,
        ge=0,
        description="Seconds after which a connection is asked to end, so that callers spread; 0 means never.",
    )
    pause_s: float = Field(
        0.0,
        ge=0,
        description="Seconds at SIGTERM in which calls are still taken while probes say NOT_SERVING, so that whoever "
        "balances load can send them elsewhere.",
    )
    drain_s: float = Field(10.0, ge=0, description="Seconds that calls in flight get at SIGTERM.")


class TritonSettings(_Section):
    """The Triton that runs the model."""

    url: str | None = Field(None, description="host:port of a running Triton's gRPC; unset starts an embedded one.")
    model_repository: Path = Field(Path("model_repository"), description="Folder of exported models.")
    model: str | None = Field(None, description="The model that fills `visual`; needed where the folder holds several.")
    transport: Literal["stream", "unary"] = Field("unary", description="How requests travel to Triton.")
    max_batch: int = Field(16, ge=1, description="Pictures in one request to Triton, at most.")
    max_in_flight: int = Field(3, ge=1, description="Requests to Triton under way at a time.")
    request_timeout_s: float = Field(30.0, gt=0, description="Longest wait for one request to Triton.")
    startup_timeout_s: float = Field(60.0, gt=0, description="Longest wait for the model to be ready at start.")


class StoreSettings(_Section):
    """The catalogue on disk."""

    path: Path = Field(Path("twinset-data"), description="Folder of the catalogue; made where it doesn't exist.")
    pictures: Literal["none", "model", "original"] = Field(
        "original",
        description="What is kept of pictures: nothing, a copy of at most 512 pixels a side, or what was put.",
    )
    fold_at: int = Field(4096, ge=1, description="Vectors outside the index at which they are folded into it.")
    graph_at: int = Field(
        16_384, ge=2, description="Vectors in a segment of the index from which on it gets a graph; fewer are compared."
    )
    dtypes: dict[str, Dtype] = Field(
        default_factory=dict,
        description="By space, the type of components in its graphs: bf16, f32, f16, or i8, half as large. By default "
        "bf16, and f32 where up to 128 components are compared by inner product. Graphs that are there keep theirs "
        "until `rebuild`.",
    )
    slow_at: int = Field(20_000, ge=1, description="Vectors outside the index at which writes are slowed down.")


class SearchSettings(_Section):
    """How searches are watched."""

    check_share: float = Field(
        0.001,
        ge=0,
        le=1,
        description="Share of searches that is made again exactly, in the background, to know the recall; 0: none.",
    )


class CatalogSettings(_Section):
    """What the server adds to items."""

    fill_category: str | None = Field(
        None,
        description="Output of the model whose likeliest class becomes the category of an item that has none.",
    )


class AdminSettings(_Section):
    """Where operators ask for backups, checks and the like."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(50052, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")


class ProbeSettings(_Section):
    """Where the health of the whole server is told, in plaintext and to everybody."""

    host: str = Field("127.0.0.1", description="Address to listen on; Kubernetes needs 0.0.0.0.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port to listen on; 0 takes a free one, unset: there are no probes."
    )


class MetricsSettings(_Section):
    """Where Prometheus scrapes, in plaintext and by everybody who can connect."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int | None = Field(
        None, ge=0, le=65535, description="Port of /metrics; 0 takes a free one, unset: nothing is counted."
    )


class TraceSettings(_Section):
    """Where calls are traced to; needs the extra `traces`."""

    endpoint: str | None = Field(
        None, description="host:port of a collector that takes OTLP over gRPC; unset: nothing is traced."
    )
    plaintext: bool = Field(False, description="Whether the collector is reached without TLS.")
    share: float = Field(
        0.01, ge=0, le=1, description="Share of calls that are traced, of those whose callers don't say."
    )


class LogSettings(_Section):
    """What the log looks like."""

    format: Literal["text", "json"] = Field("text", description="A line for people, or an object of JSON.")


class TlsSettings(_Section):
    """What connections are encrypted with. The files are PEM, and read again when they change."""

    certificate: Path | None = Field(None, description="The server's certificate, with its chain; unset: no TLS.")
    key: Path | None = Field(None, description="The private key of the certificate.")
    client_authority: Path | None = Field(
        None, description="Certificates of authorities; callers must then show a certificate signed by one of them."
    )

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: set both, or neither")
        if self.client_authority is not None and self.certificate is None:
            raise ValueError("client_authority needs a certificate and a key of the server's own")
        return self


class AccessSettings(_Section):
    """Who may call."""

    tokens: Path | None = Field(
        None, description="File of tokens, as `twinset-server token` writes them; unset: all who can connect may call."
    )
    plaintext: bool = Field(
        False, description="Listen without TLS on addresses that other machines reach, where a proxy or mesh encrypts."
    )


PLAINTEXT = TlsSettings()
"""No TLS."""

EVERYBODY = AccessSettings()
"""All who can connect may call."""


class ExternalSpace(_Section):
    """A space filled by vectors that clients bring."""

    dimension: int = Field(ge=1, le=65536, description="Components of its vectors.")
    metric: Metric = Field(Metric.COSINE, description="How its vectors are compared.")


class Settings(BaseSettings):
    """All settings of `twinset-server`."""

    model_config = SettingsConfigDict(
        env_prefix="TWINSET_", env_nested_delimiter="__", toml_file="twinset.toml", frozen=True, extra="forbid"
    )

    server: ServerSettings = ServerSettings()
    triton: TritonSettings = TritonSettings()
    store: StoreSettings = StoreSettings()
    search: SearchSettings = SearchSettings()
    catalog: CatalogSettings = CatalogSettings()
    admin: AdminSettings = AdminSettings()
    probes: ProbeSettings = ProbeSettings()
    metrics: MetricsSettings = MetricsSettings()
    traces: TraceSettings = TraceSettings()
    logs: LogSettings = LogSettings()
    tls: TlsSettings = TlsSettings()
    access: AccessSettings = AccessSettings()
    spaces: dict[str, ExternalSpace] = Field(default_factory=dict, description="External spaces by name.")

    @field_validator("spaces")
    @classmethod
    def _check_names(cls, spaces: dict[str, ExternalSpace]) -> dict[str, ExternalSpace]:
        if long := [name for name in spaces if not 1 <= len(name.encode()) <= MAX_SPACE_BYTES]:
            raise ValueError(f"the name of a space takes 1 to {MAX_SPACE_BYTES} bytes: {long[0]!r} doesn't")
        if VISUAL in spaces:
            raise ValueError(f"the space {VISUAL!r} is filled by the model: give yours another name")
        return spaces

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, strongest first."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load(given: Mapping[str, Mapping[str, Any]], file: Path | None = None) -> Settings:
    """Return the settings, where `given` holds sections of arguments; a None among them was not given.

    Raises:
        pydantic.ValidationError: a value is malformed, or a key unknown.
        StartupError: `file` is named and can't be read, or is no TOML.
    """
    if file is not None and not file.is_file():
        raise StartupError(f"no settings file {file}: name one that exists with --config")
    arguments = {
        section: {key: value for key, value in values.items() if value is not None} for section, values in given.items()
    }

    class _FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file or "twinset.toml")

    read: Callable[..., Settings] = _FromFile
    try:
        return read(**arguments)
    except tomllib.TOMLDecodeError as error:
        raise StartupError(f"{file or 'twinset.toml'} is no TOML: {error}") from error


class _Received(Settings):
    """Settings that another process has read: no variable and no file of this one adds to them."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return what was received, and nothing else."""
        return (init_settings,)


def received(sections: Mapping[str, Any]) -> Settings:
    """Return the settings that another process gave by `Settings.model_dump`."""
    return _Received(**sections)


def setting_names() -> list[str]:
    """Return the names of all settings, such as `store.path`."""
    sections: dict[str, type[BaseModel]] = {
        "server": ServerSettings,
        "triton": TritonSettings,
        "store": StoreSettings,
        "search": SearchSettings,
        "catalog": CatalogSettings,
        "admin": AdminSettings,
        "probes": ProbeSettings,
        "metrics": MetricsSettings,
        "tls": TlsSettings,
        "access": AccessSettings,
    }
    return [f"{section}.{name}" for section, settings in sections.items() for name in settings.model_fields]
