"""The reference arm on a clock of its own: silence, doubt and the past all mean the default."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.arm import REMEMBERED, ReferenceArm
from control.wire import (
    Ack,
    Beat,
    Bye,
    Command,
    Confirm,
    Done,
    Expect,
    Hello,
    State,
    Tick,
    Unexpected,
    Welcome,
)
from edge.core.types import Action, Pose

MS = 1_000_000
SKEW = 3_600_000 * MS  # the arm's clock is an hour ahead of the station's
SESSION = 42


class Bench:
    """An arm, the station's side of its conversation, and a network that takes `hop_ns`."""

    def __init__(self, *, hop_ns=100_000, move_ns=0, sensor=False, **identity):
        self.log = []
        self.hop_ns = hop_ns
        self.now = 1_000 * MS  # the station's clock
        hello = Hello(protocol=1, boot="a", **identity)
        self.arm = ReferenceArm(hello, self.log.append, move_ns=move_ns, sensor=sensor)

    @property
    def arm_now(self):
        return self.now + SKEW

    def welcome(self, session=SESSION):
        asked = self.arm_now
        self.now += self.hop_ns
        heard = self.now
        self.now += self.hop_ns
        return self.hear(
            Welcome(
                session=session, stamp_ns=heard, boot="a", protocol=1, beat_ns=50 * MS,
                lost_ns=200 * MS, echo_stamp_ns=asked, echo_received_ns=heard,
            )
        )  # fmt: skip

    def hear(self, message):
        return self.arm.hear(message, self.arm_now)

    def expect(self, part, session=SESSION):
        return self.hear(
            Expect(session=session, stamp_ns=self.now, part=part, trigger_no=part,
                   default=Action.REJECT, ttl_ns=50 * MS)
        )  # fmt: skip

    def command(self, part, action=Action.ACCEPT, *, age_ns=0, ttl_ns=40 * MS, **more):
        return self.hear(
            Command(session=SESSION, stamp_ns=self.now - age_ns, part=part, action=action,
                    ttl_ns=ttl_ns, reason="verdict", **more)
        )  # fmt: skip

    def beat(self):
        return self.hear(Beat(session=SESSION, stamp_ns=self.now))

    def advance(self, ms):
        self.now += ms * MS
        return self.arm.advance(self.arm_now)

    def sense(self):
        return self.arm.sense(self.arm_now)

    def events(self, *names):
        return [(e["event"], e.get("part")) for e in self.log if e["event"] in names]

    @property
    def applied(self):
        return [(e["part"], e["action"], e["cause"]) for e in self.log if e["event"] == "applied"]


@pytest.fixture
def bench():
    bench = Bench()
    bench.welcome()
    return bench


def test_a_fresh_accept_is_applied_once_and_counted(bench):
    assert bench.expect(1)[0].state == "armed"
    (ack,) = bench.command(1)
    assert (ack.state, ack.action, ack.counts) == ("applied", Action.ACCEPT, {Action.ACCEPT: 1})
    assert bench.applied == [(1, Action.ACCEPT, "command")]


def test_silence_is_the_default_at_act_by(bench):
    bench.expect(1)
    assert bench.advance(49) == []
    (ack,) = bench.advance(2)
    assert (ack.state, ack.action) == ("applied", Action.REJECT)
    assert bench.applied == [(1, Action.REJECT, "silence")]


def test_a_network_that_stops_for_a_second_applies_nothing_but_the_default(bench):
    bench.expect(1)
    bench.now += 1_000 * MS
    (ack,) = bench.command(1, age_ns=1_000 * MS)
    assert ack.state == "late"
    assert ack.action is Action.REJECT
    assert [a for _, a, _ in bench.applied] == [Action.REJECT]


def test_a_stuck_accept_with_a_fresh_looking_ttl_is_late(bench):
    bench.expect(1)
    bench.now += 30 * MS
    assert bench.command(1, age_ns=30 * MS, ttl_ns=20 * MS)[0].state == "late"


