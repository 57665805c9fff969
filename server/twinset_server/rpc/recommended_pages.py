"""Pages of recommendations: a token carries the rest of the answer that it came with.

So every page is cut from one answer, whichever worker gives it and whatever is written meanwhile: no item comes twice,
and none is skipped. No process keeps anything for it. What was deleted since is left out when a page is given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping

from google.protobuf.message import DecodeError

from twinset.v1 import catalog_pb2, recommender_pb2
from twinset_server import limits
from twinset_server.domain import Item, Space
from twinset_server.errors import BadPageToken, InvalidRequest
from twinset_server.recommend import Recommender
from twinset_server.rpc import convert
from twinset_server.rpc.recommendation_requests import DETAILS
from twinset_server.rpc.recommendations import explain_classes

_DIGEST_BYTES = 16
_LEVEL = 1
"""Of compression: higher ones take twice the time, and a tenth off."""

_MOST_BYTES = 64 << 20
"""No answer is as long; what unpacks to more isn't one of ours."""


def cut(message: recommender_pb2.RecommendRequest, answer: recommender_pb2.RecommendResponse) -> None:
    """Leave of an answer the page that the request asks for, with the token of the next one."""
    if not message.page_size or len(answer.recommendations) <= message.page_size:
        return
    rest = recommender_pb2.RecommendResponse()
    rest.CopyFrom(answer)
    del rest.recommendations[: message.page_size]
    rest.ClearField("facets")
    rest.ClearField("matching_count")
    # The items are read again for their page: they may have changed, or have ended.
    for one in rest.recommendations:
        item_id = one.item.id
        one.item.Clear()
        one.item.id = item_id
    del answer.recommendations[message.page_size :]
    answer.next_page_token = _token(message, rest)


async def page(
    message: recommender_pb2.RecommendRequest, recommender: Recommender, spaces: Mapping[str, Space]
) -> recommender_pb2.RecommendResponse:
    """Return the page that the request's token stands for, with the token of the next one.

    Args:
        message: a request with a token.
        recommender: reads the items.
        spaces: those that items may have vectors in.
    Raises:
        BadPageToken: the token is damaged, or was given for other arguments.
        InvalidRequest: the page is too large.
    """
    answer = _rest(message)
    if message.page_size < 0:
        raise InvalidRequest("page_size", f"is {message.page_size}: it is 0 or more")
    size = message.page_size or len(answer.recommendations)
    view = convert.known_view(message.view, catalog_pb2.ITEM_VIEW_ID)
    convert.check_view(view, size, "page_size")
    kept, place = 0, 0
    items: dict[str, Item] = {}
    while kept < size and place < len(answer.recommendations):
        # As many at once as the page still lacks: where none was deleted, once is enough.
        ids = [one.item.id for one in answer.recommendations[place : place + size - kept]]
        stored = await recommender.stored(ids, DETAILS[view])
        items |= stored
        kept += len(stored)
        place += len(ids)
    for number in reversed(range(place)):
        one = answer.recommendations[number]
        if (item := items.get(one.item.id)) is None:
            del answer.recommendations[number]
        else:
            one.item.CopyFrom(convert.item(item, view, spaces))
    if answer.examples:
        explain_classes(answer.recommendations[:kept], items)
    cut(message, answer)
    return answer


def _token(message: recommender_pb2.RecommendRequest, rest: recommender_pb2.RecommendResponse) -> str:
    packed = zlib.compress(rest.SerializeToString(), _LEVEL)
    return base64.urlsafe_b64encode(_digest(message) + packed).decode("ascii")


def _rest(message: recommender_pb2.RecommendRequest) -> recommender_pb2.RecommendResponse:
    limits.check_text("page_token", message.page_token, limits.MAX_PAGE_TOKEN_BYTES)
    try:
        held = base64.b64decode(message.page_token, altchars=b"-_", validate=True)
        unpacking = zlib.decompressobj()
        # The end of the stream holds a checksum: whatever comes out there is what went in.
        rest = recommender_pb2.RecommendResponse.FromString(unpacking.decompress(held[_DIGEST_BYTES:], _MOST_BYTES))
    except (binascii.Error, DecodeError, ValueError, zlib.error) as error:
        raise BadPageToken("page_token", "is damaged: start again without it") from error
    if not unpacking.eof or unpacking.unused_data:
        raise BadPageToken("page_token", "is damaged: start again without it")
    if held[:_DIGEST_BYTES] != _digest(message):
        raise BadPageToken("page_token", "was given for other arguments: repeat them, or start again without it")
    return rest


def _digest(message: recommender_pb2.RecommendRequest) -> bytes:
    """Return what tells requests apart that ask for different answers."""
    asked = recommender_pb2.RecommendRequest()
    asked.CopyFrom(message)
    asked.ClearField("page_token")
    asked.ClearField("page_size")
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).digest()[:_DIGEST_BYTES]
