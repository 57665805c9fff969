"""Values of `twinset.items` to protobuf messages and back."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import numpy as np

from twinset import items
from twinset.contract import Metric
from twinset.embeddings import Embedding, Prediction
from twinset.pair_contract import PairContract
from twinset.status import error_from_status
from twinset.v1 import catalog_pb2, embedding_pb2

_METRICS = {
    embedding_pb2.METRIC_COSINE: Metric.COSINE,
    embedding_pb2.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
    embedding_pb2.METRIC_INNER_PRODUCT: Metric.INNER_PRODUCT,
}

_VIEWS: dict[items.View, catalog_pb2.ItemView] = {
    "id": catalog_pb2.ITEM_VIEW_ID,
    "basic": catalog_pb2.ITEM_VIEW_BASIC,
    "full": catalog_pb2.ITEM_VIEW_FULL,
}


def metric_from_proto(metric: embedding_pb2.Metric) -> Metric:
    """Return the metric of the enum's value."""
    return _METRICS[metric]


def view_to_proto(view: items.View) -> catalog_pb2.ItemView:
    """Return the enum's value.

    Raises:
        ValueError: there is no such view.
    """
    if view not in _VIEWS:
        raise ValueError(f"view is {view!r}, expected one of {', '.join(_VIEWS)}")
    return _VIEWS[view]


def vector_to_proto(vector: items.Vector) -> embedding_pb2.Vector:
    """Return the message, its components as little-endian float32."""
    values = np.asarray(vector.values).astype("<f4").tobytes()
    return embedding_pb2.Vector(space=vector.space, values=values, fingerprint=vector.fingerprint)


def vector_from_proto(vector: embedding_pb2.Vector) -> items.Vector:
    """Return the vector; its values are a copy that may be written to."""
    values = np.frombuffer(vector.values, dtype="<f4").astype(np.float32)
    return items.Vector(values, vector.space, vector.fingerprint)


def attribute_to_proto(name: str, value: items.Attribute) -> catalog_pb2.AttributeValue:
    """Return the message of the value's own type.

    Raises:
        TypeError: attributes can't hold a value of this type.
        ValueError: the integer takes more than 64 bits.
    """
    match value:
        case bool():  # ahead of int, whose subclass it is
            return catalog_pb2.AttributeValue(bool_value=value)
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"attribute {name!r}: {value} takes more than 64 bits")
            return catalog_pb2.AttributeValue(int_value=value)
        case float():
            return catalog_pb2.AttributeValue(double_value=value)
        case str():
            return catalog_pb2.AttributeValue(string_value=value)
        case datetime.datetime():
            message = catalog_pb2.AttributeValue()
            message.time_value.FromDatetime(value)
            return message
        case tuple() | list():
            return catalog_pb2.AttributeValue(string_list=catalog_pb2.StringList(values=value))
    raise TypeError(
        f"attribute {name!r} is a {type(value).__name__}: give text, a number, True or False, a list of texts or a time"
    )


def attribute_from_proto(value: catalog_pb2.AttributeValue) -> items.Attribute | None:
    """Return the value; None where it is of a kind that this version doesn't know."""
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
            return value.time_value.ToDatetime(datetime.UTC)
    return None  # a kind of a newer server


def attributes_from_proto(values: Mapping[str, catalog_pb2.AttributeValue]) -> dict[str, items.Attribute]:
    """Return attributes by name, without those of a kind that this version doesn't know."""
    read = ((name, attribute_from_proto(value)) for name, value in values.items())
    return {name: value for name, value in read if value is not None}


def item_to_proto(item: items.Item) -> catalog_pb2.Item:
    """Return the message for a put.

    Raises:
        TypeError: an attribute's value is of no type that attributes can hold.
        ValueError: an integer attribute takes more than 64 bits.
    """
    return catalog_pb2.Item(
        id=item.id,
        title=item.title,
        uri=item.uri,
        category=item.category,
        attributes={name: attribute_to_proto(name, value) for name, value in item.attributes.items()},
        pictures=[catalog_pb2.Picture(id=picture.id, content=picture.content) for picture in item.pictures],
        vectors=[vector_to_proto(vector) for vector in item.vectors],
        etag=item.etag,
        category_predicted=None
        if item.category_probability is None
        else embedding_pb2.Prediction(class_name=item.category, probability=item.category_probability),
    )


def item_from_proto(item: catalog_pb2.Item) -> items.Item:
    """Return a stored item."""
    return items.Item(
        id=item.id,
        pictures=tuple(picture_from_proto(picture) for picture in item.pictures),
        title=item.title,
        uri=item.uri,
        category=item.category,
        attributes=attributes_from_proto(item.attributes),
        vectors=tuple(vector_from_proto(vector) for vector in item.vectors),
        etag=item.etag,
        sequence=item.sequence,
        created=item.create_time.ToDatetime(datetime.UTC) if item.HasField("create_time") else None,
        updated=item.update_time.ToDatetime(datetime.UTC) if item.HasField("update_time") else None,
        category_probability=item.category_predicted.probability if item.HasField("category_predicted") else None,
    )


def picture_from_proto(picture: catalog_pb2.Picture, content: bytes = b"") -> items.Picture:
    """Return what the server says of a picture, with `content` where that came along."""
    return items.Picture(
        content=content,
        id=picture.id,
        media_type=picture.media_type,
        width=picture.width,
        height=picture.height,
        sha256=picture.sha256,
        size_bytes=picture.size_bytes,
        stored=picture.stored,
    )


def embedding_from_proto(result: embedding_pb2.EmbedResult, model: str) -> Embedding:
    """Return what became of a picture."""
    if result.WhichOneof("result") != "embedding":
        return Embedding({}, model, error_from_status(result.error))
    made = result.embedding
    return Embedding(
        outputs={output.name: vector_from_proto(output.vector) for output in made.outputs},
        model=model,
        predictions={
            told.output: tuple(Prediction(one.class_name, one.probability) for one in told.predictions)
            for told in made.classifications
        },
        category_unknown=made.category_unknown,
    )


def catalog_from_proto(response: catalog_pb2.GetCatalogResponse) -> items.Catalog:
    """Return the state of the catalogue."""
    return items.Catalog(
        item_count=response.item_count,
        picture_count=response.picture_count,
        spaces=tuple(
            items.Space(
                name=space.name,
                dimension=space.dimension,
                metric=_METRICS[space.metric],
                fingerprint=space.fingerprint,
                model=space.model,
                vector_count=space.vector_count,
                index_generation=space.index_generation,
                delta_count=space.delta_count,
                measured_recall=_measured_recall_from_proto(space.measured_recall)
                if space.HasField("measured_recall")
                else None,
            )
            for space in response.spaces
        ),
        sequence=response.sequence,
        server_version=response.server_version,
        user_count=response.user_count,
        interaction_count=response.interaction_count,
        model=_model_from_proto(response.model) if response.HasField("model") else None,
    )


def _measured_recall_from_proto(recall: catalog_pb2.MeasuredRecall) -> items.MeasuredRecall:
    return items.MeasuredRecall(recall.recall_at_10, recall.search_count, recall.since.ToDatetime(datetime.UTC))


def _model_from_proto(model: catalog_pb2.Model) -> items.Model:
    pair = model.pair
    return items.Model(
        name=model.name,
        fingerprint=model.fingerprint,
        classes={told.output: tuple(told.classes) for told in model.class_outputs},
        categories=tuple(model.categories),
        category_spaces=tuple(model.category_spaces),
        pair=PairContract(pair.offset, pair.scale, pair.shift, pair.prior, pair.ece)
        if model.HasField("pair")
        else None,
    )
