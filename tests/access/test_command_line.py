"""``taltio users`` and ``taltio tokens``."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from service.cli import access, tokens, users
from service.cli.commands import build_parser
from service.domain.actor import Role
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.times import format_time
from tests.fakes import NOW, PASSWORD

BASE = "https://archive.example.org"


async def _add(door, login="aino", roles=("agent", "complaint_handler")):
    await users.add_user(
        door.accounts, login, name="Aino Esimerkki", roles=roles, base_url=BASE, now=NOW
    )


async def test_adding_a_user_prints_a_link_and_no_password_is_typed(door, capsys):
    await _add(door)
    *_, link = capsys.readouterr().out.split()
    prefix, _, secret = link.rpartition("/")
    assert prefix == f"{BASE}/first-password"
    await door.invites.accept(secret, PASSWORD, now=NOW)
    assert await door.sign_in()


async def test_the_list_tells_id_state_roles_login_and_name(door, capsys):
    await _add(door)
    aino = (await door.users.find_all())[0]
    capsys.readouterr()
    await users.list_users(door.accounts, now=NOW)
    assert capsys.readouterr().out == (
        f"{aino.id}\tinvited\tagent,complaint_handler\taino\tAino Esimerkki\t\t\n"
    )


async def test_disabling_enabling_and_resetting_by_login(door, capsys):
    await _add(door)
    await users.disable_user(door.accounts, "AINO", now=NOW)
    await users.enable_user(door.accounts, "aino", now=NOW)
    await users.reset_user(door.accounts, "aino", base_url=BASE, now=NOW)
    assert capsys.readouterr().out.count("/first-password/") == 2
    changes = [entry.data["change"] for entry in await door.entries("user.changed")]
    assert changes == ["disabled", "enabled", "reset"]
    with pytest.raises(NotFoundError):
        await users.disable_user(door.accounts, "nobody", now=NOW)


async def test_roles_are_replaced_by_login_and_the_sessions_end(door, capsys):
    await _add(door)
    await door.invites.accept(
        capsys.readouterr().out.split()[-1].rpartition("/")[2], PASSWORD, now=NOW
    )
    began = await door.sign_in()
    await users.set_roles(door.accounts, "AINO", roles=["dpo", "auditor"], now=NOW)
    assert capsys.readouterr().out == ("aino is now auditor, dpo; their sessions have ended.\n")
    assert (await door.users.find_all())[0].roles == {"dpo", "auditor"}
    assert await door.session(began.secret) is None
    *_, entry = await door.entries("user.changed")
    assert entry.data == {"change": "roles", "roles": ("auditor", "dpo")}
    with pytest.raises(NotFoundError):
        await users.set_roles(door.accounts, "nobody", roles=["dpo"], now=NOW)
    with pytest.raises(InvalidInputError, match="integration"):
        await users.set_roles(door.accounts, "aino", roles=["integration"], now=NOW)


@pytest.mark.parametrize("role", Role)
async def test_a_role_that_may_do_nothing_yet_is_told(door, capsys, role):
    if role is Role.INTEGRATION:
        return
    await _add(door, roles=[role])
    told = f"Note: the role {role} may do nothing yet.\n" in capsys.readouterr().out
    assert told is role.startswith("quality")


@pytest.mark.parametrize("command", ["add", "roles"])
def test_the_role_of_machines_is_not_offered_for_people(command, capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["users", command, "aino", "--role", "integration"])
    assert "invalid choice: 'integration'" in capsys.readouterr().err
    options = build_parser().parse_args(
        ["users", command, "aino", "--role", "dpo", "--role", "auditor"]
    )
    assert options.roles == ["dpo", "auditor"]


async def test_a_role_that_is_none_is_refused_with_the_list(door):
    with pytest.raises(InvalidInputError, match="complaint_handler"):
        await _add(door, roles=["root"])


async def test_creating_a_token_prints_the_token_and_nothing_else(door, capsys):
    await tokens.create_token(door.tokens, "Vaihde", role="integration", source="pbx", now=NOW)
    secret = capsys.readouterr().out.removesuffix("\n")
    actor = await door.tokens.authenticate(secret)
    assert actor.source == "pbx"


async def test_a_token_for_what_cannot_be_a_source_is_refused(door, capsys):
    with pytest.raises(InvalidInputError):
        await tokens.create_token(
            door.tokens, "V", role="integration", source="no such source", now=NOW
        )
    assert not capsys.readouterr().out


async def test_tokens_are_listed_and_revoked_by_id(door, capsys):
    await tokens.create_token(door.tokens, "Raportit", role="auditor", source=None, now=NOW)
    secret = capsys.readouterr().out.strip()
    token_id = (await door.tokens.authenticate(secret)).id
    await tokens.revoke_token(door.tokens, token_id, now=NOW)
    await tokens.list_tokens(door.tokens)
    listed = capsys.readouterr().out.splitlines()[-1]
    assert listed == f"{token_id}\trevoked\tauditor\t-\t2026-11-22T12:00:00Z\tRaportit"
    assert await door.tokens.authenticate(secret) is None


async def test_an_account_ends_with_its_last_day_and_is_extended(door, capsys):
    ends_at = NOW + timedelta(days=1)
    await users.add_user(
        door.accounts,
        "kimmo",
        name="Kimmo Kumppani",
        roles=["agent"],
        base_url=BASE,
        now=NOW,
        organisation="Kumppani Oy",
        ends_at=ends_at,
    )
    secret = capsys.readouterr().out.split()[-1].rpartition("/")[2]
    await door.invites.accept(secret, PASSWORD, now=NOW)
    door.clock.wait(days=2)
    await users.list_users(door.accounts, now=door.clock.now)
    _, state, *_, until, organisation = capsys.readouterr().out.rstrip("\n").split("\t")
    assert (state, until, organisation) == ("ended", format_time(ends_at), "Kumppani Oy")
    later = door.clock.now + timedelta(days=30)
    await users.set_end(door.accounts, "KIMMO", later, now=door.clock.now)
    assert format_time(later) in capsys.readouterr().out
    assert await door.sign_in("kimmo")
    with pytest.raises(InvalidInputError):
        await users.set_end(door.accounts, "kimmo", None, now=door.clock.now)


async def test_rights_are_confirmed_by_login(door, capsys):
    await _add(door)
    capsys.readouterr()
    await users.confirm_users(door.accounts, ["AINO"], now=NOW)
    assert capsys.readouterr().out == "aino is confirmed as agent, complaint_handler.\n"
    with pytest.raises(NotFoundError):
        await users.confirm_users(door.accounts, ["nobody"], now=NOW)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-12-31", datetime(2026, 12, 31, 22, tzinfo=UTC)),
        ("2026-06-30", datetime(2026, 6, 30, 21, tzinfo=UTC)),
        ("never", None),
        (None, None),
    ],
)
def test_a_last_day_ends_with_its_midnight(text, end):
    assert access._end_of(text, ZoneInfo("Europe/Helsinki")) == end


@pytest.mark.parametrize("text", ["", "31.12.2026", "2026-13-01", "9999-12-31", "\u0661"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(InvalidInputError, match="such as 2026-12-31"):
        access._end_of(text, ZoneInfo("Europe/Helsinki"))