def test_an_accept_whose_freshness_lies_within_the_error_bound_is_not_applied():
    slow = Bench(hop_ns=30 * MS)  # a round trip of 60 ms: the clocks are known to 30 ms
    slow.welcome()
    slow.expect(1)
    assert slow.command(1, ttl_ns=20 * MS)[0].state == "late"
    slow.expect(2)
    assert slow.command(2, ttl_ns=45 * MS)[0].state == "applied"


@pytest.mark.parametrize("action", [Action.REJECT, Action.HOLD])
def test_a_late_reject_or_hold_is_still_obeyed(bench, action):
    bench.expect(1)
    bench.now += 45 * MS
    assert bench.command(1, action, age_ns=44 * MS, ttl_ns=1)[0].action is action


def test_a_late_hold_with_a_movement_is_not(bench):
    bench.expect(1)
    bench.now += 45 * MS
    pose = Pose("belt", 0, 0, 0, 0, 0, 0)
    assert bench.command(1, Action.HOLD, age_ns=44 * MS, ttl_ns=1, pose=pose)[0].state == "late"


def test_a_duplicate_command_is_acked_again_and_not_applied_again(bench):
    bench.expect(1)
    first, second = bench.command(1)[0], bench.command(1, Action.REJECT)[0]
    assert second.action is first.action is Action.ACCEPT
    assert second.own_part_count == 1
    assert len(bench.applied) == 1


def test_a_command_after_the_default_changes_nothing(bench):
    bench.expect(1)
    bench.advance(51)
    assert bench.command(1)[0].action is Action.REJECT
    assert len(bench.applied) == 1


def test_a_command_for_a_part_never_expected_is_refused(bench):
    assert bench.command(9)[0].state == "refused"
    assert bench.applied == []


@pytest.mark.parametrize("message", ["expect", "command", "beat", "bye"])
def test_another_session_is_dropped_and_counted(bench, message):
    bench.expect(1)
    other = {
        "expect": Expect(session=7, part=2, trigger_no=2, default=Action.REJECT, ttl_ns=1),
        "command": Command(session=7, part=1, action=Action.ACCEPT, ttl_ns=10**12, reason=""),
        "beat": Beat(session=7),
        "bye": Bye(session=7),
    }[message]
    assert bench.hear(other) == []
    assert bench.arm.dropped == 1
    assert bench.applied == []


def test_a_new_session_defaults_what_is_open_and_counts_afresh(bench):
    bench.expect(1)
    assert bench.welcome(session=43) == []
    assert bench.applied == [(1, Action.REJECT, "new_session")]
    assert bench.command(1) == []
    bench.expect(1, session=43)
    assert bench.arm.hear(
        Command(session=43, stamp_ns=bench.now, part=1, action=Action.ACCEPT, ttl_ns=40 * MS,
                reason="verdict"), bench.arm_now)[0].counts == {Action.ACCEPT: 1}  # fmt: skip


def test_a_welcome_for_somebody_else_is_dropped():
    bench = Bench()
    other = Welcome(session=1, boot="b", protocol=1, beat_ns=1, lost_ns=1, echo_stamp_ns=0,
                    echo_received_ns=0)  # fmt: skip
    assert bench.hear(other) == []
    assert bench.hear(msgspec.structs.replace(other, boot="a", protocol=2)) == []
    assert bench.arm.session == 0


def test_a_lost_beat_defaults_everything_and_nothing_older_proves_freshness(bench):
    bench.expect(1)
    bench.now += 199 * MS
    bench.expect(2)
    answers = bench.advance(200)
    assert [a.part for a in answers if isinstance(a, Ack)] == [1, 2]
    assert isinstance(answers[-1], Hello)
    assert {e["event"] for e in bench.log} >= {"lost_beat"}
    bench.expect(3)
    assert bench.command(3)[0].state == "late"
    bench.welcome()
    bench.expect(4)
    assert bench.command(4)[0].state == "applied"


def test_a_line_that_rests_at_pass_is_stopped_by_a_lost_beat():
    bench = Bench(rest="pass", line_stop=True)
    bench.welcome()
    bench.expect(1)
    bench.advance(250)
    assert "line_stop" in {e["event"] for e in bench.log}
    assert [e["active"] for e in bench.log if e["event"] == "applied"] == [True]


