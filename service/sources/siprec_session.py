"""What a SIPREC document tells of each of its sessions: who took part, from when to when, and what it is called.

Elements are those of RFC 7865; vendors put what they add into extension data. Whatever stands first in the document,
everything is joined by ids afterwards, for participants may be listed after their streams.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.errors import InvalidInputError
from service.domain.identifiers import require_plain
from service.sources.siprec_xml import Element

MAX_SESSIONS: Final = 20
MAX_PARTICIPANTS: Final = 200
_ROOTS: Final = frozenset({"recording", "recording_metadata"})
_URN: Final = re.compile(r"\A(?:urn:)?uuid:", re.IGNORECASE)
_IS_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# 16 bytes in base64, or in base64 for URLs, with or without what fills them up (RFC 4648, sections 4 and 5).
_IS_BASE64: Final = re.compile(r"([A-Za-z0-9+/_-]{22})(?:==)?", re.ASCII)
_REFERENCES: Final = (
    "sipsessionid",
    "callid",
    "call-id",
    "ucid",
    "gcid",
    "exttrackingid",
)
_MAX_REFERENCES: Final = 20
_FEWEST_DIGITS: Final = 7
"""Of a number that another one ends with; extensions are shorter."""
_ADDRESS: Final = re.compile(r"<([^<>]{0,300})>")


@dataclass(frozen=True, slots=True)
class Participant:
    """Someone who took part, as told. ``is_caller``: the document says so (True), says who else was (False), or not."""

    address: str
    name: str = ""
    joined_at: str = ""
    is_caller: bool | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A session, as told; times are texts, and none that is not told.

    ``references`` are what else it is called: by SIP (RFC 7989), and by the systems that the call went through.
    ``begun_by_us``: an extension says that the call was one of the company's own users' (True), or came to one (False).
    """

    ident: str
    starts: tuple[str, ...]
    stops: tuple[str, ...]
    participants: tuple[Participant, ...]
    references: tuple[str, ...]
    begun_by_us: bool | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """A document. ``is_partial``: it tells what changed, and leaves out what was told before (RFC 7865, 6.1)."""

    is_partial: bool
    sessions: tuple[Session, ...]


def session_name(text: str) -> str:
    """Return what the archive calls a session: its id without ``urn:uuid:``.

    A UUID is in small letters, and 16 bytes in base64 have the usual alphabet and both ``=``.
    """
    plain = _URN.sub("", text.strip())
    if _IS_UUID.fullmatch(plain):
        return plain.lower()
    packed = _IS_BASE64.fullmatch(plain)
    return f"{packed[1].replace('-', '+').replace('_', '/')}==" if packed else plain


def read_metadata(root: Element) -> Metadata:
    """Return what the document tells.

    Raises:
        InvalidInputError: It is none of SIPREC, has no session that has an id, or too much of something.
    """
    if root.name.lower() not in _ROOTS:
        raise InvalidInputError(
            "not metadata of SIPREC: the outermost element is not recording"
        )
    if sum(1 for _ in root.find("participant")) > MAX_PARTICIPANTS:
        raise InvalidInputError(f"more than {MAX_PARTICIPANTS} participants")
    told = {id(one): _ident(one, "session") for one in root.find("session")}
    idents = tuple(dict.fromkeys([*told.values(), *_named_elsewhere(root)]))
    idents = tuple(one for one in idents if one)
    if not idents:
        raise InvalidInputError("no session with a session_id is told")
    if len(idents) > MAX_SESSIONS:
        raise InvalidInputError(f"more than {MAX_SESSIONS} sessions")
    is_partial = root.text_of("datamode").lower() == "partial"
    return Metadata(
        is_partial, tuple(_Reading(root, ident, len(idents) == 1).session() for ident in idents)
    )


def _named_elsewhere(root: Element) -> Iterator[str]:
    """Yield the sessions that an association or a stream names: a partial document may leave the session itself out."""
    for one in root.find("participantsessionassoc", "sessionrecordingassoc", "stream"):
        yield session_name(one.attribute("session_id", "session"))


