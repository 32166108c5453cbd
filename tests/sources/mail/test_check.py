"""Verdicts on signatures and servers, with the keys that they rest on; DNS is a table here."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.sources.mail.check import MAX_LOOKUPS, NoAnswerError, check_mail, check_spf
from service.sources.mail.verdicts import MAX_SIGNATURES, Outcome, Reason, SpfResult
from tests.sources.mail.signing import ed25519_pair, rsa_pair, sign

NOW = datetime(2026, 11, 23, tzinfo=UTC)
PLAIN = (
    b"From: Maija <maija@example.fi>\r\nTo: apu@example.com\r\nSubject: Lasku\r\n"
    b"Message-ID: <m1@example.fi>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0200\r\n\r\nHei!\r\n"
)


PRIVATE, PUBLIC = rsa_pair()
KEY = ("s1._domainkey.example.fi", "TXT")
DNS = {KEY: [PUBLIC]}


def table(answers):
    def lookup(name, kind):
        answer = answers.get((name, kind), [])
        if answer is None:
            raise NoAnswerError
        return answer

    return lookup


def signed(message=PLAIN, key=PRIVATE, **how):
    return sign(message, key, **how)


def check(raw, answers=None, *, now=NOW, peer=""):
    lookup = table(DNS if answers is None else answers)
    return check_mail(raw, peer=peer, helo="", mail_from="", lookup=lookup, now=now)


def test_a_signature_of_the_senders_domain_is_valid_and_its_key_is_kept():
    verdicts = check(signed())
    (one,) = verdicts.signatures
    assert (one.outcome, one.reason) == (Outcome.VALID, None)
    assert (one.domain, one.selector, one.algorithm) == ("example.fi", "s1", "rsa-sha256")
    assert (one.key_name, one.key_record) == ("s1._domainkey.example.fi", PUBLIC)
    assert one.is_of_author
    assert verdicts.is_of_author
    assert not verdicts.is_provisional


OTHER = rsa_pair()[1]
WRONG = {
    "the text was changed": (signed().replace(b"Hei!", b"Hoi!"), DNS, Reason.BODY_CHANGED),
    "a header was changed": (signed().replace(b"Lasku", b"Muu"), DNS, Reason.SIGNATURE_WRONG),
    "another key": (
        signed(),
        {KEY: [OTHER]},
        Reason.SIGNATURE_WRONG,
    ),
    "no key": (signed(), {}, Reason.NO_KEY),
    "a revoked key": (
        signed(),
        {KEY: ["v=DKIM1; p="]},
        Reason.NO_KEY,
    ),
    "a key that is none": (
        signed(),
        {KEY: ["v=DKIM1; k=rsa; p=QUJD"]},
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


WEAK_KEY, WEAK_RECORD = rsa_pair(1024)


def test_a_signature_of_a_kind_that_can_be_forged_is_not_believed():
    raw = signed(key=WEAK_KEY)
    assert check(raw, {KEY: [WEAK_RECORD]}).is_of_author
    (one,) = check(raw.replace(b"rsa-sha256", b"rsa-sha1"), {KEY: [WEAK_RECORD]}).signatures
    assert (one.outcome, one.reason) == (Outcome.INVALID, Reason.WEAK)


def test_a_signature_by_ed25519_is_valid():
    key, record = ed25519_pair()
    (one,) = check(signed(key=key), {KEY: [record]}).signatures
    assert (one.outcome, one.algorithm) == (Outcome.VALID, "ed25519-sha256")
    (wrong,) = check(signed(key=key), {KEY: [PUBLIC]}).signatures
    assert (wrong.outcome, wrong.reason) == (Outcome.INVALID, Reason.KEY_UNUSABLE)


RECORDS = {
    "for other services": f"{PUBLIC}; s=tlsrpt",
    "for other hashes": f"{PUBLIC}; h=sha1",
    "of another version": PUBLIC.replace("DKIM1", "DKIM2"),
    "of another kind": PUBLIC.replace("rsa", "dsa"),
    "no record of a key": "v=spf1 -all",
    "twice the same": f"{PUBLIC}; p=AA==",
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_that_is_no_key_for_mail_is_not_used(record):
    (one,) = check(signed(), {KEY: [record]}).signatures
    assert one.outcome is Outcome.INVALID
    assert one.reason in {Reason.KEY_UNUSABLE, Reason.NO_KEY}


STAMP = int(NOW.timestamp())
TIMES = {
    "over": (f" t={STAMP - 900}; x={STAMP - 1};", Reason.NOT_A_SIGNATURE),
    "not over": (f" t={STAMP - 900}; x={STAMP + 900};", None),
    "of the day after tomorrow": (f" t={STAMP + 200_000};", Reason.NOT_A_SIGNATURE),
    "at no time": (" t=soon;", Reason.NOT_A_SIGNATURE),
    "of somebody else": (" i=@example.org;", Reason.NOT_A_SIGNATURE),
    "of somebody there": (" i=maija@mail.example.fi;", None),
}


@pytest.mark.parametrize(("tags", "reason"), TIMES.values(), ids=TIMES)
def test_a_signature_holds_in_its_time_and_for_its_domain(tags, reason):
    (one,) = check(signed(tags=tags)).signatures
    assert one.reason is reason


def test_a_kind_of_signature_that_is_not_known_here_is_not_called_wrong():
    (one,) = check(signed().replace(b"a=rsa-sha256", b"a=new-sha512")).signatures
    assert (one.outcome, one.reason) == (Outcome.UNCHECKED, Reason.NOT_KNOWN_HERE)


def test_when_dns_does_not_answer_the_signature_could_not_be_checked():
    verdicts = check(signed(), {KEY: None})
    assert [(one.outcome, one.reason) for one in verdicts.signatures] == [
        (Outcome.UNCHECKED, Reason.NO_ANSWER)
    ]
    assert verdicts.is_provisional


@pytest.mark.parametrize(
    ("domain", "is_of_author"),
    [
        ("example.fi", True),
        ("mail.example.fi", True),
        ("example.org", False),
        ("le.fi", False),
    ],
)
def test_only_the_senders_domain_speaks_for_the_sender(domain, is_of_author):
    answers = {(f"s1._domainkey.{domain}", "TXT"): [PUBLIC]}
    verdicts = check(signed(domain=domain), answers)
    assert verdicts.signatures[0].outcome is Outcome.VALID
    assert verdicts.is_of_author == is_of_author


def test_a_signature_of_a_part_does_not_speak_for_all():
    raw = signed(length=1000) + b"Lisays\r\n"
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

    bodies = [signed(selector=f"s{n}").partition(b"From: ")[0] for n in range(60)]
    check_mail(b"".join(bodies) + PLAIN, peer="", helo="", mail_from="", lookup=lookup, now=NOW)
    assert len(asked) <= min(MAX_LOOKUPS, MAX_SIGNATURES)


VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "signed_mails.json").read_text())
PUBLISHED = {(VECTORS["name"], "TXT"): [VECTORS["record"]]}
MADE = NOW + timedelta(days=1)


@pytest.mark.parametrize("vector", VECTORS["signed"], ids=lambda one: one["what"])
def test_what_another_program_signed_is_valid_and_changed_it_is_not(vector):
    raw = base64.b64decode(vector["mail"])
    assert check(raw, PUBLISHED, now=MADE).signatures[0].outcome is Outcome.VALID
    for before, after in ((b"maija@", b"matti@"), (b"Hei,", b"Hoi,")):
        if before in raw.partition(b"From: ")[2]:
            changed = check(raw.replace(before, after), PUBLISHED, now=MADE)
            assert changed.signatures[0].outcome is Outcome.INVALID


@pytest.mark.parametrize("vector", VECTORS["sealed"], ids=lambda one: one["what"])
def test_a_chain_of_servers_is_verified_with_its_keys(vector):
    raw = base64.b64decode(vector["mail"])
    chain = check(raw, PUBLISHED, now=MADE).chain
    assert (chain.outcome, chain.length) == (Outcome.VALID, vector["length"])
    assert chain.domain == "example.fi"
    assert chain.key_records == ((VECTORS["name"], VECTORS["record"]),)
    for before, after in (
        (b"Hei,", b"Hoi,"),
        (b"dkim=none", b"dkim=pass"),
        (b"cv=none", b"cv=pass"),
        (b"i=1;", b"i=2;"),
    ):
        changed = check(raw.replace(before, after, 1), PUBLISHED, now=MADE).chain
        assert changed.outcome is Outcome.INVALID, before
    silent = check(raw, dict.fromkeys(PUBLISHED), now=MADE).chain
    assert (silent.outcome, silent.reason) == (Outcome.UNCHECKED, Reason.NO_ANSWER)


# RFC 8463, appendix A.3: a message and its signature as published.
PUBLISHED_MAIL = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    b" subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"
    b" Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n"
    b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
)


def test_the_example_of_the_specification_is_valid():
    record = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    answers = {("brisbane._domainkey.football.example.com", "TXT"): [record]}
    assert check(PUBLISHED_MAIL, answers).is_of_author


def test_mail_with_other_line_ends_is_signed_the_same():
    assert check(signed().replace(b"\r\n", b"\n")).is_of_author


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


NAMES = {
    ("h.example.org", "A"): ["192.0.2.99"],
    ("h.example.org", "AAAA"): ["2001:db8:1::1"],
    ("1.2.0.192.x.example.org", "A"): ["127.0.0.2"],
    ("maija.example.org", "A"): ["198.51.100.1"],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx.example.org"],
    ("mx.example.org", "A"): ["192.0.2.1"],
    ("many.example.org", "MX"): [f"10 mx{n}.example.org" for n in range(11)],
    ("lists.example.org", "TXT"): ["v=spf1 ?all"],
}


def policy(words):
    """Return a DNS in which the sender's policy is ``words``."""
    return {**NAMES, ("example.fi", "TXT"): [f"v=spf1 {words}"]}


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
        pytest.param("2001:db8::1", policy("a:h.example.org/24//32 -all"), "pass", id="a network"),
        pytest.param("192.0.2.1", policy("a:h.example.org/24 -all"), "pass", id="by a name"),
        pytest.param("192.0.2.1", policy("exists:%{ir}.x.example.org -all"), "pass", id="macro"),
        pytest.param("192.0.2.1", policy("a:%{l}.example.org -all"), "fail", id="of the sender"),
        pytest.param("192.0.2.1", policy("ptr:example.org -all"), "pass", id="by its own name"),
        pytest.param("192.0.2.1", policy("redirect=lists.example.org"), "neutral", id="elsewhere"),
        pytest.param("192.0.2.1", policy("redirect=none.example.org"), "permerror", id="nowhere"),
        pytest.param("192.0.2.1", policy("redirect=a.fi redirect=b.fi"), "permerror", id="twice"),
        pytest.param("192.0.2.1", policy("x=1 x=2 +all"), "pass", id="unknown modifiers"),
        pytest.param("192.0.2.1", policy("a:one.fi a:two.fi a:three.fi +all"), "permerror", id="void"),
        pytest.param("192.0.2.1", policy("mx:many.example.org +all"), "permerror", id="many hosts"),
        pytest.param("192.0.2.1", policy("ip4:192.0.2.1/33 +all"), "permerror", id="no network"),
        pytest.param("192.0.2.1", policy("ip6:192.0.2.1 +all"), "permerror", id="of another kind"),
        pytest.param("192.0.2.1", policy("a:%{z}.fi +all"), "permerror", id="no macro"),
        pytest.param("192.0.2.1", policy("include: +all"), "permerror", id="of nobody"),
        pytest.param("192.0.2.1", policy("a/33 +all"), "permerror", id="too long a prefix"),
        pytest.param("192.0.2.1", {("example.fi", "TXT"): ["v=spf1 +all"] * 2}, "permerror", id="two"),
        pytest.param("::ffff:203.0.113.7", SPF, "pass", id="the old in the new"),
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
    answers = {KEY: [value], ("example.fi", "TXT"): [value]}
    check(b"DKIM-Signature: " + raw + b"\r\n" + PLAIN, answers)
    check(b"ARC-Seal: i=1; " + raw + b"\r\n" + PLAIN, answers)
    check(signed(), answers)
    check_spf("192.0.2.1", helo=value, mail_from="a@example.fi", lookup=table(answers))
