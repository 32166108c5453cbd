"""Holding and erasing as people do it: on the pages, by the interface, at the command line."""

import re

import pytest

from service.cli.commands import build_parser
from service.domain.actor import OPERATOR, Role
from service.domain.errors import HeldError, NotPermittedError
from service.web.i18n import LANGUAGES
from tests.system.world import FORM

WORDS = {
    "fi": ("Yhteydenotto on poistettu", "rekisteröidyn pyyntö", "Jäädytetty"),
    "sv": ("Kontakten är raderad", "den registrerades begäran", "Gallringsstopp"),
    "en": ("The contact was erased", "request of the person concerned", "On hold"),
}


async def people(world):
    return [await world.person(Role.DPO, login) for login in ("aino", "oiva")]


async def post(world, who, path, **form):
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode()
    return await world.ask(who, "POST", path, body=body, **FORM)


async def page(world, who, path, language):
    answer = await world.ask(who, "GET", path, Accept_Language=language)
    return answer.status, answer.body.decode()


async def test_two_people_hold_release_and_erase_on_the_pages(world):
    first, second = await people(world)
    contact = world.ids["contact"]
    path = f"/contacts/{contact}"
    assert (await post(world, first, f"{path}/holds", reason="Reklamaatio")).status == 303
    for language in LANGUAGES:
        status, shown = await page(world, second, path, language)
        assert (status, WORDS[language][2] in shown) == (200, True)
        assert "Reklamaatio" in shown
    ground = "data_subject_request"
    refused = await post(world, first, f"{path}/erasures", ground=ground)
    assert refused.status == 409
    (hold,) = set(re.findall(r"/holds/(ho_\w+)/release-request", shown))
    asked = await post(world, first, f"/holds/{hold}/release-request", contact=contact)
    assert asked.headers["Location"] == f"{path}?done=release_requested"
    _, own = await page(world, first, path, "en")
    assert f"/holds/{hold}/release" not in own, "who asked is not asked to agree"
    assert (await post(world, first, f"/holds/{hold}/release", contact=contact)).status == 403
    assert (await post(world, second, f"/holds/{hold}/release", contact=contact)).status == 303
    assert (await post(world, first, f"{path}/erasures", ground=ground)).status == 303
    _, own = await page(world, first, path, "en")
    (erasure,) = set(re.findall(r"/erasures/(er_\w+)/withdraw", own))
    assert f"/erasures/{erasure}/approve" not in own
    _, others = await page(world, second, path, "en")
    assert f"/erasures/{erasure}/approve" in others
    done = await post(world, second, f"/erasures/{erasure}/approve")
    assert (done.status, done.headers["Location"]) == (303, path)
    for language in LANGUAGES:
        title, why, _ = WORDS[language]
        status, shown = await page(world, second, path, language)
        assert (status, title in shown, why in shown) == (410, True, True)
        assert "Lasku" not in shown
        status, history = await page(
            world, second, f"/customers/{world.ids['customer']}", language
        )
        assert (status, why in history, contact in history) == (200, True, True)


async def test_an_agent_sees_neither_holds_nor_forms(world):
    agent = await world.person(Role.AGENT)
    _, shown = await page(world, agent, f"/contacts/{world.ids['contact']}", "en")
    assert "/holds" not in shown
    assert "/erasures" not in shown


async def test_the_interface_tells_of_what_was_erased(world):
    first, second = await people(world)
    contact, customer = world.ids["contact"], world.ids["customer"]
    order = {"contact": contact, "ground": "retention_over", "reference": "A-1"}
    asked = await world.ask(first, "POST", "/api/v1/erasures", body=order)
    approve = f"/api/v1/erasures/{asked.json['id']}/approve"
    machine = await world.token(Role.DPO)
    assert (await world.ask(machine, "POST", approve)).status == 401
    assert (await world.ask(first, "POST", approve)).status == 403
    done = await world.ask(second, "POST", approve)
    assert (done.status, done.json["state"], done.json["reference"]) == (200, "erased", "A-1")
    for path in ("", "/verification"):
        gone = await world.ask(first, "GET", f"/api/v1/contacts/{contact}{path}")
        assert (gone.status, gone.code) == (410, "erased")
        assert "retention_over" in gone.json["detail"]
    content = f"/api/v1/recordings/{world.ids['recording']}/content"
    grant = await world.grant(first)
    opened = await world.ask(first, "GET", content, Access_Grant=grant)
    assert (opened.status, opened.code) == (410, "erased")
    history = await world.ask(first, "GET", f"/api/v1/customers/{customer}/contacts")
    (stone,) = history.json["erased"]
    assert (stone["id"], stone["ground"], stone["finished"]) == (
        contact,
        "retention_over",
        True,
    )
    assert contact not in {one["id"] for one in history.json["contacts"]}


