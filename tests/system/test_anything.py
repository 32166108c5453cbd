"""Whatever is asked of whatever route, the answer is one that a client can understand, and never our fault."""

import base64
import json
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from service.api.openapi import is_described, operation_of, problem_codes, problem_statuses
from service.domain.actor import Role
from service.sharing_out import all_routes
from tests.system.world import NOBODY, Asker, World, contact, good_request

# Signing out would leave nobody to ask.
ROUTES = {
    f"{route.method} {route.path}": route for route in all_routes() if route.path != "/sign-out"
}
MACHINES = (Role.INTEGRATION, Role.COMPLAINT_HANDLER, Role.DPO, Role.ADMIN, Role.AUDITOR)
PEOPLE = (Role.COMPLAINT_HANDLER, Role.ADMIN)
HEADERS = (
    "Range",
    "If-Range",
    "Access-Grant",
    "Content-Type",
    "Accept",
    "Origin",
    "Host",
    "X-CSRF-Token",
    "Accept-Language",
    "Cookie",
    "Content-Encoding",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "Authorization",
    "X-Forwarded-For",
    "Sec-Fetch-Site",
    "If-None-Match",
    "Expect",
)
NAMES = (*contact("x"), "purpose", "contacts", "complaint", "state", "ranges", "role")

text = st.text(max_size=30)
odd = st.one_of(
    text,
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "+358401234567",
            "9" * 30,
            "9" * 5000,
            "1e9",
            "None",
            "2026-02-30",
            "2026-11-22T10:00:00+99:99",
            "9999-12-31",
            "0001-01-01",
            "..",
            "../../etc/passwd",
            "%00",
            "\x00",
            "\ud7ff",
            "\u202e",
            "' OR 1=1 --",
            "%_",
            "\uff1d1",
            "ct_" + "a" * 26,
            "gr_" + "a" * 26,
            "AAAA",
            "MTpjdF9hYWFh",
            "YTpi" * 9,
            base64.urlsafe_b64encode(b"9" * 30 + b":ct_" + b"a" * 26).decode(),
            base64.urlsafe_b64encode(b"-" + b"9" * 19 + b":ct_" + b"a" * 26).decode(),
            "9" * 17 + ".gr_x",
        ]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), odd),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)
    ),
    max_leaves=8,
)
header = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@dataclass(frozen=True)
class Twist:
    """What is done to a good request; drawn before anything is asked, so that it depends on nothing else."""

    route: str
    asker: int
    part: tuple[int, str] | None
    query: str
    headers: dict[str, str]
    changes: dict[str, object]
    body: bytes | None

    def path(self, good):
        """Return the path with a part replaced, and the query."""
        parts = good.split("/")
        if self.part is not None:
            where, value = self.part
            parts[1 + where % (len(parts) - 1)] = quote(value, safe="")
        path = "/".join(parts)
        return str(URL(f"{path}?{self.query}" if self.query else path, encoded=True))

    def sent(self, good):
        """Return the body."""
        if self.body is not None:
            return self.body
        return {**good, **self.changes} if isinstance(good, dict) else good


@st.composite
def twists(draw):
    route = draw(st.sampled_from(sorted(ROUTES)))
    known = sorted(operation_of(ROUTES[route]).query)
    known = known or ["done", "next", "cursor", "phone", "part"]
    pairs = st.tuples(st.one_of(st.sampled_from(known), text), odd)
    query = st.lists(pairs, max_size=3).map(urlencode)
    visible = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
    body = st.one_of(
        values.map(lambda value: json.dumps(value).encode()), st.binary(max_size=60)
    )
    return Twist(
        route=route,
        asker=draw(st.integers(0, 20)),
        part=draw(st.one_of(st.none(), st.none(), st.tuples(st.integers(0, 9), odd))),
        query=draw(st.one_of(st.just(""), query, visible)),
        headers=draw(st.dictionaries(st.sampled_from(HEADERS), header, max_size=2)),
        changes=draw(st.dictionaries(st.sampled_from(NAMES), values, max_size=2)),
        body=draw(st.one_of(st.none(), st.none(), body)),
    )


@dataclass(frozen=True, repr=False)
class Cast:
    """The world, and who asks of it."""

    world: World
    askers: list[Asker]


@pytest.fixture
async def cast(world):
    askers = [await world.token(role) for role in MACHINES]
    askers += [await world.person(role) for role in PEOPLE]
    return Cast(world, [*askers, NOBODY])


def _say(answer, route, *, is_elsewhere):
    """Return what is wrong with the answer, if anything is; a changed address may lead anywhere."""
    said = None
    is_page = route.is_page and "html" in answer.headers.get("Content-Type", "")
    if answer.status >= 500:
        said = "our fault"
    elif answer.status >= 400 and not is_page:
        # The answer to HEAD has no body that could have a code.
        if route.method != "HEAD" and answer.code not in problem_codes().get(answer.status, ()):
            said = "no problem, or none with a code of its status"
        elif is_elsewhere or not is_described(route):
            pass
        elif answer.status not in problem_statuses(route):
            said = "a status that the description does not know"
    return said


async def test_a_cursor_that_somebody_made_up_is_refused(cast):
    handler = cast.askers[MACHINES.index(Role.COMPLAINT_HANDLER)]
    for start in ("9" * 19, "9" * 40, "-" + "9" * 40, "1e3", "", "1.5"):
        cursor = base64.urlsafe_b64encode(f"{start}:ct_{'a' * 26}".encode()).decode()
        answer = await cast.world.ask(handler, "GET", f"/api/v1/contacts?cursor={cursor}")
        assert (answer.status, answer.code) == (400, "invalid_input"), start


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(twist=twists())
async def test_anything_is_answered_and_nothing_is_our_fault(cast, twist):
    world, route = cast.world, ROUTES[twist.route]
    asker = cast.askers[twist.asker % len(cast.askers)]
    method, path, body, headers = await good_request(world, asker, twist.route)
    sent = twist.sent(body)
    if isinstance(sent, bytes) and "Content_Type" not in headers:
        headers["Content_Type"] = "application/json"
    answer = await world.ask(
        asker, method, twist.path(path), body=sent, **headers, **twist.headers
    )
    said = _say(answer, route, is_elsewhere=twist.part is not None)
    assert said is None, (said, answer.status, answer.body[:300])
