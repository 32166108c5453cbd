"""Makes characters visible that hide in a text: controls, zero-width and bidirectional marks."""

import unicodedata

from markupsafe import Markup, escape

_HIDING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT = frozenset("\n\t")
_JOINER = "\N{ZERO WIDTH JOINER}"
_PICTURES = frozenset({"So", "Sk", "Mn"})


def mark_unseen(text: str | None) -> Markup:
    """Return ``text`` as markup, escaped, with each hidden character replaced by its code point, marked.

    A joiner between two pictures stays, because it makes one picture of them and hides nothing.
    """
    if not text:
        return Markup()
    text = text.replace("\r\n", "\n")
    shown = []
    for position, character in enumerate(text):
        if unicodedata.category(character) not in _HIDING or character in _KEPT:
            shown.append(escape(character))
        elif character == _JOINER and _joins_pictures(text, position):
            shown.append(Markup(character))  # noqa: S704  # the joiner itself, a constant
        else:
            shown.append(Markup('<span class="unseen">U+{}</span>').format(_code(character)))
    return Markup().join(shown)


def _code(character: str) -> str:
    return f"{ord(character):04X}"


def _joins_pictures(text: str, position: int) -> bool:
    before = text[position - 1 : position]
    after = text[position + 1 : position + 2]
    return bool(before and after) and all(
        unicodedata.category(c) in _PICTURES for c in (before, after)
    )