def _ident(element: Element, kind: str) -> str:
    """Return an id as an attribute (RFC 7865), by its short name (ACME), or as an element."""
    told = element.attribute(f"{kind}_id", "id") or element.text_of(f"{kind}_id", f"{kind}id")
    return session_name(told)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One session of a document. What says of no session that it is its own is of the only one there is."""

    root: Element
    ident: str
    is_only: bool

    def session(self) -> Session:
        own = [one for one in self.root.find("session") if _ident(one, "session") == self.ident]
        joins = self._associations("participantsessionassoc")
        recorded = self._associations("sessionrecordingassoc")
        extensions = [self.root] if self.is_only else [*own, *self._extensions()]
        return Session(
            ident=require_plain(self.ident, what="session_id"),
            starts=(
                *_texts(own, "start-time", "associate-time"),
                *_texts(recorded, "associate-time"),
                *_texts(joins, "associate-time"),
            ),
            stops=(
                *_texts(own, "stop-time", "disassociate-time"),
                *_texts(recorded, "disassociate-time"),
            ),
            participants=tuple(self._participants(joins, extensions)),
            references=_references(extensions),
            begun_by_us=_begun_by_us(extensions),
        )

    def _associations(self, name: str) -> list[Element]:
        return [one for one in self.root.find(name) if self._is_own(one)]

    def _is_own(self, element: Element) -> bool:
        told = session_name(
            element.attribute("session_id", "session")
            or element.text_of("session_id", "sessionid")
        )
        return told == self.ident if told else self.is_only

    def _extensions(self) -> Iterator[Element]:
        """Yield extension data beside several sessions that name this one."""
        for one in self.root.find("extensiondata"):
            if session_name(one.attribute("parent", "session_id", "session")) == self.ident:
                yield one

    def _participants(
        self, joins: Sequence[Element], extensions: Sequence[Element]
    ) -> Iterator[Participant]:
        joined: dict[str, str] = {}
        for one in joins:
            ident = one.attribute("participant_id", "participant") or one.text_of(
                "participant_id"
            )
            joined.setdefault(session_name(ident), one.text_of("associate-time"))
        called = _calls(extensions)
        for one in self.root.find("participant"):
            ident = _ident(one, "participant")
            if ident in joined or self._is_participant(one, has_joins=bool(joined)):
                joined_at = joined.get(ident, "") or one.text_of("associate-time")
                yield _participant(one, joined_at, called)

    def _is_participant(self, element: Element, *, has_joins: bool) -> bool:
        """Tell whether somebody is of this session whom no association says to be."""
        if element.attribute("session_id", "session"):
            return self._is_own(element)
        return self.is_only or not (has_joins or _any_joins(self.root))


def _any_joins(root: Element) -> bool:
    return any(True for _ in root.find("participantsessionassoc"))


def _participant(element: Element, joined_at: str, called: tuple[str, str]) -> Participant:
    names = [*element.find("nameid"), element]
    addresses = [
        told for one in names for told in (one.attribute("aor"), one.text_of("aor")) if told
    ]
    address = addresses[0] if addresses else ""
    name = next((told for one in names if (told := one.text_of("name"))), "")
    said = next(
        (one.text.lower() for one in element.find_below("callingparty") if one.text), ""
    )
    is_caller: bool | None = None
    if said in {"true", "false", "1", "0"}:
        is_caller = said in {"true", "1"}
    else:
        user = _user(address)
        is_caller = next((n == 0 for n, one in enumerate(called) if _are_one(user, one)), None)
    return Participant(address, name, joined_at, is_caller)


def _user(address: str) -> str:
    """Return the user part of an address or of a From header, to compare it with another."""
    told = _ADDRESS.search(address)
    plain = told[1] if told else address
    return re.split(
        r"[@;]", re.sub(r"\A(?:sips?|tel):", "", plain.strip(), flags=re.IGNORECASE)
    )[0].casefold()


def _are_one(user: str, other: str) -> bool:
    """Tell whether two users are one: as written, or as numbers of which one is told without the country or area."""
    if not user or user == other:
        return bool(user)
    short, long = sorted((user.lstrip("+0"), other.lstrip("+0")), key=len)
    return short.isdecimal() and len(short) >= _FEWEST_DIGITS and long.endswith(short)


def _calls(extensions: Sequence[Element]) -> tuple[str, str]:
    """Return the users who called and who were called, as SIP headers or numbers in extension data tell."""
    caller = _first(extensions, "fromhdr", "callingpartynumber", "callingpartyaddress")
    dialled = _first(extensions, "tohdr", "calledpartynumber", "calledpartyaddress")
    return _user(caller), _user(dialled)


def _begun_by_us(extensions: Sequence[Element]) -> bool | None:
    """Return which half of a call the recorded user of BroadWorks had; None when it is not told."""
    for extension in extensions:
        for one in extension.find_below("origcall", "termcall"):
            return one.name.lower() == "origcall"
    return None


def _first(elements: Sequence[Element], *names: str) -> str:
    return next(
        (one.text for element in elements for one in element.find_below(*names) if one.text), ""
    )


def _references(elements: Sequence[Element]) -> tuple[str, ...]:
    told = (one.text for element in elements for one in element.find_below(*_REFERENCES))
    return tuple(dict.fromkeys(one for one in told if one))[:_MAX_REFERENCES]


def _texts(elements: Sequence[Element], *names: str) -> Iterator[str]:
    return (one.text for element in elements for one in element.find(*names) if one.text)
