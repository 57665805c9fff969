"""What a stranger sees: look-alikes out of the real Triton, from a catalogue that survives."""

from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from e2e.conftest import SAMPLES, Server, Start
from twinset import Client, Example, Item, Picture, Vector
from twinset.errors import FailedPrecondition, InvalidArgument, NotFound

K = 10


def test_look_alikes_of_the_samples_have_their_label(client: Client) -> None:
    labels = {item.id: item.category for item in client.list_items()}
    assert len(labels) == 300
    queries = list(labels)[::3]
    hits = [labels[r.item.id] == labels[query] for query in queries for r in client.recommend(item=query, k=K)]
    assert len(hits) == K * len(queries)
    assert np.mean(hits) >= 0.65  # .10 by chance


def test_a_stored_picture_finds_its_own_item_first(client: Client) -> None:
    item_id = next(iter(client.list_items())).id
    found = client.recommend(picture=client.get_picture(item_id).content, k=1)
    assert found[0].item.id == item_id
    assert found[0].score == pytest.approx(1, abs=1e-3)


def test_an_embedding_sent_back_finds_its_own_item_first(client: Client) -> None:
    item_id = next(iter(client.list_items())).id
    (embedding,) = client.embed([client.get_picture(item_id).content])
    assert client.recommend(vector=embedding["embedding"], k=1)[0].item.id == item_id


def test_all_outputs_of_the_model_can_be_asked_for(client: Client) -> None:
    picture = next(SAMPLES.rglob("*.png")).read_bytes()
    (embedding,) = client.embed([picture], outputs=["features", "embedding"])
    features, unit = embedding["features"].values, embedding["embedding"].values
    assert features.shape == unit.shape == (1280,)
    np.testing.assert_allclose(unit, features / np.linalg.norm(features), atol=1e-5)
    assert embedding["features"].space == ""
    assert embedding["embedding"].space == "visual"


def test_a_stream_answers_in_order_with_errors_in_their_place(client: Client) -> None:
    pictures = [path.read_bytes() for path in sorted(SAMPLES.rglob("*.png"))[:40]]
    pictures[7] = b"no picture"
    streamed = list(client.stream_embed(pictures))
    assert len(streamed) == 40
    assert isinstance(streamed[7].error, InvalidArgument)
    for n in (0, 6, 8, 39):
        (alone,) = client.embed([pictures[n]])
        np.testing.assert_allclose(streamed[n]["embedding"].values, alone["embedding"].values, atol=1e-5)


def test_an_acknowledged_item_is_found_by_the_next_search_and_after_a_kill(start: Start, tmp_path: Path) -> None:
    files = sorted(SAMPLES.rglob("*.png"))[:100:10]
    first = start(tmp_path / "data")
    with Client(first.address) as client:
        for file in files:
            item = Item(id=file.stem, pictures=[Picture(content=file.read_bytes())])
            (result,) = client.put_items([item])
            assert result.error is None
            assert client.recommend(picture=file.read_bytes(), k=1)[0].item.id == file.stem
    first.kill()
    second = start(tmp_path / "data")
    with Client(second.address) as client:
        for file in files:
            assert client.recommend(picture=file.read_bytes(), k=1)[0].item.id == file.stem
            assert client.get_picture(file.stem).content == file.read_bytes()
        assert client.catalog().item_count == len(files)


def test_a_deleted_item_is_never_found_again(start: Start, tmp_path: Path) -> None:
    files = sorted(SAMPLES.rglob("*.png"))[:3]
    with Client(start(tmp_path / "data").address) as client:
        items = [Item(id=f.stem, pictures=[Picture(content=f.read_bytes())]) for f in files]
        assert all(result.error is None for result in client.put_items(items))
        client.delete_item(files[0].stem)
        found = client.recommend(picture=files[0].read_bytes(), k=10)
        assert {r.item.id for r in found} == {files[1].stem, files[2].stem}
        with pytest.raises(NotFound):
            client.get_item(files[0].stem)


@pytest.mark.parametrize(
    "values", [np.ones(3, np.float32), np.full(1280, np.nan, np.float32), np.zeros(1280, np.float32)]
)
def test_a_bad_vector_is_refused_by_field(client: Client, values: np.ndarray) -> None:
    space = client.catalog().spaces[0]
    with pytest.raises(InvalidArgument) as caught:
        client.recommend(vector=Vector(values, "visual", space.fingerprint))
    assert caught.value.field == "examples[0].vector.values"


def test_a_vector_of_another_model_is_refused_with_both_named(client: Client) -> None:
    ours = client.catalog().spaces[0].fingerprint
    with pytest.raises(FailedPrecondition) as caught:
        client.recommend(vector=Vector(np.ones(1280, np.float32), "visual", "f" * 64))
    assert "f" * 64 in str(caught.value)
    assert ours in str(caught.value)


def test_a_client_that_knows_no_protos_gets_a_recommendation_by_reflection(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "twinset.v1.RecommenderService" in database.get_services()
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("twinset.v1.RecommenderService")
        method = service.FindMethodByName("Recommend")
        request_type = message_factory.GetMessageClass(method.input_type)
        response_type = message_factory.GetMessageClass(method.output_type)
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=response_type.FromString,
        )
        item_id = sorted(SAMPLES.rglob("*.png"))[0].relative_to(SAMPLES).with_suffix("").as_posix()
        request = request_type(k=3)
        request.examples.add(item_id=item_id)
        assert len(call(request, timeout=10).recommendations) == 3


def test_examples_that_cancel_each_other_out_are_refused(client: Client) -> None:
    item_id = next(iter(client.list_items())).id
    examples = [Example(item=item_id), Example(item=item_id, weight=-1)]
    with pytest.raises(InvalidArgument, match="cancel") as caught:
        client.recommend(examples=examples)
    assert caught.value.field.startswith("examples")


def test_the_health_service_says_serving(server: Server) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(server.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="twinset.v1.CatalogService")
        )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
