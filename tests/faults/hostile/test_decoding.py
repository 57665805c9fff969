"""Pictures that mean harm are decoded or refused, in time and within their memory."""

from collections import Counter
from random import Random

import grpc
import pytest
from google.rpc import code_pb2

from fakes.service import FakeService
from faults.hostile import decoding, pictures
from faults.share import EVERYTHING, share
from twinset.v1 import embedding_pb2, embedding_pb2_grpc

DANGEROUS = [
    "PNG of 50 million colours of 16 bits",
    "PNG of a column of 50 million pixels",
    "JPEG of 7,000 x 7,000 and 20,000 scans",
    "JPEG of one marker",
    "WebP that says 16,384 x 16,384",
]
"""One of each kind; the others cost seconds to make."""


def test_mutated_pictures_are_decoded_or_refused() -> None:
    count = share(4_000, 100_000)
    outcome = decoding.mutations(0, count)
    assert outcome.problems == []
    assert outcome.pictures == count
    # Else the damage would all stop at the container, or reach nothing.
    assert min(outcome.ends["decoded"], outcome.ends["refused"]) > count // 10


def test_bombs_are_decoded_or_refused() -> None:
    names = list(pictures.bombs()) if EVERYTHING else DANGEROUS
    outcome = decoding.bombs(names)
    assert outcome.problems == []
    assert outcome.pictures == len(names)


def test_a_server_answers_each_of_them_and_goes_on() -> None:
    known, random = pictures.seeds(), Random(5)
    sent = [pictures.mutated(random.choice(known), random) for _ in range(share(300, 20_000))]
    with FakeService() as service, grpc.insecure_channel(service.address) as channel:
        stub = embedding_pb2_grpc.EmbeddingServiceStub(channel)
        messages = (
            embedding_pb2.StreamEmbedRequest(pictures=sent[start : start + 20]) for start in range(0, len(sent), 20)
        )
        results = [result for answer in stub.StreamEmbed(messages, timeout=300) for result in answer.results]
        ends = Counter(result.error.code if result.HasField("error") else code_pb2.OK for result in results)
        assert ends.total() == len(sent)
        assert ends.keys() == {code_pb2.OK, code_pb2.INVALID_ARGUMENT}
        assert stub.Embed(embedding_pb2.EmbedRequest(pictures=known[:1]), timeout=20).results[0].HasField("embedding")


@pytest.mark.parametrize("kind", ["death", "memory", "answer"])
def test_the_harness_sees_what_it_looks_for(kind: str) -> None:
    outcome = decoding.planted(kind)
    assert len(outcome.problems) == 1
