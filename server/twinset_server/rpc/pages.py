"""Page tokens and pages that fit in an answer."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable

from twinset.v1 import catalog_pb2
from twinset_server import limits
from twinset_server.errors import BadPageToken


def token(last_id: str, view: int) -> str:
    """Return the token of the page after `last_id`; it holds for the same view only."""
    return base64.urlsafe_b64encode(json.dumps([last_id, view]).encode()).decode("ascii")


def after(page_token: str, view: int) -> str:
    """Return the id after which the page begins, empty for the first.

    Raises:
        BadPageToken: the token is damaged, or was given for another view.
    """
    if not page_token:
        return ""
    limits.check_text("page_token", page_token, limits.MAX_PAGE_TOKEN_BYTES)
    try:
        last_id, given = json.loads(base64.b64decode(page_token, altchars=b"-_", validate=True))
        # JSON may hold half a surrogate pair, which is no text that an id could be.
        sound = bool(last_id.encode())
    except (binascii.Error, AttributeError, RecursionError, TypeError, ValueError) as error:
        raise BadPageToken("page_token", "is damaged: start again without it") from error
    if not sound:
        raise BadPageToken("page_token", "is damaged: start again without it")
    if given != view:
        raise BadPageToken("page_token", "was given for another view: start again without it")
    return str(last_id)


def fill(items: Iterable[catalog_pb2.Item], most_bytes: int) -> list[catalog_pb2.Item]:
    """Return the first of `items` that fit in `most_bytes` together, at least one where there is one."""
    page: list[catalog_pb2.Item] = []
    # Each element costs its tag and length besides; the token costs some too.
    left = most_bytes - 4096
    for item in items:
        left -= item.ByteSize() + 8
        if left < 0 and page:
            break
        page.append(item)
    return page
