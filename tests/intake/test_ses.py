"""Mails by Amazon SES are taken from listed topics whose messages SNS signed, and SNS alone is asked for anything."""

import asyncio
import hashlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from service.config import parse_config
from service.domain.errors import NotSignedInError, UnavailableError
from service.domain.urls import Origin
from service.intake.app_keys import LISTENERS
from service.intake.sns import MOST_CERTIFICATES, SnsDoor
from service.sources.mail_envelope import decode_mail
from service.worker.fetching.rules import FetchRules
from storage.rows import AttentionRow, ContactRow
from tests.answering import answering, moved, ok
from tests.archive.mails import letter
from tests.certificates import CertificateAuthority
from tests.intake.conftest import SECRET
from tests.intake.test_posted_mail import kept
from tests.sns import KEY, PEM, TOPIC, certificate, headers_of, message, notified, signed

MAIL = letter(subject="Lasku").replace(b"Hei!", b"P\xe4iv\xe4\xe4")
CERTIFICATE = certificate()
OTHER = rsa.generate_private_key(65537, 2048)
REGIONAL = "https://sns.eu-north-1.amazonaws.com"
SOURCES = f"""
[web]
public_url = "https://arkisto.example.fi"

[[sources]]
name = "ses"
kind = "ses"
secret_file = "switch.secret"
topics = ["{TOPIC}"]
company_addresses = ["@example.com"]
fetch_networks = ["127.0.0.0/8", "::1"]
fetch_certificate_authority = "authority/ca.pem"
fetch_origins = ["ORIGIN"]

[[sources]]
name = "usual"
kind = "ses"
secret_file = "switch.secret"
topics = ["{TOPIC}"]
"""


class Service:
    """SNS on loopback: its certificate, and confirmations; or whatever a test has it answer."""

    def __init__(self):
        self.answer = self.usual
        self.server = None

    def answering(self, asked):
        return self.answer(asked)

    @staticmethod
    def usual(asked):
        return ok(CERTIFICATE if asked.target == PEM else b"<ConfirmSubscriptionResponse/>")

    @property
    def origin(self):
        return f"https://localhost:{self.server.port}"

    @property
    def targets(self):
        return [asked.target for asked in self.server.asked]


@pytest.fixture
async def sns(tmp_path):
    service = Service()
    tls = CertificateAuthority(tmp_path / "authority").serving("localhost")
    async with answering(service.answering, tls=tls) as service.server:
        yield service


@pytest.fixture
def config(tmp_path, sns):
    secret = tmp_path / "switch.secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o400)
    return parse_config(SOURCES.replace("ORIGIN", sns.origin), base=tmp_path)


async def post(door, told, *, body=None, headers=None, secret=SECRET, source="ses"):
    return await door.client.post(
        f"/intake/{source}/k/{secret}",
        data=signed(told) if body is None else body,
        headers=headers_of(told) if headers is None else headers,
    )


async def attention(door):
    await door.understand()
    return await door.archive.stores.store.find(AttentionRow, {"state": "open"})


# -- mails


async def test_a_mail_is_kept_byte_for_byte_and_becomes_a_contact_once(door, sns):
    told = message(notified(MAIL), origin=sns.origin)
    again = {**told, "MessageId": "another", "SignatureVersion": "1"}
    for one, answer in ((told, {"kept": True}), (again, {"kept": True, "duplicate": True})):
        answered = await post(door, one)
        assert (answered.status, await answered.json()) == (200, answer)
    await door.understand()
    ((kind, body),) = await kept(door)
    mail = decode_mail(body)
    assert (kind, mail.sha256) == ("mail", hashlib.sha256(MAIL).hexdigest())
    assert (mail.mail_from, mail.recipients) == ("maija@example.fi", ("apu@example.com",))
    (contact,) = await door.archive.stores.store.find(ContactRow, {})
    assert (contact.source, contact.channel, contact.direction) == ("ses", "email", "inbound")
    # Both messages name one certificate.
    assert sns.targets == [PEM]


async def test_a_late_message_is_kept_and_told_of(door, sns):
    late = message(notified(MAIL), origin=sns.origin, at=datetime.now(UTC) - timedelta(hours=1))
    assert (await post(door, late)).status == 200
    assert {item.reason for item in await attention(door)} == {"outside_tolerance"}


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (notified(None, action="S3"), "Notification"),
        ("Successfully validated", "Notification"),
        ("You have chosen to deactivate", "UnsubscribeConfirmation"),
    ],
)
async def test_what_has_no_mail_is_kept_and_a_person_told_what_to_do(door, sns, told, kind):
    one = message(told, origin=sns.origin, kind=kind)
    for answer in ({"kept": True}, {"kept": True, "duplicate": True}):
        answered = await post(door, one)
        assert (answered.status, await answered.json()) == (200, answer)
    assert [kind for kind, _ in await kept(door)] == ["request"]
    assert {item.reason for item in await attention(door)} == {"not_understood"}
    assert sns.targets == [PEM]


