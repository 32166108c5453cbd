from collections.abc import Callable
from dataclasses import replace

import pytest

from service.crypto.bech32 import encode_bech32
from service.crypto.errors import HeaderError
from service.crypto.recipients import (
    HybridIdentity,
    HybridRecipient,
    Stanza,
    X25519Identity,
    X25519Recipient,
    decode_base64,
    encode_base64,
    parse_identity,
    parse_recipient,
)
from service.crypto.secret import FileKey
from service.domain.errors import InvalidInputError

_MAKERS = [X25519Identity, HybridIdentity]


@pytest.mark.parametrize("maker", _MAKERS)
def test_identities_and_recipients_survive_their_text_forms(maker):
    identity = maker.generate()
    assert parse_identity(identity.format_secret()) == identity
    assert parse_recipient(str(identity.recipient)) == identity.recipient


def test_the_text_forms_are_those_of_age():
    classic, hybrid = X25519Identity.generate(), HybridIdentity.generate()
    assert classic.format_secret().startswith("AGE-SECRET-KEY-1")
    assert str(classic.recipient).startswith("age1")
    assert hybrid.format_secret().startswith("AGE-SECRET-KEY-PQ-1")
    assert str(hybrid.recipient).startswith("age1pq1")


@pytest.mark.parametrize("maker", _MAKERS)
def test_a_stanza_opens_with_its_identity_alone(maker):
    identity, other = maker.generate(), maker.generate()
    file_key = FileKey.generate()
    stanza = identity.recipient.wrap(file_key)
    assert identity.unwrap(stanza) == file_key
    assert other.unwrap(stanza) is None


def test_identities_leave_stanzas_of_another_kind_alone():
    classic, hybrid = X25519Identity.generate(), HybridIdentity.generate()
    file_key = FileKey.generate()
    assert classic.unwrap(hybrid.recipient.wrap(file_key)) is None
    assert hybrid.unwrap(classic.recipient.wrap(file_key)) is None


@pytest.mark.parametrize("maker", _MAKERS)
def test_wrapping_a_key_twice_gives_two_stanzas(maker):
    recipient, file_key = maker.generate().recipient, FileKey.generate()
    assert recipient.wrap(file_key) != recipient.wrap(file_key)


@pytest.mark.parametrize("maker", _MAKERS)
def test_no_secret_is_in_a_repr(maker):
    identity = maker(bytes(range(32)))
    shown = f"{identity!r} {identity} {identity.recipient!r}"
    assert identity.format_secret()[20:] not in shown
    assert repr(identity.secret)[2:20] not in shown


@pytest.mark.parametrize("maker", _MAKERS)
def test_a_stanza_does_not_print_its_body(maker):
    stanza = maker.generate().recipient.wrap(FileKey.generate())
    assert repr(stanza.body) not in repr(stanza)


def _changed(stanza: Stanza, share: Callable[[bytes], bytes]) -> Stanza:
    return replace(
        stanza, arguments=(encode_base64(share(decode_base64(stanza.arguments[0]))),)
    )


@pytest.mark.parametrize("maker", _MAKERS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda one: replace(one, body=one.body + b"\0"), id="a longer body"),
        pytest.param(lambda one: replace(one, body=one.body[:-1]), id="a shorter body"),
        pytest.param(lambda one: replace(one, arguments=()), id="no argument"),
        pytest.param(lambda one: replace(one, arguments=one.arguments * 2), id="two arguments"),
        pytest.param(
            lambda one: _changed(one, lambda share: share + b"\0"), id="a longer share"
        ),
        pytest.param(lambda one: _changed(one, lambda share: share[1:]), id="a shorter share"),
        pytest.param(
            lambda one: _changed(one, lambda share: share[:-32] + bytes(32)),
            id="the identity point",
        ),
        pytest.param(
            lambda one: _changed(one, lambda share: share[:-32] + b"\1" + bytes(31)),
            id="a low-order point",
        ),
    ],
)
def test_a_malformed_stanza_is_refused_rather_than_taken_for_somebody_elses(maker, change):
    identity = maker.generate()
    with pytest.raises(HeaderError):
        identity.unwrap(change(identity.recipient.wrap(FileKey.generate())))


@pytest.mark.parametrize("maker", _MAKERS)
def test_a_changed_body_is_taken_for_somebody_elses(maker):
    identity = maker.generate()
    stanza = identity.recipient.wrap(FileKey.generate())
    assert identity.unwrap(replace(stanza, body=stanza.body[::-1])) is None


_CLASSIC = X25519Identity(bytes(range(32)))
_HYBRID = HybridIdentity(bytes(range(32)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(str(_CLASSIC.recipient).upper(), id="upper case"),
        pytest.param(_CLASSIC.format_secret(), id="an identity"),
        pytest.param(encode_bech32("age", bytes(31)), id="31 bytes"),
        pytest.param(encode_bech32("age", b"\1" * 33), id="33 bytes"),
        pytest.param(encode_bech32("age", bytes(32)), id="the identity point"),
        pytest.param(encode_bech32("age", b"\1" + bytes(31)), id="a low-order point"),
        pytest.param(encode_bech32("agf", b"\1" * 32), id="another prefix"),
        pytest.param(encode_bech32("age", _HYBRID.recipient.public), id="hybrid as classic"),
        pytest.param(encode_bech32("age1pq", b"\1" * 32), id="classic as hybrid"),
        pytest.param(
            encode_bech32("age1pq", _HYBRID.recipient.public[:-32] + bytes(32)),
            id="hybrid with the identity point",
        ),
        pytest.param(
            encode_bech32("age1pq", b"\xff" * 1184 + _HYBRID.recipient.public[-32:]),
            id="hybrid with coefficients out of range",
        ),
    ],
)
def test_refuses_as_a_recipient(text):
    with pytest.raises(InvalidInputError):
        parse_recipient(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_CLASSIC.format_secret().lower(), id="lower case"),
        pytest.param(str(_CLASSIC.recipient), id="a recipient"),
        pytest.param(encode_bech32("age-secret-key-", bytes(31)).upper(), id="31 bytes"),
        pytest.param(encode_bech32("age-secret-key-pq-", bytes(64)).upper(), id="64 bytes"),
    ],
)
def test_refuses_as_an_identity(text):
    with pytest.raises(InvalidInputError):
        parse_identity(text)


@pytest.mark.parametrize(("maker", "size"), [(X25519Recipient, 33), (HybridRecipient, 1215)])
def test_refuses_a_public_key_of_the_wrong_length(maker, size):
    with pytest.raises(InvalidInputError):
        maker(b"\1" * size)
