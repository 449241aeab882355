"""What is said of the box, against the box."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess

import msgspec
import pytest

from bench.latency.box import host
from bench.latency.result import Host
from edge.core.errors import EngineError


def test_the_box_and_its_noise_floor():
    found = host.probe(0.2)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Host) == found
    assert found.cpu
    assert found.kernel == os.uname().release
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory_gib > 0
    assert found.governor
    assert 0 < found.timer_jitter_p50_ms <= found.timer_jitter_p99_ms
    assert 0 < found.ipc_rtt_p50_ms <= found.ipc_rtt_p99_ms
    assert found.libraries["numpy"] == importlib.metadata.version("numpy")
    assert {"python", "pyzmq", "msgspec"} <= set(found.libraries)
    assert any(name.startswith("onnxruntime") for name in found.libraries)  # one of its flavours


def test_fewer_processors_are_fewer_cores():
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert host.probe(0.01).cores == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_machine_has_an_id_of_its_own_that_does_not_name_it(monkeypatch):
    facts = {"/etc/machine-id": "0123456789abcdef0123456789abcdef"}
    monkeypatch.setattr(host, "fact", lambda path: facts.get(str(path), ""))
    first = host._machine("a processor")
    assert re.fullmatch("[0-9a-f]{12}", first)
    assert first == host._machine("a processor")
    assert first != host._machine("another processor")
    assert first not in facts["/etc/machine-id"]
    facts["/etc/machine-id"] = "f" * 32
    assert host._machine("a processor") != first


@pytest.mark.parametrize(
    ("facts", "guest", "name"),
    [
        ({}, False, ""),
        ({}, True, "unnamed"),
        ({str(host._CLOCKS): "tsc kvm-clock acpi_pm"}, True, "kvm"),
        ({str(host._CLOCKS): "tsc hpet acpi_pm"}, False, ""),
        ({"/sys/class/dmi/id/sys_vendor": "Example Inc."}, True, "Example Inc."),
        ({"/sys/class/dmi/id/sys_vendor": "Example Inc."}, False, ""),
    ],
)
def test_the_hypervisor_by_what_it_offers(monkeypatch, facts, guest, name):
    monkeypatch.setattr(host, "fact", lambda path: facts.get(str(path), ""))
    assert host._virtual(guest) == name


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_commit_of_a_checkout_says_whether_the_product_was_altered(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True)

    assert host.commit(tmp_path) == ""
    source = tmp_path / "edge" / "loop.py"
    source.parent.mkdir()
    source.write_text("one\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    clean = host.commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{4,}", clean)
    (tmp_path / "result.json").write_text("{}")  # a run's own result is no part of the product
    assert host.commit(tmp_path) == clean
    source.write_text("two\n")
    assert host.commit(tmp_path) == clean + "+"
    assert host.commit(source.parent) == ""  # installed within somebody else's checkout


def test_a_hop_without_another_end_is_one_line(monkeypatch):
    monkeypatch.setattr(host, "python_module", lambda *_: ["true"])
    with pytest.raises(EngineError, match="did not start"):
        host.noise_floor(0.01)
