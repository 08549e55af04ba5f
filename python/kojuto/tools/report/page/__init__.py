"""The report as one page that needs nothing beside it: no server, no network, no other file.

Its script and style are files of this folder and are put into the page as they are, with the
library of charts between them. What the log holds goes into the page as JSON in which no `<`
stands, and the script shows it as text. A content security policy with the hashes of the scripts
and styles lets nothing else run and nothing be fetched.
"""

from __future__ import annotations

import os

from kojuto import __version__
from kojuto.tools.report.page import library, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import tzinfo
    from typing import Any

    from kojuto._native import ReportData

SCRIPTS = ("text.js", "figures.js", "charts.js", "table.js", "page.js")
_known: dict[str, str] = {}
CHARTED = 100
"""So many of the costliest endpoints have charts over time."""


def of_report(
    data: ReportData,
    percentiles: Sequence[float] | None = None,
    *,
    zone: tzinfo | None = None,
    slowest: int | None = None,
    title: str = "",
) -> bytes:
    """The page of a report, all of its endpoints in it, the costliest first.

    Args:
        data: the report.
        percentiles: those that are told; those of the JSON when left out.
        zone: of the times that are shown; the log's own when left out.
        slowest: how many of the slowest lines; as many as in the JSON when left out.
        title: what the page is called; the names of the files when left out.

    Raises:
        KojutoError: the library of charts is not installed, or is another one.
    """
    from kojuto.tools.report.columns import DEFAULT_PERCENTILES, names_of
    from kojuto.tools.report.document import SLOWEST, document

    facts = data.facts()
    told = document(
        data, percentiles or DEFAULT_PERCENTILES, zone=zone,
        slowest=SLOWEST if slowest is None else slowest,
    )  # fmt: skip
    names = data.columns([])["endpoint"][:CHARTED]
    maps = {at: slices for at, name in enumerate(names) if (slices := data.map(name))}
    return page(
        told, data.timeline(), maps, title=title, resolution_s=facts["resolution_s"],
        of=names_of(facts),
    )  # fmt: skip


def page(
    document: Mapping[str, Any],
    timeline: Sequence[Mapping[str, Any]],
    maps: Mapping[int, Sequence[Mapping[str, Any]]],
    *,
    title: str = "",
    resolution_s: float | None = None,
    of: Sequence[str] = ("endpoint",),
) -> bytes:
    """The page of a report, in UTF-8.

    Args:
        document: the report as `document()` has it.
        timeline: slices of time of all lines.
        maps: the same for some endpoints, by their place in ``document["endpoints"]``.
        title: what the page is called; the names of the files when left out.
        resolution_s: the smallest difference between two times of the log.
        of: the columns that name a row.

    Raises:
        KojutoError: the library of charts is not installed, or is another one.
    """
    from html import escape

    plot = library.read()
    title = title or _title(document)
    data = packed.data(document, timeline, maps, title=title, resolution_s=resolution_s, of=of)
    style = _read("page.css")
    script = _script()
    parts = {
        "policy": _policy([plot.script, script], [plot.style, style]),
        "title": escape(packed.shown(title)),
        "version": __version__,
        "library": library.NAME,
        "library_style": plot.style,
        "style": style,
        "licence": escape(_read("uplot-licence.txt")),
        "data": data,
        "library_script": plot.script,
        "script": script,
    }
    return _filled(_read("page.html"), parts).encode()


def _title(document: Mapping[str, Any]) -> str:
    names = [name.rpartition("/")[2] for name in document.get("files") or []]
    names = ["standard input" if name == "-" else name for name in names]
    if not names:
        return "Access log"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def preload() -> None:
    """Read what stands in every page; a log may be read for hours before, and this replaced."""
    for name in ("page.css", "page.html", "uplot-licence.txt", *SCRIPTS):
        _known[name] = _read(name)


def _read(name: str) -> str:
    if name in _known:
        return _known[name]
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def _script() -> str:
    """All of ours as one function, so that nothing of it is a name of the page."""
    return "(() => {\n'use strict';\n" + "\n".join(map(_read, SCRIPTS)) + "})();\n"


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """`template` with its parts in; what looks like a place in a part stays as it is."""
    import re

    return re.sub(r"\{(\w+)\}", lambda found: parts[found[1]], template)


def _policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Nothing but these runs, nothing is fetched, no text becomes markup (CSP 3, Trusted Types)."""
    return "; ".join([
        "default-src 'none'",
        f"script-src {' '.join(map(_hash, scripts))}",
        f"style-src {' '.join(map(_hash, styles))}",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ])  # fmt: skip


def _hash(text: str) -> str:
    from base64 import b64encode
    from hashlib import sha256

    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
