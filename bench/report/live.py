"""A page that reloads itself while its sweep runs."""

from __future__ import annotations

import re

_BEGIN, _END = b"<!-- live -->", b"<!-- /live -->"
_LIVE = re.compile(re.escape(_BEGIN) + rb".*?" + re.escape(_END), re.S)


def refreshing(page: bytes, seconds: int, words: str) -> bytes:
    """The page with a reload every so many seconds, and `words` (plain ASCII, no markup) that say so.

    A reload keeps the place that is looked at. There is none while the page is out of sight, where it
    would only cost the machine's time, or while somebody types into it.
    """
    assert not set(words) & set("<>&")
    steady = steadied(page)
    script = (
        f'<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>'
        "<script>setInterval(() => {"
        ' if (!document.hidden && !document.activeElement?.matches("input, select")) location.reload();'
        f" }}, {seconds * 1000});</script>"
    )
    head = steady.replace(b"</head>", _BEGIN + script.encode() + _END + b"</head>", 1)
    told = _BEGIN + f'<p class="warning live" role="status">{words}</p>'.encode() + _END
    return head.replace(b"</header>", told + b"</header>", 1)


def steadied(page: bytes) -> bytes:
    """The page as it is without reloads."""
    return _LIVE.sub(b"", page)
