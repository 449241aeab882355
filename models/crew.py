"""Who may judge: a package on one provider, and a chain of them in order of preference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from edge.core.errors import EdgeError
from edge.core.types import Serving

# A worker's command line, for a socket's descriptor, and whether the line already runs beside it.
Command = Callable[[int, bool], list[str]]

NOBODY: Mapping[str, str] = MappingProxyType({})


class Crew(NamedTuple):
    """Workers of one package on one provider: what they are, and how one of them is started.

    keep_warm_ns: an idle worker runs its model for nothing this often; 0: never. read: the
    package's file again, EdgeError where it is no longer the one that was admitted.
    """

    serving: Serving
    command: Command
    keep_warm_ns: int = 0
    read: Callable[[], object] = lambda: None

    @property
    def is_as_admitted(self) -> bool:
        """The package is what it was when its seal, signature and pin were looked at."""
        try:
            self.read()
        except EdgeError:
            return False
        return True

    @property
    def provider(self) -> str:
        return self.serving.provider


class LineUp:
    """A package's crews in order of preference, and which of them have failed.

    The last one left never counts as failed: there is nobody to serve in its place.
    """

    def __init__(self, chain: Sequence[Crew], left_out: Mapping[str, str] = NOBODY) -> None:
        """chain: at least one crew, each on a provider of its own. left_out: providers that are
        not among them although they should be, and why.
        """
        self.chain = tuple(chain)
        self.left_out = left_out
        self._failed: dict[str, str] = {}  # provider -> why

    @property
    def first(self) -> Crew:
        """The crew that should serve now."""
        return self._left()[0]

    def standby(self, serving: Crew) -> Crew:
        """Who should be warm beside a crew that serves: the next one left, else more of the same.

        Another provider where there is one: what brings down one may bring down its like.
        """
        return next((crew for crew in self._left() if crew is not serving), serving)

    def rank(self, crew: Crew) -> int:
        """0 for the most preferred; a crew that has failed comes after all that have not."""
        late = len(self.chain) if crew.provider in self._failed else 0
        return self.chain.index(crew) + late

    def is_left(self, crew: Crew) -> bool:
        """It is of this line-up and has not failed."""
        return crew in self.chain and crew.provider not in self._failed

    def has(self, provider: str) -> bool:
        """A provider is of this line-up and has not failed."""
        return any(crew.provider == provider for crew in self._left())

    def fail(self, crew: Crew, why: str) -> bool:
        """Give a crew up; False where it is the last one and stays."""
        left = self._left()
        if crew not in left or len(left) == 1:
            return False
        self._failed[crew.provider] = why
        return True

    @property
    def degraded(self) -> str:
        """Why the preferred crew does not serve, in one line; "" while it does."""
        before = self.chain[: self.chain.index(self.first)]
        why = dict(self.left_out) | {one.provider: self._failed[one.provider] for one in before}
        return "; ".join(f"{provider}: {reason}" for provider, reason in why.items())

    def _left(self) -> list[Crew]:
        return [crew for crew in self.chain if crew.provider not in self._failed]
