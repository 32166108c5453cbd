"""The parties of a vCon: who they are, which are the company's, and who began."""

import unicodedata
from collections.abc import Sequence
from email.utils import parseaddr
from typing import Final
from urllib.parse import unquote

from service.domain.contact import MAX_PARTIES, Direction, Party, PartyRole
from service.domain.errors import InvalidInputError
from service.domain.identifiers import MAX_IDENTIFIER_CHARACTERS, EmailAddress, PhoneNumber
from service.sources.events import SourceRule
from service.sources.vcon.content import Member, text_of

_ROLES: Final = {
    "agent": PartyRole.AGENT,
    "supervisor": PartyRole.AGENT,
    "sme": PartyRole.AGENT,
    "customer": PartyRole.CUSTOMER,
    "thirdparty": PartyRole.OTHER,
}
"""The member ``role`` of the contact centre extension (draft-ietf-vcon-cc-extension)."""


def members_of(vcon: Member, name: str) -> list[Member]:
    """Return the objects of one of a vCon's arrays.

    Raises:
        InvalidInputError: It is no array of objects.
    """
    found = vcon.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidInputError(f"{name} is an array of objects")
    return found


def read_parties(vcon: Member, rule: SourceRule) -> list[Party]:
    """Return the parties in their places, each with the role that it has by itself: ``OTHER`` where nothing tells.

    Raises:
        InvalidInputError: They are no array of objects, or too many.
    """
    told = members_of(vcon, "parties")
    if len(told) > MAX_PARTIES:
        raise InvalidInputError(f"a contact has at most {MAX_PARTIES} parties")
    return [_party(one, rule) for one in told]


def decide_direction(parties: Sequence[Party], first: int, rule: SourceRule) -> Direction:
    """Decide who began, the party in the place ``first``: the company, the customer, or as the source usually has it.

    It is the company's if it is its agent, or has one of its numbers or addresses; the customer's if another party
    is the company's.
    """
    roles = [one.role for one in parties]
    if first < len(roles) and roles[first] is PartyRole.AGENT:
        return Direction.OUTBOUND
    if PartyRole.AGENT in roles or (first < len(roles) and roles[first] is PartyRole.CUSTOMER):
        return Direction.INBOUND
    return rule.vcon.direction


def cast_parties(
    vcon: Member, parties: Sequence[Party], first: int, direction: Direction
) -> tuple[Party, ...]:
    """Return the parties of the contact: who is not said to be anything is what the direction makes of their place.

    Parties of whom nothing is told are left out.
    """
    began, others = (
        (PartyRole.CUSTOMER, PartyRole.AGENT)
        if direction is Direction.INBOUND
        else (PartyRole.AGENT, PartyRole.CUSTOMER)
    )
    has = {one.role for one in parties}
    told = members_of(vcon, "parties")
    cast = []
    for place, (party, member) in enumerate(zip(parties, told, strict=True)):
        role = party.role
        is_open = role is PartyRole.OTHER and text_of(member, "role").lower() != "thirdparty"
        likely = began if place == first else others
        # Where the company's party is known, a third one is somebody's guess.
        is_known = likely is PartyRole.AGENT and PartyRole.AGENT in has
        if is_open and not is_known and text_of(member, "type").lower() != "bot":
            role = likely
        if any((party.phone, party.phone_as_sent, party.email, party.name)):
            cast.append(
                Party(
                    role=role,
                    phone=party.phone,
                    phone_as_sent=party.phone_as_sent,
                    email=party.email,
                    name=party.name,
                )
            )
    return tuple(cast)


def _party(member: Member, rule: SourceRule) -> Party:
    phone, as_sent = _phone(text_of(member, "tel"), text_of(member, "sip"), rule.region)
    email = _email(text_of(member, "mailto"))
    name = clean(text_of(member, "name"))[:MAX_IDENTIFIER_CHARACTERS] or None
    role = _ROLES.get(text_of(member, "role").lower(), PartyRole.OTHER)
    if role is PartyRole.OTHER and (phone in rule.company_numbers or _is_ours(email, rule)):
        role = PartyRole.AGENT
    return Party(role=role, phone=phone, phone_as_sent=as_sent, email=email, name=name)


def _is_ours(email: str | None, rule: SourceRule) -> bool:
    if email is None:
        return False
    domain = email.rpartition("@")[2]
    return bool({email, f"@{domain}"} & rule.company_addresses)


def _phone(tel: str, sip: str, region: str) -> tuple[str | None, str | None]:
    """Return a telephone number, or else what was sent in its place: of a SIP address the user may be one."""
    plain = _scheme(tel, "tel:").partition(";")[0]
    if not plain:
        address = _scheme(_scheme(sip, "sips:"), "sip:").partition(";")[0]
        user = address.partition("@")[0]
        plain = user if user.startswith("+") else address
    plain = clean(unquote(plain)).strip()[:MAX_IDENTIFIER_CHARACTERS]
    if not plain:
        return None, None
    try:
        return PhoneNumber.parse(plain, region=region).e164, None
    except InvalidInputError:
        return None, plain


def _email(mailto: str) -> str | None:
    """Return the address of "any common form"; None of one that is none, whose text stays in the delivery."""
    plain = unquote(_scheme(mailto, "mailto:").partition("?")[0])
    address = parseaddr(plain)[1] or plain
    try:
        return EmailAddress.parse(address.strip()).address
    except InvalidInputError:
        return None


def _scheme(text: str, scheme: str) -> str:
    return text[len(scheme) :] if text.lower().startswith(scheme) else text


def clean(text: str) -> str:
    """Return ``text`` in NFC, without characters that cannot be seen."""
    return "".join(one for one in unicodedata.normalize("NFC", text) if one.isprintable())
