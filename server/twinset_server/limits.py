"""What a request may hold. The protos document these limits; this is the one place that enforces them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized

from twinset_server.domain import (
    MAX_ATTRIBUTES,
    MAX_ATTRIBUTES_BYTES,
    MAX_SPACE_BYTES,
    Act,
    Attribute,
    FactorsHeader,
    Interaction,
    ItemDraft,
    ItemUpdateDraft,
    PictureDraft,
    UserDraft,
    Vector,
    attribute_bytes,
)
from twinset_server.errors import InvalidRequest

MAX_REQUEST_BYTES = 24 << 20
MAX_RESPONSE_BYTES = 4 << 20

MAX_PICTURES_PER_MESSAGE = 256
MAX_OUTPUTS = 16
MAX_PREDICTIONS = 100
MAX_ITEMS_PER_MESSAGE = 256
MAX_REQUESTS_PER_MESSAGE = 256
MAX_USERS_PER_MESSAGE = 256
MAX_DELETIONS_PER_MESSAGE = 1000
MAX_INTERACTIONS_PER_MESSAGE = 1000
MAX_FACTORS_PER_MESSAGE = 4096
MAX_HISTORY = 1000
MAX_RANKED = 4096
MAX_SEEN_KINDS = 16
MAX_FACTOR_DIMENSION = 4096

MAX_ID_BYTES = 256
MAX_REQUEST_ID_BYTES = 64
MAX_ETAG_BYTES = 64
MAX_KIND_BYTES = 64
MAX_RECOMMENDATION_ID_BYTES = 64
MAX_TITLE_BYTES = 1024
MAX_URI_BYTES = 2048
MAX_CATEGORY_BYTES = 256
MAX_PICTURES_PER_ITEM = 16
MAX_ATTRIBUTE_NAME_BYTES = 64
MAX_ATTRIBUTE_TEXT_BYTES = 1024
MAX_ATTRIBUTE_LIST = 64
MAX_MASK_PATHS = 128
MAX_FINGERPRINT_BYTES = 64
MAX_OUTPUT_BYTES = 128
MAX_OPERATION_BYTES = 64
MAX_PATH_BYTES = 4096

MAX_PAGE_TOKEN_BYTES = 1 << 20
"""Of recommendations, whose token holds the rest of the answer; others are some hundred bytes."""

MAX_BATCH_GET = 1000
DEFAULT_PAGE = 100
MAX_PAGE = 1000
MAX_FULL_VIEW = 100

# DEL and C1 are control characters too; str.isprintable would also refuse spaces that are none.
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_SHA256 = re.compile(r"[0-9a-f]{64}")

DEFAULT_K = 10
MAX_K = 1000
MAX_EXCLUDE = 1000
MAX_EXAMPLES = 16
MAX_TARGET_CATEGORIES = 100

MAX_PAIRS = 16_384
MAX_PAIR_ITEMS = 16_384
MAX_PAIR_SIDES = 256
MAX_GIVEN = 32
MAX_SLOTS = 16
MAX_CANDIDATES = 1000
MAX_BEAM = 1000
MAX_ALTERNATIVES = 100


def check_count(field: str, given: Sized, most: int, *, least: int = 0) -> None:
    """Raise `InvalidRequest` unless `given` has `least` to `most` elements."""
    if len(given) < least:
        raise InvalidRequest(field, f"holds {len(given)}, at least {least} needed")
    if len(given) > most:
        raise InvalidRequest(field, f"holds {len(given)}, at most {most} allowed")


def check_id(field: str, value: str) -> None:
    """Raise `InvalidRequest` unless `value` is 1 to 256 bytes of UTF-8 without control characters."""
    _check_name(field, value, MAX_ID_BYTES)


def _check_name(field: str, value: str, most_bytes: int) -> None:
    if not value:
        raise InvalidRequest(field, "is empty")
    check_text(field, value, most_bytes)
    if _CONTROL_CHARACTER.search(value):
        raise InvalidRequest(field, "holds a control character")


def check_k(value: int) -> None:
    """Raise `InvalidRequest` unless so many items may be asked for."""
    if not 1 <= value <= MAX_K:
        raise InvalidRequest("k", f"is {value}, 1 to {MAX_K} allowed")


def check_range(field: str, value: int, least: int, most: int) -> None:
    """Raise `InvalidRequest` unless `value` lies from `least` to `most`."""
    if not least <= value <= most:
        raise InvalidRequest(field, f"is {value}, {least} to {most} allowed")


def check_target_recall(value: float) -> None:
    """Raise `InvalidRequest` unless `value` is above 0 and at most 1."""
    if not 0 < value <= 1:
        raise InvalidRequest("target_recall", f"is {value}: it is above 0 and at most 1, which is exact")


def check_prior(value: float | None) -> None:
    """Raise `InvalidRequest` unless `value` is None or a share between 0 and 1."""
    if value is not None and not 0 < value < 1:
        raise InvalidRequest("prior", f"is {value}: the share of true pairs lies between 0 and 1, both excluded")


def check_ids(field: str, values: Sequence[str]) -> None:
    """Raise `InvalidRequest` for the first of `values` that is no id."""
    for position, value in enumerate(values):
        check_id(f"{field}[{position}]", value)


def check_texts(field: str, values: Sequence[str], most_bytes: int) -> None:
    """Raise `InvalidRequest` for the first of `values` that takes more than `most_bytes` bytes of UTF-8."""
    # Most often all are short, which is told at once.
    if values and max(map(len, values)) * 4 > most_bytes:
        for position, value in enumerate(values):
            check_text(f"{field}[{position}]", value, most_bytes)


def check_space(field: str, name: str) -> None:
    """Raise `InvalidRequest` where `name`, which may be empty, is longer than names of spaces are."""
    check_text(field, name, MAX_SPACE_BYTES)


def check_operand(field: str, value: Attribute) -> None:
    """Raise `InvalidRequest` where a value to compare attributes with is over the limits of attributes."""
    match value:
        case str():
            check_text(field, value, MAX_ATTRIBUTE_TEXT_BYTES)
        case tuple():
            check_count(field, value, MAX_ATTRIBUTE_LIST)
            check_texts(field, value, MAX_ATTRIBUTE_TEXT_BYTES)


def check_text(field: str, value: str, most_bytes: int) -> None:
    """Raise `InvalidRequest` where `value` takes more than `most_bytes` bytes of UTF-8."""
    # A character takes at most 4 bytes: encode only what may be too long.
    if len(value) * 4 > most_bytes and (size := len(value.encode())) > most_bytes:
        raise InvalidRequest(field, f"takes {size} bytes, at most {most_bytes} allowed")


def check_request_id(value: str) -> None:
    """Raise `InvalidRequest` where `value`, which may be empty, takes more than 64 bytes."""
    check_text("request_id", value, MAX_REQUEST_ID_BYTES)


def check_etag(value: str) -> None:
    """Raise `InvalidRequest` where `value`, which may be empty, takes more than 64 bytes."""
    check_text("etag", value, MAX_ETAG_BYTES)


def check_item(item: ItemDraft) -> None:
    """Raise `InvalidRequest` for the first field of `item` that is over its limit."""
    check_id("id", item.id)
    check_etag(item.etag)
    _check_texts(item)
    if item.attributes:
        _check_attributes(item.attributes)
    if item.pictures:
        _check_pictures(item.pictures)
    _check_vectors(item.vectors)


def check_update(update: ItemUpdateDraft) -> None:
    """Raise `InvalidRequest` for the first field of `update` that is over its limit."""
    check_id("id", update.id)
    check_etag(update.etag)
    _check_texts(update)
    if update.attributes is not None:
        _check_attributes(update.attributes)
    if update.changed_attributes:
        check_count("attributes", update.changed_attributes, MAX_ATTRIBUTES)
        for name, value in update.changed_attributes.items():
            _check_attribute(name, "" if value is None else value)
    if update.pictures is not None:
        _check_pictures(update.pictures)
    if update.vectors is not None:
        check_count("vectors", update.vectors, len(update.vectors), least=1)
        _check_vectors(update.vectors)


def check_predictions(count: int) -> None:
    """Raise `InvalidRequest` unless so many predictions may be asked for."""
    if not 0 <= count <= MAX_PREDICTIONS:
        raise InvalidRequest("predictions", f"is {count}: ask for 0 to {MAX_PREDICTIONS}")


def check_category(field: str, category: str) -> None:
    """Raise `InvalidRequest` where a category is over its limit."""
    check_text(field, category, MAX_CATEGORY_BYTES)


def check_user(user: UserDraft) -> None:
    """Raise `InvalidRequest` for the first field of `user` that is over its limit."""
    check_id("id", user.id)
    check_etag(user.etag)
    _check_attributes(user.attributes)
    _check_vectors(user.vectors)


def check_factors(header: FactorsHeader) -> None:
    """Raise `InvalidRequest` for the first field of `header` that makes no sense."""
    if not _SHA256.fullmatch(header.fingerprint):
        raise InvalidRequest("header.fingerprint", "must be 64 hexadecimal digits")
    if not 2 <= header.dimension <= MAX_FACTOR_DIMENSION:
        raise InvalidRequest("header.dimension", f"is {header.dimension}, 2 to {MAX_FACTOR_DIMENSION} allowed")
    if not 0 < header.temperature < math.inf:
        raise InvalidRequest("header.temperature", f"is {header.temperature}, a finite number above 0 is needed")
    if header.liked_from is not None and not math.isfinite(header.liked_from):
        raise InvalidRequest("header.liked_from", f"is {header.liked_from}, a finite number is needed")
    if header.interactions_through < 0:
        raise InvalidRequest("header.interactions_through", f"is {header.interactions_through}, 0 or more needed")


def check_act(field: str, act: Act) -> None:
    """Raise `InvalidRequest` for the first field of `act` that is over its limit."""
    check_id(f"{field}.item_id", act.item_id)
    _check_name(f"{field}.kind", act.kind, MAX_KIND_BYTES)
    if not math.isfinite(act.weight):
        raise InvalidRequest(f"{field}.weight", f"is {act.weight}, a finite number is needed")


def check_interaction(interaction: Interaction) -> None:
    """Raise `InvalidRequest` for the first field of `interaction` that is over its limit."""
    check_id("user_id", interaction.user_id)
    check_id("item_id", interaction.item_id)
    _check_name("kind", interaction.kind, MAX_KIND_BYTES)
    if interaction.recommendation_id:
        _check_name("recommendation_id", interaction.recommendation_id, MAX_RECOMMENDATION_ID_BYTES)
    if not math.isfinite(interaction.weight):
        raise InvalidRequest("weight", f"is {interaction.weight}, a finite number is needed")


def _check_texts(given: ItemDraft | ItemUpdateDraft) -> None:
    check_text("title", given.title or "", MAX_TITLE_BYTES)
    check_text("uri", given.uri or "", MAX_URI_BYTES)
    check_category("category", given.category or "")
    if isinstance(given, ItemDraft) and given.guess is not None:
        check_category("category", given.guess.class_name)
        if not 0 <= given.guess.probability <= 1:
            raise InvalidRequest("category_predicted.probability", f"is {given.guess.probability}: it is 0 to 1")


def _check_attributes(attributes: Mapping[str, Attribute]) -> None:
    check_count("attributes", attributes, MAX_ATTRIBUTES)
    total = sum(_check_attribute(name, value) for name, value in attributes.items())
    if total > MAX_ATTRIBUTES_BYTES:
        raise InvalidRequest("attributes", f"take {total} bytes, at most {MAX_ATTRIBUTES_BYTES} allowed")


def _check_pictures(pictures: Sequence[PictureDraft]) -> None:
    check_count("pictures", pictures, MAX_PICTURES_PER_ITEM)
    for position, picture in enumerate(pictures):
        check_id(f"pictures[{position}].id", picture.id)
    _check_unique("pictures", "id", (picture.id for picture in pictures))


def _check_vectors(vectors: Sequence[Vector]) -> None:
    if len(vectors) > 1:
        _check_unique("vectors", "space", (vector.space for vector in vectors))


def _check_attribute(name: str, value: Attribute) -> int:
    """Return how many bytes the attribute counts, after checking it."""
    if not name:
        raise InvalidRequest("attributes", "has an empty name")
    check_text(f"attributes[{name[:32]!r}]", name, MAX_ATTRIBUTE_NAME_BYTES)
    field = f"attributes[{name!r}]"
    match value:
        case str():
            check_text(field, value, MAX_ATTRIBUTE_TEXT_BYTES)
        case tuple():
            check_count(field, value, MAX_ATTRIBUTE_LIST)
            for position, text in enumerate(value):
                check_text(f"{field}[{position}]", text, MAX_ATTRIBUTE_TEXT_BYTES)
        case float() if not math.isfinite(value):
            raise InvalidRequest(field, f"is {value}, a finite number is needed")
    return attribute_bytes(name, value)


def _check_unique(field: str, key: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for position, value in enumerate(values):
        if value in seen:
            raise InvalidRequest(f"{field}[{position}].{key}", f"{value!r} is there twice")
        seen.add(value)
