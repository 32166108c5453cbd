"""Every reason for which anything is put on the list of what needs attention has words in every language."""

import ast
from pathlib import Path

import pytest

from service.archive.fetch_faults import FETCH_REASONS
from service.sources.chat import LEFT_OUT
from service.sources.vcon.forms import COPY_DIFFERS, UNCHECKED
from service.web.i18n import LANGUAGES, load_words

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted((ROOT / "service").rglob("*.py"))
}
# Those that take a reason first, or after a delivery.
RAISING = {
    "raise_attention": 0,
    "Remark": 0,
    "_raise": 0,
    "_remind_of": 0,
    "remark": 0,
    "_failed": 1,
    "fail": 1,
    "NotBelievedError": 0,
}


def assigned(module, name):
    """Return the value that ``module`` gives ``name``, and where it is given."""
    for node in MODULES[module].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return module, node.value
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            return module, node.value
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return assigned(node.module, alias.name)
    return module, None


def codes(module, node):
    """Return the codes that an expression can be, as far as it is written down there."""
    match node:
        case ast.Constant(value=str(text)):
            return {text.partition(":")[0]}
        case ast.Name(id=name):
            place, value = assigned(module, name)
            return codes(place, value)
        case ast.BinOp(left=left):
            return codes(module, left)
        case ast.IfExp(body=one, orelse=other):
            return codes(module, one) | codes(module, other)
        case ast.Tuple(elts=elements):
            return set().union(*(codes(module, element) for element in elements))
        case _:
            return set()


def reasons_in(module, node):
    """Return the codes that ``node`` itself makes the reason of something."""
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args):
            place = RAISING.get(name)
            found = [args[place]] if place is not None and len(args) > place else []
            named = {"reason"} if name in {"AttentionRow", "_fail"} else set()
            named |= {"remarks"}
            found += [one.value for one in node.keywords if one.arg in named]
        case ast.FunctionDef(name="_remarks"):
            found = [one.value for one in ast.walk(node) if isinstance(one, ast.Return)]
        case ast.Assign(targets=[ast.Name(id="reason")], value=value):
            found = [value]
        case ast.arguments(kwonlyargs=names, kw_defaults=values):
            pairs = zip(names, values, strict=True)
            found = [value for name, value in pairs if name.arg == "reason"]
        case _:
            found = []
    return set().union(*(codes(module, one) for one in found))


RAISED = set().union(
    *(
        reasons_in(module, node)
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if not module.startswith(("service.cli", "service.config", "service.web"))
    ),
    # Each is a reason by itself.
    FETCH_REASONS,
    {UNCHECKED, COPY_DIFFERS, LEFT_OUT},
)


def test_the_reasons_are_found_where_they_are_raised():
    assert {
        "altered",
        "contact_erased",
        "contact_unreadable",
        "contradiction",
        "delivery_expiring",
        "encrypted_for_another",
        "erased",
        "id_reused",
        "integrity",
        "internal_error",
        "job_dead",
        "not_understood",
        "outside_tolerance",
        "recorded_though_none",
        "recording_lost",
        "recording_without_contact",
        "signature_invalid",
        "source_gone",
        "time_out_of_window",
    } <= RAISED


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", sorted(RAISED))
def test_every_reason_that_is_raised_has_words(reason, language):
    assert load_words(language).text(f"attention.reason.{reason}")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", sorted(RAISED))
def test_every_reason_says_what_to_do(reason, language):
    assert load_words(language).text(f"attention.advice.{reason}")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("prefix", ["attention.reason.", "attention.advice."])
def test_no_words_are_kept_for_a_reason_that_nothing_raises(language, prefix):
    told = {
        key.removeprefix(prefix)
        for key in load_words(language).messages
        if key.startswith(prefix)
    }
    assert told == RAISED
