"""Identifiers from outside, each with one canonical form, or refused.

The canonical form is what blind-index tokens are made of, so changing one is a new index version.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import idna
import phonenumbers
from stdnum.exceptions import ValidationError
from stdnum.fi import hetu, ytunnus

from service.domain.errors import InvalidInputError

MAX_IDENTIFIER_CHARACTERS = 254
_METERING_POINT_DIGITS = 18
_SOURCE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SPACES = re.compile(r"\s+")
_NOT_IN_ADDRESS = re.compile(r"[\s<>,;:()\[\]\\\"@]")
# Digits, spaces and the marks that people put into telephone numbers.
_PHONE_CHARACTERS = re.compile(r"[0-9+().\-/\s\u2010-\u2015\u2212]{2,40}")
_IS_INTERNATIONAL = re.compile(r"[\s(]*(?:\+|00)")
# Telephones and chat programs wrap the numbers that they copy in marks of direction.
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def require_plain(text: str, *, what: str) -> str:
    """Return ``text`` in NFC and without white space around it.

    Raises:
        InvalidInputError: It is empty, too long, or has characters that cannot be seen
            (controls, zero-width, bidirectional overrides, lone surrogates).
    """
    plain = unicodedata.normalize("NFC", text).strip()
    if not plain:
        raise InvalidInputError(f"{what} is empty")
    if len(plain) > MAX_IDENTIFIER_CHARACTERS:
        raise InvalidInputError(f"{what} is longer than {MAX_IDENTIFIER_CHARACTERS} characters")
    # What is printable has none of these categories, and most text is; the rest may still be a rare kind of space.
    if not plain.isprintable() and any(unicodedata.category(c) in _UNSEEN for c in plain):
        raise InvalidInputError(f"{what} has characters that cannot be seen")
    return plain


def require_source_name(text: str) -> str:
    """Return ``text``, the name of a source.

    Raises:
        InvalidInputError: It is not small letters, digits, ``-`` and ``_``, or longer than 63.
    """
    if not _SOURCE_NAME.fullmatch(text):
        raise InvalidInputError("the name of a source is small letters, digits, - and _")
    return text


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A telephone number in E.164 form (ITU-T E.164)."""

    e164: str

    @classmethod
    def parse(cls, text: str, *, region: str) -> Self:
        """Return ``text`` as E.164, reading national numbers as of ``region`` (ISO 3166).

        An international number need only be possible, for new ranges come before they are known here; a national one
        must be valid, for otherwise every extension of a switchboard would be somebody's telephone number.

        Raises:
            InvalidInputError: ``text`` is not a telephone number that can be called from abroad.
        """
        unmarked = _DIRECTION_MARKS.sub("", unicodedata.normalize("NFKC", text))
        plain = require_plain(unmarked, what="the telephone number")
        if not _PHONE_CHARACTERS.fullmatch(plain):
            raise InvalidInputError(
                "the telephone number has characters that numbers do not have"
            )
        return cls(_e164(plain, region))


@lru_cache(maxsize=4096)
def _e164(plain: str, region: str) -> str:
    """Return the number in E.164 form. Those of agents and queues come again and again."""
    try:
        number = phonenumbers.parse(plain, region)
    except phonenumbers.NumberParseException as error:
        raise InvalidInputError("this is not a telephone number") from error
    if not phonenumbers.is_possible_number(number):
        raise InvalidInputError("the telephone number is too short or too long")
    if not _IS_INTERNATIONAL.match(plain) and not phonenumbers.is_valid_number(number):
        raise InvalidInputError("there is no such telephone number; begin with + if there is")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


@dataclass(frozen=True, slots=True)
class EmailAddress:
    """An e-mail address, lower-case, its domain in ASCII (IDNA 2008, RFC 5891)."""

    address: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return ``text`` in its canonical form.

        Raises:
            InvalidInputError: ``text`` is not one address.
        """
        plain = unicodedata.normalize("NFKC", require_plain(text, what="the e-mail address"))
        local, at, domain = plain.rpartition("@")
        if not at or not local or not domain or _NOT_IN_ADDRESS.search(local):
            raise InvalidInputError("this is not one e-mail address")
        try:
            ascii_domain = _ascii_domain(domain)
        except idna.IDNAError:
            # The chain is cut, because its text repeats the address.
            raise InvalidInputError("the domain of the e-mail address is not valid") from None
        # Lower-case letters can fall apart into marks, which compatibility puts together again.
        address = f"{unicodedata.normalize('NFKC', local.lower())}@{ascii_domain}"
        if len(address) > MAX_IDENTIFIER_CHARACTERS:
            raise InvalidInputError("the e-mail address is too long")
        return cls(address)


@lru_cache(maxsize=4096)
def _ascii_domain(domain: str) -> str:
    """Return the domain in ASCII. Many addresses share few of them."""
    # A name is the same name with the dot of the root after it (RFC 1034, section 3.1).
    return idna.encode(domain.removesuffix("."), uts46=True).decode("ascii")


@dataclass(frozen=True, slots=True)
class CustomerNumber:
    """A customer number as the company writes it, without spaces, upper-case."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return ``text`` in its canonical form; leading zeros count.

        Raises:
            InvalidInputError: ``text`` is empty, too long or not letters, digits, ``-``, ``.``, ``/``, ``_``.
        """
        plain = _SPACES.sub("", require_plain(text, what="the customer number")).upper()
        if not re.fullmatch(r"[0-9A-ZÅÄÖ._/\-]{1,40}", plain):
            raise InvalidInputError(
                "the customer number has characters other than letters and digits"
            )
        return cls(plain)


@dataclass(frozen=True, slots=True)
class MeteringPoint:
    """A metering point: 18 digits (GS1 GSRN)."""

    digits: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return ``text`` without the spaces that people put into it.

        Raises:
            InvalidInputError: ``text`` is not 18 digits.
        """
        digits = re.sub(r"[\s\-]", "", require_plain(text, what="the metering point"))
        if not re.fullmatch(r"[0-9]{18}", digits):
            raise InvalidInputError(f"a metering point has {_METERING_POINT_DIGITS} digits")
        return cls(digits)


@dataclass(frozen=True, slots=True, repr=False)
class PersonalIdentityCode:
    """A Finnish personal identity code (Government Decree 128/2010, amended by 690/2022)."""

    code: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return ``text`` as a valid code, artificial ones included.

        Raises:
            InvalidInputError: The form or the check character is wrong. The text is not repeated.
        """
        plain = require_plain(text, what="the personal identity code")
        try:
            return cls(hetu.validate(plain, allow_temporary=True))
        except ValidationError:
            # The chain is cut, because its text could repeat the code.
            raise InvalidInputError("this is not a valid personal identity code") from None


@dataclass(frozen=True, slots=True)
class BusinessId:
    """A Finnish business id, ``1234567-8`` (Business Information Act 244/2001, section 9)."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return ``text`` with its dash.

        Raises:
            InvalidInputError: The form or the check digit is wrong.
        """
        try:
            digits = ytunnus.validate(require_plain(text, what="the business id"))
        except ValidationError as error:
            raise InvalidInputError("this is not a valid business id") from error
        return cls(f"{digits[:7]}-{digits[7:]}")
