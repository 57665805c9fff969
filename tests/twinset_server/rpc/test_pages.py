"""Page tokens lead on, and lead nowhere when they are not ours."""

import base64

import pytest

from twinset.v1 import catalog_pb2
from twinset_server.errors import BadPageToken
from twinset_server.rpc import pages


def test_a_token_leads_to_the_id_it_was_made_of() -> None:
    assert pages.after(pages.token("schuh/ü", 2), 2) == "schuh/ü"


def test_no_token_is_the_first_page() -> None:
    assert pages.after("", 2) == ""


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "????",
        "ü",
        base64.urlsafe_b64encode(b"[1, 2]").decode(),
        base64.urlsafe_b64encode(b'["", 2]').decode(),
        base64.urlsafe_b64encode(b"7").decode(),
        base64.urlsafe_b64encode(b'["\\ud800", 2]').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b"\xff").decode(),
    ],
)
def test_a_damaged_token_is_refused(token: str) -> None:
    with pytest.raises(BadPageToken, match="damaged"):
        pages.after(token, 2)


def test_a_token_for_another_view_is_refused() -> None:
    with pytest.raises(BadPageToken, match="another view"):
        pages.after(pages.token("a", 2), 3)


def test_a_page_holds_what_fits_and_at_least_one() -> None:
    items = [catalog_pb2.Item(id=str(n), title="t" * 1000) for n in range(10)]
    assert len(pages.fill(items, 4096 + 3 * 1100)) == 3
    assert len(pages.fill(items, 4096)) == 1
    assert len(pages.fill(items, 1 << 20)) == 10
