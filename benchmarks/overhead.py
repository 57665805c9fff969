"""What TLS, tokens, metrics and traces each add to a call, in processor time of the server.

Each variant is a worker of its own over the same filled folder: as it is by default, with one of them, with TLS, tokens
and metrics together, and with traces of all calls and of one in a hundred. 32 calls of `Recommend` by vector are in
flight from this process to one worker after the other, in turns of a second or two; a figure is the median over the
rounds of what a variant takes a call beside the plain one in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import trustme
import uvloop

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.mixture import Mixture
from benchmarks.search_cpu import DIMENSION, QUERIES, SPACE, request
from benchmarks.search_worker import NoModel
from twinset.v1 import catalog_pb2, catalog_pb2_grpc
from twinset_server.access import Scope, new_token, to_toml
from twinset_server.app import answering
from twinset_server.catalog import Folder, open_catalog
from twinset_server.catalog.folder import hold
from twinset_server.config import Settings
from twinset_server.metrics.folder import CountingFolder
from twinset_server.rpc.interceptor import Place

IN_FLIGHT = 32
BOUND, AIM = 0.2, 0.1

_RECOMMEND = "/twinset.v1.RecommenderService/Recommend"


@dataclass
class Variant:
    """A worker and what calls to it have cost.

    Attributes:
        name: such as `tls`.
        settings: of the server, as JSON.
        counts: whether it counts for Prometheus.
        cpu_us: processor time a call, of each round.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    counts: bool = False
    cpu_us: list[float] = field(default_factory=list)


