"""`edge conformance` against the reference arm, which passes, and against arms that must not."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import zmq

from control.conformance import extras
from control.conformance.run import RULES, ConformanceReport, conformance
from control.wire import Hello, encode
from edge.core.errors import ConfigError, WireError

ANY_PORT = "tcp://127.0.0.1:*"
ARMS = Path(__file__).with_name("wrong_arms.py")
USUAL = "fresh_accept_is_applied"  # what almost every wrong arm does right


class Bench:
    """A wrong arm that connects as soon as the station listens, and the hand at its sensor."""

    def __init__(self, wrong: str, fifo: Path | None = None) -> None:
        self._command = [sys.executable, str(ARMS), wrong]
        self._fifo, self._arm = fifo, None
        self.said: list[str] = []
        if fifo:
            os.mkfifo(fifo)

    def say(self, line: str) -> None:
        self.said.append(line)
        if line.startswith("listening on "):
            sensor = [str(self._fifo)] if self._fifo else []
            self._arm = subprocess.Popen([*self._command, line.split()[-1], *sensor])
        if "let one part pass the sensor" in line:
            with self._fifo.open("w") as sensor:
                sensor.write("\n")

    def play(self, *only: str) -> ConformanceReport:
        try:
            return conformance(ANY_PORT, wait_s=15, say=self.say, only=only or None)
        finally:
            if self._arm:
                self._arm.terminate()
                self._arm.wait(10)


def outcomes(report: ConformanceReport, outcome: str) -> set[str]:
    return {rule.name for rule in report.rules if rule.outcome == outcome}


def test_the_reference_arm_with_a_sensor_keeps_every_rule(tmp_path):
    bench = Bench("right", tmp_path / "sensor")
    report = bench.play()
    assert outcomes(report, "passed") == {rule.__name__ for rule in RULES}, bench.said
    assert report.passed
    assert report.controller.part_sensor
    assert set(report.controller.capabilities) == {"rework", "pose", "done", "confirm", "state"}
    assert bench.said[0] == f"listening on {report.address}"
    assert all(rule.sent for rule in report.rules)
    assert msgspec.json.decode(msgspec.json.encode(report), type=ConformanceReport) == report


def test_what_an_arm_does_not_have_is_skipped():
    rules = {"unexpected_part_is_reported", "confirm_follows", "done_follows", "state_follows"}
    report = Bench("right").play(*rules, USUAL)
    assert outcomes(report, "skipped") == rules
    assert outcomes(report, "passed") == {USUAL}
    assert report.passed


WRONG = {
    "accepts_late": {"late_accept_is_refused", "late_rework_is_refused", "late_pose_is_refused"},
    "accepts_unproven": {"error_bound_counts"},
    "trusts_its_clock": {"unproven_accept_is_refused"},
    "ignores_act_by": {"act_by_holds_too"},
    "accepts_on_silence": {"silence_is_the_default"},
    "accepts_by_default": {"default_accept_is_taken_as_reject"},
    "reworks_late": {"late_rework_is_refused", "late_pose_is_refused"},
    "applies_twice": {"repeated_command_is_acked_again", "second_command_changes_nothing"},
    "arms_again": {"repeated_expect_is_harmless"},
    "obeys_unexpected_parts": {"part_never_expected_is_refused"},
    "enters_other_session": {"another_session_is_dropped"},
    "speaks_protocol_2": {"another_protocol_is_not_entered", "another_boot_is_not_entered"},
    "hello_of_a_session": {"hello_until_welcomed"},
    "answers_no_beats": {"beat_is_answered"},
    "ignores_lost_beat": {"lost_beat_is_the_default"},
    "remembers_the_clock": {"lost_beat_proves_nothing"},
    "ignores_bye": {"bye_is_the_default"},
    "counts_on": {"new_session_counts_from_zero"},
    "miscounts": {"counts_add_up"},
    "believes_ticks": {"tick_is_refused"},
    "deaf": {"expect_is_armed", USUAL},
}
WRONG_AT_THE_SENSOR = {
    "never_reports_unexpected": {"unexpected_part_is_reported"},
    "confirms_a_reject": {"confirm_follows"},
    "never_done": {"done_follows"},
}
SENSOR_RULES = ("unexpected_part_is_reported", "confirm_follows", "done_follows")


@pytest.fixture(scope="module")
def wrong_reports():
    """Each wrong arm tried on its own rules and the usual one; they mostly wait, so together."""
    with ThreadPoolExecutor(4) as pool:
        tried = {
            wrong: pool.submit(Bench(wrong).play, *rules, USUAL) for wrong, rules in WRONG.items()
        }
        yield tried


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_arm_fails_its_rule_and_no_other(wrong_reports, wrong):
    report = wrong_reports[wrong].result()
    assert outcomes(report, "failed") == WRONG[wrong], report.rules
    assert not report.passed


@pytest.mark.parametrize("wrong", WRONG_AT_THE_SENSOR)
def test_an_arm_that_is_wrong_at_the_sensor_fails_its_rule_and_no_other(
    wrong, tmp_path, monkeypatch
):
    monkeypatch.setattr(extras, "PERSON_MS", 1000)
    report = Bench(wrong, tmp_path / "sensor").play(*SENSOR_RULES)
    assert outcomes(report, "failed") == WRONG_AT_THE_SENSOR[wrong], report.rules


def test_a_controller_that_is_gone_fails_what_killed_it_and_skips_the_rest(monkeypatch):
    monkeypatch.setattr("control.conformance.station.GONE_MS", 300)
    monkeypatch.setattr("control.conformance.run.RULES", (*RULES[::-1],))  # garbage first
    report = Bench("dies_on_garbage").play("garbage_is_survived", "counts_add_up")
    assert [rule.outcome for rule in report.rules] == ["failed", "skipped"]
    assert "the controller is gone" in report.rules[1].detail


def test_nobody_came_is_one_line_that_names_the_address_and_the_time():
    with pytest.raises(WireError, match=r"no controller .* tcp://127.0.0.1:\d+ within 0.05 s"):
        conformance(ANY_PORT, wait_s=0.05, say=lambda line: None)


def test_only_others_came_is_said():
    with zmq.Context() as context, context.socket(zmq.DEALER) as other:
        other.linger = 0

        def say(line: str) -> None:
            other.connect(line.split()[-1])
            other.send(encode(Hello(protocol=1, boot="f", role="feeder")))
            other.send(b"\xc1")

        with pytest.raises(WireError, match=r"feeder, but no disposition.*unreadable"):
            conformance(ANY_PORT, wait_s=1, say=say)


def test_a_simulated_arm_is_not_judged():
    with zmq.Context() as context, context.socket(zmq.DEALER) as other:
        other.linger = 0

        def say(line: str) -> None:
            other.connect(line.split()[-1])
            other.send(encode(Hello(protocol=1, boot="s", simulated=True)))

        with pytest.raises(WireError, match="controller s is simulated"):
            conformance(ANY_PORT, wait_s=5, say=say)


def test_an_unknown_rule_or_address_is_one_line():
    with pytest.raises(ConfigError, match="no rule nonsense; allowed: hello_until_welcomed"):
        conformance(ANY_PORT, say=print, only=["nonsense"])
    with pytest.raises(WireError, match="--bind nonsense"):
        conformance("nonsense", say=print)
