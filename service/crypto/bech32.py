"""Bech32 text (BIP 173) without its length limit, as age writes recipients and identities."""

from collections.abc import Iterable

from service.domain.errors import InvalidInputError

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_SYMBOLS = 6
_SYMBOL_BITS = 5


def encode_bech32(prefix: str, data: bytes) -> str:
    """Return ``data`` under the lower-case ``prefix``; lower case throughout."""
    symbols = _regroup(data, from_bits=8, to_bits=_SYMBOL_BITS)
    remainder = _polymod([*_expand(prefix), *symbols, *[0] * _CHECKSUM_SYMBOLS]) ^ 1
    checksum = [remainder >> 5 * (5 - place) & 31 for place in range(_CHECKSUM_SYMBOLS)]
    return prefix + "1" + "".join(_ALPHABET[symbol] for symbol in [*symbols, *checksum])


def decode_bech32(text: str) -> tuple[str, bytes]:
    """Return prefix and data of ``text``, the prefix in the case in which it is written.

    Raises:
        InvalidInputError: Mixed case, a foreign character, a wrong checksum, or padding that
            is not zero. The message does not repeat ``text``, which may be a secret.
    """
    lowered = text.lower()
    if text not in {lowered, text.upper()} or not text.isascii():
        raise InvalidInputError("Bech32 text is ASCII, all lower case or all upper case.")
    prefix, separator, rest = text.rpartition("1")
    if not separator or not prefix or len(rest) < _CHECKSUM_SYMBOLS:
        raise InvalidInputError("This is not Bech32 text: it is too short.")
    if not all("!" <= character <= "~" for character in prefix):
        raise InvalidInputError("A Bech32 prefix is made of visible characters.")
    try:
        symbols = [_VALUES[character] for character in rest.lower()]
    except KeyError:
        # The chain would name a character of what may be a secret.
        raise InvalidInputError("Bech32 text has a character it cannot have.") from None
    if _polymod([*_expand(prefix.lower()), *symbols]) != 1:
        raise InvalidInputError("The Bech32 checksum is wrong: the text was mistyped.")
    return prefix, _ungroup(symbols[:-_CHECKSUM_SYMBOLS])


def _expand(prefix: str) -> list[int]:
    codes = prefix.encode("ascii")
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(symbols: Iterable[int]) -> int:
    checksum = 1
    for symbol in symbols:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ symbol
        for place, generator in enumerate(_GENERATORS):
            if top >> place & 1:
                checksum ^= generator
    return checksum


def _regroup(values: Iterable[int], *, from_bits: int, to_bits: int) -> list[int]:
    """Return the same bits in groups of ``to_bits``, the last filled up with zeros."""
    groups: list[int] = []
    gathered = held_bits = 0
    for value in values:
        gathered = gathered << from_bits | value
        held_bits += from_bits
        while held_bits >= to_bits:
            held_bits -= to_bits
            groups.append(gathered >> held_bits)
            gathered &= (1 << held_bits) - 1
    if held_bits:
        groups.append(gathered << to_bits - held_bits)
    return groups


def _ungroup(symbols: list[int]) -> bytes:
    surplus_bits = len(symbols) * _SYMBOL_BITS % 8
    groups = _regroup(symbols, from_bits=_SYMBOL_BITS, to_bits=8)
    # One encoding per value: what fills up the last symbol is short, and zero.
    if surplus_bits and (surplus_bits >= _SYMBOL_BITS or groups.pop()):
        raise InvalidInputError("The Bech32 text does not hold whole bytes.")
    return bytes(groups)
