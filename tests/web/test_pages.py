import re
from html import unescape
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from service.archive.checks import Code
from service.domain.actor import OPERATOR, Role
from service.domain.errors import UnavailableError
from service.domain.purpose import Purpose
from service.http.routes import Need
from service.web.i18n import load_words
from service.web.pages import page_routes
from service.web.places import own_place
from service.web.views import CheckOutcome, IntegrityState, Playback
from tests.fakes import PASSWORD
from tests.web.world import MESSAGES, NOW, verification

SHOWN = (
    "/",
    "/search?text=040+123+4567",
    "/customers/cu_maija",
    "/contacts/ct_1",
    "/attention",
)


class Page(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, html):
        super().__init__()
        self.elements = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("path", SHOWN)
async def test_a_page_needs_somebody_and_sends_them_back_to_it_afterwards(visit, door, path):
    answer = await visit.get(path)
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/sign-in?next=%2F")
    html = await visit.see(answer.headers["Location"])
    place = next(i["value"] for i in Page(html).all("input") if i.get("name") == "next")
    assert place == path
    await door.person("aino")
    answer = await visit.post("/sign-in", login="aino", password=PASSWORD, next=place)
    assert (answer.status, answer.headers["Location"]) == (303, path)


@pytest.mark.parametrize(
    "place",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "evil",
        "",
        "/a\nb",
        "/" * 3,
        None,
    ],
)
def test_nobody_is_sent_to_another_site(place):
    assert own_place(place) == "/"


def test_a_place_of_these_pages_is_kept():
    assert own_place("/search?text=040&x=%C3%A4") == "/search?text=040&x=%C3%A4"


async def test_a_refused_sign_in_does_not_say_what_was_wrong(visit, door):
    await door.person("aino")
    pages = []
    for login in ("aino", "nobody"):
        answer = await visit.post("/sign-in", login=login, password="wrong password entirely")
        assert answer.status == 401
        assert not answer.cookies
        pages.append((await answer.text()).replace(login, ""))
    assert pages[0] == pages[1]
    assert "Signing in failed" in pages[0]


async def test_guessing_is_slowed_down(visit):
    for _ in range(31):
        answer = await visit.post("/sign-in", login="nobody", password="x")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Too many attempts" in await answer.text()


async def test_a_one_time_link_sets_a_password_once(visit, door):
    invite = await door.accounts.add(
        "taavi", name="Taavi", roles=[Role.DPO], by=OPERATOR, now=NOW
    )
    path = f"/first-password/{invite.secret}"
    page = Page(await visit.see(path))
    assert "taavi" in {i.get("value") for i in page.all("input")}
    different = await visit.post(path, password=PASSWORD, again=PASSWORD + "x")
    weak = await visit.post(path, password="short", again="short")
    assert (different.status, weak.status) == (400, 400)
    assert "The two passwords differ" in await different.text()
    assert "at least 15 characters" in await weak.text()
    done = await visit.post(path, password=PASSWORD, again=PASSWORD)
    assert (done.status, done.headers["Location"]) == (303, "/sign-in?done=password")
    used = await visit.get(path)
    assert used.status == 410
    assert "not valid any more" in await used.text()
    answer = await visit.post("/sign-in", login="taavi", password=PASSWORD)
    assert answer.status == 303


async def test_signing_out_ends_the_session_on_the_server(handler):
    answer = await handler.post("/sign-out")
    assert (answer.status, answer.headers["Location"]) == (303, "/sign-in?done=out")
    assert (await handler.get("/")).headers["Location"].startswith("/sign-in")


@pytest.mark.parametrize(
    "path",
    [
        route.path
        for route in page_routes()
        if route.method == "POST" and route.needs is not Need.PUBLIC
    ],
)
async def test_no_form_of_another_site_changes_anything(handler, desk, path):
    handler.csrf = "guessed"
    path = re.sub(r"{\w+}", "ct_1", path)
    answer = await handler.post(path, purpose="verify_contact", theirs="yes")
    assert answer.status == 403
    assert "did not come from this page" in await answer.text()
    assert (desk.grants, desk.links, desk.settled) == ({}, [], [])