@pytest.mark.parametrize(("rest", "active"), [("reject", False), ("pass", True)])
def test_what_a_default_costs_the_machine_depends_on_its_rest(rest, active):
    bench = Bench(rest=rest, part_sensor=True)
    bench.welcome()
    bench.expect(1)
    bench.advance(51)
    assert [e["active"] for e in bench.log if e["event"] == "applied"] == [active]


def test_bye_defaults_and_leaves_the_session(bench):
    bench.expect(1)
    assert bench.hear(Bye(session=SESSION))[0].action is Action.REJECT
    assert bench.arm.session == 0


def test_an_expect_that_defaults_to_accept_is_taken_as_reject(bench):
    bench.hear(Expect(session=SESSION, stamp_ns=bench.now, part=1, trigger_no=1,
                      default=Action.ACCEPT, ttl_ns=50 * MS))  # fmt: skip
    bench.advance(250)
    assert [action for _, action, _ in bench.applied] == [Action.REJECT]


def test_a_refusal_is_told_once():
    bench = Bench()
    for _ in range(3):
        bench.hear(Bye(session=0, reason="protocol 1 is not spoken here"))
    assert bench.log == [{"event": "refused", "reason": "protocol 1 is not spoken here"}]


def test_clock_knowledge_does_not_outlive_its_session(bench):
    asked = bench.arm_now
    far = bench.now + 3_000 * MS  # another machine's clock
    bench.hear(
        Welcome(session=43, stamp_ns=far, boot="a", protocol=1, beat_ns=50 * MS,
                lost_ns=200 * MS, echo_stamp_ns=asked, echo_received_ns=far)
    )  # fmt: skip
    assert bench.arm._offset.estimate(bench.arm_now)[0] == pytest.approx(far - asked)


def test_hello_is_repeated_until_welcome():
    bench = Bench()
    assert isinstance(bench.advance(0)[0], Hello)
    assert bench.advance(50) == []
    assert isinstance(bench.advance(60)[0], Hello)
    bench.welcome()
    assert bench.advance(1) == []


def test_only_a_simulated_arm_takes_a_tick(bench):
    assert bench.hear(Tick(session=SESSION, now_ns=5)) == []
    assert bench.arm.dropped == 1
    assert bench.log[-1]["event"] == "tick_refused"


def test_a_flood_of_expects_stays_bounded(bench):
    for part in range(1, REMEMBERED + 10):
        bench.expect(part)
    assert len(bench.applied) == 9
    assert {cause for _, _, cause in bench.applied} == {"overflow"}


def test_an_expect_that_comes_again_changes_nothing(bench):
    (first,) = bench.expect(1)
    bench.now += 30 * MS
    later = Expect(session=SESSION, stamp_ns=bench.now, part=1, trigger_no=1, default=Action.HOLD,
                   ttl_ns=500 * MS)  # fmt: skip
    (again,) = bench.hear(later)
    assert (again.state, again.action) == (first.state, first.action) == ("armed", Action.REJECT)
    bench.advance(21)
    assert bench.applied == [(1, Action.REJECT, "silence")]
    assert bench.expect(1)[0].state == "applied"
    assert bench.advance(100) == []


def test_the_earliest_act_by_is_due_whatever_the_order_of_expects(bench):
    for part, ttl_ms in ((1, 90), (2, 30), (3, 60)):
        bench.hear(Expect(session=SESSION, stamp_ns=bench.now, part=part, trigger_no=part,
                          default=Action.REJECT, ttl_ns=ttl_ms * MS))  # fmt: skip
    assert bench.arm.due_ns(bench.arm_now) - bench.arm_now == pytest.approx(30 * MS, abs=MS)
    bench.command(2)
    assert bench.arm.due_ns(bench.arm_now) - bench.arm_now == pytest.approx(60 * MS, abs=MS)
    bench.advance(100)
    assert [part for part, _, _ in bench.applied] == [2, 3, 1]


