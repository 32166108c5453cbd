"""What a hold covers, and who may decide, in tables."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from service.domain.actor import OPERATOR, SYSTEM, Actor, ActorKind, Role
from service.domain.errors import InvalidInputError, NotPermittedError
from service.domain.retention import (
    Disposition,
    Hold,
    HoldState,
    decide_disposition,
    require_period,
    require_second_person,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OF_CONTACT = Hold(
    id="ho_1",
    contact_id="ct_1",
    customer_id=None,
    period_from=None,
    period_to=None,
    state=HoldState.PLACED,
    owner_id="us_1",
    placed_at=NOW,
    review_on=date(2027, 1, 1),
    reason="Reklamaatio",
    reference=None,
)
OF_CUSTOMER = replace(OF_CONTACT, id="ho_2", contact_id=None, customer_id="cu_1")
OF_PERIOD = replace(OF_CUSTOMER, period_from=NOW - DAY, period_to=NOW)


@pytest.mark.parametrize(
    ("hold", "is_held"),
    [
        pytest.param(OF_CONTACT, True, id="of the contact"),
        pytest.param(replace(OF_CONTACT, contact_id="ct_2"), False, id="of another contact"),
        pytest.param(
            replace(OF_CONTACT, state=HoldState.RELEASE_REQUESTED),
            True,
            id="until it is released",
        ),
        pytest.param(replace(OF_CONTACT, state=HoldState.RELEASED), False, id="released"),
        pytest.param(OF_CUSTOMER, True, id="of its customer, always"),
        pytest.param(replace(OF_CUSTOMER, customer_id="cu_9"), False, id="of another customer"),
        pytest.param(
            replace(OF_PERIOD, period_from=NOW, period_to=None), True, id="from then on"
        ),
        pytest.param(OF_PERIOD, False, id="the end is not part of the period"),
        pytest.param(replace(OF_PERIOD, period_to=NOW + DAY), True, id="within"),
        pytest.param(
            replace(OF_PERIOD, period_from=NOW + DAY, period_to=None), False, id="before"
        ),
        pytest.param(replace(OF_PERIOD, period_from=None, period_to=NOW), False, id="after"),
    ],
)
def test_what_a_hold_keeps(hold, is_held):
    decision = decide_disposition(
        "ct_1", customer_ids={"cu_1", "cu_2"}, started_at=NOW, holds=[hold]
    )
    assert decision.holds == ((hold,) if is_held else ())
    assert decision.disposition is (Disposition.HOLD if is_held else Disposition.DISPOSE)


def test_one_hold_of_many_is_enough():
    holds = [replace(OF_CONTACT, state=HoldState.RELEASED), OF_CUSTOMER]
    decision = decide_disposition("ct_1", customer_ids={"cu_1"}, started_at=NOW, holds=holds)
    assert decision.disposition is Disposition.HOLD


def test_a_period_ends_after_it_begins():
    require_period(None, NOW)
    require_period(NOW, NOW + DAY)
    for end in (NOW, NOW - DAY):
        with pytest.raises(InvalidInputError):
            require_period(NOW, end)


@pytest.mark.parametrize(
    ("actor", "is_second"),
    [
        (Actor(id="us_2", kind=ActorKind.PERSON, roles=frozenset()), True),
        (Actor(id="us_1", kind=ActorKind.PERSON, roles=frozenset({Role.DPO})), False),
        (Actor(id="tk_1", kind=ActorKind.MACHINE, roles=frozenset({Role.DPO})), False),
        (OPERATOR, False),
        (SYSTEM, False),
    ],
)
def test_the_second_person_is_a_person_and_another_one(actor, is_second):
    if is_second:
        require_second_person(actor, "us_1", None)
        return
    with pytest.raises(NotPermittedError):
        require_second_person(actor, "us_1", None)
