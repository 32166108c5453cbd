"""What each route of the interface takes and answers, by method and path: what its description says of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from service.api import shapes
from service.api.content import HeardReport
from service.api.grants import GrantOrder
from service.domain.contact import Channel, Direction, RecordingState
from service.domain.retention import ErasureState
from service.sources.generic import ContactJson

JsonType = Any
"""A type that msgspec describes."""

BYTES: Final = "application/octet-stream"
TEXT: Final = "text/plain"


class Proof(StrEnum):
    """How senders show who they are where the handler itself checks it."""

    TOKEN = "bearer"  # noqa: S105  # the name of a scheme
    SIGNATURE = "signature"
    TWILIO = "twilio"
    CHATWOOT = "chatwoot"
    META = "meta"
    ZENDESK = "zendesk"
    SECRET = "basic"  # noqa: S105  # the name of a scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a route takes and answers.

    Attributes:
        query, headers: The parameters by name, each with its type, described.
        body: The type of the JSON that is sent; or text, the media type of bytes.
        answers: By status: the type of the JSON, or text, the media type of bytes, or None for nothing.
        problems: Statuses of problems beyond those that follow from the rest.
        proofs: For routes whose handler checks the sender; any of them. None: the path itself has the secret.
    """

    query: Mapping[str, JsonType] = field(default_factory=dict)
    headers: Mapping[str, JsonType] = field(default_factory=dict)
    body: JsonType | str | None = None
    answers: Mapping[int, JsonType | str | None] = field(default_factory=dict)
    problems: tuple[int, ...] = ()
    proofs: tuple[Proof, ...] = ()


def _text(description: str) -> JsonType:
    return Annotated[str, Meta(description=description)]


_CURSOR: Final = _text("Where to go on: `next` of the page before.")
_LIMIT: Final = Annotated[
    int, Meta(ge=1, le=200, description="How many at most; 50 if not said.")
]
_PAGING: Final = {"cursor": _CURSOR, "limit": _LIMIT}
_TIME: Final = (
    "an RFC 3339 time with an offset, or a date, which begins in the archive's time zone"
)
_CRITERIA: Final = {
    "customer_number": _text("The customer's number: stated by the contact, or by a link."),
    "phone": _text("A telephone number in any form; national ones as of the archive's region."),
    "email": _text("An e-mail address; case does not count."),
    "metering_point": _text("A metering point, 18 digits."),
    "agent": _text("The agent's id; case does not count."),
    "queue": _text("The queue; case does not count."),
    "channel": Channel,
    "direction": Direction,
    "from": _text(f"Contacts that started then or later: {_TIME}."),
    "to": _text(f"Contacts that started before: {_TIME}."),
    "recording": RecordingState,
    "q": _text("Words of the contents. Not available yet: it is refused."),
}
_GRANT: Final = {"Access-Grant": _text("The grant under which it is opened.")}
_GRANT_QUERY: Final = {
    "grant": _text("The same for browsers, which cannot set the header: with a session only.")
}
_RENDITION: Final = {
    "rendition": Annotated[
        Literal["playable", "peaks"],
        Meta(
            description="`playable`: what every browser plays; `peaks`: the loudness over time. "
            "The original if not said."
        ),
    ]
}
_UNMASKED: Final = {
    "unmasked": Annotated[
        Literal["yes"],
        Meta(
            description="With card numbers and identity codes in the clear, which is recorded. They are hidden if not "
            "said; then `Masked-Places` says in how many places, and the answer is whole."
        ),
    ]
}
_RANGE: Final = {
    "Range": _text("One range of bytes (RFC 9110, section 14); anything else is ignored."),
    "If-Range": _text("The ETag that the range belongs to."),
}
_CONTENT: Final = {200: BYTES, 206: BYTES}
_HANDSHAKE: Final = {
    "WebHook-Request-Origin": _text(
        "The host that asks to deliver (CloudEvents, HTTP 1.1 Web Hooks)."
    )
}

_TUS: Final = {"Tus-Resumable": _text("The version of tus: `1.0.0`.")}
_TUS_PROBLEMS: Final = (404, 409, 410, 412, 423)
_TUS_BYTES: Final = {
    "Upload-Length": _text("How many bytes the whole upload has."),
    "Upload-Checksum": _text("`sha1` or `sha256`, and that of this request's bytes in base64."),
}