def test_a_follower_beats_and_moves_nothing():
    bench = Bench(role="pick", sensor=True)
    bench.welcome()
    assert bench.expect(1) == bench.command(1) == bench.sense() == bench.advance(60) == []
    assert isinstance(bench.beat()[0], Beat)
    assert [e["event"] for e in bench.log] == ["session"]


def test_the_line_is_held_as_long_as_the_station_says_so(bench):
    for hold in (False, True, True, False):
        bench.hear(Beat(session=SESSION, stamp_ns=bench.now, hold=hold))
    held = [(e["event"], e["session"]) for e in bench.log if "line" in e["event"]]
    assert held == [("line_hold", SESSION), ("line_run", SESSION)]


def test_a_held_line_stays_held_through_a_lost_beat_and_a_bye(bench):
    bench.hear(Beat(session=SESSION, stamp_ns=bench.now, hold=True))
    bench.advance(300)
    bench.welcome()
    bench.hear(Bye(session=SESSION))
    assert bench.events("line_hold", "line_run") == [("line_hold", None)]


@pytest.fixture
def belt():
    bench = Bench(sensor=True, part_sensor=True, capabilities=("confirm",))
    bench.welcome()
    return bench


def test_a_part_at_the_sensor_that_nobody_has_decided_gets_its_default(belt):
    belt.expect(1)
    ack, confirm = belt.sense()
    assert (ack.state, ack.action) == ("applied", Action.REJECT)
    assert (confirm.part, confirm.left_as) == (1, Action.REJECT)
    assert belt.applied == [(1, Action.REJECT, "at_sensor")]
    assert belt.command(1)[0].action is Action.REJECT


def test_parts_pass_the_sensor_in_the_order_of_their_expects(belt):
    for part in (7, 3, 5):
        belt.expect(part)
    belt.command(7)
    belt.command(5)
    left = [belt.sense()[-1] for _ in range(3)]
    assert [(c.part, c.left_as) for c in left] == [
        (7, Action.ACCEPT), (3, Action.REJECT), (5, Action.ACCEPT)
    ]  # fmt: skip
    assert belt.events("sensed", "unexpected") == [("sensed", 7), ("sensed", 3), ("sensed", 5)]


def test_a_part_that_comes_again_by_expect_passes_the_sensor_once(belt):
    belt.expect(1)
    belt.expect(1)
    belt.command(1)
    belt.expect(1)
    belt.sense()
    assert isinstance(belt.sense()[0], Unexpected)


def test_a_part_nobody_expects_is_reported_and_not_counted(belt):
    (report,) = belt.sense()
    assert report == Unexpected(session=SESSION, seq=report.seq, stamp_ns=belt.arm_now,
                                own_part_count=1)  # fmt: skip
    assert belt.log[-1] == {"event": "unexpected", "at_ns": belt.arm_now, "own_part_count": 1}
    belt.expect(1)
    assert belt.command(1)[0].own_part_count == 1


@pytest.mark.parametrize("cut", ["before", "lost", "bye", "other"])
def test_the_sensor_holds_without_a_station(cut):
    belt = Bench(sensor=True, part_sensor=True)
    if cut != "before":
        belt.welcome()
        belt.expect(1)
        belt.expect(2)
    match cut:
        case "lost":
            belt.advance(300)
        case "bye":
            belt.hear(Bye(session=SESSION))
        case "other":
            belt.welcome(session=43)
    for _ in range(3):
        belt.sense()
    known = [] if cut == "before" else [("sensed", 1), ("sensed", 2)]
    strangers = [("unexpected", None)] * (3 - len(known))
    assert belt.events("sensed", "unexpected") == known + strangers
    assert {action for _, action, _ in belt.applied} <= {Action.REJECT}


def test_a_part_lifted_off_the_belt_does_not_shift_the_next(belt):
    belt.expect(1)
    belt.advance(51)
    for _ in range(19):  # the beat goes on
        belt.beat()
        belt.advance(50)
    assert belt.events("unseen") == []
    belt.advance(30)
    belt.beat()
    belt.expect(2)
    belt.advance(30)
    assert belt.events("unseen") == [("unseen", 1)]
    belt.command(2)
    assert belt.sense()[-1].part == 2


