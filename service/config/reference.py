"""``config.toml`` as it is shipped: every setting, commented, at its default, with its meaning."""

import json
from textwrap import wrap

from service.config.sections import LISTS, SECTIONS
from service.config.setting import Setting, settings_of

_WIDTH = 96
_HEAD = """\
# Taltio: every setting at its default, with its meaning. A file without a line is a working
# installation for one machine. To change a setting, take the # away in front of it.
#
# Relative paths are relative to this file. Secrets are never written here: a setting names the
# file that holds one. A mistake anywhere is reported with its line, all of them at once, and
# the service does not start."""
# Lists are shown by an example: there is none by default.
_EXAMPLES = {
    "sources": {"name": "phones", "kind": "standard-webhooks", "secret_file": "secrets/phones"},
    "witnesses": {
        "key": "witness.example.org+820fd8f3+BHm1Vi6P5lT5QHixEuipi6eQH4U65pW+1+DjkQutBJZk",
        "url": "https://witness.example.org",
    },
}


def render_reference() -> str:
    """Return the text of ``config.toml``."""
    blocks = [_HEAD]
    for name, section in SECTIONS.items():
        blocks.append(f"{_prose(section.__doc__ or '')}\n[{name}]")
        blocks.extend(_block(setting) for setting in settings_of(section).values())
    for name, section in LISTS.items():
        blocks.append(f"{_prose(section.__doc__ or '')}\n#[[{name}]]")
        blocks.extend(
            _block(setting, example=_EXAMPLES[name].get(setting.name))
            for setting in settings_of(section).values()
        )
    return "\n\n".join(blocks) + "\n"


def _block(setting: Setting, *, example: str | None = None) -> str:
    value = setting.default if example is None else example
    return "\n".join(
        (
            _prose(setting.meaning),
            f"# Takes {setting.kind.words}.",
            f"#{setting.name} = {_toml(value)}",
        )
    )


def _prose(text: str) -> str:
    return "\n".join(
        wrap(" ".join(text.split()), _WIDTH, initial_indent="# ", subsequent_indent="# ")
    )


def _toml(value: object) -> str:
    """Return a text, number, truth value or list of texts as TOML, which writes them as JSON does."""
    return json.dumps(value, ensure_ascii=False)
