"""Whose contact it is: a table that can be read aloud."""

from datetime import UTC, datetime

import pytest

from service.domain.customer import Certainty, Customer, Link, LinkState, Match, decide_links

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LINKED, CANDIDATE, UNLINKED = LinkState.LINKED, LinkState.CANDIDATE, LinkState.UNLINKED
SURE, LIKELY, POSSIBLE = Certainty.SURE, Certainty.LIKELY, Certainty.POSSIBLE
PHONE_A, PHONE_B = Match("a", "phone"), Match("b", "phone")
EMAIL_A, POINT_A = Match("a", "email"), Match("a", "metering_point")
NUMBER_A, NUMBER_B = Match("a", "customer_number"), Match("b", "customer_number")


def by_hand(customer_id, state):
    return Link(
        customer_id=customer_id,
        state=state,
        reasons=("by_hand",),
        certainty=SURE,
        made_by="us_handler",
        made_at=NOW,
    )


def decided(*matches, hand=(), states_number=False):
    links = decide_links(matches, by_hand=hand, now=NOW, states_number=states_number)
    return {link.customer_id: (link.state, link.certainty) for link in links}


@pytest.mark.parametrize(
    ("matches", "links"),
    [
        pytest.param([], {}, id="nobody"),
        pytest.param([PHONE_A], {"a": (LINKED, LIKELY)}, id="one kind is likely"),
        pytest.param([PHONE_A, EMAIL_A], {"a": (LINKED, SURE)}, id="two kinds are sure"),
        pytest.param(
            [PHONE_A, PHONE_B],
            {"a": (CANDIDATE, POSSIBLE), "b": (CANDIDATE, POSSIBLE)},
            id="a household shares a telephone",
        ),
        pytest.param(
            [PHONE_A, PHONE_B, POINT_A],
            {"a": (LINKED, SURE), "b": (CANDIDATE, POSSIBLE)},
            id="a second identifier decides",
        ),
        pytest.param([NUMBER_A], {"a": (LINKED, SURE)}, id="a number is sure"),
        pytest.param(
            [NUMBER_A, PHONE_B, Match("b", "email"), Match("b", "metering_point")],
            {"a": (LINKED, SURE), "b": (CANDIDATE, POSSIBLE)},
            id="a number is more than everything else",
        ),
        pytest.param(
            [PHONE_A, PHONE_A], {"a": (LINKED, LIKELY)}, id="the same kind twice is one"
        ),
    ],
)
def test_identifiers_decide(matches, links):
    assert decided(*matches) == links


def test_a_number_that_is_nobodys_here_leaves_everybody_a_candidate():
    assert decided(PHONE_A, EMAIL_A, states_number=True) == {"a": (CANDIDATE, POSSIBLE)}
    assert decided(PHONE_A, NUMBER_B, states_number=True) == {
        "a": (CANDIDATE, POSSIBLE),
        "b": (LINKED, SURE),
    }


@pytest.mark.parametrize("state", [LINKED, UNLINKED])
def test_what_a_person_decided_stands(state):
    hand = [by_hand("a", state)]
    assert decided(NUMBER_A, hand=hand)["a"] == (state, SURE)
    assert decided(hand=hand)["a"] == (state, SURE)


def test_beside_whom_a_person_linked_others_are_candidates():
    hand = [by_hand("a", LINKED)]
    assert decided(NUMBER_B, hand=hand)["b"] == (CANDIDATE, POSSIBLE)


def test_beside_whom_a_person_unlinked_another_can_be_linked():
    hand = [by_hand("a", UNLINKED)]
    assert decided(PHONE_A, PHONE_B, hand=hand)["b"] == (LINKED, LIKELY)


def test_a_link_says_why():
    (link,) = decide_links([PHONE_A, EMAIL_A, PHONE_A], by_hand=(), now=NOW)
    assert link.reasons == ("email", "phone")
    assert (link.made_by, link.made_at) == ("system", NOW)


def test_a_customer_does_not_print_themselves():
    customer = Customer(id="cu_x", version=1, number="1001", name="Maija Esimerkki")
    assert repr(customer) == "Customer(id='cu_x')"
