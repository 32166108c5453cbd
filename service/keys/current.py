"""The keys of intake as they are now, in a process that has no others."""

from collections.abc import Callable

from service.keys.errors import KeysRefusedError
from service.keys.intake import IntakeKeys


class CurrentIntakeKeys:
    """What a provider's ``load_intake`` gave last. A key provider that is away stops no delivery."""

    __slots__ = ("_keys", "_load")

    def __init__(self, load: Callable[[], IntakeKeys]) -> None:
        """Load once.

        Raises:
            KeysRefusedError: They cannot be used as they are.
        """
        self._load = load
        self._keys = load()

    def __call__(self) -> IntakeKeys:
        """Return the keys."""
        return self._keys

    def refresh(self) -> None:
        """Take up an epoch that was made since. Blocking.

        Raises:
            KeysRefusedError: The keys are not there, are unfit, or belong to another archive. Those before stay in use.
        """
        keys = self._load()
        if keys.index_master != self._keys.index_master:
            raise KeysRefusedError("These are the intake keys of another archive.")
        if keys.epoch >= self._keys.epoch:
            self._keys = keys
