"""Whether a mail is what its sender's servers sent: verdicts as they are kept, with the public keys that they rest on.

A verdict is of the day it was made: keys are replaced, and a signature that was valid then can later be checked with
the key that is kept here alone.
"""

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Final

import msgspec

MAX_SIGNATURES: Final = 10
MAX_TEXT_CHARACTERS: Final = 4096

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)]


class Outcome(StrEnum):
    """What checking a signature, or a chain of them, came to."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"
    """It could not be checked; ``reason`` says why."""


class Reason(StrEnum):
    """Why a signature is not valid, or could not be checked."""

    BODY_CHANGED = "body_changed"
    SIGNATURE_WRONG = "signature_wrong"
    NO_KEY = "no_key"
    """Its domain publishes no such key (any more)."""
    KEY_UNUSABLE = "key_unusable"
    WEAK = "weak"
    """It is of a kind that can be forged today (RFC 8301)."""
    NOT_A_SIGNATURE = "not_a_signature"
    """What stands there breaks the rules of signatures, or is over, or of the future."""
    NO_ANSWER = "no_answer"
    """The domain's name servers did not answer. It is tried again."""
    NOT_KNOWN_HERE = "not_known_here"
    """It is of a kind that this program cannot check."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """A DKIM signature (RFC 6376). ``key_record`` is the key as its domain published it, at ``key_name``.

    ``is_of_author``: its domain is that of the sender, so that a valid one says that the sender's servers sent this.
    ``is_partial``: text may have been added after what was signed.
    """

    outcome: Outcome
    reason: Reason | None = None
    domain: Text = ""
    selector: Text = ""
    algorithm: Text = ""
    signed_headers: Text = ""
    signed_at: int | None = None
    key_name: Text = ""
    key_record: Text = ""
    is_of_author: bool = False
    is_partial: bool = False


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """What servers on the way vouched for (RFC 8617): the newest of ``length`` sealed by ``domain``."""

    outcome: Outcome
    reason: Reason | None = None
    length: int = 0
    domain: Text = ""
    key_records: Annotated[tuple[tuple[Text, Text], ...], msgspec.Meta(max_length=120)] = ()


class SpfResult(StrEnum):
    """Whether the domain of the envelope's sender lets the server send that did (RFC 7208, section 2.6)."""

    PASS = "pass"  # noqa: S105  # the specification's word
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    NOT_APPLICABLE = "not_applicable"
    """The mail came by a server of one's own: who sent it there, that server alone knows."""


class Spf(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on ``peer``, with the policy that its ``domain`` published."""

    result: SpfResult
    domain: Text = ""
    peer: Text = ""
    policy: Text = ""


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was found. ``checked_at`` is RFC 3339.

    ``claimed`` is what the newest ``Authentication-Results`` in the mail says (RFC 8601): the word of whoever wrote it
    there, mostly one's own mail server. ``problem`` is why nothing could be checked.
    """

    checked_at: Annotated[str, msgspec.Meta(max_length=40)] = ""
    signatures: Annotated[tuple[Signature, ...], msgspec.Meta(max_length=MAX_SIGNATURES)] = ()
    chain: Chain | None = None
    spf: Spf = Spf(result=SpfResult.NOT_APPLICABLE)
    claimed: Text = ""
    problem: Annotated[str, msgspec.Meta(max_length=40)] = ""

    @property
    def is_provisional(self) -> bool:
        """Whether something could not be checked now, and may be later."""
        reasons = [one.reason for one in self.signatures] + [
            self.chain.reason if self.chain else None
        ]
        return Reason.NO_ANSWER in reasons or self.spf.result is SpfResult.TEMPERROR

    @property
    def is_of_author(self) -> bool:
        """Whether the sender's own domain vouches for all of the mail."""
        return any(
            one.outcome is Outcome.VALID and one.is_of_author and not one.is_partial
            for one in self.signatures
        )


def is_public(peer: str) -> bool:
    """Tell whether ``peer`` is an address on the public network: then nobody of one's own is between it and us."""
    try:
        return ip_address(peer).is_global
    except ValueError:
        return False
