"""What the camera tests share: a view, a pool, real data where there is some."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator

import pytest

from edge.core.pool import FramePool, Holder
from edge.core.ports import Camera
from edge.core.types import Frame, NoFrame, Trigger, ViewSpec

Event = Trigger | Frame | NoFrame
VIEW = ViewSpec("image", "picture", "uint8", (64, 64))


@pytest.fixture
def pool() -> Iterator[FramePool]:
    made = FramePool.create((VIEW,), 8)
    yield made
    assert made.free == made.slots, "a lease leaked"
    made.close()


@pytest.fixture
def next_event() -> Callable[..., Event]:
    """The next event, waiting for the grabber thread's ring when there is none yet."""

    def take(camera: Camera, now_ns: int, *, open_parts: int = 0) -> Event:
        while True:
            event = camera.poll(now_ns, open_parts)
            if event is not None:
                return event
            assert select.select([camera.fileno()], [], [], 5.0)[0], "the camera never rang"

    return take


@pytest.fixture
def released() -> Callable[[FramePool, Event], Event]:
    """The event, its slot given back as the loop would after the decision."""

    def give_back(pool: FramePool, event: Event) -> Event:
        if isinstance(event, Frame):
            pool.release(event.slot, Holder.PART)
        return event

    return give_back
