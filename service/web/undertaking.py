"""The confidentiality undertaking that everybody gives before they see anything, in the languages of the pages."""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from service.domain.errors import InvalidInputError

OURS: Final = 4
"""So many paragraphs the undertaking has that the pages bring along (``undertaking.text.1`` and so on)."""
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class UndertakingText:
    """What somebody reads before they give the undertaking, and the language it is in."""

    language: str
    paragraphs: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the paragraphs in UTF-8, an empty line between them: what the log keeps of what was promised."""
        return hashlib.sha256("\n\n".join(self.paragraphs).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Undertaking:
    """The undertaking of ``version`` (empty: none is asked for). ``texts`` are the company's own, by language."""

    version: str = ""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def in_language(self, language: str, ours: tuple[str, ...]) -> UndertakingText:
        """Return the text for who reads ``language``; ``ours`` where the company has none of its own.

        A language that the company did not write in gets the first text that there is.
        """
        if not self.texts:
            return UndertakingText(language, ours)
        if language not in self.texts:
            language = next(iter(self.texts))
        return UndertakingText(language, self.texts[language])


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
        # Editors of Windows put a mark in front, and end lines with CR LF.
        text = data[: _MAX_BYTES + 1].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"[access] undertaking_directory: {file} cannot be read"
        ) from error
    lines = [" ".join(line.split()) for line in text.splitlines()]
    groups = itertools.groupby(lines, key=bool)
    found = tuple(" ".join(group) for is_text, group in groups if is_text)
    if not found or len(data) > _MAX_BYTES:
        raise InvalidInputError(f"[access] undertaking_directory: {file} is empty or too long")
    return found