OPERATIONS: Final[Mapping[str, Operation]] = {
    "POST /intake/{source}": Operation(
        body=BYTES,
        answers={200: shapes.Kept},
        proofs=(
            Proof.SIGNATURE,
            Proof.TWILIO,
            Proof.CHATWOOT,
            Proof.META,
            Proof.ZENDESK,
            Proof.SECRET,
            Proof.TOKEN,
        ),
    ),
    "GET /intake/{source}": Operation(answers={200: shapes.Kept}, proofs=(Proof.TWILIO,)),
    "OPTIONS /intake/{source}": Operation(
        headers=_HANDSHAKE, answers={200: None}, proofs=(Proof.SECRET, Proof.TOKEN)
    ),
    "OPTIONS /intake/{source}/k/{secret}": Operation(headers=_HANDSHAKE, answers={200: None}),
    "PUT /intake/{source}/{source_id}/recordings/{name}": Operation(
        body=BYTES, answers={200: shapes.Kept}, proofs=(Proof.TOKEN,)
    ),
    "POST /intake/{source}/k/{secret}": Operation(body=BYTES, answers={200: shapes.Kept}),
    "PUT /intake/{source}/k/{secret}/{source_id}/recordings/{name}": Operation(
        body=BYTES, answers={200: shapes.Kept}
    ),
    "POST /api/v1/sources/{source}/statements": Operation(
        body=BYTES,
        query={"trial": _text("`yes`: only say what would come of it.")},
        answers={200: shapes.ReconciledDays},
        problems=(404,),
    ),
    "GET /api/v1/sources/completeness": Operation(answers={200: shapes.CompletenessPage}),
    "POST /api/v1/contacts": Operation(
        body=ContactJson,
        answers={201: shapes.ShownContact, 200: shapes.KnownContact},
        problems=(404, 409),
    ),
    "GET /api/v1/contacts": Operation(
        query={**_CRITERIA, **_PAGING}, answers={200: shapes.ContactPage}
    ),
    "GET /api/v1/contacts/{contact_id}": Operation(
        answers={200: shapes.FullContact}, problems=(410,)
    ),
    "PUT /api/v1/contacts/{contact_id}/recordings/{name}": Operation(
        body=BYTES,
        answers={201: shapes.AddedRecording, 200: shapes.AddedRecording},
        problems=(409, 410),
    ),
    "OPTIONS /api/v1/uploads": Operation(answers={204: None}),
    "POST /api/v1/uploads": Operation(
        headers={
            **_TUS,
            **_TUS_BYTES,
            "Upload-Defer-Length": _text("`1`: the length is told later."),
            "Upload-Metadata": _text(
                "What is uploaded: keys, each with its value in base64. `contact`, or `source` and `source_id`; "
                "`filename`; `filetype`."
            ),
            "Upload-Concat": _text(
                "`partial`, or `final;` and the addresses of partial uploads."
            ),
        },
        answers={201: None},
        problems=(*_TUS_PROBLEMS, 408, 413, 415, 429),
    ),
    "HEAD /api/v1/uploads/{upload_id}": Operation(
        headers=_TUS, answers={200: None}, problems=_TUS_PROBLEMS
    ),
    "PATCH /api/v1/uploads/{upload_id}": Operation(
        headers={
            **_TUS,
            **_TUS_BYTES,
            "Upload-Offset": _text("From where on the bytes are: as many as are kept."),
        },
        answers={204: None},
        problems=(*_TUS_PROBLEMS, 408, 413, 415),
    ),
    "DELETE /api/v1/uploads/{upload_id}": Operation(
        headers=_TUS, answers={204: None}, problems=_TUS_PROBLEMS
    ),
    "POST /api/v1/uploads/{upload_id}": Operation(
        headers={
            **_TUS,
            **_TUS_BYTES,
            "Upload-Offset": _text("As for PATCH."),
            "X-HTTP-Method-Override": _text("`HEAD`, `PATCH` or `DELETE`: what is meant."),
        },
        answers={204: None, 200: None},
        problems=(*_TUS_PROBLEMS, 408, 413, 415),
    ),
    "PUT /api/v1/contacts/{contact_id}/links/{customer_id}": Operation(
        body=shapes.LinkDecision, answers={200: shapes.FullContact}, problems=(410,)
    ),
    "GET /api/v1/contacts/{id}/verification": Operation(
        answers={200: shapes.ShownVerification}, problems=(410,)
    ),
    "GET /api/v1/customers/{customer_id}": Operation(answers={200: shapes.ShownCustomer}),
    "GET /api/v1/customers/{customer_id}/contacts": Operation(
        query=_PAGING, answers={200: shapes.CustomerContactPage}
    ),
    "GET /api/v1/attention": Operation(
        query={"settled": _text("`yes` shows the settled ones too."), **_PAGING},
        answers={200: shapes.ItemList},
    ),
    "GET /api/v1/attention/{item_id}/explanation": Operation(
        answers={200: shapes.Explanation}, problems=(410,)
    ),
    "POST /api/v1/attention/{item_id}/retry": Operation(
        answers={200: shapes.ShownItem}, problems=(409, 410)
    ),
    "POST /api/v1/attention/{item_id}/settle": Operation(answers={200: shapes.ShownItem}),
    "POST /api/v1/grants": Operation(
        body=GrantOrder, answers={201: shapes.ShownGrant}, problems=(404,)
    ),
    "GET /api/v1/grants": Operation(query=_PAGING, answers={200: shapes.GrantPage}),
    "DELETE /api/v1/grants/{id}": Operation(answers={204: None}),
    "POST /api/v1/holds": Operation(
        body=shapes.HoldRequest, answers={201: shapes.ShownHold}, problems=(404, 410)
    ),
    "GET /api/v1/holds": Operation(
        query={
            "contact": _text("Those of this contact."),
            "customer": _text("Those of this customer."),
            "released": _text("`yes` shows the released ones too."),
            **_PAGING,
        },
        answers={200: shapes.HoldPage},
    ),
    "GET /api/v1/holds/{hold_id}": Operation(answers={200: shapes.ShownHold}),
    "POST /api/v1/holds/{hold_id}/release-request": Operation(
        answers={200: shapes.ShownHold}, problems=(409,)
    ),
    "POST /api/v1/holds/{hold_id}/release": Operation(
        answers={200: shapes.ShownHold}, problems=(409,)
    ),
    "POST /api/v1/erasures": Operation(
        body=shapes.ErasureRequest,
        answers={201: shapes.ShownErasure},
        problems=(404, 409, 410),
    ),
    "GET /api/v1/erasures": Operation(
        query={
            "contact": _text("Those of this contact."),
            "state": ErasureState,
            **_PAGING,
        },
        answers={200: shapes.ErasurePage},
    ),
    "POST /api/v1/erasures/{erasure_id}/approve": Operation(
        answers={200: shapes.ShownErasure}, problems=(409, 410)
    ),
    "DELETE /api/v1/erasures/{erasure_id}": Operation(answers={204: None}, problems=(409,)),
    "GET /api/v1/recordings/{id}/content": Operation(
        query={**_GRANT_QUERY, **_RENDITION},
        headers={**_GRANT, **_RANGE},
        answers=_CONTENT,
        problems=(410, 416, 429),
    ),
    "POST /api/v1/recordings/{id}/heard": Operation(
        query={**_GRANT_QUERY, **_RENDITION},
        headers=_GRANT,
        body=HeardReport,
        answers={200: shapes.Heard},
        problems=(410,),
    ),
    "GET /api/v1/messages/{id}/content": Operation(
        query={**_GRANT_QUERY, **_UNMASKED},
        headers={**_GRANT, **_RANGE},
        answers={200: TEXT, 206: TEXT},
        problems=(410, 416, 429),
    ),
    "GET /api/v1/messages/{id}/original": Operation(
        query=_GRANT_QUERY,
        headers={**_GRANT, **_RANGE},
        answers=_CONTENT,
        problems=(410, 416, 429),
    ),
    "GET /api/v1/messages/{id}/attachments/{number}": Operation(
        query=_GRANT_QUERY,
        headers={**_GRANT, **_RANGE},
        answers=_CONTENT,
        problems=(410, 416, 429),
    ),
    "GET /api/v1/openapi.json": Operation(answers={200: dict[str, Any]}),
    "GET /log/checkpoint": Operation(answers={200: TEXT}, problems=(404,)),
    "GET /log/vkey": Operation(answers={200: TEXT}, problems=(404,)),
    "GET /log/tile/entries/{rest}": Operation(answers={200: BYTES}),
    "GET /log/tile/{rest}": Operation(answers={200: BYTES}),
    "GET /healthz": Operation(answers={200: shapes.Health}),
    "GET /readyz": Operation(answers={200: shapes.Readiness, 503: shapes.Readiness}),
    "GET /metrics": Operation(answers={200: TEXT}),
}
"""By method and path, as they are in the description."""
