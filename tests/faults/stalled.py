"""Streams whose callers stopped: what they cost the others, how much is held for them, and when they are gone.

    python -m faults.stalled [--streams 200] [--items 20000] [--repository PATH]

Half of the callers are as good as dead: their machines acknowledge bytes and nothing else. The others live, answer
pings, and grant no room for answers. All of them send until nothing more is taken, pictures, questions and items. When
nothing moves any more, calls by vector are compared with those before.
"""

from __future__ import annotations

import argparse
import select
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, machine, write
from benchmarks.filling import fill
from benchmarks.mixture import Mixture
from benchmarks.processor import seconds_by_part
from faults import live
from faults.deadlines import under_way
from faults.http2 import Caller
from faults.kill.service import free_port
from faults.overload import DIMENSION, OK, SAMPLES, SPACE, vector_calls
from faults.scratch import scratch
from faults.stalled_stream import Stalled
from twinset.v1 import catalog_pb2, embedding_pb2, recommender_pb2

_LOAD_PER_S = 150
_GONE_WITHIN_S = 90.0
_LOOK_S = 20.0
_STILL_S = 3.0
_SETTLED_WITHIN_S = 40.0
_IDLE_SHARE = 0.2


def messages() -> list[tuple[str, bytes]]:
    """Return a method with a message for it, of the size that our client sends, for each kind of stream."""
    pictures = [path.read_bytes() for path in sorted(SAMPLES.glob("*/*.png"))[:16]]
    rows = Mixture(DIMENSION).rows(64, 5)
    asked = [
        {"k": 10, "space": SPACE, "examples": [{"vector": {"space": SPACE, "values": row.tobytes()}}]}
        for row in rows[:8]
    ]
    items = [
        {"id": f"stalled/{place}", "vectors": [{"space": SPACE, "values": row.tobytes()}]}
        for place, row in enumerate(rows)
    ]
    embed = (
        "/twinset.v1.EmbeddingService/StreamEmbed",
        embedding_pb2.StreamEmbedRequest(pictures=pictures).SerializeToString(),
    )
    recommend = (
        "/twinset.v1.RecommenderService/StreamRecommend",
        recommender_pb2.StreamRecommendRequest(requests=asked).SerializeToString(),
    )
    put = ("/twinset.v1.CatalogService/PutItems", catalog_pb2.PutItemsRequest(items=items).SerializeToString())
    # Few with pictures: a CPU takes a second for what one such stream has read before it stalls.
    return [embed, *[recommend, put] * 6]


class Pressing:
    """Sends on all streams whatever is taken, and heeds pings, on a thread of its own while the context is open."""

    def __init__(self, streams: Sequence[Stalled]) -> None:
        self._streams = streams
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._press)
        self._moved_s = time.monotonic()
        self._sent = 0

    def __enter__(self) -> Pressing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for one in self._streams:
            one.close()

    @property
    def still_for_s(self) -> float:
        """For how long nothing was taken on any stream."""
        return time.monotonic() - self._moved_s

    def _press(self) -> None:
        while not self._ended.wait(0.02):
            alive = [one for one in self._streams if not one.is_over]
            heard = select.select([one.socket for one in alive if one.lives], [], [], 0)[0]
            for one in alive:
                if one.socket in heard:
                    one.heed()
                one.send()
            if (sent := sum(one.sent for one in self._streams)) != self._sent:
                self._sent, self._moved_s = sent, time.monotonic()


def main() -> int:
    """Do what the arguments say, and return the status of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--idle", type=float, default=60.0, help="server.stream_idle_s")
    parser.add_argument("--repository", type=Path, help="models; one is exported where it holds none")
    options = parser.parse_args()
    models, model = live.repository(options.repository)
    metrics_port = free_port()
    with scratch() as folder:
        fill(folder / "data", SPACE, DIMENSION, options.items)
        sections = {
            "server": {"stream_idle_s": options.idle},
            "triton": {"model_repository": models.resolve(), "model": model},
            "metrics": {"port": metrics_port},
            f"spaces.{SPACE}": {"dimension": DIMENSION},
        }
        with live.serving(folder, sections) as server, Caller(server.address, 16, vector_calls(500)) as caller:
            caller.at_rate(_LOAD_PER_S, 5)
            caller.settle(5)
            caller.outcomes.clear()
            caller.at_rate(_LOAD_PER_S, _LOOK_S)
            caller.settle(5)
            alone = [one.took_s for one in caller.outcomes if one.status == OK]
            before, held = server.private_bytes(), [0]
            kinds = messages()
            streams = [
                Stalled(server.address, *kinds[number // 2 % len(kinds)], lives=number % 2 == 0)
                for number in range(options.streams)
            ]
            with Pressing(streams) as pressing:
                settled = time.monotonic() + _SETTLED_WITHIN_S
                # What they had sent before they stalled is work as any other: it comes to an end.
                used_s, busy = 0.0, True
                while (busy or pressing.still_for_s < _STILL_S) and time.monotonic() < settled:
                    time.sleep(1)
                    held.append(server.private_bytes() - before)
                    used_before_s, used_s = used_s, seconds_by_part(server.process.pid).total()
                    busy = used_s - used_before_s > _IDLE_SHARE
                stalled, since_s = under_way(metrics_port), time.monotonic() - pressing.still_for_s
                caller.outcomes.clear()
                caller.at_rate(_LOAD_PER_S, _LOOK_S)
                caller.settle(5)
                held.append(server.private_bytes() - before)
                beside = [one.took_s for one in caller.outcomes if one.status == OK]
                failed = sum(one.status != OK for one in caller.outcomes)
                live.until(
                    lambda: under_way(metrics_port) == 0, options.idle + _GONE_WITHIN_S, "some streams are still there"
                )
                gone_s = time.monotonic() - since_s
    protocol = (
        f"{options.streams} streams, half of their callers as good as dead, of which {stalled} were open when nothing "
        f"moved any more; {_LOAD_PER_S} calls by vector a second beside them for {_LOOK_S:g} s, whose p99 was "
        f"{1e3 * live.percentile(alone, 0.99):.0f} ms without them; server.stream_idle_s {options.idle:g}; "
        f"{machine('grpcio', 'numpy')}"
    )
    ratio = live.percentile(beside, 0.99) / live.percentile(alone, 0.99)
    rows = [
        Figure("stalled.p99_ratio", ratio, None, "times", "lower", protocol, bound=1.5),
        Figure("stalled.total_mb", max(held) / 1e6, None, "MB", "lower", protocol, bound=256),
        Figure("stalled.gone_s", gone_s, None, "s", "lower", protocol, bound=80),
        Figure("stalled.failed", failed, None, "calls", "lower", protocol, bound=0),
    ]
    write("stalled", rows)
    return 0 if all(row.reaches(row.bound) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
