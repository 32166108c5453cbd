"""Who is believed to have signed a vCon, and every way in which nobody is."""

import base64
import gzip
import hmac
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.domain.errors import InvalidInputError
from service.sources.vcon.errors import ENCRYPTED, SIGNATURE_INVALID, NotBelievedError
from service.sources.vcon.forms import COPY_DIFFERS, MAX_LAYERS, UNCHECKED, open_vcon, unpack
from service.sources.vcon.rule import VconRule
from service.sources.vcon.signature import Anchors, verify_jws
from tests.vcons import (
    NOW,
    call,
    certificate,
    ec_key,
    encoded,
    pem_of,
    root,
    rsa_key,
    signed,
    signed_by_hand,
    signer,
)

EXAMPLES = (
    Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "vcon" / "examples"
)
BODY = json.dumps(call()).encode()
TRUSTED = Anchors.parse(pem_of(root()))


@pytest.fixture
def shared_signed():
    file = EXAMPLES / "ab_call_ext_rec_signed.vcon"
    if not file.exists():
        pytest.skip("the IETF's examples of vCons are absent")
    return json.loads(file.read_bytes())


def leaf(key=None, *, now=NOW, **more):
    made = {"issuer": root(), "issuer_key": ec_key(1), **more}
    return certificate(key or rsa_key(), "Example Signer", now=now, **made)


def jws(kind="RS256"):
    return json.loads(signed(BODY, signer(kind)))


def opened(value, anchors=TRUSTED, **rule):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return open_vcon(body, VconRule(anchors=anchors, **rule), received_at=NOW)


def refused(value, anchors=TRUSTED, **rule):
    with pytest.raises(NotBelievedError) as told:
        opened(value, anchors, **rule)
    assert told.value.reason == SIGNATURE_INVALID
    return told.value.detail


@pytest.mark.parametrize("kind", ["RS256", "ES256"])
def test_whose_certificate_leads_to_a_trusted_one_is_believed(kind):
    found = opened(jws(kind))
    assert (found.vcon, found.remarks) == (call(), ())


def test_ps256_is_known_too():
    assert opened(signed_by_hand(BODY, "PS256", rsa_key(), [leaf()])).remarks == ()


def test_without_anchors_it_is_understood_and_said_that_nobody_checked():
    assert opened(jws(), None).remarks == (UNCHECKED,)


@pytest.mark.parametrize("anchors", [TRUSTED, None])
@pytest.mark.parametrize("member", ["payload", "protected", "signature"])
def test_what_was_changed_is_not_believed_whoever_is_trusted(anchors, member):
    value = jws()
    place = value if member == "payload" else value["signatures"][0]
    if member == "payload":
        place[member] = encoded(BODY.replace(b"1234567", b"7654321"))
    else:
        place[member] = encoded(b'{ "alg":"RS256"}' if member == "protected" else bytes(256))
    assert "not of this content" in refused(value, anchors)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1", "ES384", "", None, 7, "rs256"])
@pytest.mark.parametrize("anchors", [TRUSTED, None])
def test_no_other_algorithm_counts(algorithm, anchors):
    value = signed_by_hand(BODY, "RS256", rsa_key(), [leaf()])
    value["signatures"][0]["protected"] = encoded(json.dumps({"alg": algorithm}).encode())
    value["signatures"][0]["header"].pop("alg")
    assert "RS256, PS256 or ES256" in refused(value, anchors)


def test_a_public_key_is_no_shared_secret():
    """The classic confusion: HMAC under the text of the trusted certificate."""
    protected = encoded(b'{"alg":"HS256"}')
    text = f"{protected}.{encoded(BODY)}".encode()
    mac = encoded(hmac.digest(pem_of(root()), text, "sha256"))
    one = {"header": {"alg": "HS256"}, "protected": protected, "signature": mac}
    refused({"payload": encoded(BODY), "signatures": [one]})


