"""Signatures of what is handed out, checked by another program."""

import base64
import json
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from service.crypto.jws import JwsSigner
from service.domain.errors import InvalidInputError
from tests.vcons import (
    UUID,
    certificate,
    ec_key,
    key_pem,
    pem_of,
    root,
    rsa_key,
    signed,
    signer,
)

PAYLOAD = b'{"uuid":"x"}' * 1000


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify_with_openssl(tmp_path, jws, algorithm):
    (signature,) = jws["signatures"]
    raw = decoded(signature["signature"])
    if algorithm == "ES256":
        half = len(raw) // 2
        raw = encode_dss_signature(*(int.from_bytes(x) for x in (raw[:half], raw[half:])))
    certificate_der = base64.b64decode(signature["header"]["x5c"][0])
    (tmp_path / "cert.der").write_bytes(certificate_der)
    (tmp_path / "signature").write_bytes(raw)
    (tmp_path / "signed").write_text(f"{signature['protected']}.{jws['payload']}")
    command = ["openssl", "x509", "-inform", "DER", "-in", "cert.der", "-noout", "-pubkey"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (tmp_path / "key.pem").write_bytes(done.stdout)
    command = ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature"]
    return subprocess.run(
        [*command, "signed"], cwd=tmp_path, check=False, capture_output=True, timeout=60
    ).stdout


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_openssl_verifies_what_was_signed(tmp_path, algorithm):
    jws = json.loads(signed(PAYLOAD, signer(algorithm)))
    assert verify_with_openssl(tmp_path, jws, algorithm) == b"Verified OK\n"
    jws["payload"] = jws["payload"].replace("e", "f", 1)
    assert verify_with_openssl(tmp_path, jws, algorithm) != b"Verified OK\n"


def test_the_form_is_that_of_a_signed_vcon():
    jws = json.loads(signed(PAYLOAD, signer()))
    assert set(jws) == {"payload", "signatures"}
    (one,) = jws["signatures"]
    assert decoded(jws["payload"]) == PAYLOAD
    assert json.loads(decoded(one["protected"])) == {"alg": "RS256"}
    assert (one["header"]["alg"], one["header"]["uuid"]) == ("RS256", UUID)
    told = base64.b64decode(one["header"]["x5c"][0])
    assert told == signer().chain[0].public_bytes(Encoding.DER)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 1000])
def test_it_does_not_matter_in_which_pieces_it_comes(step):
    stream = signer().begin(UUID)
    pieces = [stream.update(PAYLOAD[n : n + step]) for n in range(0, len(PAYLOAD), step)]
    assert b"".join([*pieces, stream.finish()]) == signed(PAYLOAD, signer())


def test_nothing_is_signed_too():
    assert json.loads(signed(b"", signer()))["payload"] == ""


def test_the_files_belong_together():
    chain = pem_of(signer().chain[0], root())
    made = JwsSigner.parse(chain, key_pem(rsa_key()))
    assert (len(made.chain), made.algorithm) == (2, "RS256")
    with pytest.raises(InvalidInputError, match="not that of the first certificate"):
        JwsSigner.parse(chain, key_pem(ec_key()))


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 1024)],  # noqa: S505  # refused
)
def test_a_weak_or_unknown_key_is_refused(key):
    with pytest.raises(InvalidInputError, match="neither RSA"):
        JwsSigner.parse(pem_of(certificate(key, "Weak")), key_pem(key))


def test_what_is_no_file_of_the_kind_is_refused_and_not_repeated():
    public = (
        rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(InvalidInputError) as told:
        JwsSigner.parse(pem_of(root()), public)
    assert "BEGIN" not in str(told.value)
    with pytest.raises(InvalidInputError, match="no PEM file of certificates"):
        JwsSigner.parse(b"hello", key_pem(rsa_key()))


def test_the_key_is_not_in_its_representation():
    assert "PrivateKey" not in repr(signer())