def test_what_waits_for_the_sensor_is_due_and_bounded(belt):
    for part in range(1, REMEMBERED + 3):
        belt.expect(part)
    assert belt.events("unseen") == [("unseen", 1), ("unseen", 2)]
    belt.advance(51)
    belt.beat()
    assert belt.arm._belt.forget_ns - belt.arm_now == pytest.approx(999 * MS, abs=MS)


def test_without_a_sensor_nothing_passes_it(bench):
    bench.expect(1)
    assert bench.sense() == []
    assert len(bench.log) == 1


def test_done_and_confirm_come_when_the_movement_ends():
    bench = Bench(move_ns=20 * MS, capabilities=("done", "confirm"))
    bench.welcome()
    bench.expect(1)
    assert len(bench.command(1)) == 1
    assert bench.arm.due_ns(bench.arm_now) == bench.arm_now + 20 * MS
    assert bench.advance(19) == []
    done, confirm = bench.advance(1)
    assert isinstance(done, Done)
    assert isinstance(confirm, Confirm)
    assert (done.part, done.ok, confirm.part, confirm.left_as) == (1, True, 1, Action.ACCEPT)
    assert bench.advance(100) == []


def test_without_a_time_to_move_confirm_follows_the_ack():
    bench = Bench(capabilities=("confirm",))
    bench.welcome()
    bench.expect(1)
    assert [type(m) for m in bench.command(1)] == [Ack, Confirm]


@pytest.mark.parametrize("end", ["session", "bye"])
def test_a_movement_of_an_ended_session_is_not_told(end):
    bench = Bench(move_ns=20 * MS, capabilities=("done",))
    bench.welcome()
    bench.expect(1)
    bench.command(1)
    bench.welcome(session=43) if end == "session" else bench.hear(Bye(session=SESSION))
    assert bench.advance(30) == []


def test_state_tells_the_pose_of_a_command_that_was_applied():
    bench = Bench(capabilities=("state",))
    bench.welcome()
    pose = Pose("belt", 1, 2, 3, 0, 0, 0)
    bench.expect(1)
    _, state = bench.command(1, pose=pose)
    assert isinstance(state, State)
    assert (state.part, state.pose) == (1, pose)
    bench.expect(2)
    assert len(bench.command(2)) == 1
    bench.expect(3)
    assert [m.state for m in bench.command(3, pose=pose, age_ns=50 * MS)] == ["late"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("expect"), st.integers(1, 6)),
        st.tuples(st.just("command"), st.integers(1, 6), st.sampled_from(list(Action)),
                  st.integers(0, 200), st.integers(0, 100)),
        st.tuples(st.just("wait"), st.integers(0, 120)),
        st.tuples(st.just("beat")),
        st.tuples(st.just("welcome"), st.integers(1, 3)),
        st.tuples(st.just("noise")),
        st.tuples(st.just("sense")),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 20))
def test_one_action_a_part_and_no_late_accept_under_any_conversation(steps, hop_ms):
    bench = Bench(hop_ns=hop_ms * MS, sensor=True, move_ns=5 * MS, capabilities=("done",))
    bench.welcome()
    for step in steps:
        match step:
            case "expect", part:
                bench.expect(part)
            case "command", part, action, age, ttl:
                bench.command(part, action, age_ns=age * MS, ttl_ns=ttl * MS)
            case "wait", ms:
                bench.advance(ms)
            case ("beat",):
                bench.beat()
            case "welcome", session:
                bench.welcome(session)
            case ("sense",):
                bench.sense()
            case ("noise",):
                bench.hear(Unexpected(session=SESSION, own_part_count=1))
    applied = [e for e in bench.log if e["event"] == "applied"]
    parts = [(e["session"], e["part"]) for e in applied]
    sessions = [e["session"] for e in bench.log if e["event"] == "session"]
    if len(set(sessions)) == len(sessions):  # a session id that comes back is a fresh count
        assert len(parts) == len(set(parts))
    for entry in applied:
        if entry["action"] in (Action.ACCEPT, Action.REWORK):
            assert entry["cause"] == "command"
            assert entry["applied_ns"] - SKEW <= entry["act_by_ns"]