def test_two_headers_that_disagree_are_refused():
    value = jws()
    value["signatures"][0]["header"]["alg"] = "ES256"
    refused(value)
    value = signed_by_hand(BODY, "RS256", rsa_key(), [leaf()], header={"x5c": ["MII="]})
    assert "other certificates" in refused(value)


def test_what_has_to_be_known_and_is_not_is_refused():
    value = signed_by_hand(BODY, "RS256", rsa_key(), [leaf()], header={"crit": ["b64"]})
    assert "crit" in refused(value)


def test_an_ecdsa_signature_is_not_read_with_an_rsa_key():
    value = jws()
    value["signatures"][0]["header"]["x5c"] = [
        base64.b64encode(
            signer("ES256").chain[0].public_bytes(serialization.Encoding.DER)
        ).decode()
    ]
    refused(value)


def test_a_signature_counts_by_the_algorithm_that_it_names_alone():
    value = signed_by_hand(BODY, "ES256", rsa_key(), [leaf()])
    assert "not of this content" in refused(value)
    assert "not of this content" in refused(value, None)


# -- certificates


def test_a_stranger_is_not_believed():
    stranger = certificate(rsa_key(), "Example Signer")
    assert "leads to none" in refused(signed_by_hand(BODY, "RS256", rsa_key(), [stranger]))


@pytest.mark.parametrize(("days", "of"), [(-1, NOW), (30, NOW + timedelta(days=40))])
def test_a_certificate_that_is_not_valid_then_leads_nowhere(days, of):
    made = leaf(days=days, now=of)
    assert "leads to none" in refused(signed_by_hand(BODY, "RS256", rsa_key(), [made]))


def test_one_between_is_followed_if_it_is_an_authority():
    middle_key = ec.generate_private_key(ec.SECP256R1())
    for is_root in (True, False):
        middle = certificate(
            middle_key, "Middle", issuer=root(), issuer_key=ec_key(1), is_root=is_root
        )
        last = leaf(issuer=middle, issuer_key=middle_key)
        value = signed_by_hand(BODY, "RS256", rsa_key(), [last, middle])
        if is_root:
            assert opened(value).remarks == ()
        else:
            assert "leads to none" in refused(value)


