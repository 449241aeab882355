"""The belt and the gate: tables of single cases, laws, and a blade moved tick by tick."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.types import Action
from edge.sim.physics import Belt, Gate, PartAtGate, outcomes

MS = 1_000_000
ACTIONS = list(Action)
# One millimetre takes one millisecond; parts of 20 mm, 30 mm between them, 100 mm to the gate.
BELT = Belt(1000.0, 50.0, 20.0, 100.0, 10.0)


def diverter(rest="reject", reaction=5, travel=20):
    return Gate("diverter", rest, reaction * MS, travel * MS)


def arm(rest="pass", reaction=5, travel=20, cycle=120, window=30.0):
    return Gate("arm", rest, reaction * MS, travel * MS, cycle * MS, window)


def sent(*orders, spacing=50):
    """Parts 50 ms apart: an action and how many ms after the trigger it was heard."""
    return [
        PartAtGate(n + 1, n * spacing * MS, action, n * spacing * MS + round((after or 0) * MS))
        for n, (action, after) in enumerate(orders)
    ]


A, R, H, W = Action.ACCEPT, Action.REJECT, Action.HOLD, Action.REWORK


@pytest.mark.parametrize(
    ("gate", "orders", "bins", "late"),
    [
        pytest.param(diverter(), [(A, 10), (R, 10)], "gr", "", id="as_told"),
        pytest.param(diverter(), [(H, 10), (W, 10)], "rr", "", id="hold_and_rework_are_set_aside"),
        pytest.param(diverter(), [(A, 75)], "g", "", id="accept_at_the_last_instant"),
        pytest.param(diverter(), [(A, 75.001)], "r", "1", id="accept_too_late_is_overkill"),
        pytest.param(diverter(), [(R, 99)], "r", "1", id="late_reject_rests_where_it_should"),
        pytest.param(diverter("pass"), [(R, 75)], "r", "", id="reject_at_the_last_instant"),
        pytest.param(diverter("pass"), [(R, 75.001)], "g", "1", id="reject_too_late_escapes"),
        pytest.param(diverter("pass"), [(R, 120)], "g", "1", id="heard_after_the_part_was_by"),
        pytest.param(diverter("pass"), [(None, 0)], "g", "1", id="silence_rests_at_pass"),
        pytest.param(diverter(), [(None, 0)], "r", "1", id="silence_rests_at_reject"),
        pytest.param(diverter(), [(A, 9), (R, 9), (A, 9)], "grg", "", id="there_and_back_in_time"),
        pytest.param(
            diverter(travel=40), [(A, 9), (R, 9), (R, 9)], "ggr", "", id="still_travelling_back"
        ),
        pytest.param(
            diverter("pass", travel=40), [(R, 9), (A, 9), (A, 9)], "rrg", "", id="takes_a_neighbour"
        ),
        pytest.param(
            diverter(travel=40), [(R, 9), (A, 9), (A, 9)], "rrg", "", id="over_only_for_the_third"
        ),
        pytest.param(
            diverter(travel=40), [(A, 9), (A, 9), (A, 9)], "ggg", "", id="stays_for_its_equals"
        ),
        pytest.param(
            diverter(travel=40),
            [(A, 9), (R, 9), (A, 9)],
            "ggr",  # back under the second part, and so not over again for the third
            "",
            id="one_slow_return_costs_two",
        ),
        pytest.param(
            diverter(travel=70), [(R, 9), (A, 9), (R, 9)], "rrg", "", id="too_slow_for_the_gap"
        ),
        pytest.param(
            diverter("pass", travel=20), [(R, 9), (R, 70)], "rr", "", id="comes_back_for_the_second"
        ),
        pytest.param(
            # Obeyed under the first part, it would have the blade over in time for the second.
            *(diverter("pass", travel=40), [(R, 96), (R, 9)], "gg", "1"),
            id="no_swing_under_a_part",
        ),
        pytest.param(arm(), [(R, 10), (A, 10)], "rg", "", id="arm_picks_a_reject"),
        pytest.param(
            *(arm(travel=60, cycle=0), [(R, 10)] * 5, "rrrrg", ""),
            id="arm_is_not_back_before_it_has_grasped",
        ),
        pytest.param(arm(), [(R, 105)], "r", "", id="arm_grasps_as_its_window_closes"),
        pytest.param(arm(), [(R, 105.001)], "g", "1", id="arm_reaches_behind_its_window"),
        pytest.param(arm(), [(R, 10)] * 4, "rgrg", "", id="arm_busy_with_the_first_and_third"),
        pytest.param(
            # Heard late, it grasps the third part as its window closes, and so misses the fifth.
            *(arm(), [(R, 10), (A, 10), (R, 105), (A, 10), (R, 10)], "rgrgg", ""),
            id="arm_makes_up_for_a_late_command",
        ),
        pytest.param(arm("reject"), [(A, 10), (R, 10)], "gr", "", id="arm_picks_the_good"),
        pytest.param(arm("reject"), [(A, 10), (A, 10)], "gr", "", id="arm_busy_is_overkill"),
    ],
)
def test_where_parts_end(gate, orders, bins, late):
    found = outcomes(sent(*orders), BELT, gate)
    assert "".join(outcome.bin[0] for outcome in found) == bins
    assert [str(outcome.part) for outcome in found if outcome.late] == list(late)


def test_a_line_that_stops_keeps_what_has_not_reached_the_gate():
    found = outcomes(sent((A, 9), (R, 9), (A, 9)), BELT, diverter(), stopped_ns=150 * MS)
    assert [outcome.bin for outcome in found] == ["good", "stopped", "stopped"]
    assert [outcome.reach_ns for outcome in found] == [100 * MS, 150 * MS, 200 * MS]
    assert [outcome.as_sent for outcome in found] == [True, False, False]


def test_the_last_instants_follow_the_geometry():
    assert diverter().budget_ns(BELT) == diverter().latest_ns(BELT) == 75 * MS
    assert (arm().budget_ns(BELT), arm().latest_ns(BELT)) == (75 * MS, 105 * MS)
    assert BELT.rate_hz == 20.0
    assert BELT.arrival_ns(3) == 150 * MS
    assert BELT.counts(100.0) == 1000


delays = st.floats(0, 300)
orders = st.lists(st.tuples(st.sampled_from([*ACTIONS, None]), delays), max_size=25)
gates = st.builds(
    Gate,
    st.sampled_from(["diverter", "arm"]),
    st.sampled_from(["reject", "pass"]),
    st.integers(0, 60 * MS),
    st.integers(0, 90 * MS),
    st.integers(0, 200 * MS),
    st.floats(0, 80),
)


@given(orders, gates, st.none() | st.integers(0, 1500 * MS))
def test_each_part_ends_in_exactly_one_bin(told, gate, stopped_ns):
    parts = sent(*told)
    found = outcomes(parts, BELT, gate, stopped_ns=stopped_ns)
    assert [outcome.part for outcome in found] == [part.part for part in parts]
    bins = [outcome.bin for outcome in found]
    assert bins.count("good") + bins.count("reject") + bins.count("stopped") == len(parts)
    assert "stopped" not in bins or stopped_ns is not None
    for part, outcome in zip(parts, found, strict=True):
        if outcome.as_sent and part.action is not None:
            assert outcome.bin == ("good" if part.action is A else "reject")


@given(orders, gates, st.floats(50, 3000), st.floats(1, 4))
def test_a_slower_belt_never_has_more_late_parts(told, gate, speed_mm_s, slower):
    def late(speed):
        belt = Belt(speed, 50.0, 20.0, 100.0, 10.0)
        parts = [
            PartAtGate(n, belt.arrival_ns(n), action, belt.arrival_ns(n) + round(after * MS))
            for n, (action, after) in enumerate(told)
        ]
        return {outcome.part for outcome in outcomes(parts, belt, gate) if outcome.late}

    assert late(speed_mm_s / slower) <= late(speed_mm_s)


@given(
    st.lists(st.sampled_from(ACTIONS), max_size=25),
    st.sampled_from(["diverter", "arm"]),
    st.sampled_from(["reject", "pass"]),
    st.floats(1, 5000),
)
def test_no_latency_and_an_infinitely_fast_gate_sort_as_decided(actions, machine, rest, speed):
    belt = Belt(speed, 50.0, 50.0, 100.0, 10.0)  # end to end, no gap at all
    parts = [
        PartAtGate(n, belt.arrival_ns(n), action, belt.arrival_ns(n))
        for n, action in enumerate(actions)
    ]
    found = outcomes(parts, belt, Gate(machine, rest, 0, 0, 0, 0.0))
    assert [outcome.bin for outcome in found] == [
        "good" if action is A else "reject" for action in actions
    ]
    assert not any(outcome.late for outcome in found)


@given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.floats(0, 65)), max_size=25),
    st.sampled_from(["reject", "pass"]),
    st.integers(0, 5),
    st.integers(0, 30),
    st.integers(0, 50),
)
def test_a_gate_quicker_than_the_gap_obeys_every_command_in_time(told, rest, reaction, way, cycle):
    for gate in (diverter(rest, reaction, way), arm(rest, reaction, way, cycle, 0.0)):
        found = outcomes(sent(*told), BELT, gate)
        assert all(outcome.as_sent and not outcome.late for outcome in found)


def by_ticks(parts, belt, gate):
    """The blade's rules once more, one nanosecond at a time: which parts leave away from rest."""
    reach = [part.trigger_ns + int(belt.camera_to_gate_mm) for part in parts]
    clear = [at + int(belt.part_mm) for at in reach]
    position, moved = 0, []
    for now in range(clear[-1] + 1):
        owner = next((n for n, end in enumerate(clear) if end > now), None)
        if owner is None:
            break
        part = parts[owner]
        wanted = gate.moves_for(part.action)
        starts = part.heard_ns + gate.reaction_ns
        obeyed = wanted and starts <= reach[owner]
        if now == reach[owner]:
            there = position == gate.travel_ns and (obeyed or position > 0)
            moved.append(there if wanted else position > 0)
        over = obeyed and starts <= now
        position = min(gate.travel_ns, position + 1) if over else max(0, position - 1)
    return moved


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 90)), min_size=1, max_size=8),
    st.integers(1, 12),
    st.integers(0, 12),
    st.integers(0, 20),
    st.integers(1, 15),
    st.integers(0, 60),
    st.sampled_from(["reject", "pass"]),
)
def test_the_blade_is_where_small_steps_bring_it(told, part, gap, reaction, travel, way, rest):
    belt = Belt(1e9, part + gap, part, way, 1.0)  # a millimetre a nanosecond
    gate = Gate("diverter", rest, reaction, travel)
    parts = [
        PartAtGate(n, belt.arrival_ns(n), action, belt.arrival_ns(n) + after)
        for n, (action, after) in enumerate(told)
    ]
    found = outcomes(parts, belt, gate)
    moved = [outcome.bin == gate.bin(moved=True) for outcome in found]
    assert moved == by_ticks(parts, belt, gate)
