"""Protos to domain and back. Says nothing about what is allowed, only about what is unreadable."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf import timestamp_pb2

from twinset.contract import ModelContract
from twinset.pair_contract import PAIR_SOURCE, PairContract
from twinset.v1 import catalog_pb2, embedding_pb2
from twinset_server import limits
from twinset_server.domain import (
    Attribute,
    CatalogStatus,
    Float32Array,
    Item,
    ItemVector,
    MeasuredRecall,
    Metric,
    Picture,
    Prediction,
    Space,
    StoredInteraction,
    User,
    Vector,
)
from twinset_server.embedding import Outputs
from twinset_server.errors import BadVector, InvalidRequest, TwinsetError
from twinset_server.ports import Embedder
from twinset_server.predictions import likeliest
from twinset_server.rpc.status import to_status

View = catalog_pb2.ItemView

_METRICS = {
    Metric.COSINE: embedding_pb2.METRIC_COSINE,
    Metric.EUCLIDEAN: embedding_pb2.METRIC_EUCLIDEAN,
    Metric.INNER_PRODUCT: embedding_pb2.METRIC_INNER_PRODUCT,
}


def vector(message: embedding_pb2.Vector, field: str) -> Vector:
    """Return the vector that `message` carries.

    Raises:
        BadVector: its bytes are no whole number of float32.
        InvalidRequest: its space or fingerprint is longer than they are.
    """
    if len(message.values) % 4:
        raise BadVector(f"{field}.values", f"takes {len(message.values)} bytes, which is no multiple of 4 (float32)")
    limits.check_space(f"{field}.space", message.space)
    limits.check_text(f"{field}.fingerprint", message.fingerprint, limits.MAX_FINGERPRINT_BYTES)
    values = np.frombuffer(message.values, dtype="<f4").astype(np.float32, copy=False)
    return Vector(message.space, values, message.fingerprint or None)


def item(stored: Item, view: View, spaces: Mapping[str, Space]) -> catalog_pb2.Item:
    """Return a stored item as far as `view` goes."""
    if view == catalog_pb2.ITEM_VIEW_ID:
        return catalog_pb2.Item(id=stored.id)
    return catalog_pb2.Item(
        id=stored.id,
        title=stored.title,
        uri=stored.uri,
        category=stored.category,
        attributes={name: attribute_message(value) for name, value in stored.attributes.items()},
        pictures=[picture(p) for p in stored.pictures],
        vectors=[_vector_message(v, spaces) for v in stored.vectors or ()],
        etag=stored.etag,
        sequence=stored.sequence,
        create_time=timestamp(stored.created),
        update_time=timestamp(stored.updated),
        category_predicted=None
        if stored.category_probability is None
        else prediction(Prediction(stored.category, stored.category_probability)),
    )


def prediction(one: Prediction) -> embedding_pb2.Prediction:
    """Return a predicted class."""
    return embedding_pb2.Prediction(class_name=one.class_name, probability=one.probability)


def picture(stored: Picture) -> catalog_pb2.Picture:
    """Return what is known of a picture, without its content."""
    return catalog_pb2.Picture(
        id=stored.id,
        media_type=stored.media_type,
        width=stored.width,
        height=stored.height,
        sha256=stored.sha256,
        size_bytes=stored.size_bytes,
        stored=stored.stored,
    )


def embed_result(
    outcome: Outputs | TwinsetError,
    names: Sequence[str],
    embedder: Embedder,
    field: str,
    *,
    predictions: int = 0,
    category_unknown: bool = False,
) -> embedding_pb2.EmbedResult:
    """Return what became of one picture.

    Args:
        outcome: its outputs, or why there are none.
        names: of the outputs to return.
        embedder: what made them.
        field: the picture's.
        predictions: how many classes to tell of each output that has some.
        category_unknown: whether its category is none of the model's.
    """
    if isinstance(outcome, TwinsetError):
        located = outcome.at(field) if isinstance(outcome, InvalidRequest) else outcome
        return embedding_pb2.EmbedResult(error=to_status(located))
    contract = embedder.contract
    filled = {space.output: space.name for space in contract.spaces}
    outputs = [
        embedding_pb2.Output(
            name=name,
            vector=embedding_pb2.Vector(
                space=filled.get(name, ""),
                values=_floats(outcome[name]),
                fingerprint=contract.fingerprint_of(name),
            ),
        )
        for name in names
    ]
    classifications = [
        embedding_pb2.Classification(
            output=name, predictions=[prediction(one) for one in likeliest(outcome[name], classes, predictions)]
        )
        for name, classes in sorted(contract.class_outputs().items())
        if predictions
    ]
    return embedding_pb2.EmbedResult(
        embedding=embedding_pb2.Embedding(
            outputs=outputs, classifications=classifications, category_unknown=category_unknown
        )
    )


def interaction(stored: StoredInteraction) -> catalog_pb2.Interaction:
    """Return a stored interaction."""
    made = stored.interaction
    return catalog_pb2.Interaction(
        user_id=made.user_id,
        item_id=made.item_id,
        kind=made.kind,
        weight=made.weight,
        time=timestamp(made.time),
        sequence=stored.sequence,
        recommendation_id=made.recommendation_id,
    )


def user(stored: User, spaces: Mapping[str, Space]) -> catalog_pb2.User:
    """Return a stored user."""
    return catalog_pb2.User(
        id=stored.id,
        attributes={name: attribute_message(value) for name, value in stored.attributes.items()},
        vectors=[_vector_message(vector, spaces) for vector in stored.vectors],
        etag=stored.etag,
        sequence=stored.sequence,
        create_time=timestamp(stored.created),
        update_time=timestamp(stored.updated),
    )


def metric(value: Metric) -> embedding_pb2.Metric:
    """Return the proto's word for a metric."""
    return _METRICS[value]


