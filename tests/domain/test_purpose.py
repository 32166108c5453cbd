import pytest

from service.domain.errors import InvalidInputError
from service.domain.purpose import REFERENCE, Purpose, decide_reference


@pytest.mark.parametrize("purpose", Purpose)
def test_a_purpose_names_its_own_reference_and_no_other(purpose):
    given = {"complaint": None, "request": None}
    assert decide_reference(purpose, **given) is None
    for name in given:
        named = {**given, name: "R-2026-118"}
        if REFERENCE.get(purpose) == name:
            assert decide_reference(purpose, **named) == "R-2026-118"
        else:
            with pytest.raises(InvalidInputError):
                decide_reference(purpose, **named)
