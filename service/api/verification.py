"""``GET /api/v1/contacts/{id}/verification``: is this contact intact, check by check, with proofs to take along."""

from typing import Final

from aiohttp import web

from service.api.answers import json_response
from service.archive.checks import Anchor, Check, words_of
from service.archive.verify import Verification, Verifier
from service.domain.permission import Permission
from service.domain.times import format_time
from service.http.frame import ACTOR, NOW
from service.http.queries import read_query
from service.http.routes import Route

VERIFIER: Final = web.AppKey("verifier", Verifier)


def verification_routes() -> tuple[Route, ...]:
    """Return the route of verification. The application needs ``VERIFIER``."""
    return (
        Route(
            method="GET",
            path="/api/v1/contacts/{id}/verification",
            handler=get_verification,
            needs=Permission.VERIFY,
        ),
    )


async def get_verification(request: web.Request) -> web.Response:
    """``GET /api/v1/contacts/{id}/verification``: the state, the checks, and the proofs of its log entries."""
    read_query(request, ())
    verification = await request.app[VERIFIER].verify(
        request.match_info["id"], actor=request[ACTOR], now=request[NOW]
    )
    return json_response(verification_json(verification))


def verification_json(verification: Verification) -> dict[str, object]:
    """Return the answer as the interface shows it. Entries and proofs are the exact text that verifies."""
    return {
        "state": verification.state,
        "checked_at": format_time(verification.checked_at),
        "checks": [_check_json(check) for check in verification.checks],
        "proof": {
            "tree_size": verification.tree_size,
            "entries": [
                {
                    "index": one.index,
                    "entry": one.entry.decode("ascii"),
                    "proof": one.proof.decode(),
                }
                for one in verification.proofs
            ],
            "anchors": [_anchor_json(anchor) for anchor in verification.anchors],
        },
    }


def _anchor_json(anchor: Anchor) -> dict[str, object]:
    shown: dict[str, object] = {
        "kind": anchor.kind,
        "name": anchor.name,
        "tree_size": anchor.size,
    }
    if anchor.at is not None:
        shown["at"] = format_time(anchor.at)
    if anchor.path is not None:
        shown["path"] = anchor.path
    return shown


def _check_json(check: Check) -> dict[str, object]:
    shown: dict[str, object] = {
        "code": check.code,
        "outcome": check.outcome,
        "about": check.about,
        "text": words_of(check),
    }
    if check.detail is not None:
        shown["detail"] = check.detail
    return shown
