"""The clock offset and its bound contain the truth whatever the network does."""

from hypothesis import given
from hypothesis import strategies as st

from control.offset import DRIFT, ClockOffset

MS = 1_000_000


def exchange(clock, *, true_ns, there_ns, back_ns, at_ns, work_ns=1000):
    heard = at_ns + there_ns + true_ns
    clock.sample(
        sent_ns=at_ns,
        heard_ns=heard,
        answered_ns=heard + work_ns,
        received_ns=at_ns + there_ns + work_ns + back_ns,
    )


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 50 * MS), st.integers(0, 50 * MS)), min_size=1, max_size=30),
)
def test_the_truth_lies_within_the_bound(true_ns, delays):
    clock, at = ClockOffset(), 10**9
    for there, back in delays:
        exchange(clock, true_ns=true_ns, there_ns=there, back_ns=back, at_ns=at)
        at += 100 * MS
    offset, bound = clock.estimate(at)
    assert abs(offset - true_ns) <= bound


def test_the_bound_widens_with_age_and_the_best_exchange_wins():
    clock = ClockOffset()
    assert clock.estimate(0) is None
    exchange(clock, true_ns=5, there_ns=10 * MS, back_ns=10 * MS, at_ns=0)
    exchange(clock, true_ns=5, there_ns=100, back_ns=100, at_ns=30 * MS)
    _, early = clock.estimate(31 * MS)
    _, late = clock.estimate(31 * MS + 10**9)
    assert early < 1 * MS
    assert late - early >= int(10**9 * DRIFT) - 1
    clock.forget()
    assert clock.estimate(0) is None


def test_impossible_stamps_are_not_believed():
    clock = ClockOffset()
    clock.sample(sent_ns=100, heard_ns=0, answered_ns=500, received_ns=200)
    clock.sample(sent_ns=300, heard_ns=0, answered_ns=0, received_ns=200)
    clock.sample(sent_ns=100, heard_ns=50, answered_ns=0, received_ns=200)
    assert clock.estimate(1000) is None
