"""Twilio's signatures, by the published example and by Twilio's own package, and what is none."""

import base64
import hashlib
import hmac
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict
from twilio.request_validator import RequestValidator
from yarl import URL

from service.domain.errors import InvalidInputError, NotSignedInError
from service.intake.twilio_signature import FORM, TwilioSecret, verify_twilio
from storage.rows import DeliveryRow
from tests.intake.conftest import TWILIO_TOKEN

URL_SENT = "https://arkisto.example.fi/intake/cloud?foo=1&bar=2"
SECRET = TwilioSecret.parse(TWILIO_TOKEN)
SHARED = TwilioSecret.parse("SKinvented0001:a-shared-key-that-is-invented")
CALL = {"CallSid": "CA" + "0" * 32, "From": "+358401234567", "CallerName": "", "To": "äö +"}


def verify(headers, *, url=URL_SENT, body=b"", secrets=(SECRET,)):
    verify_twilio(headers, url=url, body=body, secrets=secrets)


def signed(parameters=CALL, *, url=URL_SENT, token=TWILIO_TOKEN):
    """Return what Twilio's own package signs."""
    signature = RequestValidator(token).compute_signature(url, parameters)
    return {"x-twilio-signature": signature, "content-type": FORM}


def form(parameters=CALL):
    return urlencode(list(parameters.items())).encode()


def test_the_published_example_verifies():
    told = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    headers = {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "content-type": FORM}
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    verify(headers, url=url, body=form(told), secrets=(TwilioSecret(b"12345"),))


@pytest.mark.parametrize(
    "parameters",
    [
        CALL,
        {},
        MultiDict([("a", "2"), ("a", "1"), ("a", "2"), ("A", "x")]),
        {"Body": "line\r\nline", "€": "✓"},
    ],
    ids=["a call", "nothing", "repeated", "any characters"],
)
def test_what_twilios_package_signs_verifies(parameters):
    verify(signed(parameters), body=form(parameters))


@pytest.mark.parametrize(
    "sent",
    ["https://arkisto.example.fi:443/intake/cloud?foo=1&bar=2", URL_SENT],
    ids=["with the port", "without"],
)
@pytest.mark.parametrize(
    "known", ["https://arkisto.example.fi", "https://arkisto.example.fi:443"]
)
def test_the_port_that_a_scheme_has_anyway_may_be_told_or_not(sent, known):
    headers = {
        "x-twilio-signature": base64.b64encode(
            hmac.digest(TWILIO_TOKEN.encode(), sent.encode(), "sha1")
        ).decode()
    }
    verify(headers, url=known + "/intake/cloud?foo=1&bar=2")


def test_a_body_that_is_no_form_is_signed_by_its_hash_in_the_url():
    body = b'{"CallSid":"CA"}'
    url = f"{URL_SENT}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    headers = {**signed({}, url=url), "content-type": "application/json"}
    verify(headers, url=url, body=body)
    with pytest.raises(NotSignedInError):
        verify(headers, url=url, body=body + b" ")


def shared(
    text, *, key="SKinvented0001", algorithm="HMAC_SHA256", secret=SHARED.key, hashed="sha256"
):
    return {
        "x-twilio-signature": base64.b64encode(hmac.digest(secret, text, hashed)).decode(),
        "x-twilio-webhooks-signature-settings": f"key={key},algorithm={algorithm}",
    }


def test_a_shared_key_signs_with_sha256():
    verify(shared(URL_SENT.encode()), secrets=(SECRET, SHARED))


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        (shared(URL_SENT.encode(), key="another"), (SECRET, SHARED)),
        (shared(URL_SENT.encode(), algorithm="NONE"), (SECRET, SHARED)),
        (shared(URL_SENT.encode(), algorithm="HMAC_SHA1", hashed="sha1"), (SECRET, SHARED)),
        (shared(URL_SENT.encode(), secret=SECRET.key), (SECRET, SHARED)),
        # A source that has SharedKeys alone takes no SHA-1, whichever header is left out.
        (signed({}), (SHARED,)),
        ({"x-twilio-signature": shared(URL_SENT.encode())["x-twilio-signature"]}, (SHARED,)),
        ({"x-twilio-signature": ""}, (SECRET,)),
        ({"x-twilio-signature": "!"}, (SECRET,)),
        ({}, (SECRET,)),
        (signed({}), ()),
        (signed({}, token="f" * 32), (SECRET,)),
        (signed({}, url="https://other.example.fi/intake/cloud?foo=1&bar=2"), (SECRET,)),
    ],
)
def test_another_key_algorithm_or_place_is_refused(headers, secrets):
    with pytest.raises(NotSignedInError):
        verify(headers, secrets=secrets)


@pytest.mark.parametrize(
    "body",
    [
        form({**CALL, "From": "+358409999999"}),
        form({**CALL, "More": "1"}),
        form()[:-1],
        b"",
        b"&".join([b"a=1"] * 1_001),
    ],
)
def test_other_parameters_are_refused(body):
    with pytest.raises(NotSignedInError):
        verify(signed(), body=body)


def test_a_body_of_another_type_is_not_taken_for_signed():
    with pytest.raises(NotSignedInError):
        verify({**signed({}), "content-type": "application/json"}, body=b"{}")


@pytest.mark.parametrize(
    "text", ["", "0" * 31, "g" * 32, "short:secret", "SKinvented0001:", "SKinvented0001:ä" * 9]
)
def test_what_is_no_secret_is_refused_unrepeated(text):
    with pytest.raises(InvalidInputError) as refused:
        TwilioSecret.parse(text)
    assert not text or text not in refused.value.detail


def test_a_secret_shows_itself_nowhere():
    assert "invented" not in repr(SHARED).partition("key_id")[0]
    assert TWILIO_TOKEN not in repr(SECRET)


@settings(max_examples=200)
@given(
    st.dictionaries(st.text(max_size=20), st.text(max_size=20)),
    st.binary(max_size=200),
    st.text(max_size=60),
)
def test_no_invented_request_is_taken_and_none_breaks_it(headers, body, query):
    with pytest.raises(NotSignedInError):
        verify({"content-type": FORM, **headers}, body=body, url=f"{URL_SENT}&{query}")


# -- at the door


async def test_a_signed_call_back_is_kept_and_another_is_not(door):
    url = "https://arkisto.example.fi/intake/cloud?n=1"
    for headers, status in ((signed(url=url), 200), (signed(url=url + "2"), 401)):
        path = URL("/intake/cloud?n=1", encoded=True)
        answer = await door.client.post(path, data=form(), headers=headers)
        assert answer.status == status
    assert len(await door.archive.stores.store.find(DeliveryRow, {})) == 1


async def test_a_call_back_may_be_a_get_and_of_others_it_is_refused(door):
    query = urlencode({k: v for k, v in CALL.items() if v})
    headers = signed({}, url=f"https://arkisto.example.fi/intake/cloud?{query}")
    path = URL(f"/intake/cloud?{query}", encoded=True)
    assert (await door.client.get(path, headers=headers)).status == 200
    assert (await door.client.get(path)).status == 401
    for other in ("hook", "switch", "pbx", "none"):
        assert (await door.client.get(f"/intake/{other}", headers=headers)).status == 401
