"""Builds what keeps the text of key files from its settings."""

from datetime import timedelta

from service.config import Config
from service.domain.errors import InvalidInputError
from service.keys.directory import KeyDirectory
from service.keys.pkcs11.pin import PinGuard, PinSource
from service.keys.pkcs11.process import Token, TokenPlace
from service.keys.pkcs11.safe import TokenSafe
from service.keys.safe import PLAIN_SAFE, Safe


def key_directory(config: Config) -> KeyDirectory:
    """Return the directory of the keys."""
    return KeyDirectory(config.keys.directory, archive=config.archive.directory)


def safe_of(config: Config, provider: str | None = None) -> Safe:
    """Return the safe of ``provider``, or of the one that the settings name.

    Raises:
        InvalidInputError: The settings do not say which token.
    """
    if (provider or config.keys.provider) == "file":
        return PLAIN_SAFE
    hold = timedelta(seconds=config.keys.pkcs11_hold_seconds)
    return TokenSafe(token_of(config), hold=hold)


def token_of(config: Config) -> Token:
    """Return the token that wraps the keys; nothing is asked of it yet.

    Raises:
        InvalidInputError: The settings do not say which.
    """
    keys = config.keys
    if keys.pkcs11_module is None or not keys.pkcs11_token:
        raise InvalidInputError(
            "[keys] pkcs11_module and pkcs11_token have to say where the token is: see docs/operations.md,"
            ' "Keys in a token"'
        )
    return Token(
        TokenPlace(keys.pkcs11_module, keys.pkcs11_token, keys.pkcs11_key),
        pin=PinSource(keys.pkcs11_pin_file),
        guard=PinGuard(key_directory(config)),
        wait=timedelta(seconds=keys.pkcs11_wait_seconds),
    )
