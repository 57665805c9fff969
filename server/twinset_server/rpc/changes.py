"""Messages to what callers ask to change, and what became of it to messages."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from google.protobuf import duration_pb2

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.domain import (
    Attribute,
    FeedSummary,
    Interaction,
    ItemDeletion,
    ItemDraft,
    ItemUpdate,
    ItemUpdateDraft,
    PictureDraft,
    Prediction,
    Receipt,
    UserDraft,
    Vector,
    WritableItem,
)
from twinset_server.errors import InvalidRequest, TwinsetError
from twinset_server.feeds import FeedOutcome
from twinset_server.rpc import convert
from twinset_server.rpc.status import to_status

_ATTRIBUTE_PATH = "attributes."
_FIELDS = frozenset(("title", "uri", "category", "attributes", "pictures", "vectors"))


def item(message: catalog_pb2.Item) -> ItemDraft | TwinsetError:
    """Return the item that `message` carries, or why it can't be read."""
    guess = _guess(message)
    try:
        return ItemDraft(
            id=message.id,
            title=message.title,
            uri=message.uri,
            category="" if guess else message.category,
            attributes=_attributes(message),
            pictures=_pictures(message),
            vectors=_vectors(message),
            etag=message.etag,
            guess=guess,
        )
    except TwinsetError as error:
        return error


def update(message: catalog_pb2.ItemUpdate) -> ItemUpdateDraft | TwinsetError:
    """Return the update that `message` carries, or why it can't be read."""
    item = message.item
    try:
        fields, names = _masked(message)
        return ItemUpdateDraft(
            id=item.id,
            etag=item.etag,
            title=item.title if "title" in fields else None,
            uri=item.uri if "uri" in fields else None,
            category=item.category if "category" in fields else None,
            attributes=_attributes(item) if "attributes" in fields else None,
            changed_attributes={
                name: convert.attribute(name, item.attributes[name]) if name in item.attributes else None
                for name in names
            },
            pictures=_pictures(item) if "pictures" in fields else None,
            vectors=_vectors(item) if "vectors" in fields else None,
        )
    except TwinsetError as error:
        return error


def user(message: catalog_pb2.User) -> UserDraft | TwinsetError:
    """Return the user that `message` carries, or why they can't be read."""
    try:
        return UserDraft(message.id, _attributes(message), _vectors(message), message.etag)
    except TwinsetError as error:
        return error


def deletion(message: catalog_pb2.ItemDeletion) -> ItemDeletion:
    """Return the deletion that `message` carries."""
    return ItemDeletion(message.id, message.etag)


def interaction(message: catalog_pb2.Interaction, now: datetime.datetime) -> Interaction | TwinsetError:
    """Return the interaction that `message` carries, or why it can't be read; `now` is its time where it has none."""
    try:
        return Interaction(
            user_id=message.user_id,
            item_id=message.item_id,
            kind=message.kind,
            weight=message.weight if message.HasField("weight") else 1.0,
            time=convert.moment("time", message.time) if message.HasField("time") else now,
            recommendation_id=message.recommendation_id,
        )
    except TwinsetError as error:
        return error


def put_result(item_id: str, outcome: Receipt | TwinsetError, change: object) -> catalog_pb2.PutItemResult:
    """Return what became of a put; `change` is what was made of it."""
    if isinstance(outcome, TwinsetError):
        return catalog_pb2.PutItemResult(id=_sent(item_id), error=to_status(outcome))
    receipt = catalog_pb2.PutReceipt(etag=outcome.etag, sequence=outcome.sequence)
    return catalog_pb2.PutItemResult(id=item_id, receipt=receipt, category_unknown=_category_unknown(change))


def result(sent_id: str, outcome: Receipt | TwinsetError, change: object = None) -> catalog_pb2.ChangeResult:
    """Return what became of another change; `change` is what was made of it."""
    if isinstance(outcome, TwinsetError):
        return catalog_pb2.ChangeResult(id=_sent(sent_id), error=to_status(outcome))
    receipt = catalog_pb2.ChangeReceipt(etag=outcome.etag, sequence=outcome.sequence)
    return catalog_pb2.ChangeResult(id=sent_id, receipt=receipt, category_unknown=_category_unknown(change))


def feed_result(outcome: FeedOutcome) -> catalog_pb2.FeedItemResult:
    """Return what became of an item of a feed."""
    error = to_status(outcome.error) if outcome.error else None
    return catalog_pb2.FeedItemResult(
        id=_sent(outcome.id), unchanged=outcome.unchanged, error=error, category_unknown=outcome.category_unknown
    )


def feed_summary(summary: FeedSummary, failed: int) -> catalog_pb2.FeedSummary:
    """Return what a committed feed did."""
    return catalog_pb2.FeedSummary(
        created=summary.created,
        replaced=summary.replaced,
        unchanged=summary.unchanged,
        deleted=summary.deleted,
        failed=failed,
        sequence=summary.sequence,
    )


def duration(seconds: float) -> duration_pb2.Duration | None:
    """Return the time, None where there is none to speak of."""
    if seconds <= 0:
        return None
    message = duration_pb2.Duration()
    message.FromTimedelta(datetime.timedelta(seconds=seconds))
    return message


def _guess(message: catalog_pb2.Item) -> Prediction | None:
    """Return the category of an item that is sent back as it was read, where that was predicted."""
    predicted = message.category_predicted
    if not message.category or predicted.class_name != message.category:
        return None
    return Prediction(predicted.class_name, predicted.probability)


def _category_unknown(change: object) -> bool:
    return isinstance(change, WritableItem | ItemUpdate) and change.category_unknown


def _sent(element_id: str) -> str:
    """Return an id to answer by; of one that is too long its beginning, since an answer has room for 4 MiB."""
    return element_id[: limits.MAX_ID_BYTES]


def _masked(message: catalog_pb2.ItemUpdate) -> tuple[set[str], list[str]]:
    """Return the fields that the mask names, and the single attributes.

    Raises:
        InvalidRequest: it names nothing, or something else.
    """
    limits.check_count("update_mask.paths", message.update_mask.paths, limits.MAX_MASK_PATHS)
    fields: set[str] = set()
    names: dict[str, None] = {}
    for place, path in enumerate(message.update_mask.paths):
        if path in _FIELDS:
            fields.add(path)
        elif path.startswith(_ATTRIBUTE_PATH):
            name = path.removeprefix(_ATTRIBUTE_PATH)
            limits.check_text(f"update_mask.paths[{place}]", name, limits.MAX_ATTRIBUTE_NAME_BYTES)
            names[name] = None
        else:
            known = ", ".join((*sorted(_FIELDS), f"{_ATTRIBUTE_PATH}NAME"))
            raise InvalidRequest(f"update_mask.paths[{place}]", f"{path[:64]!r} can't be updated; choose among {known}")
    if not fields and not names:
        raise InvalidRequest("update_mask", "names nothing to update")
    # All attributes are taken from the item then, the single ones among them.
    return fields, [] if "attributes" in fields else list(names)


def _attributes(message: catalog_pb2.Item | catalog_pb2.User) -> Mapping[str, Attribute]:
    return {name: convert.attribute(name, value) for name, value in message.attributes.items()}


def _pictures(message: catalog_pb2.Item) -> list[PictureDraft]:
    return [PictureDraft(p.id or str(place), p.content) for place, p in enumerate(message.pictures)]


def _vectors(message: catalog_pb2.Item | catalog_pb2.User) -> list[Vector]:
    return [convert.vector(vector, f"vectors[{place}]") for place, vector in enumerate(message.vectors)]