# -- who sends


def changed(told):
    """Return the signed message with another content."""
    return json.dumps({**json.loads(signed(told)), "Message": notified(letter(n=2))}).encode()


async def test_what_sns_did_not_sign_is_not_kept(door, sns):
    told = message(notified(MAIL), origin=sns.origin)
    other = {**told, "TopicArn": TOPIC + "2"}
    refused = [
        {"body": signed(told, key=OTHER)},
        {"body": changed(told)},
        {"body": b"{}"},
        {"body": b"no JSON"},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {**headers_of(told), "x-amz-sns-topic-arn": TOPIC + "2"}},
        {"headers": {**headers_of(told), "x-amz-sns-message-id": "another"}},
        {"headers": {**headers_of(told), "x-amz-sns-message-type": "SubscriptionConfirmation"}},
        {"body": signed(other), "headers": headers_of(other)},
        {"secret": "x" * 40},
    ]
    for how in refused:
        answered = await post(door, told, **how)
        assert answered.status == 401, how
        assert SECRET not in await answered.text()
    assert await kept(door) == []
    assert (await post(door, told)).status == 200


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-north-1.amazonaws.com/x.pem",
        "https://sns.eu-north-1.amazonaws.com.example.fi/x.pem",
        "http://localhost/x.pem",
        "https://127.0.0.1/x.pem",
        "https://169.254.169.254/x.pem",
        "https://localhost@example.fi/x.pem",
        "file:///x.pem",
        "",
        "ORIGIN/?Action=ListTopics&x=.pem",
        "ORIGIN/a/x.pem",
        "ORIGIN/x.pem?a",
        "ORIGIN/x%2epem",
        "ORIGIN/x.pem.exe",
        "ORIGIN/",
    ],
)
async def test_a_certificate_from_elsewhere_is_not_asked_for(door, sns, url):
    told = message(notified(MAIL), origin=sns.origin)
    told["SigningCertURL"] = url.replace("ORIGIN", sns.origin)
    assert (await post(door, told)).status == 401
    assert sns.targets == []
    assert await kept(door) == []


# -- the certificate


@pytest.mark.parametrize(
    "answer",
    [
        ok(CERTIFICATE, status="500 Internal Server Error"),
        ok(CERTIFICATE, status="404 Not Found"),
        ok(b"<html>"),
        ok(CERTIFICATE + b" " * 70_000),
        ok(CERTIFICATE)[:-1],
        ok(certificate(ec.generate_private_key(ec.SECP256R1()))),
        ok(certificate(rsa.generate_private_key(65537, 1024))),  # noqa: S505  # that is refused
        b"",
    ],
    ids=["500", "404", "page", "vast", "cut", "no RSA", "weak", "hangs up"],
)
async def test_without_the_certificate_it_is_to_be_sent_again_and_nothing_is_kept(
    door, sns, answer
):
    sns.answer = lambda _: answer
    told = message(notified(MAIL), origin=sns.origin)
    refused = await post(door, told)
    assert (refused.status, "Retry-After" in refused.headers) == (503, True)
    assert await kept(door) == []
    sns.answer = sns.usual
    assert (await post(door, told)).status == 200


async def test_a_redirect_is_not_followed(door, sns):
    sns.answer = lambda asked: moved("/other.pem") if asked.target == PEM else ok(CERTIFICATE)
    assert (await post(door, message(notified(MAIL), origin=sns.origin))).status == 503
    assert sns.targets == [PEM]


async def test_an_expired_certificate_vouches_for_nothing(door, sns):
    sns.answer = lambda _: ok(certificate(days=-1))
    assert (await post(door, message(notified(MAIL), origin=sns.origin))).status == 401
    assert await kept(door) == []


def door_of(sns, *, resolved="127.0.0.1", seconds=8.0, tls=None, networks=("127.0.0.0/8",)):
    """Return what asks SNS in the test's place; its names lead to ``resolved``."""

    async def resolve(_host, _port):
        return [resolved]

    rules = FetchRules(
        origins={Origin.parse(sns.origin): None},
        networks=[ip_network(one) for one in networks],
        tls=tls,
    )
    return SnsDoor("ses", {TOPIC}, rules, resolve=resolve, seconds=seconds)


async def verify(one, told):
    return await one.verify(headers_of(told), signed(told), now=datetime.now(UTC))