@pytest.mark.parametrize("path", [*SHOWN, "/sign-in?done=out", "/contacts/ct_none", "/nowhere"])
async def test_a_page_brings_everything_itself_and_runs_nothing_inline(handler, path):
    if path.startswith("/sign-in"):
        handler.headers.pop("Cookie")
    answer = await handler.get(path)
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert answer.headers["Cache-Control"] == "no-store"
    page = Page(await answer.text())
    assert page.all("main")
    for tag, attributes in page.elements:
        assert tag != "style"
        assert tag != "script" or attributes["src"].startswith("/static/")
        for name, value in attributes.items():
            assert name != "style"
            assert not name.startswith("on")
            if name in {"href", "src", "action"}:
                assert re.match(r"/(?!/)|#", value or ""), (tag, name, value)


async def test_a_result_says_why_it_matched(handler, desk):
    html = await handler.see("/search?text=%2B358401234567&queue=Myynti")
    assert "Matched by phone number (customer), queue" in html
    assert desk.searched[-1].phone == "+358401234567"
    assert desk.searched[-1].queue == "Myynti"


async def test_an_empty_result_says_what_was_searched(handler):
    html = await handler.see("/search?text=040+999+9999&from=2026-09-01")
    assert "Nothing found" in html
    assert re.sub(r"\s", " ", "+358 40 999 9999") in html.replace("\u00a0", " ")
    assert "1 Sep 2026" in html


async def test_what_cannot_be_understood_is_not_looked_up(handler, desk):
    for path in ("/search?channel=fax", "/search?phone=040", "/search?queue=a&queue=b"):
        assert (await handler.get(path)).status == 400
    assert desk.searched == []


async def test_paging_keeps_the_search(handler):
    page = Page(await handler.see("/search?text=0401234567"))
    older = next(a["href"] for a in page.all("a") if a.get("rel") == "next")
    assert older == "/search?text=0401234567&cursor=older"
    assert (await handler.get(older)).status == 200


@pytest.mark.parametrize(
    ("contact", "words"),
    [
        ("ct_4", ["The recording is expected", "marked as lost"]),
        ("ct_5", ["was not recorded", "line policy"]),
        ("ct_6", ["there is none", "did not arrive in time"]),
        ("ct_7", ["was erased"]),
    ],
)
async def test_a_recording_that_is_not_there_is_words_and_never_an_empty_player(
    handler, desk, contact, words
):
    await give(desk, contact)
    html = await handler.see(f"/contacts/{contact}")
    assert all(word in html for word in words)
    assert "<audio" not in html
    assert "Why are you opening" not in html


async def give(desk, contact_id, *, purpose=Purpose.VERIFY_CONTACT):
    actor = type("A", (), {"id": "us_x"})
    return await desk.create_grant(
        contact_id, actor=actor, purpose=purpose, reference=None, now=NOW
    )


@pytest.mark.parametrize("playback", [Playback.PREPARING, Playback.IMPOSSIBLE])
async def test_a_recording_that_cannot_be_played_says_so(handler, desk, playback):
    desk.recording_changes = {"playback": playback, "flags": ("truncated", "brand_new_flag")}
    await give(desk, "ct_1")
    html = await handler.see("/contacts/ct_1")
    assert "<audio" not in html
    assert "ends early" in html
    assert "brand_new_flag" in html


async def test_a_file_that_is_no_sound_can_be_saved_under_a_grant(handler, desk):
    desk.recording_changes = {
        "playback": Playback.IMPOSSIBLE,
        "file_name": "900-5.<i>.jpg",
        "is_internal": True,
        "flags": ("no_sound",),
    }
    html = await handler.see("/contacts/ct_1")
    assert "900-5" not in html
    await give(desk, "ct_1")
    html = await handler.see("/contacts/ct_1")
    assert re.search(r'href="/api/v1/recordings/re_\w+/content\?grant=\w+" download', html)
    assert "900-5.&lt;i&gt;.jpg" in html
    assert "the customer never saw it" in html
    assert "no sound" not in html


