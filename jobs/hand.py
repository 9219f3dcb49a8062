"""Ids that a horse has popped and not claimed yet: few, and for no longer than a thread is about to be free."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Sequence

Popped = tuple[uuid.UUID, str]
"""(id of the job, name of its queue)."""


class Hand(deque[Popped]):
    def __init__(self) -> None:
        super().__init__()
        self._ended = deque([0, 0], maxlen=2)
        """Attempts that ended in each of the last two turns that had any."""

        self._was_fed = False
        """Whether ids came since the last pop: where one was, there may be more."""

    def feed(self, popped: Sequence[Popped]) -> None:
        """What the fetcher found."""
        self.extend(popped)
        self._was_fed = True

    def without_own(self, pushes: Sequence[Popped]) -> list[Popped]:
        """Those that are not here: what stands in the hand is not pushed again."""
        if not pushes:
            return []
        own = set(self)
        return [popped for popped in pushes if popped not in own]

    def draw(self, room: int) -> list[Popped]:
        """The first ids, as many as may be claimed."""
        return [self.popleft() for _ in range(min(room, len(self)))]

    def give_back(self, popped: Sequence[Popped]) -> None:
        """Ids that were drawn in vain; they are the first ones again."""
        self.extendleft(reversed(popped))

    def note(self, ended: int, claimed: int) -> None:
        """A turn is over in which so many attempts ended and so many began."""
        if ended or not claimed:
            self._ended.append(ended)

    @property
    def expected(self) -> int:
        """For as many threads ids are popped ahead: they will be free by the next turn."""
        return max(self._ended)

    def surplus(self, room: int) -> list[Popped]:
        """The last ids, as many as are too many; they leave the hand, and belong at the head of their list."""
        return [self.pop() for _ in range(max(0, len(self) - room))][::-1]

    def missing(self, room: int) -> int:
        """How many ids to pop; none after a lull, when the fetcher waits for them."""
        if not self.expected and not self._was_fed:
            return 0
        self._was_fed = False
        return max(0, room - len(self))
