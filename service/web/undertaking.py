"""The confidentiality undertaking that everybody gives before they see anything, in the languages of the pages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.domain.errors import InvalidInputError

OURS: Final = 4
"""So many paragraphs the undertaking has that the pages bring along (``undertaking.text.1`` and so on)."""
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Undertaking:
    """The undertaking of ``version`` (empty: none is asked for). ``texts`` are the company's own, by language."""

    version: str = ""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def paragraphs(self, language: str) -> tuple[str, ...]:
        """Return the paragraphs of the company's text; none where the pages' own text is used."""
        return self.texts.get(language) or next(iter(self.texts.values()), ())


def read_undertaking(
    version: str, directory: Path | None, languages: tuple[str, ...]
) -> Undertaking:
    """Return the undertaking; ``directory`` has its text as ``fi.txt`` and so on, paragraphs divided by empty lines.

    Raises:
        InvalidInputError: A text cannot be read, or there is none in any language of the pages.
    """
    if directory is None:
        return Undertaking(version)
    texts = {}
    for language in languages:
        file = directory / f"{language}.txt"
        if file.exists():
            texts[language] = _paragraphs(file)
    if not texts:
        names = ", ".join(f"{language}.txt" for language in languages)
        raise InvalidInputError(
            f"[access] undertaking_directory: {directory} has none of {names}"
        )
    return Undertaking(version, texts)


def _paragraphs(file: Path) -> tuple[str, ...]:
    try:
        data = file.read_bytes()
        text = data[: _MAX_BYTES + 1].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"[access] undertaking_directory: {file} cannot be read"
        ) from error
    found = tuple(" ".join(one.split()) for one in text.split("\n\n") if one.strip())
    if not found or len(data) > _MAX_BYTES:
        raise InvalidInputError(f"[access] undertaking_directory: {file} is empty or too long")
    return found