def model(contract: ModelContract) -> catalog_pb2.Model:
    """Return what callers may know of the model."""
    pair, source = contract.pair, contract.space(PAIR_SOURCE)
    return catalog_pb2.Model(
        name=contract.model,
        fingerprint=contract.fingerprint,
        class_outputs=[
            catalog_pb2.ClassOutput(output=name, classes=classes)
            for name, classes in sorted(contract.class_outputs().items())
        ],
        categories=contract.categories,
        category_spaces=sorted(space.name for space in contract.spaces if contract.takes_category([space.output])),
        pair=None if pair is None or source is None else pair_model(pair, source.metric),
    )


def pair_model(pair: PairContract, of_spaces: Metric) -> catalog_pb2.PairModel:
    """Return how distances between the sides of pairs become probabilities; `of_spaces` is the metric of both."""
    return catalog_pb2.PairModel(
        metric=metric(of_spaces),
        offset=pair.offset,
        scale=pair.scale,
        shift=pair.shift,
        prior=pair.prior,
        ece=pair.ece,
    )


def catalog_status(
    status: CatalogStatus, version: str, contract: ModelContract | None
) -> catalog_pb2.GetCatalogResponse:
    """Return the state of the catalogue; `contract` is None where no model is known so far."""
    return catalog_pb2.GetCatalogResponse(
        item_count=status.items,
        picture_count=status.pictures,
        spaces=[
            catalog_pb2.Space(
                name=s.space.name,
                dimension=s.space.dimension,
                metric=metric(s.space.metric),
                fingerprint=s.space.fingerprint,
                model=s.space.model or "",
                vector_count=s.vectors,
                index_generation=s.generation,
                delta_count=s.delta,
                measured_recall=None if s.recall is None else _measured_recall(s.recall),
                factor_generation=s.space.generation,
            )
            for s in status.spaces
        ],
        sequence=status.sequence,
        server_version=version,
        user_count=status.users,
        interaction_count=status.interactions,
        model=None if contract is None else model(contract),
    )


def known_view(view: View, default: View) -> View:
    """Return `view`, or `default` where none was asked for.

    Raises:
        InvalidRequest: the number is no view.
    """
    if view == catalog_pb2.ITEM_VIEW_UNSPECIFIED:
        return default
    if view not in catalog_pb2.ItemView.values():
        raise InvalidRequest("view", f"{view} is no ItemView")
    return view


def check_view(view: View, asked: int, field: str) -> None:
    """Raise `InvalidRequest` where more items are asked for with their vectors than an answer may hold."""
    if view == catalog_pb2.ITEM_VIEW_FULL and asked > limits.MAX_FULL_VIEW:
        raise InvalidRequest(field, f"asks for {asked} items; with ITEM_VIEW_FULL at most {limits.MAX_FULL_VIEW}")


def attribute(name: str, value: catalog_pb2.AttributeValue) -> Attribute:
    """Return the value of the attribute called `name`.

    Raises:
        InvalidRequest: it has none, or no valid time.
    """
    match value.WhichOneof("kind"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "double_value":
            return value.double_value
        case "bool_value":
            return value.bool_value
        case "string_list":
            return tuple(value.string_list.values)
        case "time_value":
            return moment(f"attributes[{name!r}]", value.time_value)
        case _:
            raise InvalidRequest(f"attributes[{name!r}]", "has no value")


def moment(field: str, message: timestamp_pb2.Timestamp) -> datetime.datetime:
    """Return the time in UTC.

    Raises:
        InvalidRequest: it is outside the years 1 to 9999.
    """
    try:
        return message.ToDatetime(tzinfo=datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(field, f"is no valid time: {error}") from error


def attribute_message(value: Attribute) -> catalog_pb2.AttributeValue:
    """Return the message of a value, by its type."""
    match value:
        case bool():  # before int, which it is too
            return catalog_pb2.AttributeValue(bool_value=value)
        case str():
            return catalog_pb2.AttributeValue(string_value=value)
        case int():
            return catalog_pb2.AttributeValue(int_value=value)
        case float():
            return catalog_pb2.AttributeValue(double_value=value)
        case tuple():
            return catalog_pb2.AttributeValue(string_list=catalog_pb2.StringList(values=value))
        case datetime.datetime():
            return catalog_pb2.AttributeValue(time_value=timestamp(value))


def _vector_message(stored: ItemVector, spaces: Mapping[str, Space]) -> embedding_pb2.Vector:
    return embedding_pb2.Vector(
        space=stored.space,
        values=_floats(stored.values),
        # As it was read: another model may serve by now.
        fingerprint=stored.fingerprint or spaces[stored.space].fingerprint,
    )


def _measured_recall(recall: MeasuredRecall) -> catalog_pb2.MeasuredRecall:
    return catalog_pb2.MeasuredRecall(
        recall_at_10=recall.recall_at_10, search_count=recall.searches, since=timestamp(recall.since)
    )


def _floats(values: Float32Array) -> bytes:
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def timestamp(moment: datetime.datetime) -> timestamp_pb2.Timestamp:
    """Return the message of a time."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message
