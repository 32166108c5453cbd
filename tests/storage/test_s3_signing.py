"""Signature Version 4, by the examples that Amazon publishes ("Authenticating Requests", S3 API reference)."""

import hashlib
from datetime import UTC, datetime

import pytest

from storage.s3.signing import Credentials, Request, sign

PUBLISHED = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
AT = datetime(2013, 5, 24, tzinfo=UTC)
EMPTY = hashlib.sha256().hexdigest()
HOST = "examplebucket.s3.amazonaws.com"

EXAMPLES = [
    pytest.param(
        Request(
            method="GET",
            host=HOST,
            path="/test.txt",
            headers={"Range": "bytes=0-9"},
            payload_sha256=EMPTY,
        ),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        id="get a range",
    ),
    pytest.param(
        Request(
            method="PUT",
            host=HOST,
            path="/test$file.text",
            headers={
                "Date": "Fri, 24 May 2013 00:00:00 GMT",
                "x-amz-storage-class": "REDUCED_REDUNDANCY",
            },
            payload_sha256=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
        ),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        id="put",
    ),
    pytest.param(
        Request(
            method="GET", host=HOST, path="/", query={"lifecycle": ""}, payload_sha256=EMPTY
        ),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        id="a query without a value",
    ),
    pytest.param(
        Request(
            method="GET",
            host=HOST,
            path="/",
            query={"prefix": "J", "max-keys": "2"},
            payload_sha256=EMPTY,
        ),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        id="a query in order",
    ),
]


@pytest.mark.parametrize(("request_", "signature"), EXAMPLES)
def test_signs_as_published(request_, signature):
    signed = sign(request_, PUBLISHED, region="us-east-1", now=AT)
    assert signed["authorization"].endswith(f"Signature={signature}")


def test_a_temporary_credential_is_signed_with_its_token():
    request = Request(method="GET", host=HOST, path="/", payload_sha256=EMPTY)
    signed = sign(request, Credentials("A", "s", "token"), region="eu-north-1", now=AT)
    assert signed["x-amz-security-token"] == "token"
    assert "x-amz-security-token" in signed["authorization"]


def test_no_secret_is_shown_or_sent():
    request = Request(method="GET", host=HOST, path="/", payload_sha256=EMPTY)
    assert PUBLISHED.secret_key not in repr(PUBLISHED)
    assert PUBLISHED.secret_key not in repr(
        sign(request, PUBLISHED, region="eu-north-1", now=AT)
    )
