"""The small files of an export: what the contact was, what proves it, and how to check that without us. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from service.archive.checks import words_of
from service.archive.contact_json import Json
from service.archive.contact_json import contact_json as details_of
from service.archive.verify import Verification
from service.domain.contact import Contact
from service.domain.times import format_time


@dataclass(frozen=True, slots=True)
class ExportedPart:
    """A recording or message of the contact. ``file`` is None when there are no bytes: ``state`` says why.

    ``told`` is what else is to be known of a message.

    ``sha256`` is that of the bytes as delivered; HMAC-SHA-256 of it under ``salt`` is ``commitment``, which the
    log holds.
    """

    id: str
    kind: str
    state: str
    file: str | None = None
    object_id: str | None = None
    name: str = ""
    content_type: str = ""
    sha256: str = ""
    salt: bytes = field(default=b"", repr=False)
    commitment: str = ""
    blob_sha256: str = ""
    told: Json = field(default_factory=dict)


def contact_json(contact: Contact, parts: Sequence[ExportedPart]) -> bytes:
    """Return the details of the contact, personal ones too."""
    return _encode(
        {
            **details_of(contact),
            "parts": [
                {
                    "id": part.id,
                    "file": part.file,
                    "name": part.name,
                    "type": part.content_type,
                    **part.told,
                }
                for part in parts
            ],
        }
    )


def evidence_json(
    contact_id: str, parts: Sequence[ExportedPart], verification: Verification, *, log_key: str
) -> bytes:
    """Return what proves the parts: salts, hashes, where they stand in the log. Nothing of their content."""
    return _encode(
        {
            "contact": contact_id,
            "log_key": log_key,
            "entries": [
                {
                    "index": proof.index,
                    "entry": f"log/{proof.index}.json",
                    "proof": f"log/{proof.index}.tlog-proof",
                }
                for proof in verification.proofs
            ],
            "parts": [_part(part) for part in parts],
        }
    )


def verification_json(verification: Verification) -> bytes:
    """Return what verifying the contact found when it was handed out."""
    return _encode(
        {
            "state": verification.state,
            "checked_at": format_time(verification.checked_at),
            "checks": [
                {
                    "code": check.code,
                    "outcome": check.outcome,
                    "about": check.about,
                    "text": words_of(check),
                    "detail": check.detail,
                }
                for check in verification.checks
            ],
        }
    )


def _part(part: ExportedPart) -> Json:
    if part.object_id is None:
        return {"id": part.id, "kind": part.kind, "state": part.state}
    return {
        "id": part.id,
        "kind": part.kind,
        "state": part.state,
        "file": part.file,
        "sha256": part.sha256,
        "salt": part.salt.hex(),
        "commitment": part.commitment,
        "object": part.object_id,
        "blob_sha256": part.blob_sha256,
    }


def _encode(value: Json) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


README: Final = """\
This directory holds one customer contact as it was handed out, and what proves it.

  *.age               sealed for the recipient; open with:  age -d -i KEYFILE FILE.age > FILE
  contact.vcon        the contact as an IETF vCon, in the clear (only in exports of that format); if it
                      begins with {"payload": it is signed (general JWS, RFC 7515)
  evidence.json       for each recording and message: its SHA-256 as delivered, a salt, and the
                      commitment that the log has held since it arrived
  verification.json   what the archive found when it checked the contact before handing it out
  log/N.json          entry N of the archive's log, exactly as it was hashed
  log/N.tlog-proof    proof that the entry is in the signed log (c2sp.org/tlog-proof)
  log/vkey            the key that signs the log; compare it with the one you were given another way

To check a recording without the archive and without its software:

  1. Open it:               age -d -i KEYFILE recording-1.wav.age > recording-1.wav
  2. Hash it:               sha256sum recording-1.wav
     This must be "sha256" in evidence.json.
  3. Make the commitment:   printf %s SHA256 | xxd -r -p |
                            openssl dgst -sha256 -mac HMAC -macopt hexkey:SALT
     This must be "commitment" in evidence.json, and in the entry recording.attached in log/.
  4. Check the entries:     any verifier of c2sp.org/tlog-proof, with log/vkey; with ours:
                            taltio log verify log/N.json --proof log/N.tlog-proof --key log/vkey

To check the signature of a vCon, with its own certificate, which you compare with the one you were given
another way:

  jq -r '.signatures[0].header.x5c[0]' contact.vcon | base64 -d | openssl x509 -inform DER -out cert.pem
  openssl x509 -in cert.pem -noout -fingerprint -sha256
  openssl x509 -in cert.pem -noout -pubkey > key.pem
  jq -j '.signatures[0].protected + "." + .payload' contact.vcon > signed
  s=$(jq -j '.signatures[0].signature' contact.vcon | tr '_-' '/+')
  printf %s "$s===" | head -c $(( (${#s} + 3) / 4 * 4 )) | base64 -d > signature
  openssl dgst -sha256 -verify key.pem -signature signature signed

The last command is for an RSA key: of another kind the signature is written in another way.

A sealed file is the archive's own: everything after its header is, byte for byte, what the archive
stores, and the SHA-256 of that part is "blob_sha256" in evidence.json and in the log.
"""
