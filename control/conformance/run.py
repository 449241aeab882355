"""Play the station against anyone's controller, and say which rules of docs/wire.md it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import zmq

from control.conformance import extras, parts, sessions
from control.conformance.judge import BrokenRuleError, Rule, SkippedRuleError
from control.conformance.station import GoneError, PlayedStation
from control.wire import Hello, Rest
from edge.core.errors import ConfigError, WireError

Outcome = Literal["passed", "failed", "skipped"]

RULES: tuple[Rule, ...] = (
    sessions.hello_until_welcomed,
    sessions.rest_at_pass_needs_sensor_or_stop,
    # Now, while nothing has been expected that the part could be taken for.
    extras.unexpected_part_is_reported,
    extras.confirm_follows,
    sessions.another_protocol_is_not_entered,
    sessions.another_boot_is_not_entered,
    parts.expect_is_armed,
    parts.fresh_accept_is_applied,
    parts.silence_is_the_default,
    parts.default_is_final,
    parts.default_accept_is_taken_as_reject,
    parts.late_accept_is_refused,
    parts.act_by_holds_too,
    parts.unproven_accept_is_refused,
    parts.error_bound_counts,
    parts.fresh_rework_is_applied,
    parts.late_rework_is_refused,
    parts.fresh_pose_is_obeyed,
    parts.late_pose_is_refused,
    parts.late_reject_and_hold_are_safe,
    parts.repeated_command_is_acked_again,
    parts.second_command_changes_nothing,
    parts.repeated_expect_is_harmless,
    parts.part_never_expected_is_refused,
    parts.another_session_is_dropped,
    sessions.beat_is_answered,
    sessions.lost_beat_is_the_default,
    sessions.lost_beat_proves_nothing,
    sessions.bye_is_the_default,
    sessions.new_session_counts_from_zero,
    sessions.counts_add_up,
    sessions.unknown_fields_are_ignored,
    sessions.tick_is_refused,
    extras.done_follows,
    extras.state_follows,
    sessions.garbage_is_survived,  # last: who does not survive it has been judged
)


class Controller(msgspec.Struct, frozen=True):
    """Whom the rules were tried on, by its own Hello."""

    boot: str
    role: str
    rest: Rest
    part_sensor: bool
    line_stop: bool
    capabilities: tuple[str, ...]


class RuleResult(msgspec.Struct, frozen=True):
    """One rule: how it went, what there is to say of it, and what was done to find out."""

    name: str
    outcome: Outcome
    detail: str
    sent: str


class ConformanceReport(msgspec.Struct, frozen=True):
    """passed: no rule failed, and the controller was there to the end."""

    address: str
    controller: Controller
    rules: tuple[RuleResult, ...]
    passed: bool


def conformance(
    bind: str,
    *,
    wait_s: float = 30.0,
    say: Callable[[str], None],
    secure: Callable[[zmq.Socket[bytes]], None] | None = None,
    only: Sequence[str] | None = None,
) -> ConformanceReport:
    """Wait at `bind` for a controller of the role disposition and try the rules on it.

    say: the address first, then a line a rule, and what a person must do at the part sensor.
    secure: called with the socket before it binds. only: the names of the rules to try.
    WireError where the address cannot be used, nobody came, or it keeps no clock of its own.
    """
    rules = _chosen(only)
    station = PlayedStation(bind, say, secure)
    try:
        say(f"listening on {station.address}")
        controller = _met(station, wait_s)
        results: list[RuleResult] = []
        for rule in rules:
            failed = any(result.outcome == "failed" for result in results)
            results.append(result := _judged(rule, station, failed=failed))
            say(f"{result.outcome:7} {result.name}" + (f": {result.detail}" * bool(result.detail)))
    finally:
        station.close()
    passed = all(result.outcome != "failed" for result in results)
    return ConformanceReport(station.address, controller, tuple(results), passed)


def _chosen(only: Sequence[str] | None) -> tuple[Rule, ...]:
    names = [rule.__name__ for rule in RULES]
    for name in only or ():
        if name not in names:
            raise ConfigError(f"no rule {name}; allowed: {', '.join(names)}")
    return tuple(rule for rule in RULES if only is None or rule.__name__ in only)


def _met(station: PlayedStation, wait_s: float) -> Controller:
    if not station.wait(station.hellos, wait_s * 1000) or station.hello is None:
        roles = ", ".join(sorted(station.others))
        came = f"; there came {roles}, but no disposition" if roles else ""
        noise = f"; there came, unreadable: {station.unreadable}" if station.unreadable else ""
        raise WireError(
            f"no controller said Hello to {station.address} within {wait_s:g} s{came}{noise}"
        )
    hello = station.hello
    if hello.simulated:
        raise WireError(f"controller {hello.boot} is simulated: it has no clock to be judged by")
    return _controller(hello)


def _controller(hello: Hello) -> Controller:
    return Controller(
        boot=hello.boot,
        role=hello.role,
        rest=hello.rest,
        part_sensor=hello.part_sensor,
        line_stop=hello.line_stop,
        capabilities=hello.capabilities,
    )


def _judged(rule: Rule, station: PlayedStation, *, failed: bool) -> RuleResult:
    """One rule tried. failed: one has before, so that a controller that is gone fails no more."""
    outcome: Outcome = "passed"
    boots, station.unreadable = len(station.boots), ""
    try:
        detail = rule(station)
    except SkippedRuleError as why:
        outcome, detail = "skipped", str(why)
    except BrokenRuleError as what:
        outcome, detail = "failed", str(what)
    except GoneError as gone:
        outcome, detail = "skipped" if failed else "failed", f"the controller is gone: {gone}"
    if len(station.boots) > boots:
        outcome, detail = "failed", f"it started again, or another came: {station.boots[-1]}"
    elif outcome == "passed" and station.unreadable:
        outcome, detail = "failed", f"it sent what cannot be read: {station.unreadable}"
    return RuleResult(rule.__name__, outcome, detail, (rule.__doc__ or "").strip())