def test_a_certificate_can_itself_be_trusted_and_a_key_without_one():
    own = certificate(rsa_key(), "Self")
    value = signed_by_hand(BODY, "RS256", rsa_key(), [own])
    assert opened(value, Anchors.parse(pem_of(own))).remarks == ()
    public = (
        rsa_key()
        .public_key()
        .public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    bare = signed_by_hand(BODY, "RS256", rsa_key())
    assert opened(bare, Anchors.parse(public)).remarks == ()
    assert "no key that is trusted" in refused(bare, TRUSTED)
    assert opened(bare, None).remarks == (UNCHECKED,)


def test_a_certificate_of_version_1_leads_nowhere(shared_signed):
    """Those of the draft's example are: the signature is right, and one of them can itself be trusted."""
    assert verify_jws(shared_signed, None, at=NOW)[1] is False
    chain = [
        x509.load_der_x509_certificate(base64.b64decode(one))
        for one in shared_signed["signatures"][0]["header"]["x5c"]
    ]
    with pytest.raises(NotBelievedError, match="leads to none"):
        verify_jws(shared_signed, Anchors.parse(pem_of(chain[-1])), at=NOW)
    assert verify_jws(shared_signed, Anchors.parse(pem_of(chain[0])), at=NOW)[1] is True


def test_one_of_several_signatures_is_enough_when_somebody_is_trusted():
    stranger = certificate(rsa_key(), "Stranger")
    value = signed_by_hand(BODY, "RS256", rsa_key(), [stranger])
    value["signatures"].append(
        signed_by_hand(BODY, "RS256", rsa_key(), [leaf()])["signatures"][0]
    )
    assert opened(value).remarks == ()
    value["signatures"] *= 5
    with pytest.raises(InvalidInputError, match="more than 8 signatures"):
        opened(value)


@pytest.mark.parametrize(
    "x5c", [[], "MII", ["MII="], [7], ["!"], [None], ["MII="] * 11, {"a": 1}]
)
def test_what_is_no_certificate_is_refused(x5c):
    value = signed_by_hand(BODY, "RS256", rsa_key())
    value["signatures"][0]["header"]["x5c"] = x5c
    refused(value)
    refused(value, None)


@pytest.mark.parametrize(
    "pem", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_of_anchors_without_any_is_refused(pem):
    with pytest.raises(InvalidInputError):
        Anchors.parse(pem)


def test_a_weak_key_is_no_anchor():
    weak = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505  # refused
    pem = weak.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(InvalidInputError):
        Anchors.parse(pem)


# -- forms


def test_a_source_that_has_to_sign_is_not_believed_without():
    assert "not signed" in refused(call(), requires_signature=True)
    assert opened(jws(), requires_signature=True).remarks == ()


def test_what_is_in_the_clear_beside_a_payload_is_never_read():
    hybrid = {**jws(), **call(uuid="another"), "updated_at": "later", "group": []}
    found = opened(hybrid)
    assert (found.vcon, found.remarks) == (call(), (COPY_DIFFERS,))
    assert opened({**jws(), **call(), "updated_at": "later", "group": []}).remarks == ()


def test_a_payload_without_signatures_is_not_the_unsigned_form():
    with pytest.raises(InvalidInputError):
        opened({**call(), "payload": encoded(BODY)})
    with pytest.raises(InvalidInputError):
        opened({**call(), "signatures": []})


def test_a_renewed_signature_vouches_for_the_one_inside():
    stranger = certificate(rsa_key(), "Stranger")
    inner = signed_by_hand(BODY, "RS256", rsa_key(), [stranger])
    around = signed(json.dumps(inner).encode(), signer())
    assert opened(around).vcon == call()
    inner["payload"] = encoded(b"{}")
    assert "not of this content" in refused(signed(json.dumps(inner).encode(), signer()))


def test_so_many_signatures_around_each_other_and_no_more():
    body = BODY
    for _ in range(MAX_LAYERS - 1):
        body = signed(body, signer())
    assert opened(body).vcon == call()
    with pytest.raises(InvalidInputError, match="around each other"):
        opened(signed(body, signer()))


def test_what_is_encrypted_is_told_from_what_is_wrong():
    with pytest.raises(NotBelievedError) as told:
        opened({"ciphertext": "", "recipients": [], "protected": ""})
    assert told.value.reason == ENCRYPTED


def test_a_packed_payload_is_unpacked():
    assert opened(gzip.compress(signed(gzip.compress(BODY), signer()))).vcon == call()


def test_a_bomb_is_not_unpacked():
    bomb = gzip.compress(bytes(1 << 24))
    assert len(bomb) < 1 << 15
    with pytest.raises(InvalidInputError, match="more than 65536 bytes"):
        unpack(bomb, max_bytes=65536)
    with pytest.raises(InvalidInputError, match="more than 65536 bytes"):
        opened(signed(bomb, signer()), max_bytes=65536)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-9], lambda b: b + b"x", lambda _: b"\x1f\x8bx"]
)
def test_what_is_packed_is_whole(change):
    with pytest.raises(InvalidInputError):
        unpack(change(gzip.compress(BODY)), max_bytes=1 << 20)


def test_what_fits_exactly_is_taken():
    assert unpack(gzip.compress(bytes(500)), max_bytes=500) == bytes(500)


def test_nothing_of_a_signer_is_in_an_error():
    stranger = certificate(rsa_key(), "Erkki Esimerkki")
    detail = refused(signed_by_hand(BODY, "RS256", rsa_key(), [stranger]))
    assert "Erkki" not in detail
    assert hashes.SHA256.name not in detail
