"""Each text and each list of every request has a limit: the protos tell it, and what is over it is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from faults.hostile.service import SERVICES, in_thread, method_path
from twinset.v1 import admin_pb2, catalog_pb2, embedding_pb2, filter_pb2, pairs_pb2, ranking_pb2, recommender_pb2
from twinset_server import limits

PROTOS = Path(__file__).parents[3] / "protos/twinset/v1"

LONG = "x" * (limits.MAX_PAGE_TOKEN_BYTES + 1)
MANY = 20_000

METHODS = {method.name: method for service in SERVICES for method in service.methods if method.input_type.fields}

_ITEM = catalog_pb2.Item(id="a")
_VECTOR = embedding_pb2.Vector(space="own", values=b"\0\0\x80\x3f" * 2)
_PICTURE = b"\xff\xd8\xff"
_EXAMPLES = [recommender_pb2.Example(item_id="i0")]
_SIDE = pairs_pb2.PairSide(item_id="i0")
_RECOMMEND = recommender_pb2.RecommendRequest(examples=_EXAMPLES)
_VALUE = catalog_pb2.AttributeValue(int_value=1)
_FACTORS = catalog_pb2.FactorsHeader(fingerprint="a" * 64, dimension=2, temperature=1, fold_in_start=b"\0\0\0\0")

# What is sent besides the field at hand, so that nothing else is refused; an empty message does for the others.
BASES: dict[str, Message] = {
    "Embed": embedding_pb2.EmbedRequest(pictures=[_PICTURE]),
    "StreamEmbed": embedding_pb2.StreamEmbedRequest(pictures=[_PICTURE]),
    "GetPicture": catalog_pb2.GetPictureRequest(item_id="i0"),
    "PutItems": catalog_pb2.PutItemsRequest(items=[_ITEM]),
    "UpdateItems": catalog_pb2.UpdateItemsRequest(
        updates=[
            catalog_pb2.ItemUpdate(
                item=catalog_pb2.Item(id="a", vectors=[_VECTOR]),
                update_mask={"paths": ["title", "uri", "category", "attributes", "pictures", "vectors"]},
            )
        ]
    ),
    "DeleteItem": catalog_pb2.DeleteItemRequest(id="i0"),
    "DeleteItems": catalog_pb2.DeleteItemsRequest(deletions=[catalog_pb2.ItemDeletion(id="i0")]),
    "ReplaceCatalog": catalog_pb2.ReplaceCatalogRequest(items=catalog_pb2.FeedItems(items=[_ITEM])),
    "PutUsers": catalog_pb2.PutUsersRequest(users=[catalog_pb2.User(id="u")]),
    "DeleteUser": catalog_pb2.DeleteUserRequest(id="u0"),
    "PutInteractions": catalog_pb2.PutInteractionsRequest(
        interactions=[catalog_pb2.Interaction(user_id="u", item_id="i", kind="like")]
    ),
    "ImportFactors": catalog_pb2.ImportFactorsRequest(header=_FACTORS),
    "Recommend": _RECOMMEND,
    "BatchRecommend": recommender_pb2.BatchRecommendRequest(requests=[_RECOMMEND]),
    "StreamRecommend": recommender_pb2.StreamRecommendRequest(requests=[_RECOMMEND]),
    "ScorePair": pairs_pb2.ScorePairRequest(left=_SIDE, right=_SIDE),
    "BatchScorePairs": pairs_pb2.BatchScorePairsRequest(item_ids=["i0"], left=[0], right=[0]),
    "CompleteSet": pairs_pb2.CompleteSetRequest(given=[_SIDE], slots=[pairs_pb2.Slot()]),
    "RankForUser": ranking_pb2.RankForUserRequest(user_id="u0"),
    "Backup": admin_pb2.BackupRequest(folder="/nowhere"),
}

# Within these messages the field at hand needs company.
COMPANY: dict[str, Message] = {
    "Vector": _VECTOR,
    "Item": _ITEM,
    "User": catalog_pb2.User(id="u"),
    "Interaction": catalog_pb2.Interaction(user_id="u", item_id="i", kind="like"),
    "ItemDeletion": catalog_pb2.ItemDeletion(id="i0"),
    "Example": _EXAMPLES[0],
    "PairSide": pairs_pb2.PairSide(vector=_VECTOR),
    "HistoryAct": ranking_pb2.HistoryAct(item_id="i0"),
    "FacetRequest": filter_pb2.FacetRequest(field="category"),
    "Comparison": filter_pb2.Comparison(field="category", operator=filter_pb2.COMPARISON_OPERATOR_EQUAL, value=_VALUE),
    "Membership": filter_pb2.Membership(field="category"),
    "Range": filter_pb2.Range(field="category"),
    "FactorsHeader": _FACTORS,
    "FactorItems": catalog_pb2.FactorItems(
        ids=["i0"], factors=bytes(8), fold_in_liked=bytes(4), fold_in_known=bytes(4)
    ),
    "FactorUsers": catalog_pb2.FactorUsers(ids=["u0"]),
}

Way = tuple[FieldDescriptor, ...]


def _paths(kind: Descriptor, seen: tuple[str, ...] = ()) -> Iterator[Way]:
    """Yield the way to each text and each list within a message that a caller may set."""
    for field in kind.fields:
        if _is_output(field):
            continue
        inner = field.message_type
        if field.is_repeated or field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            yield (field,)
        if inner is None or inner.full_name in seen or not inner.full_name.startswith("twinset."):
            continue
        for rest in _paths(inner, (*seen, kind.full_name)):
            yield (field, *rest)


def _is_output(field: FieldDescriptor) -> bool:
    return "OUTPUT_ONLY" in COMMENTS.get(field.full_name, ("", ""))[1]


def _comments() -> dict[str, tuple[str, str]]:
    """Return what the protos say of each field: its comment, and its declaration."""
    told: dict[str, tuple[str, str]] = {}
    for file in PROTOS.glob("*.proto"):
        within: list[tuple[str, str]] = []
        comment: list[str] = []
        for line in map(str.strip, file.read_text().splitlines()):
            if line.startswith("//"):
                comment.append(line[3:])
                continue
            if found := re.match(r"(message|oneof|enum|service) (\w+) \{(?!\})", line):
                within.append((found[1], found[2]))
            elif line.startswith("}"):
                within.pop()
            elif found := re.match(r"(?:repeated |optional )?[\w.]+(?:<.*>)? (\w+) = \d+", line):
                names = [name for kind, name in within if kind == "message"]
                told[".".join(("twinset.v1", *names, found[1]))] = (" ".join(comment), line)
            comment = []
    return told


COMMENTS = _comments()

_LIMIT = re.compile(
    r"[Aa]t most|see [A-Z]\w+\.\w+|\b1 to \d|hexadecimal|limits? of|same limits|As [A-Z]\w+\.\w+|See Filter|float32|"
    r"never read|one (a picture|per)|each once|none at all|as many as",
)

FIELDS = sorted(
    {path[-1].full_name for method in METHODS.values() for path in _paths(method.input_type)} & COMMENTS.keys()
)


@pytest.mark.parametrize("field", FIELDS)
def test_the_protos_tell_each_limit(field: str) -> None:
    assert _LIMIT.search(COMMENTS[field][0]), f"{field} says nothing of its limit: {COMMENTS[field][0]}"


@pytest.fixture(scope="module")
def channels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, grpc.Channel]]:
    with in_thread(tmp_path_factory.mktemp("limits")) as opened:
        yield opened.channels


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_over_a_limit_is_refused_by_name(name: str, channels: Mapping[str, grpc.Channel]) -> None:
    method = METHODS[name]
    wrong = []
    for path in _paths(method.input_type):
        for request in _over(method, path):
            refused = _refused(channels[method.containing_service.full_name], method, request)
            # The field itself, or what holds it: a side of a pair is called by its own name.
            told = re.sub(r"\[[^]]*\]", "", refused).split(".")[-2:]
            if not {field.name for field in path}.intersection(told):
                wrong.append(f"{'.'.join(field.name for field in path)} was refused as {refused}")
    assert not wrong


def _over(method: MethodDescriptor, path: Way) -> Iterator[Message]:
    """Yield requests in which the field is over its limit: too many, too long, or one of them too long."""
    leaf = path[-1]
    if leaf.name in ("content", "picture", "pictures") and leaf.type == FieldDescriptor.TYPE_BYTES and len(path) > 1:
        return  # as large as a picture may be, which the tests of pictures tell
    if leaf.name == "class_name":
        return  # of no length where it isn't the category, since it is ignored then
    for value in _values(leaf):
        message: Message = message_factory.GetMessageClass(method.input_type)()
        if method.name in BASES:
            message.CopyFrom(BASES[method.name])
        _set(message, path, value)
        yield message


def _values(leaf: FieldDescriptor) -> Iterator[Any]:
    long: Any = b"\0" * 7 if leaf.type == FieldDescriptor.TYPE_BYTES else LONG
    if not leaf.is_repeated:
        yield long
        return
    if leaf.message_type is not None:
        company = COMPANY.get(leaf.message_type.name)
        yield [company or message_factory.GetMessageClass(leaf.message_type)()] * MANY
    elif leaf.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        yield [long[:1]] * MANY
        if leaf.type != FieldDescriptor.TYPE_BYTES:
            yield [long]
    else:
        yield [0] * MANY


def _set(message: Message, path: Way, value: Any) -> None:
    field, *rest = path
    held = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        if not rest:
            for number in range(MANY):
                held[str(number)].int_value = 1
        elif rest[0].name == "key":
            held[value].int_value = 1
        else:
            _set(held["a"], rest[1:], value)
    elif not rest and field.is_repeated:
        del held[:]
        held.extend(value)
    elif not rest:
        setattr(message, field.name, value)
    elif field.is_repeated:
        if not held:
            held.append(COMPANY.get(field.message_type.name, message_factory.GetMessageClass(field.message_type)()))
        _set(held[0], rest, value)
    else:
        if not message.HasField(field.name) and field.message_type.name in COMPANY:
            held.CopyFrom(COMPANY[field.message_type.name])
        held.SetInParent()
        _set(held, rest, value)


def _refused(channel: grpc.Channel, method: MethodDescriptor, request: Message) -> str:
    """Return the field that a call is refused for, or what came of it instead."""
    read = message_factory.GetMessageClass(method.output_type).FromString
    write = type(request).SerializeToString
    path, within = method_path(method), 20
    try:
        if method.client_streaming:
            streamed = channel.stream_stream(path, request_serializer=write, response_deserializer=read)
            rows = method.name == "ImportFactors" and not request.HasField("header")
            begun = [BASES[method.name]] if rows else []
            answers = list(streamed(iter([*begun, request]), timeout=within))
        elif method.server_streaming:
            streaming = channel.unary_stream(path, request_serializer=write, response_deserializer=read)
            answers = list(streaming(request, timeout=within))
        else:
            answers = [
                channel.unary_unary(path, request_serializer=write, response_deserializer=read)(request, timeout=within)
            ]
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        return _field(status) if status else f"{error.code()} {error.details()}"
    statuses = [status for answer in answers for status in _statuses(answer)]
    return _field(statuses[0]) if statuses else "nothing: it was taken"


def _statuses(message: Message) -> Iterator[Any]:
    for one, value in message.ListFields():
        if one.message_type is status_pb2.Status.DESCRIPTOR:
            yield value
        elif one.message_type is not None and not one.message_type.GetOptions().map_entry:
            for part in value if one.is_repeated else [value]:
                yield from _statuses(part)


def _field(status: Any) -> str:
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            return str(bad.field_violations[0].field)
    return f"{status.code} {status.message}"
