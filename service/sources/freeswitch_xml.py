"""The XML of mod_xml_cdr, read by a parser that knows no document types, no entities and no depths."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from service.domain.errors import InvalidInputError

MAX_DEPTH: Final = 32
"""Elements inside each other. FreeSWITCH writes eight."""
Path = tuple[str, ...]


@dataclass(slots=True)
class _Reader:
    """Gathers the texts of elements that have no others inside them, each with the names that lead to it."""

    leaves: list[tuple[Path, str]] = field(default_factory=list)
    _path: list[str] = field(default_factory=list)
    _texts: list[str] = field(default_factory=list)
    _is_leaf: bool = False

    def begin(self, name: str, _: dict[str, str]) -> None:
        if len(self._path) >= MAX_DEPTH:
            raise InvalidInputError(f"more than {MAX_DEPTH} XML elements inside each other")
        self._path.append(name)
        self._texts.clear()
        self._is_leaf = True

    def add_text(self, text: str) -> None:
        self._texts.append(text)

    def end(self, _: str) -> None:
        if self._is_leaf:
            self.leaves.append((tuple(self._path), "".join(self._texts)))
        self._is_leaf = False
        self._path.pop()

    def refuse(self, *_: object) -> NoReturn:
        raise InvalidInputError("XML with a document type or entities is not read")


def read_leaves(document: bytes) -> Sequence[tuple[Path, str]]:
    """Return the text of each innermost element of ``document``, in order, with the path of names to it.

    Raises:
        InvalidInputError: It is not well-formed XML in UTF-8, has a document type or an entity, or more than
            ``MAX_DEPTH`` levels.
    """
    reader = _Reader()
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.add_text
    # Whatever could name something outside, or grow, is refused before it means anything.
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.EntityDeclHandler = reader.refuse
    parser.ExternalEntityRefHandler = reader.refuse
    parser.UnparsedEntityDeclHandler = reader.refuse
    try:
        parser.Parse(document, True)  # noqa: FBT003  # expat's own signature: this is the last piece
    except expat.ExpatError as error:
        # The chain is cut: what went wrong and where says enough.
        words = expat.errors.messages[error.code]
        raise InvalidInputError(
            f"not XML: {words} at line {error.lineno}, column {error.offset}"
        ) from None
    return reader.leaves
