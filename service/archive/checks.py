"""The checks behind the answer to "is it intact?", in words that a customer understands, and the answer itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Outcome(StrEnum):
    """What a check found. ``unknown``: it could not be done, which speaks neither for nor against."""

    PASSED = "passed"
    WAITING = "waiting"
    UNKNOWN = "unknown"
    FAILED = "failed"


class State(StrEnum):
    """The four honest answers."""

    ANCHORED = "anchored"
    PENDING = "pending"
    UNCHECKED = "unchecked"
    ALTERED = "altered"


class Code(StrEnum):
    """What is checked. A code, once used, keeps its meaning."""

    COMPLETE = "complete"
    CONTACT_ROW = "contact_row"
    RECORDING_ROW = "recording_row"
    MESSAGE_ROW = "message_row"
    BLOB_PRESENT = "blob_present"
    BLOB_HASH = "blob_hash"
    HEADER = "header"
    CHUNKS = "chunks"
    RECEIVED = "received"
    LOG_ENTRY = "log_entry"
    CHECKPOINT = "checkpoint"
    CONSISTENT = "consistent"
    ANCHORED = "anchored"
    CUSTOMER_ROW = "customer_row"
    GRANT_ROW = "grant_row"
    DELIVERY_ROW = "delivery_row"
    LINKS = "links"
    CONTACT_TOKENS = "contact_tokens"
    ACCOUNT = "account"
    ERASED = "erased"


WORDS: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.COMPLETE: "Everything that arrived for this contact is still here, and nothing was slipped in.",
        Code.CONTACT_ROW: "The details of the contact, such as its times and parties, are unchanged.",
        Code.RECORDING_ROW: "The description of the recording is unchanged.",
        Code.MESSAGE_ROW: "The description of the message is unchanged.",
        Code.BLOB_PRESENT: "The stored bytes are here.",
        Code.BLOB_HASH: "The stored bytes are exactly those that the log noted when they arrived.",
        Code.HEADER: "The key that opens them is here and unchanged.",
        Code.CHUNKS: "Every piece of it is genuine and in its place, from the first to the last.",
        Code.RECEIVED: "What it holds is exactly what was delivered to us.",
        Code.LOG_ENTRY: "The log entries about this contact are part of the signed log.",
        Code.CHECKPOINT: "The newest state of the log bears the archive's signature.",
        Code.CONSISTENT: "The log has only grown; nothing in its past was rewritten or cut off.",
        Code.ANCHORED: "A signed copy of the log's state that covers this contact is kept outside of the archive.",
        Code.CUSTOMER_ROW: "The record of the customer is unchanged.",
        Code.GRANT_ROW: "The record of who may open what, and why, is unchanged.",
        Code.DELIVERY_ROW: "What a source sent is kept exactly as it came.",
        Code.LINKS: "The contact is tied to the customers of whom the log tells.",
        Code.CONTACT_TOKENS: "The contact is found by what it and its customer tell, and by nothing else.",
        Code.ACCOUNT: "The account may do what the log says.",
        Code.ERASED: "Nothing is left of the contact that was erased.",
    }
)
"""What it means when a check passes."""

WRONG: Final[Mapping[Code, str]] = MappingProxyType(
    {
        Code.COMPLETE: "Something that arrived for this contact is missing, or something was slipped in.",
        Code.CONTACT_ROW: "The details of the contact, such as its times and parties, were changed.",
        Code.RECORDING_ROW: "The description of the recording was changed.",
        Code.MESSAGE_ROW: "The description of the message was changed.",
        Code.BLOB_PRESENT: "The stored bytes are missing.",
        Code.BLOB_HASH: "The stored bytes are not those that the log noted when they arrived.",
        Code.HEADER: "The key that opens them was changed.",
        Code.CHUNKS: "A piece of it is not genuine, missing, or not in its place.",
        Code.RECEIVED: "What it holds is not what was delivered to us.",
        Code.LOG_ENTRY: "A log entry about this contact is not part of the signed log.",
        Code.CHECKPOINT: "The newest state of the log does not bear the archive's signature.",
        Code.CONSISTENT: "The log has not only grown: its past was rewritten or cut off.",
        Code.ANCHORED: "The copy of the log's state that is kept outside of the archive tells otherwise.",
        Code.CUSTOMER_ROW: "The record of the customer was changed.",
        Code.GRANT_ROW: "The record of who may open what, and why, was changed.",
        Code.DELIVERY_ROW: "What a source sent is not kept as it came.",
        Code.LINKS: "The contact is not tied to the customers of whom the log tells.",
        Code.CONTACT_TOKENS: "The contact is not found by what it tells, or is found by something else.",
        Code.ACCOUNT: "The account may do other than the log says.",
        Code.ERASED: "Something is left of the contact that was erased.",
    }
)
"""What it means when a check fails."""

_UNDECIDED: Final[Mapping[Outcome, str]] = MappingProxyType(
    {Outcome.WAITING: "Not shown yet", Outcome.UNKNOWN: "Could not be checked"}
)


class AnchorKind(StrEnum):
    """What vouches outside of the archive: a place, somebody who cosigned, somebody who stamped the time."""

    DIRECTORY = "directory"
    WITNESS = "witness"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Anchor:
    """What vouches for a state of the log of ``size`` entries: the file, the witness, the authority by ``name``.

    ``at`` is the time that a witness or authority signed; a file has none that could be relied on. ``path`` is where
    in the published log it is kept, None for what is kept outside.
    """

    kind: AnchorKind
    name: str
    size: int
    at: datetime | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One check: of what (an id), what it found, and why, where it did not pass. ``detail`` is safe to show."""

    code: Code
    outcome: Outcome
    about: str
    detail: str | None = None


def words_of(check: Check) -> str:
    """Return what ``check`` found, as a sentence; where it decided nothing, what would have to be shown."""
    if check.outcome is Outcome.PASSED:
        return WORDS[check.code]
    if check.outcome is Outcome.FAILED:
        return WRONG[check.code]
    return f"{_UNDECIDED[check.outcome]}: “{WORDS[check.code]}”"


def passed(code: Code, about: str) -> Check:
    """Return a check that passed."""
    return Check(code, Outcome.PASSED, about)


def failed(code: Code, about: str, detail: str) -> Check:
    """Return a check that found an alteration."""
    return Check(code, Outcome.FAILED, about, detail)


def unknown(code: Code, about: str, detail: str) -> Check:
    """Return a check that could not be done."""
    return Check(code, Outcome.UNKNOWN, about, detail)


def waiting(code: Code, about: str, detail: str) -> Check:
    """Return a check whose time has not come yet."""
    return Check(code, Outcome.WAITING, about, detail)


def decide_state(checks: Iterable[Check]) -> State:
    """Decide the answer: altered outweighs unchecked, and unchecked outweighs pending."""
    found = {check.outcome for check in checks}
    if Outcome.FAILED in found:
        return State.ALTERED
    if Outcome.UNKNOWN in found or not found:
        return State.UNCHECKED
    return State.PENDING if Outcome.WAITING in found else State.ANCHORED
