"""Formatted text: made safe to show, and made plain.

What is shown loads nothing, runs nothing, sends nothing and leads nowhere: no images, styles, forms, frames or scripts,
and an address behind a link is written beside it, to be read and not to be followed.
"""

import html
import re
from typing import Final

import nh3

from service.sources.mail.facts import MAX_HTML_BYTES

_MAX_DEPTH: Final = 100
_MAX_SHOWN_ADDRESS: Final = 300
BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "br",
        "center",
        "dd",
        "div",
        "dl",
        "dt",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "main",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
_INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "big",
        "cite",
        "code",
        "del",
        "em",
        "i",
        "ins",
        "kbd",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "td",
        "th",
        "tt",
        "u",
        "var",
    ]
)
_DROPPED: Final = frozenset(
    {"script", "style", "title", "template", "noscript", "iframe", "object", "svg", "math"}
)
_ATTRIBUTES: Final = {"a": {"href"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
_SCHEMES: Final = frozenset({"http", "https", "mailto", "tel"})
_TAG: Final = re.compile(r"<(/?)([a-z0-9]+)[^>]*>")
_LINK: Final = re.compile(r'<a(?: href="([^"]*)")?>(.*?)</a>', re.DOTALL)
_BREAKS: Final = re.compile(
    r"\s*(?:</?(?:" + "|".join(sorted(BLOCKS - {"br"})) + r")(?:\s[^>]*)?>\s*)+"
)
_PARAGRAPH: Final = re.compile(r"</?(?:p|h[1-6]|table|blockquote|ul|ol|pre|hr|dl)\b")
_SPACES: Final = re.compile(r"[ \t\xa0\r]+")


class UnsafeError(ValueError):
    """The formatted text is too large or too deep to be shown."""


def sanitise(markup: str) -> str:
    """Return ``markup`` as a fragment that is safe to put into a page.

    Cleaning what was cleaned changes nothing but white space.

    Raises:
        UnsafeError: It is too large, or has too many elements inside each other.
    """
    markup = _EMBEDDED.sub("", markup)
    if len(markup.encode("utf-8", "replace")) > MAX_HTML_BYTES:
        raise UnsafeError("too large")
    _require_shallow(markup)
    cleaned = _OVERRIDES.sub("", _clean(markup, BLOCKS | _INLINE))
    if _depth(cleaned) > _MAX_DEPTH or len(cleaned.encode()) > MAX_HTML_BYTES:
        raise UnsafeError("too deep")
    return _LINK.sub(_written_out, cleaned)


def text_of_html(markup: str) -> str:
    """Return what a person reads in ``markup``, line by line, with the addresses of links.

    Raises:
        UnsafeError: As ``sanitise``.
    """
    text = re.sub(r"\s+", " ", sanitise(markup))
    text = text.replace("<br>", "\n").replace("</td>", "\t").replace("</th>", "\t")
    text = _BREAKS.sub(_line_ends, text)
    return _SPACES.sub(" ", html.unescape(_TAG.sub("", text))).strip()


def _line_ends(match: re.Match[str]) -> str:
    """Return what stands for the ends and beginnings of blocks that follow each other: a new line, or an empty one."""
    return "\n\n" if _PARAGRAPH.search(match[0]) else "\n"


def _clean(markup: str, tags: frozenset[str]) -> str:
    return nh3.clean(
        markup,
        tags=set(tags),
        clean_content_tags=set(_DROPPED),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel=None,
        strip_comments=True,
    )


def _written_out(match: re.Match[str]) -> str:
    """Return a link as its text, with the address beside it unless that is what the text says."""
    target, text = match[1] or "", match[2]
    shown = html.unescape(_TAG.sub("", text)).strip()
    address = html.unescape(target)
    plain = address.removeprefix("mailto:").removeprefix("tel:")
    if not address or plain == shown:
        return f"<span>{text}</span>"
    cut = plain if len(plain) <= _MAX_SHOWN_ADDRESS else plain[:_MAX_SHOWN_ADDRESS] + "…"
    return f"<span>{text}</span> <small>⟨{html.escape(cut)}⟩</small>"


def _require_shallow(markup: str) -> None:
    """Refuse what would take a parser the square of its length: elements that are never closed, heaps of attributes."""
    if _LONG_TAG.search(markup):
        raise UnsafeError("a tag is too long")
    opened = closed = 0
    deepest = 0
    for match in _ANY_TAG.finditer(markup):
        if match[1]:
            closed += 1
        elif match[2].lower() not in _VOID:
            opened += 1
        deepest = max(deepest, opened - closed)
    if deepest > _MAX_OPEN:
        raise UnsafeError("too deep")


_MAX_OPEN: Final = 4000
_LONG_TAG: Final = re.compile(r"<[A-Za-z](?:[^<>=\s/]*[=\s/]){5000}")
# They make text read otherwise than it is written.
_OVERRIDES: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Pictures inside the text itself, which are not shown and can be large.
_EMBEDDED: Final = re.compile(r"data:[\w.+-]{1,60}/[\w.+-]{1,60};base64,[A-Za-z0-9+/=\s]*")
_ANY_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9]*)")
# Browsers close these themselves, and many writers leave that to them.
_VOID: Final = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "dd",
        "dt",
        "embed",
        "hr",
        "img",
        "input",
        "li",
        "link",
        "meta",
        "option",
        "p",
        "param",
        "source",
        "td",
        "th",
        "tr",
        "track",
        "wbr",
    ]
)


def _depth(markup: str) -> int:
    """Return how deep the elements of cleaned markup are inside each other."""
    depth = deepest = 0
    for match in _TAG.finditer(markup):
        if match[2] in {"br", "hr"}:
            continue
        depth += -1 if match[1] else 1
        deepest = max(deepest, depth)
    return deepest
