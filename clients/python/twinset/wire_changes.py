"""Changes of `twinset.items` to protobuf messages, and what became of them back."""

from __future__ import annotations

import datetime

from google.protobuf import field_mask_pb2

from twinset import items, wire
from twinset.status import error_from_status
from twinset.v1 import catalog_pb2


def update_to_proto(update: items.ItemUpdate) -> catalog_pb2.ItemUpdate:
    """Return the message, its mask made of what isn't None.

    Raises:
        TypeError: an attribute's value is of no type that attributes can hold.
        ValueError: nothing is to be updated, `attributes` and `all_attributes` are both given, or an integer attribute
            takes more than 64 bits.
    """
    if update.attributes and update.all_attributes is not None:
        raise ValueError(f"the update of {update.id!r} has attributes and all_attributes: give one of them")
    fields = {
        "title": update.title,
        "uri": update.uri,
        "category": update.category,
        "attributes": update.all_attributes,
        "pictures": update.pictures,
        "vectors": update.vectors,
    }
    paths = [path for path, value in fields.items() if value is not None]
    paths += [f"attributes.{name}" for name in update.attributes]
    if not paths:
        raise ValueError(f"the update of {update.id!r} changes nothing: give a field that isn't None")
    single = {name: value for name, value in update.attributes.items() if value is not None}
    item = items.Item(
        id=update.id,
        pictures=update.pictures or (),
        title=update.title or "",
        uri=update.uri or "",
        category=update.category or "",
        attributes=update.all_attributes or single,
        vectors=update.vectors or (),
        etag=update.etag,
    )
    return catalog_pb2.ItemUpdate(item=wire.item_to_proto(item), update_mask=field_mask_pb2.FieldMask(paths=paths))


def user_to_proto(user: items.User) -> catalog_pb2.User:
    """Return the message for a put.

    Raises:
        TypeError: an attribute's value is of no type that attributes can hold.
        ValueError: an integer attribute takes more than 64 bits.
    """
    return catalog_pb2.User(
        id=user.id,
        attributes={name: wire.attribute_to_proto(name, value) for name, value in user.attributes.items()},
        vectors=[wire.vector_to_proto(vector) for vector in user.vectors],
        etag=user.etag,
    )


def interaction_to_proto(interaction: items.Interaction) -> catalog_pb2.Interaction:
    """Return the message for a put."""
    message = catalog_pb2.Interaction(
        user_id=interaction.user_id,
        item_id=interaction.item_id,
        kind=interaction.kind,
        weight=interaction.weight,
        recommendation_id=interaction.recommendation_id,
    )
    if interaction.time is not None:
        message.time.FromDatetime(interaction.time)
    return message


def interaction_from_proto(interaction: catalog_pb2.Interaction) -> items.Interaction:
    """Return a stored interaction."""
    return items.Interaction(
        user_id=interaction.user_id,
        item_id=interaction.item_id,
        kind=interaction.kind,
        weight=interaction.weight,
        time=interaction.time.ToDatetime(datetime.UTC),
        sequence=interaction.sequence,
        recommendation_id=interaction.recommendation_id,
    )


def user_data_from_proto(response: catalog_pb2.GetUserResponse) -> items.UserData:
    """Return what is stored of a user."""
    user = response.user
    return items.UserData(
        items.User(
            id=user.id,
            attributes=wire.attributes_from_proto(user.attributes),
            vectors=[wire.vector_from_proto(vector) for vector in user.vectors],
            etag=user.etag,
        ),
        response.interaction_count,
        response.has_factors,
    )


def result_from_proto(
    result: catalog_pb2.PutItemResult | catalog_pb2.ChangeResult, slowed_s: float = 0.0
) -> items.PutResult:
    """Return what became of a change; `slowed_s` is for how long its message's answer was held back."""
    if result.WhichOneof("result") == "receipt":
        return items.PutResult(
            result.id,
            result.receipt.etag,
            result.receipt.sequence,
            slowed_s=slowed_s,
            category_unknown=result.category_unknown,
        )
    return items.PutResult(result.id, error=error_from_status(result.error), slowed_s=slowed_s)


def feed_result_from_proto(result: catalog_pb2.FeedItemResult) -> items.FeedResult:
    """Return what became of an item of a feed."""
    error = error_from_status(result.error) if result.HasField("error") else None
    return items.FeedResult(result.id, result.unchanged, error, result.category_unknown)


def feed_summary_from_proto(summary: catalog_pb2.FeedSummary) -> items.FeedSummary:
    """Return what a committed feed did."""
    return items.FeedSummary(
        created=summary.created,
        replaced=summary.replaced,
        unchanged=summary.unchanged,
        deleted=summary.deleted,
        failed=summary.failed,
        sequence=summary.sequence,
    )
