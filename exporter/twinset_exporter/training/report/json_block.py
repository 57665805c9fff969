"""Data within a page."""

from __future__ import annotations

import json
from typing import Any


def json_block(content: Any) -> str:
    """Return an element that holds JSON for the page's own script; nothing in it can end the element."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Within a string of JSON these mean the same; in HTML `</script>` and `<!--` would mean something.
    text = text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    return f'<script type="application/json">{text}</script>'
