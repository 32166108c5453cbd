"""Verdicts on signatures and servers, with the keys that they rest on; DNS is a table here."""

import base64
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.mail.check import (
    MAX_LOOKUPS,
    NoAnswerError,
    check_mail,
    check_spf,
)
from service.sources.mail.verdicts import MAX_SIGNATURES, Outcome, Reason, SpfResult

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAIN = (
    b"From: Maija <maija@example.fi>\r\nTo: apu@example.com\r\nSubject: Lasku\r\n"
    b"Message-ID: <m1@example.fi>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0200\r\n\r\nHei!\r\n"
)


def pair(bits=2048):
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return private, f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


PRIVATE, PUBLIC = pair()
DNS = {("s1._domainkey.example.fi", "TXT"): [PUBLIC]}


def table(answers):
    def lookup(name, kind):
        answer = answers.get((name, kind), [])
        if answer is None:
            raise NoAnswerError
        return answer

    return lookup


def signed(message=PLAIN, *, domain=b"example.fi", selector=b"s1", key=PRIVATE, **how):
    return dkim.sign(message, selector, domain, key, **how) + message


def check(raw, answers=None, **how):
    told = {"peer": "", "helo": "", "mail_from": "", **how}
    return check_mail(raw, lookup=table(DNS if answers is None else answers), now=NOW, **told)


def test_a_signature_of_the_senders_domain_is_valid_and_its_key_is_kept():
    verdicts = check(signed())
    (one,) = verdicts.signatures
    assert (one.outcome, one.reason) == (Outcome.VALID, None)
    assert (one.domain, one.selector, one.algorithm) == ("example.fi", "s1", "rsa-sha256")
    assert (one.key_name, one.key_record) == ("s1._domainkey.example.fi", PUBLIC)
    assert one.is_of_author
    assert verdicts.is_of_author
    assert not verdicts.is_provisional


OTHER = pair()[1]
WRONG = {
    "the text was changed": (signed().replace(b"Hei!", b"Hoi!"), DNS, Reason.BODY_CHANGED),
    "a header was changed": (signed().replace(b"Lasku", b"Muu"), DNS, Reason.SIGNATURE_WRONG),
    "another key": (
        signed(),
        {("s1._domainkey.example.fi", "TXT"): [OTHER]},
        Reason.SIGNATURE_WRONG,
    ),
    "no key": (signed(), {}, Reason.NO_KEY),
    "a revoked key": (
        signed(),
        {("s1._domainkey.example.fi", "TXT"): ["v=DKIM1; p="]},
        Reason.NO_KEY,
    ),
    "a key that is none": (
        signed(),
        {("s1._domainkey.example.fi", "TXT"): ["v=DKIM1; k=rsa; p=QUJD"]},
        Reason.KEY_UNUSABLE,
    ),
    "a signature that is none": (
        b"DKIM-Signature: v=1; a=x\r\n" + PLAIN,
        DNS,
        Reason.NOT_A_SIGNATURE,
    ),
    "another From in front": (
        b"From: x@example.org\r\n" + signed(),
        DNS,
        Reason.SIGNATURE_WRONG,
    ),
}


@pytest.mark.parametrize(("raw", "answers", "reason"), WRONG.values(), ids=WRONG)
def test_what_was_changed_or_never_signed_is_not_valid(raw, answers, reason):
    verdicts = check(raw, answers)
    assert [(one.outcome, one.reason) for one in verdicts.signatures] == [
        (Outcome.INVALID, reason)
    ]
    assert not verdicts.is_of_author


def test_a_key_that_can_be_broken_is_not_believed():
    private, public = pair(1024)
    weak = signed(key=private, signature_algorithm=b"rsa-sha1")
    (one,) = check(weak, {("s1._domainkey.example.fi", "TXT"): [public]}).signatures
    assert (one.outcome, one.reason) == (Outcome.INVALID, Reason.WEAK)


def test_when_dns_does_not_answer_the_signature_could_not_be_checked():
    verdicts = check(signed(), {("s1._domainkey.example.fi", "TXT"): None})
    assert [(one.outcome, one.reason) for one in verdicts.signatures] == [
        (Outcome.UNCHECKED, Reason.NO_ANSWER)
    ]
    assert verdicts.is_provisional


def test_a_kind_of_key_that_is_not_known_here_is_not_called_wrong():
    raw = signed().replace(b"a=rsa-sha256", b"a=ed25519-sha256")
    answers = {("s1._domainkey.example.fi", "TXT"): ["v=DKIM1; k=ed25519; p=" + "A" * 43 + "="]}
    (one,) = check(raw, answers).signatures
    assert one.outcome is not Outcome.VALID
    assert one.reason in {Reason.NOT_KNOWN_HERE, Reason.SIGNATURE_WRONG, Reason.BODY_CHANGED}


@pytest.mark.parametrize(
    ("domain", "is_of_author"),
    [
        (b"example.fi", True),
        (b"mail.example.fi", True),
        (b"example.org", False),
        (b"le.fi", False),
    ],
)
def test_only_the_senders_domain_speaks_for_the_sender(domain, is_of_author):
    answers = {(f"s1._domainkey.{domain.decode()}", "TXT"): [PUBLIC]}
    verdicts = check(signed(domain=domain), answers)
    assert verdicts.signatures[0].outcome is Outcome.VALID
    assert verdicts.is_of_author == is_of_author


def test_a_signature_of_a_part_does_not_speak_for_all():
    raw = signed(length=True) + b"Lisays\r\n"
    verdicts = check(raw)
    assert verdicts.signatures[0].outcome is Outcome.VALID
    assert verdicts.signatures[0].is_partial
    assert not verdicts.is_of_author