async def test_a_hold_of_a_customer_refuses_with_its_name(world):
    first, _ = await people(world)
    order = {
        "customer": world.ids["customer"],
        "period_from": "2026-01-01",
        "period_to": "2026-02-01",
        "reason": "Riita",
    }
    hold = await world.ask(first, "POST", "/api/v1/holds", body=order)
    asked = {"contact": await world.new_contact(), "ground": "retention_over"}
    refused = await world.ask(first, "POST", "/api/v1/erasures", body=asked)
    assert (refused.status, refused.code) == (409, "held")
    assert hold.json["id"] in refused.json["detail"]


@pytest.mark.parametrize(
    "order",
    [
        {"reason": "x"},
        {"contact": "ct_" + "a" * 26, "reason": "x", "period_from": "yesterday"},
        {"customer": "cu_" + "a" * 26, "reason": "x", "review_on": "2026-13-01"},
        {"contact": "ct_" + "a" * 26},
        {"contact": "ct_" + "a" * 26, "reason": "x", "state": "released"},
    ],
)
async def test_an_order_that_is_none_is_refused(world, order):
    first, _ = await people(world)
    answer = await world.ask(first, "POST", "/api/v1/holds", body=order)
    assert (answer.status, answer.code) == (400, "invalid_input")


async def test_the_command_line_holds_and_erases_by_two_people(world, config, capsys):
    archive, contact = world.archive, world.ids["contact"]
    for login in ("aino", "oiva"):
        await archive.access.accounts.add(
            login, name=login, roles=[Role.DPO], by=OPERATOR, now=world.now
        )

    async def run(*words):
        capsys.readouterr()
        options = build_parser().parse_args(words)
        assert await options.run(config, options) == 0
        return capsys.readouterr().out

    of_contact = ("--contact", contact, "--reason", "Riita", "--review-on")
    day = world.now.date().replace(year=world.now.year + 1).isoformat()
    with pytest.raises(Exception, match="review_on"):
        await run("holds", "place", *of_contact, day, "--actor", "aino")
    of_customer = ("--customer", "1001", "--from", "2026-01-01", "--reason", "Riita")
    hold = (await run("holds", "place", *of_customer, "--actor", "aino")).strip()
    assert hold in await run("holds", "list", "--actor", "oiva")
    ask = ("erase", "request", contact, "--ground", "wrong_or_private", "--actor")
    with pytest.raises(HeldError, match=hold):
        await run(*ask, "aino")
    await run("holds", "request-release", hold, "--actor", "aino")
    with pytest.raises(NotPermittedError):
        await run("holds", "release", hold, "--actor", "aino")
    await run("holds", "release", hold, "--actor", "oiva")
    assert hold not in await run("holds", "list", "--actor", "oiva")
    assert hold in await run("holds", "list", "--all", "--actor", "oiva")
    withdrawn = (await run(*ask, "aino")).strip()
    await run("erase", "withdraw", withdrawn, "--actor", "oiva")
    erasure = (await run(*ask, "aino")).strip()
    with pytest.raises(NotPermittedError):
        await run("erase", "approve", erasure, "--actor", "aino")
    assert "is erased" in await run("erase", "approve", erasure, "--actor", "oiva")
    listed = await run("erase", "list", "--actor", "aino")
    assert [line.split("\t")[1] for line in listed.splitlines()] == ["erased", "withdrawn"]