async def test_content_is_on_the_page_only_under_a_grant(handler, desk):
    secret = "tarkistamme asian"
    assert secret not in await handler.see("/contacts/ct_2")
    answer = await handler.post(
        "/contacts/ct_2/grants", purpose="verify_contact", reference="x"
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/contacts/ct_2")
    (grant,) = desk.grants.values()
    assert (grant.purpose, grant.reference) == (Purpose.VERIFY_CONTACT, None)
    assert secret in await handler.see("/contacts/ct_2")
    answer = await handler.post(f"/grants/{grant.id}/withdraw", contact="ct_2")
    assert answer.headers["Location"] == "/contacts/ct_2?done=withdrawn"
    html = await handler.see("/contacts/ct_2?done=withdrawn")
    assert secret not in html
    assert "The grant has ended" in html


async def test_a_complaint_must_be_named_and_what_was_typed_stays(handler, desk):
    for reference in ("", "  ", "?", "R\u202e1"):
        answer = await handler.post(
            "/contacts/ct_1/grants", purpose="handle_complaint", reference=reference
        )
        html = await answer.text()
        assert answer.status == 400
        assert "this purpose needs one" in html
        chosen = [i for i in Page(html).all("input") if "checked" in i]
        assert [i["value"] for i in chosen] == ["handle_complaint"]
    assert not desk.grants
    answer = await handler.post(
        "/contacts/ct_1/grants", purpose="handle_complaint", reference=" R-2026-118 "
    )
    assert answer.status == 303
    html = await handler.see("/contacts/ct_1")
    assert "You are working on R-2026-118" in html


async def test_no_purpose_or_an_invented_one_opens_nothing(handler, desk):
    for fields in ({}, {"purpose": "marketing"}):
        assert (await handler.post("/contacts/ct_1/grants", **fields)).status == 400
    assert not desk.grants


@pytest.mark.parametrize(
    ("playback", "query"),
    [(Playback.ORIGINAL, ""), (Playback.RENDITION, "&amp;rendition=playable")],
)
async def test_the_player_asks_for_what_the_browser_can_play_and_waits_to_be_started(
    handler, desk, playback, query
):
    desk.recording_changes = {"playback": playback}
    grant = await give(desk, "ct_1")
    html = await handler.see("/contacts/ct_1")
    assert f"/api/v1/recordings/re_ct_1/content?grant={grant.id}{query}" in html
    (audio,) = Page(html).all("audio")
    assert audio["preload"] == "none"
    assert "autoplay" not in audio
    (slider,) = [a for _, a in Page(html).elements if a.get("role") == "slider"]
    assert slider["aria-valuetext"].replace("\u00a0", " ") == "0 s of 1 min 36 s"


async def test_purposes_are_those_of_the_role(handler, visit, door):
    def offered(html):
        return [i["value"] for i in Page(html).all("input") if i.get("name") == "purpose"]

    assert offered(await handler.see("/contacts/ct_1")) == [
        "verify_contact",
        "handle_complaint",
    ]
    await visit.come_in(door, "dpo", Role.DPO)
    assert offered(await visit.see("/contacts/ct_1")) == [
        "verify_contact",
        "data_subject_request",
        "authority_request",
    ]


@pytest.mark.parametrize(
    ("role", "offered"),
    [
        (Role.AGENT, {"/search"}),
        (Role.COMPLAINT_HANDLER, {"/search"}),
        (Role.DPO, {"/search"}),
        (Role.AUDITOR, {"/verification", "/log/checkpoint", "/log/vkey"}),
        (Role.ADMIN, {"/attention", "/sources"}),
        (Role.QUALITY_REVIEWER, set()),
        (Role.QUALITY_LEAD, set()),
    ],
)
async def test_the_start_page_offers_what_the_role_may_do_and_nothing_else(
    visit, door, role, offered
):
    await visit.come_in(door, "someone", role)
    html = await visit.see("/")
    content = Page(html[html.index('<main id="content"') :])
    places = {form["action"] for form in content.all("form")} | {
        a["href"].split("?")[0] for a in content.all("a")
    }
    assert places == offered
    assert ("Taltio makes no samples yet" in html) is role.startswith("quality")


async def test_an_auditor_verifies_a_contact_by_its_id(visit, door):
    await visit.come_in(door, "auditor", Role.AUDITOR)
    contact = "ct_" + "a" * 26
    answer = await visit.get(f"/verification?contact=+{contact}+")
    place = f"/contacts/{contact}/verification"
    assert (answer.status, answer.headers["Location"]) == (303, place)
    html = await visit.see(place)
    assert "Verified and anchored" in html
    assert f'href="/contacts/{contact}"' not in html


@pytest.mark.parametrize("wrong", ["", "ct_1", "2026-00001", "//evil.example", "<b>"])
async def test_what_is_no_id_of_a_contact_is_told_where_it_was_typed(visit, door, wrong):
    await visit.come_in(door, "auditor", Role.AUDITOR)
    answer = await visit.get("/verification?contact=" + quote(wrong, safe=""))
    assert answer.status == 400
    html = await answer.text()
    assert "This is not the id of a contact." in html
    assert next(i for i in Page(html).all("input") if i["name"] == "contact")["value"] == wrong


async def test_an_agent_sees_facts_and_is_told_that_content_is_not_theirs(visit, door):
    await visit.come_in(door, "agent", Role.AGENT)
    html = await visit.see("/contacts/ct_1")
    assert "Your role cannot open" in html
    assert "/grants" not in html
    assert "/attention" not in html
    assert (await visit.post("/contacts/ct_1/grants", purpose="verify_contact")).status == 403


async def test_an_administrator_sees_no_contact(visit, door):
    await visit.come_in(door, "admin", Role.ADMIN)
    answer = await visit.get("/contacts/ct_1")
    assert answer.status == 403
    assert "You may not do this" in await answer.text()
    assert "/contacts/ct_1" not in await visit.see("/attention")


async def test_what_was_written_to_us_is_text(handler, desk):
    await give(desk, "ct_2")
    html = await handler.see("/contacts/ct_2")
    assert "<b>liite" not in html
    assert "&lt;b&gt;liite" in html
    assert '<span class="unseen">U+202E</span>' in html
    assert "\u202e" not in html


async def test_a_mail_is_shown_with_its_attachments_and_what_to_know_of_it(handler, desk):
    grant = await give(desk, "ct_2")
    html = await handler.see("/contacts/ct_2")
    assert "VS: Lasku &lt;elokuu&gt;" in html
    assert "compare the address letter by letter" in html
    assert "May run a program when opened" in html
    assert f'href="/api/v1/messages/ms_2/attachments/1?grant={grant.id}" download' in html
    assert f"/api/v1/messages/ms_2/original?grant={grant.id}" in html
    assert "\u202e" not in html


async def test_the_page_of_a_mail_shows_its_formatted_text(handler, desk):
    await give(desk, "ct_2")
    html = await handler.see("/contacts/ct_2/messages/ms_2")
    assert "<p>Muotoiltu <b>teksti</b></p>" in html
    assert "Asiakaspalvelu &lt;asiakaspalvelu@example.com&gt;" in html
    assert "nothing is loaded from elsewhere" in html


async def test_the_page_of_a_mail_needs_a_grant(handler):
    answer = await handler.get("/contacts/ct_2/messages/ms_2")
    assert (answer.status, answer.headers["Location"]) == (303, "/contacts/ct_2")


async def test_a_pause_is_told_in_words_and_marked_on_the_time_line(handler, desk):
    await give(desk, "ct_1")
    html = await handler.see("/contacts/ct_1")
    page = Page(html)
    assert "Recording paused 14:04:00\u201314:05:00: <bdi>card payment</bdi>" in html
    assert "nobody told that it went on: <bdi>&lt;b&gt;muu syy</bdi>" in html
    assert html.count("Nothing that was recorded is missing.") == 1
    words = re.sub(r"\s+", " ", re.sub("<[^>]*>", "", html))
    assert "Aku \u00b7 at 0:12 in the recording" in words.replace("\u00b7 Aku", "Aku")
    marks = [one["class"] for one in page.all("svg") if "pause-mark" in one.get("class", "")]
    assert marks == ["pause-mark", "pause-mark is-about"]
    (slider,) = [one for one in page.all("div") if one.get("role") == "slider"]
    named = slider["aria-describedby"].split()
    ids = {one["id"] for _, one in page.elements if "id" in one}
    assert set(named) <= ids
    assert any(one.startswith("pauses-") for one in named)


async def test_a_pause_is_told_to_whoever_may_not_listen(visit, door):
    await visit.come_in(door, "agent", Role.AGENT)
    assert "Recording paused" in await visit.see("/contacts/ct_1")


async def test_what_is_hidden_in_a_message_can_be_asked_for(handler, desk):
    await give(desk, "ct_2")
    html = await handler.see("/contacts/ct_2")
    assert html.count("1 number is hidden here") == 1
    (form,) = [f for f in Page(html).all("form") if "/unmasked" in f["action"]]
    assert form["action"].startswith("/contacts/ct_2/unmasked")
    answer = await handler.post("/contacts/ct_2/unmasked", message="ms_1")
    assert answer.status == 200
    assert desk.unmasked == [None, "ms_1"]


async def test_a_message_that_was_altered_hides_none_of_its_neighbours(handler, desk):
    await give(desk, "ct_3")
    html = await handler.see("/contacts/ct_3")
    assert "was altered after it was archived" in html
    assert MESSAGES["ct_3"][1].text[:10] in html


@pytest.mark.parametrize("state", IntegrityState)
async def test_the_badge_says_one_of_four_things(handler, desk, state):
    desk.state = state
    says = {
        IntegrityState.ANCHORED: "Verified and anchored",
        IntegrityState.PENDING: "Verified, anchor pending",
        IntegrityState.UNCHECKED: "Could not be checked",
        IntegrityState.ALTERED: "Altered",
    }
    html = await handler.see("/contacts/ct_1/verification?part=1")
    badge = re.search(r"<strong>(.*?)</strong>", html)
    assert badge
    assert badge[1] == says[state]
    assert "<html" not in html
    assert "<html" in await handler.see("/contacts/ct_1/verification")


@pytest.mark.parametrize("language", ["fi", "sv", "en"])
@pytest.mark.parametrize("state", IntegrityState)
async def test_a_check_that_did_not_pass_never_shows_the_sentence_of_one_that_did(
    handler, desk, state, language
):
    desk.state = state
    html = unescape(
        await handler.see("/contacts/ct_1/verification", **{"Accept-Language": language})
    )
    words = load_words(language)
    found = [one for one in verification(state).checks if one.outcome != CheckOutcome.PASSED]
    for check in found:
        assert words.text(f"check.{check.outcome}.{check.code}") in html
        assert words.text(f"check.passed.{check.code}") not in html
        assert f'<div lang="en"><p>{check.details[0]}</p></div></details>' in html
    assert html.count("check-passed") == len(Code) - len(found)


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("fi", ("todistaja witness.example.org", "aikaleima, jonka antoi Example Time")),
        ("sv", ("vittnet witness.example.org", "en tidsstämpel från Example Time")),
        ("en", ("the witness witness.example.org", "a timestamp of Example Time")),
    ],
)
async def test_who_vouches_outside_is_named(handler, desk, language, words):
    asked = {"Accept-Language": language}
    desk.state = IntegrityState.ANCHORED
    html = unescape(await handler.see("/contacts/ct_1/verification", **asked))
    shown = re.sub(r"<[^>]*>", "", html)
    for word in (*words, "2026-11-22/log-000000020932.checkpoint"):
        assert word in shown
    # Beside bad news nothing that sounds like good news.
    desk.state = IntegrityState.ALTERED
    html = await handler.see("/contacts/ct_1/verification", **asked)
    assert "witness.example.org" not in html


