"""Markdown as man(7) has it: headings, paragraphs, lists, tables, code."""

from __future__ import annotations

import re
from textwrap import wrap

from markdown_it import MarkdownIt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

PAGE_LINK = re.compile(r"^([a-z-]+)\.md(#.*)?$")
WIDEST = 78
"""The columns of a line of the source."""
FONTS = {"strong_open": r"\fB", "em_open": r"\fI", "strong_close": r"\fR", "em_close": r"\fR"}


def text(words: str) -> str:
    """`words` as they are printed, in ASCII, wherever they stand in a line but at its begin."""
    escaped = words.replace("\\", r"\e").replace("-", r"\-")
    escaped = escaped.replace("'", r"\(aq").replace("`", r"\(ga").replace("^", r"\(ha")
    escaped = escaped.replace("~", r"\(ti").replace('"', r"\(dq")
    return "".join(c if c < "\x7f" else rf"\[u{ord(c):04X}]" for c in escaped)


def line(roff: str) -> str:
    """A line of text, which must not be read as a request."""
    return r"\&" + roff if roff[:1] in (".", "'") else roff


def lines(roff: str) -> list[str]:
    """A paragraph of text, in lines that mandoc does not find too long."""
    return [
        line(each) for each in wrap(roff, WIDEST, break_long_words=False, break_on_hyphens=False)
    ]


def literal(words: str) -> list[str]:
    """Lines that are printed as they are, indented."""
    shown = [line(text(each)) for each in words.rstrip("\n").split("\n")]
    return [".PP", ".RS 4", ".nf", *shown, ".fi", ".RE"]


def prose(markdown: str) -> tuple[list[str], list[str]]:
    """What stands before the first heading, and the sections behind it, each as lines of roff."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    first = next((i for i, token in enumerate(tokens) if token.type == "heading_open"), len(tokens))
    return _Writer().write(tokens[:first]), _Writer().write(tokens[first:])


class _Writer:
    """Blocks of Markdown, one after the other, into lines of roff."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._lists: list[int] = []
        self._begins_item = False

    def write(self, tokens: Sequence[Token]) -> list[str]:
        i = 0
        while i < len(tokens):
            kind = tokens[i].type
            if kind == "heading_open":
                title = text(tokens[i + 1].content.replace("`", ""))
                self.lines.append(
                    f".SH {title.upper()}" if tokens[i].tag == "h2" else f".SS {title}"
                )
                i += 2
            elif kind == "table_open":
                i = self._table(tokens, i)
            else:
                self._block(tokens[i])
            i += 1
        return self.lines

    def _block(self, token: Token) -> None:
        if token.type == "paragraph_open" and not self._begins_item:
            self.lines.append(".PP" if not self._lists else ".IP")
        elif token.type == "inline":
            self.lines += _inline(token)
            self._begins_item = False
        elif token.type in ("fence", "code_block"):
            self.lines += literal(token.content)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            if self._lists:
                self.lines.append(".RS 4")
            self._lists.append(0)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            self._lists.pop()
            if self._lists:
                self.lines.append(".RE")
        elif token.type == "list_item_open":
            self._lists[-1] += 1
            mark = r"\(bu" if token.markup in "-*+" else f"{self._lists[-1]}."
            self.lines.append(f".IP {mark} 4")
            self._begins_item = True

    def _table(self, tokens: Sequence[Token], start: int) -> int:
        """A row is a paragraph: its first cell, and beside it the others."""
        i, cells = start, list[str]()
        head = True
        while tokens[i].type != "table_close":
            if tokens[i].type == "inline":
                cells.append(" ".join(_inline(tokens[i])))
            elif tokens[i].type == "thead_close":
                head, cells = False, []
            elif tokens[i].type == "tr_close" and not head:
                self.lines += [".TP 28", line(cells[0]), *lines("; ".join(cells[1:]))]
                cells = []
            i += 1
        return i


def _inline(token: Token) -> list[str]:
    """The lines of one paragraph; a sentence does not begin a new one."""
    parts: list[str] = []
    target, page = "", None
    for child in token.children or []:
        if child.type == "link_open":
            target = str(child.attrs["href"])
            page = PAGE_LINK.match(target)
            if page is not None:
                parts.append(rf"\fB{text(page[1])}\fR(1)")
        elif child.type == "link_close":
            if page is None and "://" in target:
                parts.append(f" <{text(target)}>")  # for those who cannot click
            page = None
        elif page is not None:
            continue  # a page is called by its name
        elif child.type == "code_inline":
            parts.append(rf"\fB{text(child.content)}\fR")
        elif child.type in FONTS:
            parts.append(FONTS[child.type])
        else:
            parts.append(" " if child.type in ("softbreak", "hardbreak") else text(child.content))
    return lines("".join(parts))
