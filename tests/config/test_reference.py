"""``config.toml`` as it is shipped says all and only what the service knows."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from service.config import Config, parse_config
from service.config.reference import render_reference
from service.config.sections import LISTS, SECTIONS
from service.config.setting import settings_of

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "config.toml").read_text()


def uncommented() -> str:
    return re.sub(r"(?m)^#(?=[a-z\[])", "", SHIPPED)


def test_the_shipped_file_is_made_from_the_settings():
    assert render_reference() == SHIPPED, "run: make config.toml"


def test_the_shipped_file_changes_nothing():
    assert parse_config(SHIPPED, base=ROOT) == parse_config("", base=ROOT)


def test_every_line_taken_out_of_its_comment_is_the_default():
    config = parse_config(uncommented(), base=ROOT)
    assert replace(config, sources=(), witnesses=()) == parse_config("", base=ROOT)
    assert [source.name for source in config.sources] == ["phones"]
    assert [witness.key.name for witness in config.witnesses] == ["witness.example.org"]


@pytest.mark.parametrize(("name", "section"), [*SECTIONS.items(), *LISTS.items()])
def test_every_setting_is_in_the_shipped_file_with_its_meaning(name, section):
    heading = rf"#\[\[{name}\]\]" if name in LISTS else rf"\[{name}\]"
    text = re.split(rf"(?m)^{heading}$", SHIPPED)[1].split("\n[")[0]
    words = " ".join(text.replace("\n#", "").split())
    for setting in settings_of(section).values():
        assert re.search(rf"(?m)^#{setting.name} = ", text)
        assert setting.meaning in words
        assert setting.meaning.endswith(".")


def test_every_section_of_the_configuration_is_known_by_name():
    assert [f.name for f in fields(Config)] == [*SECTIONS, *LISTS]