def test_each_signature_has_a_verdict_up_to_so_many():
    raw = signed()
    line = raw[: raw.index(b"From: ")]
    verdicts = check(line * 20 + PLAIN)
    assert len(verdicts.signatures) == MAX_SIGNATURES


def test_dns_is_asked_so_often_and_no_more():
    asked = []

    def lookup(name, _):
        asked.append(name)
        return []

    bodies = [signed(selector=f"s{n}".encode()).partition(b"From: ")[0] for n in range(60)]
    check_mail(b"".join(bodies) + PLAIN, peer="", helo="", mail_from="", lookup=lookup, now=NOW)
    assert len(asked) <= min(MAX_LOOKUPS, MAX_SIGNATURES)


def test_a_chain_of_servers_is_verified_with_its_keys():
    authenticated = b"Authentication-Results: mx.example.org; dkim=pass\r\n" + PLAIN
    lines = dkim.arc_sign(authenticated, b"s1", b"example.org", PRIVATE, b"mx.example.org")
    answers = {("s1._domainkey.example.org", "TXT"): [PUBLIC]}
    verdicts = check(b"".join(lines) + authenticated, answers)
    assert verdicts.chain.outcome is Outcome.VALID
    assert (verdicts.chain.length, verdicts.chain.domain) == (1, "example.org")
    assert verdicts.chain.key_records == (("s1._domainkey.example.org", PUBLIC),)
    assert verdicts.claimed == "mx.example.org; dkim=pass"
    changed = (b"".join(lines) + authenticated).replace(b"Hei!", b"Hoi!")
    assert check(changed, answers).chain.outcome is Outcome.INVALID
    silent = check(b"".join(lines) + authenticated, dict.fromkeys(answers))
    assert (silent.chain.outcome, silent.chain.reason) == (Outcome.UNCHECKED, Reason.NO_ANSWER)


def test_a_mail_without_signatures_has_no_verdicts():
    verdicts = check(PLAIN)
    assert (verdicts.signatures, verdicts.chain) == ((), None)
    assert verdicts.spf.result is SpfResult.NOT_APPLICABLE


def test_of_a_journal_report_the_message_inside_is_checked():
    report = (
        b"From: journal@example.com\r\nX-MS-Journal-Report:\r\n"
        b"Content-Type: multipart/mixed; boundary=j\r\n\r\n--j\r\n\r\nSender: maija@example.fi\r\n"
        b"--j\r\nContent-Type: message/rfc822\r\n\r\n%b\r\n--j--\r\n"
    )
    verdicts = check(report % signed(), peer="198.41.0.4")
    assert verdicts.is_of_author
    assert verdicts.spf.result is SpfResult.NOT_APPLICABLE


POLICY = "v=spf1 ip4:203.0.113.0/24 include:lists.example.org mx -all"
CIRCLE = {("example.fi", "TXT"): ["v=spf1 include:example.fi -all"]}
SPF = {
    ("example.fi", "TXT"): ["other", POLICY],
    ("lists.example.org", "TXT"): ["v=spf1 ip6:2001:db8::/32 ?all"],
    ("example.fi", "MX"): ["10 mx.example.fi"],
    ("mx.example.fi", "A"): ["198.51.100.9"],
}


@pytest.mark.parametrize(
    ("peer", "answers", "result"),
    [
        pytest.param("203.0.113.7", SPF, "pass", id="by address"),
        pytest.param("2001:db8::1", SPF, "pass", id="by another's policy"),
        pytest.param("198.51.100.9", SPF, "pass", id="by its mail server"),
        pytest.param("192.0.2.1", SPF, "fail", id="by nobody"),
        pytest.param("192.0.2.1", {}, "none", id="without a policy"),
        pytest.param("192.0.2.1", {("example.fi", "TXT"): None}, "temperror", id="no answer"),
        pytest.param("192.0.2.1", {("example.fi", "TXT"): ["v=spf1 moo"]}, "permerror", id="nonsense"),
        pytest.param("192.0.2.1", CIRCLE, "permerror", id="in circles"),
        pytest.param("192.0.2.1", {("example.fi", "TXT"): ["v=spf1 ~all"]}, "softfail", id="softly"),
    ],
)  # fmt: skip
def test_whether_a_server_may_send_for_a_domain(peer, answers, result):
    told = check_spf(
        peer, helo="mx.example.fi", mail_from="maija@example.fi", lookup=table(answers)
    )
    assert (told.result, told.domain, told.peer) == (result, "example.fi", peer)
    if answers is SPF:
        assert told.policy == POLICY


def test_a_bounce_is_judged_by_the_name_that_its_server_gave():
    told = check_spf("203.0.113.7", helo="example.fi", mail_from="", lookup=table(SPF))
    assert (told.result, told.domain) == (SpfResult.PASS, "example.fi")


@given(raw=st.binary(max_size=300), value=st.text(max_size=80))
@settings(max_examples=60, deadline=None)
def test_any_mail_and_any_answer_has_a_verdict(raw, value):
    answers = {("s1._domainkey.example.fi", "TXT"): [value], ("example.fi", "TXT"): [value]}
    check(b"DKIM-Signature: " + raw + b"\r\n" + PLAIN, answers)
    check(b"ARC-Seal: i=1; " + raw + b"\r\n" + PLAIN, answers)
    check(signed(), answers)
    check_spf("192.0.2.1", helo=value, mail_from="a@example.fi", lookup=table(answers))