async def test_the_page_says_who_opened_it_and_why(handler):
    html = await handler.see("/contacts/ct_1")
    assert "Taavi Tietosuoja" in html
    assert "Data-subject request · <bdi>TP-2026-9" in html
    assert "heard 38\u00a0s" in html
    assert "never been opened" in await handler.see("/contacts/ct_8")


async def test_links_say_why_and_how_sure_and_can_be_decided(handler, desk):
    html = await handler.see("/contacts/ct_1")
    assert "Linked · sure" in html
    assert "Because of phone number, metering point" in html
    assert "Candidate · possible" in html
    await handler.post("/contacts/ct_1/links", customer="cu_matti", theirs="yes")
    await handler.post("/contacts/ct_1/links", customer="cu_maija", theirs="no")
    assert desk.links == [("ct_1", "cu_matti", True), ("ct_1", "cu_maija", False)]
    assert (await handler.post("/contacts/ct_1/links", theirs="maybe")).status == 400


async def test_attention_can_be_tried_again_and_settled(handler, desk):
    html = await handler.see("/attention")
    assert "What arrived contradicts what is archived" in html
    assert "What differs: Ended, Queue" in html
    assert (html.count("/retry"), html.count("/settle")) == (1, 2)
    assert (await handler.post("/attention/at_2/retry")).headers[
        "Location"
    ] == "/attention?done=retry"
    await handler.post("/attention/at_3/settle")
    assert desk.settled == [("at_2", "retry"), ("at_3", "settle")]


