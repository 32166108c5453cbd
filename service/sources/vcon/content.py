"""Contents of a vCon: inline or elsewhere, in three encodings, with hashes (draft-ietf-vcon-vcon-core, 2.3 and 2.4)."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Final

from service.domain.errors import InvalidInputError
from service.sources.vcon.signature import decode_base64url

_SHA512: Final = "sha512-"
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+\-]{1,63}/[a-z0-9!#$&^_.+\-]{1,63}", re.ASCII)

Member = Mapping[str, object]


def text_of(member: Member, *names: str) -> str:
    """Return the first of ``names`` that is a text with something in it; empty where none is."""
    found = (member.get(name) for name in names)
    return next((one for one in found if isinstance(one, str) and one.strip()), "")


def media_type_of(member: Member) -> str:
    """Return the media type without parameters, also under its old name; empty where there is none."""
    told = text_of(member, "mediatype", "mimetype").partition(";")[0].strip().lower()
    return told if _MEDIA_TYPE.fullmatch(told) else ""


def body_of(member: Member, what: str) -> bytes | None:
    """Return the inline content; None where there is none.

    Raises:
        InvalidInputError: It is not in its encoding, or not what its hash says; ``what`` it is is named.
    """
    body = member.get("body")
    if body is None or (body == "" and text_of(member, "url")):
        return None
    encoding = text_of(member, "encoding") or ("none" if isinstance(body, str) else "json")
    match encoding:
        case "base64url" if isinstance(body, str):
            data = decode_base64url(body, f"{what}.body")
        case "none" if isinstance(body, str):
            data = _utf8(body, what)
        case "json":
            data = _utf8(json.dumps(body, ensure_ascii=False), what)
        case _:
            raise InvalidInputError(
                f"{what}.encoding is base64url, json or none, with such a body"
            )
    hashes = hashes_of(member, what)
    if hashes and not _is_one_of(data, hashes):
        raise InvalidInputError(f"{what}.body is not what content_hash says")
    return data


def hashes_of(member: Member, what: str) -> list[str]:
    """Return the SHA-512 of the content, in hexadecimal, as often as it is told; also under the old names.

    Raises:
        InvalidInputError: There are hashes, and none of this kind.
    """
    told = member.get("content_hash")
    if not told and text_of(member, "alg").upper() in {"SHA-512", "LMOTS_SHA512"}:
        told = _SHA512 + text_of(member, "signature")
    texts = told if isinstance(told, list) else [told] if told else []
    found = [
        decode_base64url(one.removeprefix(_SHA512), f"{what}.content_hash").hex()
        for one in texts
        if isinstance(one, str) and one.startswith(_SHA512)
    ]
    if texts and not all(len(one) == 2 * hashlib.sha512().digest_size for one in found):
        raise InvalidInputError(f"{what}.content_hash is a SHA-512 in base64url")
    if texts and not found:
        raise InvalidInputError(f"{what}.content_hash has no sha512, and no other is known")
    return found


def _is_one_of(data: bytes, hashes: list[str]) -> bool:
    digest = hashlib.sha512(data).hexdigest()
    return any(hmac.compare_digest(digest, one) for one in hashes)


def _utf8(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{what}.body has characters that are not text") from None
