"""The steps at the door and the page of one's own account, as a browser without scripts sees them."""

import base64
import hashlib
import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from aiohttp import DummyCookieJar
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from service.access.signin import LockOut, SignInRules
from service.domain.actor import OPERATOR, Role
from service.domain.errors import InvalidInputError
from service.domain.times import format_time
from service.http.frame import RUNNER_OPTIONS
from service.web.undertaking import Undertaking, read_undertaking
from tests.fakes import PASSWORD
from tests.web.conftest import Visit
from tests.web.world import NOW, build

WORDS = ("Pidän salassa, mitä näen.", "En avaa uteliaisuudesta.")


@pytest.fixture
async def stranger(desk, door):
    """A browser at a door with every step, before anybody signed in."""
    door.rules = SignInRules(needs_second_factor=True, undertaking="1")
    door.sign_in_with(LockOut(failures=3))
    door.undertaking = Undertaking("1", {"fi": WORDS})
    await door.person("aino")
    server = TestServer(build(desk, door))
    await server.start_server(**RUNNER_OPTIONS)
    async with TestClient(server, cookie_jar=DummyCookieJar()) as client:
        yield Visit(client)


def hidden_in(html):
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html))


def code_in(html):
    """Return the code that an app would show for what the page offers."""
    typed = re.search(r'<code class="secret mono"[^>]*>([^<]*)<', html)[1].replace(" ", "")
    secret = base64.b32decode(typed + "=" * (-len(typed) % 8))
    return TOTP(secret, 6, SHA1(), 30).generate(int(NOW.timestamp())).decode()  # noqa: S303  # RFC 6238


async def test_the_door_step_by_step_and_the_same_page_loaded_again(stranger, door):
    page = await (await stranger.post("/sign-in", login="aino", password=PASSWORD)).text()
    # English is wanted, Finnish is what there is.
    assert re.search(rf'<div class="undertaking" lang="fi">\s*<p>{WORDS[0]}</p>', page)
    assert "/language/" not in page
    fields = hidden_in(page)
    assert fields["digest"] == hashlib.sha256("\n\n".join(WORDS).encode()).hexdigest()
    answer = await stranger.post("/sign-in/undertaking", **{**fields, "digest": "0" * 64})
    assert answer.status == 401
    page = await (await stranger.post("/sign-in/undertaking", **fields)).text()
    given = (await door.entries("user.changed"))[-1].data
    assert (given["version"], given["language"]) == ("1", "fi")
    assert given["sha256"] == fields["digest"]
    fields = {**hidden_in(page), "code": code_in(page), "next": "/attention"}
    answer = await stranger.post("/sign-in/second-factor", **fields)
    page = await answer.text()
    assert len(re.findall(r"<li>([A-Z2-7 ]{20,})</li>", page)) == 10
    assert "/language/" not in page
    stranger.headers["Cookie"] = f"taltio={answer.cookies['taltio'].value}"
    stranger.csrf = (await door.session(answer.cookies["taltio"].value)).csrf
    answer = await stranger.post("/sign-in/second-factor", **fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/attention")


async def test_a_locked_account_is_refused_at_the_later_steps_too(stranger):
    page = await (await stranger.post("/sign-in", login="aino", password=PASSWORD)).text()
    promise = hidden_in(page)
    for _ in range(3):
        await stranger.post("/sign-in", login="aino", password="a stranger's guess")
    answer = await stranger.post("/sign-in/undertaking", **promise)
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers


async def test_a_factor_is_set_up_by_who_knows_the_password(handler):
    answer = await handler.post("/account/second-factor", password="a stranger's guess")
    page = await answer.text()
    assert answer.status == 400
    assert "The password is not right." in page
    field = re.search(r'<input id="password"[^>]*>', page)[0]
    assert 'aria-describedby="problem" aria-invalid="true"' in field
    page = await (await handler.post("/account/second-factor", password=PASSWORD)).text()
    fields = {**hidden_in(page), "code": code_in(page)}
    page = await (await handler.post("/account/second-factor/set", **fields)).text()
    codes = re.findall(r"<li>([A-Z2-7 ]{20,})</li>", page)
    answer = await handler.post("/account/recovery-codes", code="000000")
    page = await answer.text()
    assert answer.status == 400
    assert re.search(r"<details open><summary>Make new recovery codes", page)
    assert 'aria-invalid="true"' in re.search(r'<input id="renew"[^>]*>', page)[0]
    assert 'aria-invalid="true"' not in re.search(r'<input id="remove"[^>]*>', page)[0]
    page = await (await handler.post("/account/recovery-codes", code=codes[0])).text()
    assert "The old ones do not count any more." in page
    assert f'href="/account?done={quote("renewed")}"' in page


async def test_a_locked_account_is_not_blamed_on_the_clock(handler):
    for _ in range(10):
        answer = await handler.post("/account/second-factor", password="a stranger's guess")
    assert "locked for a while" in await answer.text()
    assert answer.status == 400


async def test_guesses_on_the_account_page_are_told_to_wait(handler):
    for _ in range(31):
        answer = await handler.post("/account/second-factor", password="a stranger's guess")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "text",
    [
        b"Yksi\nja.\n\nKaksi.\n",
        b"\xef\xbb\xbfYksi\r\nja.\r\n\r\nKaksi.\r\n",
        b"\n \nYksi ja.\n \t\n\nKaksi.",
    ],
)
def test_paragraphs_are_divided_by_empty_lines_of_any_system(tmp_path, text):
    (tmp_path / "fi.txt").write_bytes(text)
    read = read_undertaking("1", tmp_path, ("fi", "sv"))
    assert read.in_language("sv", ()).paragraphs == ("Yksi ja.", "Kaksi.")
    assert read.in_language("sv", ()).language == "fi"


@pytest.mark.parametrize("text", [b"", b"\n \n", b"\xff\xfe", b"x" * 70_000])
def test_a_text_that_cannot_be_shown_is_refused_at_the_start(tmp_path, text):
    (tmp_path / "fi.txt").write_bytes(text)
    with pytest.raises(InvalidInputError):
        read_undertaking("1", tmp_path, ("fi",))


async def test_who_is_out_soon_sees_it_on_every_page(handler, door):
    aino = (await door.users.find_by_login("aino")).user
    assert "Your access" not in await handler.see("/account")
    door.users.recertify = timedelta(days=15)
    assert "Your access lasts until" in await handler.see("/account")
    assert "Your access ends on" not in await handler.see("/attention")
    end = NOW + timedelta(days=3)
    await door.accounts.change_end(aino.id, end, by=OPERATOR, now=NOW)
    html = await handler.see("/attention")
    assert re.search(rf"Your access ends on\s+<time datetime=\"{format_time(end)}\">", html)


async def test_an_account_of_another_organisation_says_so(visit, door):
    await door.accounts.add(
        "kimmo",
        name="Kimmo Kumppani",
        roles=[Role.AGENT],
        by=OPERATOR,
        now=NOW,
        organisation="<b>Kumppani Oy",
        ends_at=NOW + timedelta(days=90),
    )
    invite = await door.accounts.reset(
        (await door.users.find_by_login("kimmo")).user.id, by=OPERATOR, now=NOW
    )
    await door.invites.accept(invite.secret, PASSWORD, now=NOW)
    answer = await visit.post("/sign-in", login="kimmo", password=PASSWORD)
    visit.headers["Cookie"] = f"taltio={answer.cookies['taltio'].value}"
    assert "External: &lt;b&gt;Kumppani Oy" in await visit.see("/account")