async def test_an_item_has_all_of_its_reasons_and_says_what_to_do(handler):
    html = await handler.see("/attention")
    assert "used one id for two different contents" in html
    assert html.count("Find out from the source which is right") == 1
    assert "have it sent again" in html


async def test_attention_pages_both_ways_and_keeps_what_is_shown(handler):
    page = Page(await handler.see("/attention?settled=yes"))
    (older,) = (a["href"] for a in page.all("a") if a.get("rel") == "next")
    assert older == "/attention?settled=yes&cursor=older"
    html = await handler.see(older)
    (newer,) = (a["href"] for a in Page(html).all("a") if a.get("rel") == "prev")
    assert newer == "/attention?settled=yes&cursor=before-newer"
    assert "An expected recording did not come" in html
    fields = {i["name"]: i["value"] for i in Page(html).all("input") if i["name"] != "csrf"}
    assert fields == {"settled": "yes", "cursor": "older"}
    answer = await handler.post("/attention/at_3/settle", **fields)
    place = "/attention?settled=yes&cursor=older&done=settle"
    assert answer.headers["Location"] == place
    html = await handler.see(place)
    assert "Marked as seen" in html
    assert "/attention/at_3/" not in html
    assert "There is nothing more here" in await handler.see("/attention?cursor=older")
    assert (await handler.get("/attention?settled=maybe")).status == 400