async def test_certificates_are_fetched_once_and_the_oldest_are_forgotten(sns, tmp_path):
    sns.answer = lambda _: ok(CERTIFICATE)
    one = door_of(sns, tls=trusting(tmp_path))
    told = message(notified(MAIL), origin=sns.origin)
    await asyncio.gather(*(verify(one, told) for _ in range(3)))
    assert sns.targets == [PEM]
    for n in range(MOST_CERTIFICATES):
        await verify(one, {**told, "SigningCertURL": f"{sns.origin}/{n}.pem"})
    assert len(one.certificates) == MOST_CERTIFICATES
    assert f"{sns.origin}{PEM}" not in one.certificates


def trusting(directory):
    return ssl.create_default_context(cafile=directory / "authority" / "ca.pem")


@pytest.mark.parametrize(
    ("how", "asked"),
    [
        ({"resolved": "10.0.0.1"}, 0),
        ({"resolved": "169.254.169.254"}, 0),
        ({"networks": ()}, 0),
        ({"tls": None}, 0),
    ],
    ids=["private", "metadata", "loopback", "another authority"],
)
async def test_sns_is_reached_at_a_public_address_with_a_valid_certificate(
    sns, tmp_path, how, asked
):
    one = door_of(sns, **{"tls": trusting(tmp_path), **how})
    with pytest.raises(UnavailableError) as refused:
        await verify(one, message(notified(MAIL), origin=sns.origin))
    assert sns.origin not in str(refused.value)
    assert len(sns.targets) == asked


async def test_who_answers_slowly_is_not_waited_for(sns, tmp_path):
    async def never(_=None):
        await asyncio.Event().wait()
        yield b""

    sns.answer = never
    one = door_of(sns, tls=trusting(tmp_path), seconds=0.2)
    with pytest.raises(UnavailableError):
        await verify(one, message(notified(MAIL), origin=sns.origin))


async def test_usually_sns_of_the_region_of_the_topics_is_asked(door):
    rules = door.service.app[LISTENERS]["usual"].sns.rules
    assert [str(origin) for origin in rules.origins] == [REGIONAL]


# -- subscriptions


async def test_a_subscription_to_a_listed_topic_is_confirmed_and_noted(door, sns, caplog):
    caplog.set_level("INFO")
    told = message("You have chosen", origin=sns.origin, kind="SubscriptionConfirmation")
    answered = await post(door, told)
    assert (answered.status, await answered.json()) == (200, {"kept": True})
    assert sns.targets == [PEM, told["SubscribeURL"].removeprefix(sns.origin)]
    (noted,) = [one for one in caplog.records if one.message == "intake.subscription_confirmed"]
    assert (noted.source, noted.topic) == ("ses", TOPIC)
    assert told["Token"] not in caplog.text
    assert await attention(door) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token=x",
        "{origin}/?Action=Unsubscribe&TopicArn={topic}&Token=x",
        "{origin}/?Action=ConfirmSubscription&TopicArn={topic}2&Token=x",
        "{origin}/?Action=ConfirmSubscription&Action=Publish&TopicArn={topic}&Token=x",
        "{origin}/x?Action=ConfirmSubscription&TopicArn={topic}&Token=x",
        "{origin}/",
    ],
)
async def test_nothing_else_is_confirmed(door, sns, url):
    told = message("You have chosen", origin=sns.origin, kind="SubscriptionConfirmation")
    told["SubscribeURL"] = url.format(origin=sns.origin, topic=TOPIC)
    assert (await post(door, told)).status == 401
    assert sns.targets == [PEM]
    assert await kept(door) == []


async def test_a_subscription_to_another_topic_is_not_confirmed(door, sns):
    kind, topic = "SubscriptionConfirmation", TOPIC + "2"
    told = message("You have chosen", origin=sns.origin, kind=kind, topic=topic)
    assert (await post(door, told)).status == 401
    assert sns.targets == []


async def test_a_subscription_that_cannot_be_confirmed_now_is_to_be_asked_for_again(door, sns):
    told = message("You have chosen", origin=sns.origin, kind="SubscriptionConfirmation")
    sns.answer = lambda asked: (
        ok(CERTIFICATE) if asked.target == PEM else ok(b"", status="400 Bad Request")
    )
    assert (await post(door, told)).status == 503
    assert await kept(door) == []


async def test_what_is_refused_repeats_nothing(sns, tmp_path):
    told = message(notified(MAIL), origin=sns.origin)
    one = door_of(sns, tls=trusting(tmp_path))
    for wrong in ({"Timestamp": "now"}, {"MessageId": "a\nb"}, {"SignatureVersion": "3"}):
        with pytest.raises(NotSignedInError) as refused:
            await one.verify(
                headers_of(told),
                json.dumps({**json.loads(signed(told, key=KEY)), **wrong}).encode(),
                now=datetime.now(UTC),
            )
        assert "Lasku" not in str(refused.value)
    assert sns.targets == []
