"""A small Chatwoot on loopback: what its REST interface lists, as its views write it."""

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.answering import ok

TOKEN = "invented-token-of-an-administrator"
CUSTOMER = {
    "id": 41,
    "name": "Maija Meikäläinen",
    "email": "maija@example.fi",
    "phone_number": "+358401234567",
    "type": "contact",
}
AGENT = {"id": 7, "name": "Anna", "email": "anna@example.com", "type": "user"}
CONVERSATIONS_A_PAGE = 25
MESSAGES_A_PAGE = 20


def message(number, at, text, *, kind=0, **more):
    """Return a message as it is listed: types are numbers, times seconds."""
    return {
        "id": number,
        "content": text,
        "inbox_id": 3,
        "conversation_id": 112,
        "message_type": kind,
        "content_type": "text",
        "status": "sent",
        "content_attributes": {},
        "created_at": int(at.timestamp()),
        "private": False,
        "source_id": None,
        "sender": CUSTOMER if kind == 0 else AGENT,
        **more,
    }


@dataclass
class FakeChatwoot:
    """Conversations by number, each with its messages; ``instead`` answers in its place, once each."""

    conversations: dict[int, list[dict]] = field(default_factory=dict)
    instead: list[bytes] = field(default_factory=list)
    token: str = TOKEN

    def answer(self, asked):
        if self.instead:
            return self.instead.pop(0)
        if asked.headers.get("api_access_token") != self.token:
            return ok(b'{"error": "Invalid Access Token"}', status="401 Unauthorized")
        url = urlsplit(asked.target)
        assert url.path.startswith("/api/v1/accounts/3/conversations")
        query = {name: value[0] for name, value in parse_qs(url.query).items()}
        rest = url.path.removeprefix("/api/v1/accounts/3/conversations")
        told = self.listing(query) if not rest else self.messages(rest, query)
        return ok(json.dumps(told).encode(), "Content-Type: application/json")

    def listing(self, query):
        assert (query["status"], query["sort_by"]) == ("all", "last_activity_at_desc")
        heads = sorted(
            (self.head(number) for number in self.conversations),
            key=lambda head: head["last_activity_at"],
            reverse=True,
        )
        start = (int(query["page"]) - 1) * CONVERSATIONS_A_PAGE
        page = heads[start : start + CONVERSATIONS_A_PAGE]
        return {"data": {"meta": {"all_count": len(heads)}, "payload": page}}

    def head(self, number):
        times = [one["created_at"] for one in self.conversations[number]]
        return {
            "id": number,
            "meta": {"sender": CUSTOMER, "channel": "Channel::WebWidget"},
            "messages": self.conversations[number][-1:],
            "status": "open",
            "inbox_id": 3,
            "created_at": min(times),
            "last_activity_at": max(times),
        }

    def messages(self, rest, query):
        number, _, what = rest.strip("/").partition("/")
        assert what == "messages"
        before = int(query.get("before", 2**40))
        found = [one for one in self.conversations[int(number)] if one["id"] < before]
        page = sorted(found, key=lambda one: one["id"])[-MESSAGES_A_PAGE:]
        return {"meta": {"labels": []}, "payload": page}
