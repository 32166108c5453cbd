"""The XML of SIPREC (RFC 7865), read by names without their namespaces, for each vendor has its own.

The parser knows no document types and no entities, and reads neither many levels nor many elements.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn
from xml.parsers import expat

from service.domain.errors import InvalidInputError

MAX_DEPTH: Final = 32
"""Elements inside each other. The deepest that vendors write has eight."""
MAX_ELEMENTS: Final = 5_000
"""Elements in all. A conference of thirty has some hundreds."""


@dataclass(slots=True)
class Element:
    """An element by its local name, with its attributes by theirs. ``text`` is what stands in it before any other."""

    name: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def find(self, *names: str) -> Iterator["Element"]:
        """Yield the elements that stand directly in this one and have one of ``names`` (small letters)."""
        return (one for one in self.children if one.name.lower() in names)

    def find_below(self, *names: str) -> Iterator["Element"]:
        """Yield those with one of ``names`` (small letters) at any depth, in the order of the document."""
        for one in self.children:
            if one.name.lower() in names:
                yield one
            yield from one.find_below(*names)

    def attribute(self, *names: str) -> str:
        """Return the first of the attributes ``names`` that says something; nothing when none does."""
        return next((told for name in names if (told := self.attributes.get(name, ""))), "")

    def text_of(self, *names: str) -> str:
        """Return the first text that an element of ``names`` directly in this one has; nothing when none has."""
        return next((told for one in self.find(*names) if (told := one.text)), "")


@dataclass(slots=True)
class _Reader:
    """Builds the tree as the parser goes through the document."""

    roots: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)
    _count: int = 0

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise InvalidInputError(
                f"more than {MAX_DEPTH} XML elements inside each other, or than {MAX_ELEMENTS:,}"
            )
        element = Element(
            _local(name), {_local(n): value.strip() for n, value in attributes.items()}
        )
        (self._open[-1].children if self._open else self.roots).append(element)
        self._open.append(element)

    def add_text(self, text: str) -> None:
        if not self._open[-1].children:
            self._open[-1].text += text

    def end(self, _: str) -> None:
        element = self._open.pop()
        element.text = element.text.strip()

    def refuse(self, *_: object) -> NoReturn:
        raise InvalidInputError("XML with a document type or entities is not read")


def read_tree(document: bytes) -> Element:
    """Return the outermost element of ``document``.

    Raises:
        InvalidInputError: It is not well-formed XML, is in an unknown encoding, has a document type or an entity, or
            more than ``MAX_DEPTH`` levels or ``MAX_ELEMENTS``.
    """
    reader = _Reader()
    parser = expat.ParserCreate()
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
    except (LookupError, ValueError):
        raise InvalidInputError("not XML: its encoding is none that is known") from None
    return reader.roots[0]


def _local(name: str) -> str:
    return name.rpartition(":")[2]