def main() -> None:
    """Fill, ask in turns, and write the figures; or be a worker."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-search"), help="where the catalogue is made")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        uvloop.run(_serve(options.folder, json.loads(options.serve)))
        return
    fill(options.folder, SPACE, DIMENSION, options.items)
    scratch = options.folder.with_name(options.folder.name + "-overhead")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(options.folder, scratch)
    try:
        with hold(scratch), tempfile.TemporaryDirectory() as secrets:
            variants, plain = asyncio.run(measured(scratch, Path(secrets), options)), "plain"
    finally:
        shutil.rmtree(scratch)
    base = next(one for one in variants if one.name == plain)
    told = (
        f"server processor time a Recommend by vector over {options.items:,} x {DIMENSION}, {IN_FLIGHT} in flight, "
        f"beside {statistics.median(base.cpu_us):.0f} us without any of them; medians of {options.rounds} interleaved "
        f"turns of {options.seconds:g} s; {machine('twinset', 'grpcio', 'prometheus-client', 'opentelemetry-sdk')}"
    )
    write(
        "overhead",
        [
            Figure(
                f"overhead.{'cpu_share' if one.name == 'together' else one.name}",
                statistics.median(cost / least - 1 for cost, least in zip(one.cpu_us, base.cpu_us, strict=True)),
                AIM if one.name == "together" else None,
                "of a call",
                "lower",
                f"TLS, tokens and metrics; {told}" if one.name == "together" else told,
                BOUND if one.name == "together" else None,
            )
            for one in variants
            if one is not base
        ],
    )


async def measured(folder: Path, secrets: Path, options: argparse.Namespace) -> list[Variant]:
    """Return each variant with what its calls cost, asked in turns."""
    authority, token = trustme.CA(), _tokens(secrets)
    async with contextlib.AsyncExitStack() as stack:
        collector = stack.enter_context(_collector())
        variants = _variants(authority, secrets, collector)
        workers = []
        for variant in variants:
            address, pid = stack.enter_context(_worker(folder, variant))
            options_of = [("grpc.use_local_subchannel_pool", 1)]
            if "tls" in variant.settings:
                trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
                channel = grpc.aio.secure_channel(address, trusted, options=options_of)
            else:
                channel = grpc.aio.insecure_channel(address, options=options_of)
            await stack.enter_async_context(channel)
            metadata = (("authorization", f"Bearer {token}"),) if "access" in variant.settings else ()
            workers.append((variant, channel, pid, metadata))
        fingerprint = await _fingerprint(workers[0][1])
        messages = [request(row, fingerprint).SerializeToString() for row in Mixture(DIMENSION).rows(QUERIES, 91)]
        for turn in range(options.rounds + 1):
            for variant, channel, pid, metadata in workers[turn % len(workers) :] + workers[: turn % len(workers)]:
                before_ns = _cpu_ns(pid)
                calls = await _flood(channel, messages, metadata, options.seconds)
                if turn:  # the first warms up
                    variant.cpu_us.append((_cpu_ns(pid) - before_ns) / calls / 1000)
        return variants


def _variants(authority: trustme.CA, secrets: Path, collector: str) -> list[Variant]:
    issued = authority.issue_cert("127.0.0.1")
    key, certificate = secrets / "tls.key", secrets / "tls.crt"
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    tls = {"tls": {"certificate": str(certificate), "key": str(key)}}
    access = {"access": {"tokens": str(secrets / "tokens.toml")}}
    traced = {"endpoint": collector, "plaintext": True}
    return [
        Variant("plain"),
        Variant("tls", tls),
        Variant("tokens", access),
        Variant("metrics", counts=True),
        Variant("together", tls | access, counts=True),
        Variant("traces_of_all", {"traces": {**traced, "share": 1.0}}),
        Variant("traces_of_one_in_100", {"traces": {**traced, "share": 0.01}}),
    ]


def _tokens(secrets: Path) -> str:
    secret, token = new_token("bench", [Scope.READ])
    (secrets / "tokens.toml").write_text(to_toml(token))
    return secret


async def _flood(
    channel: grpc.aio.Channel, messages: Sequence[bytes], metadata: tuple[tuple[str, str], ...], seconds: float
) -> int:
    """Keep calls in flight for so long, and return how many were answered."""
    call: Any = channel.unary_unary(_RECOMMEND)
    done, ends = 0, time.monotonic() + seconds

    async def repeat(first: int) -> None:
        nonlocal done
        number = first
        while time.monotonic() < ends:
            await call(messages[number % len(messages)], metadata=metadata)
            done += 1
            number += IN_FLIGHT

    await asyncio.gather(*(repeat(first) for first in range(IN_FLIGHT)))
    return done


async def _fingerprint(channel: grpc.aio.Channel) -> str:
    answer = await catalog_pb2_grpc.CatalogServiceStub(channel).GetCatalog(catalog_pb2.GetCatalogRequest())  # type: ignore[no-untyped-call]
    return next(space.fingerprint for space in answer.spaces if space.name == SPACE)


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """Take spans and do nothing with them; the value is where."""

    def take(_: bytes, __: Any) -> bytes:
        return b""

    handlers = {"Export": grpc.unary_unary_rpc_method_handler(take)}
    # In threads of its own: the loop is busy with calls.
    server = grpc.server(ThreadPoolExecutor(2))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextlib.contextmanager
def _worker(folder: Path, variant: Variant) -> Iterator[tuple[str, int]]:
    """Run a worker; the value is its address and its process."""
    settings = {"server": {"port": 0}, "store": {"path": str(folder)}, **variant.settings}
    command = [sys.executable, "-m", "benchmarks.overhead", "--folder", folder, "--serve", json.dumps(settings)]
    counting = CountingFolder() if variant.counts else None
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        address = process.stdout.readline().strip()
        if counting is not None:
            os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # of this worker alone
        yield address, process.pid
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        if counting is not None:
            counting.remove()


async def _serve(folder: Path, given: dict[str, Any]) -> None:
    """Answer until standard input ends."""
    settings = Settings(**given)
    async with (
        open_catalog(Folder(folder), settings.store) as catalog,
        answering(catalog, NoModel(), settings, Place(0, 1)) as port,
    ):
        print(f"127.0.0.1:{port}", flush=True)
        with ThreadPoolExecutor(1) as waiting:
            await asyncio.get_running_loop().run_in_executor(waiting, sys.stdin.read)


def _cpu_ns(pid: int) -> int:
    """Return the processor time of a process's threads so far."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


if __name__ == "__main__":
    main()
