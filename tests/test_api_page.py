"""The page of calls: every block is run against the real gRPC server on fakes, and prints what the page shows.

With `TWINSET_WRITE_API=1` what is printed is written into the page.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory

from fakes.embedder import FakeClassifier
from fakes.service import FakeService
from twinset.contract import Metric
from twinset_server.domain import TASTE, Space

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

_BLOCK = re.compile(
    r"^```(?P<kind>python|console)\n(?P<body>.*?)^```$(?:\n\n^```(?:text|json)\n.*?^```$)?", re.DOTALL | re.MULTILINE
)
"""A block of code, and what stands below it."""

_VARYING = (
    "recommendationId",
    "fingerprint",
    "sourceFingerprint",
    "targetFingerprint",
    "nextPageToken",
    "etag",
    "createTime",
    "updateTime",
)


@pytest.fixture
def service() -> Iterator[FakeService]:
    with FakeService(FakeClassifier()) as running:
        asyncio.run(running.catalog.add_space(Space(TASTE, 2, Metric.INNER_PRODUCT, "d" * 64)))
        yield running


def test_every_block_of_the_page_prints_what_stands_below_it(
    service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    text, count = PAGE.read_text(), 0

    def ran(block: re.Match[str]) -> str:
        nonlocal count
        count += 1
        if block["kind"] == "python":
            kind, printed = "text", _printed(block["body"].replace("localhost:50051", service.address), names)
        else:
            kind, printed = "json", _called(block["body"], service.address)
        code = f"```{block['kind']}\n{block['body']}```"
        return f"{code}\n\n```{kind}\n{printed}\n```" if printed else code

    try:
        written = _BLOCK.sub(ran, text)
    finally:
        names["client"].close()
    if os.environ.get("TWINSET_WRITE_API"):
        PAGE.write_text(written)
    assert count > 8
    assert written == text


def _printed(code: str, names: dict[str, Any]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(code, str(PAGE), "exec"), names)
    return "\n".join(line.rstrip() for line in output.getvalue().rstrip().splitlines())


def _called(command: str, address: str) -> str:
    """Return the answer to what `grpcurl` sends, as it prints it."""
    words = shlex.split(command.removeprefix("$ "))
    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    service, name = words[-1].split("/")
    method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    request = json_format.Parse(words[3], message_factory.GetMessageClass(method.input_type)())
    answer_class = message_factory.GetMessageClass(method.output_type)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(f"/{words[-1]}", type(request).SerializeToString, answer_class.FromString)
        answer = json_format.MessageToDict(call(request, timeout=10))
    return json.dumps(_masked(answer), indent=2)


def _masked(value: Any, name: str = "") -> Any:
    if name in _VARYING:
        return "..."
    if isinstance(value, dict):
        return {key: _masked(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_masked(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value