async def test_an_empty_result_names_the_customers_whose_number_it_is(handler):
    html = await handler.see("/search?text=040+999+9999")
    assert "Customers registered with this" in html
    assert [a["href"] for a in Page(html).all("a") if "cu_" in a["href"]] == [
        "/customers/cu_matti"
    ]


async def test_contacts_that_cannot_be_opened_are_told_and_are_not_nothing(handler):
    html = await handler.see("/search?queue=Rikki")
    assert "1 contact belongs here but cannot be opened" in html
    assert "Nothing found" not in html
    assert 'href="/contacts/ct_9/verification"' in html


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Maija@Example.FI", "maija@example.fi"),
        ("a-1001", "A-1001"),
        ("643007570000012345", "643 007 570 000 012 345"),
    ],
)
async def test_what_was_searched_is_shown_as_it_was_understood(handler, typed, shown):
    html = await handler.see(f"/search?text={quote(typed)}")
    assert f"<bdi>{shown}</bdi>" in html


async def test_a_customer_without_contacts_has_a_page_that_says_so(handler):
    html = await handler.see("/customers/cu_matti")
    assert "Protected" in html
    assert "no contacts in the archive" in html


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/contacts/ct_none", 404, "There is no such page"),
        ("/customers/x", 404, "There is no such page"),
        ("/nowhere", 404, "There is no such page"),
        ("/attention?page=2", 400, "not understood"),
        ("/language/tlh", 404, "There is no such page"),
    ],
)
async def test_a_wrong_address_has_a_page_of_its_own(handler, path, status, words):
    answer = await handler.get(path)
    assert answer.status == status
    assert words in await answer.text()


async def test_a_fault_on_our_side_says_that_nothing_was_lost(handler, desk):
    desk.fails_with = UnavailableError("the disk of db-7 is full")
    answer = await handler.get("/search")
    html = await answer.text()
    assert answer.status == 503
    assert "Retry-After" in answer.headers
    assert "nothing is lost" in html
    assert "db-7" not in html
    desk.fails_with = ValueError("a bug about Maija")
    answer = await handler.get("/search")
    assert answer.status == 500
    html = await answer.text()
    assert "Maija" not in html
    assert re.search(r"in_[a-z2-7]{26}", html)


async def test_a_language_is_remembered(visit):
    assert '<html lang="fi">' in await visit.see("/sign-in", **{"Accept-Language": "de"})
    answer = await visit.get("/language/sv?next=/sign-in")
    assert answer.headers["Location"] == "/sign-in"
    cookie = answer.cookies["language"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"]) == ("sv", True, "Lax")
    html = await visit.see("/sign-in", Cookie="language=sv")
    assert '<html lang="sv">' in html
    assert "Logga in" in html


async def test_assets_are_kept_for_ever_under_their_version(visit):
    page = Page(await visit.see("/sign-in"))
    (sheet,) = (a["href"] for a in page.all("link") if a["rel"] == "stylesheet")
    answer = await visit.get(sheet)
    assert answer.content_type == "text/css"
    assert "immutable" in answer.headers["Cache-Control"]
    assert (await visit.get("/static/taltio.css?v=old")).headers["Cache-Control"] == "no-cache"
    for name in ("nothing.css", "..%2fpages.py", "%2e%2e%2f__init__.py"):
        assert (await visit.get(f"/static/{name}")).status == 404


def test_assets_name_no_other_host():
    from service.web.assets import load_assets  # noqa: PLC0415  # the only test that needs it

    for name, asset in load_assets().files.items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, name
        assert "@import" not in text
