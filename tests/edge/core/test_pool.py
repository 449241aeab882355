"""Leases, generations, holders and quarantine; a part of one picture and one force window."""

import os
import subprocess
import sys

import numpy as np
import pytest

from edge.core.pool import ALIGN, FramePool, Holder
from edge.core.types import ViewSpec

VIEWS = (
    ViewSpec("image", "picture", "uint8", (30, 50)),
    ViewSpec("force", "samples", "float32", (12, 6)),
)


@pytest.fixture
def pool():
    pool = FramePool.create(VIEWS, 4)
    yield pool
    pool.close()


def test_views_are_typed_aligned_and_separate(pool):
    for slot in range(pool.slots):
        arrays = pool.arrays(slot)
        assert arrays["image"].shape == (30, 50)
        assert arrays["force"].dtype == np.float32
        assert all(array.ctypes.data % ALIGN == 0 for array in arrays.values())
        arrays["image"].fill(slot + 1)
        arrays["force"].fill(-slot)
        del arrays
    for slot in range(pool.slots):
        assert (pool.arrays(slot)["image"] == slot + 1).all()
        assert (pool.arrays(slot)["force"] == -slot).all()


def test_another_mapping_of_the_same_memory_sees_the_frame(pool):
    slot, generation = pool.lease(9)
    pool.arrays(slot)["image"][3, 4] = 77
    other = FramePool(os.dup(pool.fd), VIEWS, pool.slots)
    assert other.arrays(slot)["image"][3, 4] == 77
    assert other.generation(slot) == generation
    assert other.holders(slot) == Holder.PART
    other.close()


def test_every_lease_has_a_new_generation(pool):
    seen = set()
    for part in range(20):
        lease = pool.lease(part)
        assert lease not in seen
        seen.add(lease)
        pool.release(lease[0], Holder.PART)


def test_a_full_pool_gives_none_and_recovers(pool):
    leases = [pool.lease(part) for part in range(4)]
    assert pool.lease(5) is None
    pool.release(leases[2][0], Holder.PART)
    assert pool.lease(6)[0] == leases[2][0]


def test_a_slot_is_free_only_when_nobody_holds_it(pool):
    slot, _ = pool.lease(1)
    pool.hold(slot, Holder.ENGINE)
    pool.release(slot, Holder.PART)
    assert pool.free == 3
    pool.release(slot, Holder.ENGINE)
    assert pool.free == 4


def test_quarantine_outlasts_the_part(pool):
    slot, _ = pool.lease(1)
    pool.hold(slot, Holder.ENGINE)
    pool.quarantine(slot)
    pool.release(slot, Holder.PART)
    assert pool.holders(slot) == Holder.QUARANTINE
    assert pool.free == 3
    pool.release(slot, Holder.QUARANTINE)
    assert pool.free == 4


@pytest.mark.parametrize("misuse", ["hold free", "release twice"])
def test_misuse_raises(pool, misuse):
    slot, _ = pool.lease(1)
    pool.release(slot, Holder.PART)
    again = pool.hold if misuse == "hold free" else pool.release
    with pytest.raises(ValueError, match="slot"):
        again(slot, Holder.PART)


def test_the_memory_is_gone_with_the_last_process():
    """Nothing to unlink: a killed owner leaves no file behind."""
    script = (
        "import os; from edge.core.pool import FramePool; from edge.core.types import ViewSpec\n"
        "FramePool.create((ViewSpec('i', 'picture', 'uint8', (8, 8)),), 4); os._exit(9)"
    )
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    after = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert not {name for name in after - before if "edge" in name}
