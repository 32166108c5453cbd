"""The words of the pages: gettext catalogues, read from ``locale/`` at start; nothing is compiled.

Message ids are keys, never sentences, so that a better sentence in one language leaves the others alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from babel.core import Locale, UnknownLocaleError, parse_locale
from babel.messages.pofile import read_po

LANGUAGES: Final = ("fi", "sv", "en")
"""The languages that there are words in; which of them pages are offered in is a setting."""

_DIRECTORY = Path(__file__).parent / "locale"
_MAX_PREFERENCES = 20


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. A key that is missing is a bug and raises ``KeyError``."""

    language: str
    locale: Locale
    messages: Mapping[str, str | tuple[str, ...]]

    def text(self, key: str, /, **values: object) -> str:
        """Return the words of ``key`` with ``{name}`` replaced by ``values``."""
        words = self.messages[key]
        if not isinstance(words, str):
            raise KeyError(f"{key} needs a count")
        return words.format_map(values)

    def count(self, key: str, number: int, /, **values: object) -> str:
        """Return the words of ``key`` in the form for ``number``, which is also ``{n}``."""
        forms = self.messages[key]
        if isinstance(forms, str):
            raise KeyError(f"{key} has no plural")
        form = forms[0] if self.locale.plural_form(number) == "one" else forms[-1]
        return form.format_map({"n": number, **values})


def load_words(language: str) -> Words:
    """Return the words of ``language``, one of ``LANGUAGES``."""
    with (_DIRECTORY / f"{language}.po").open("rb") as file:
        catalogue = read_po(file, locale=language, abort_invalid=True)
    messages: dict[str, str | tuple[str, ...]] = {}
    for message in catalogue:
        key = message.id if isinstance(message.id, str) else message.id[0]
        words = message.string
        if key and words:
            messages[key] = words if isinstance(words, str) else tuple(words)
    return Words(language, Locale(language), messages)


def choose_language(
    chosen: str | None, accepted: str, *, offered: Sequence[str] = LANGUAGES
) -> str:
    """Return the language that a visitor chose, or else the best of ``Accept-Language`` (RFC 9110, section 12.5.4).

    It is always one of ``offered``: the first of them for a visitor who wants none.
    """
    if chosen is not None and chosen in offered:
        return chosen
    ranked = []
    for position, item in enumerate(accepted.split(",")[:_MAX_PREFERENCES]):
        tag, _, parameter = item.partition(";")
        language = _language_of(tag.strip())
        if language in offered and (weight := _weight(parameter)) > 0:
            ranked.append((-weight, position, language))
    return min(ranked)[2] if ranked else offered[0]


def _language_of(tag: str) -> str:
    try:
        return parse_locale(tag, sep="-")[0]
    except (ValueError, UnknownLocaleError):
        return ""


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
