"""Who may judge on a box, and who first: with recorded boxes and trials, and once for real."""

from __future__ import annotations

import msgspec
import pytest

from edge.core.errors import EngineError
from models import package
from models.choose import Choice, chosen, engines, prepared
from models.found import Found
from models.rated import FULL_RUNS, Rated

BUDGET_MS = 10.0
BOTH = Found(
    onnxruntime=("OpenVINOExecutionProvider", "CPUExecutionProvider"), flavour="recorded 1"
)
BARE = Found(onnxruntime=("CPUExecutionProvider",), flavour="recorded 1")


class Box:
    """A recorded box: what a trial of each provider comes to, and which trials were made."""

    def __init__(self, tmp_path, found=BOTH, **figures):
        """figures: a provider's p99 in ms, or a refusal."""
        self.figures, self.found, self.folder = figures, found, str(tmp_path / "cache")
        self.trials, self.told = [], []

    def tryout(self, model, provider, threads, *, runs, cache, **how):
        self.trials.append((provider, "built" if not runs else how.get("thorough")))
        if cache:
            (cache / "blob").write_text("x")
        figure = self.figures[provider]
        if isinstance(figure, Rated):
            return msgspec.structs.replace(figure, provider=provider)
        rated = Rated(provider=provider, threads=threads, max_score_delta=0.0, flips=0)
        if not runs:
            return rated
        return msgspec.structs.replace(
            rated, runs=FULL_RUNS, p50_ms=figure / 2, p99_ms=figure, p99_upper_ms=figure * 1.1
        )

    def choose(self, model, asked, *, budget_ms=BUDGET_MS, threads=2, **how) -> Choice:
        self.trials.clear()
        return chosen(
            model, asked, threads, budget_ms,
            tell=self.told.append, folder=self.folder, found=self.found, tryout=self.tryout, **how,
        )  # fmt: skip


@pytest.fixture
def model(tiny_package):
    return package.load(tiny_package)


def names(choice):
    return [rated.provider for rated in choice.chain]


@pytest.mark.parametrize(
    ("cpu", "openvino", "order"),
    [(5.0, 3.0, ["openvino", "cpu"]), (3.0, 5.0, ["cpu", "openvino"]), (3.0, 50.0, ["cpu"])],
)
def test_auto_serves_with_the_shortest_tail_and_admits_what_is_within_the_budget(
    tmp_path, model, cpu, openvino, order
):
    box = Box(tmp_path, cpu=cpu, openvino=openvino)
    choice = box.choose(model, "auto")
    assert names(choice) == order
    assert box.trials == [("cpu", True), ("openvino", True)]
    assert choice.measured == ("cpu", "openvino")
    assert set(choice.refused) == {"cuda", "tensorrt", "cpu", "openvino"} - set(order)
    if "openvino" in choice.refused:
        assert "p99 50.00 ms in 5000 runs" in choice.refused["openvino"]


def test_a_chain_keeps_its_order_and_loses_who_is_not_admitted(tmp_path, model):
    box = Box(tmp_path, cpu=3.0, openvino=5.0)
    assert names(box.choose(model, ("openvino", "cpu"))) == ["openvino", "cpu"]
    assert box.trials == [("openvino", False), ("cpu", False)]
    choice = box.choose(model, ("tensorrt", "cpu"))
    assert names(choice) == ["cpu"]
    assert "not in this installation" in choice.refused["tensorrt"]
    assert names(box.choose(model, ["cpu"])) == ["cpu"]


def test_an_answer_is_kept_until_something_changes(tmp_path, model):
    box = Box(tmp_path, cpu=5.0, openvino=3.0)
    first = box.choose(model, "auto")
    again = box.choose(model, "auto")
    assert box.trials == []
    assert (names(again), again.measured) == (names(first), ())
    for changed in (
        lambda: box.choose(model, "auto", threads=1),
        lambda: box.choose(msgspec.structs.replace(model, content_sha256="1" * 64), "auto"),
        lambda: box.choose(model, "auto", measure="always"),
    ):
        changed()
        assert len(box.trials) == 2
    box.found = msgspec.structs.replace(BOTH, flavour="recorded 2")
    box.choose(model, "auto")
    assert len(box.trials) == 2


def test_a_damaged_answer_is_counted_and_measured_again(tmp_path, model):
    box = Box(tmp_path, cpu=5.0, openvino=3.0)
    box.choose(model, "auto")
    for path in (tmp_path / "cache" / "measured").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    choice = box.choose(model, "auto")
    assert (choice.damaged, len(box.trials)) == (2, 2)
    assert "measured again" in box.told[-1]


def test_a_long_tail_is_believed_only_while_another_provider_is_admitted(tmp_path, model):
    box = Box(tmp_path, cpu=50.0, openvino=3.0)
    box.choose(model, "auto")
    box.choose(model, "auto")
    assert box.trials == []  # one is enough to serve
    slow = Box(tmp_path / "slow", cpu=50.0, openvino=60.0)
    with pytest.raises(EngineError, match=r"no provider may judge with tiny: .*cpu: p99 50\.00"):
        slow.choose(model, "auto")
    slow.figures["cpu"] = 2.0  # it was a bad minute
    assert names(slow.choose(model, "auto")) == ["cpu"]
    assert ("cpu", True) in slow.trials


def test_an_answer_to_a_wider_budget_is_measured_anew_for_a_narrower_one(tmp_path, model):
    early = Rated(
        provider="", runs=500, p50_ms=2.0, p99_ms=4.0, p99_upper_ms=9.0, max_score_delta=0.0
    )
    box = Box(tmp_path, cpu=early)
    box.choose(model, ["cpu"], budget_ms=20.0)
    assert names(box.choose(model, ["cpu"], budget_ms=9.5)) == ["cpu"]
    assert box.trials == []
    box.figures["cpu"] = 4.0  # with more runs its bound comes to 4.4
    assert names(box.choose(model, ["cpu"], budget_ms=5.0)) == ["cpu"]
    assert box.trials == [("cpu", False)]


def test_who_misjudges_is_refused_and_remembered_who_crashed_is_tried_again(tmp_path, model):
    wrong = Rated(provider="", max_score_delta=0.5, flips=3, refusal="3 of 64 verdicts flipped")
    died = Rated(provider="", refusal="its trial ended by signal 11")
    for figure, tried_again in ((wrong, []), (died, [("openvino", True)])):
        box = Box(tmp_path / str(figure.flips), cpu=5.0, openvino=figure)
        assert box.choose(model, "auto").refused["openvino"] == figure.refusal
        assert box.choose(model, "auto").refused["openvino"] == figure.refusal
        assert box.trials == tried_again


def test_one_name_is_not_timed_unless_that_is_asked_for(tmp_path, model):
    box = Box(tmp_path, cpu=50.0, openvino=50.0)
    assert names(box.choose(model, "cpu")) == ["cpu"]
    assert box.trials == []
    assert names(box.choose(model, "openvino")) == ["openvino"]
    assert box.trials == [("openvino", "built")]  # before Ready, and not in the first inference
    box.choose(model, "openvino")
    assert box.trials == []
    for blob in (tmp_path / "cache").glob("built/*/*/*/blob"):
        blob.unlink()
    box.choose(model, "openvino")
    assert box.trials == [("openvino", "built")]
    with pytest.raises(EngineError, match=r"^provider cpu: p99 50\.00 ms"):
        box.choose(model, "cpu", measure="always")


def test_never_admits_a_chain_by_what_is_installed(tmp_path, model):
    box = Box(tmp_path, cpu=50.0, openvino=50.0)
    choice = box.choose(model, ("tensorrt", "openvino", "cpu"), measure="never")
    assert names(choice) == ["openvino", "cpu"]
    assert {how for _, how in box.trials} == {"built"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            "openvino",
            "^provider openvino: not in this installation .*extra `openvino` .*; available: cpu$",
        ),
        (("cuda", "tensorrt"), "^no provider may judge with tiny: cuda: not in .*; tensorrt: not"),
        ("abacus", r"^provider abacus: unknown; allowed: cpu \| openvino \| cuda"),
        (("cpu", "abacus"), "^provider abacus: unknown"),
    ],
)
def test_a_provider_that_cannot_be_is_a_refusal(tmp_path, model, asked, words):
    with pytest.raises(EngineError, match=words):
        Box(tmp_path, BARE, cpu=1.0).choose(model, asked)


def test_preparing_builds_once_and_says_why_it_cannot(tmp_path, model):
    box = Box(tmp_path, cpu=5.0, openvino=5.0)
    how = {
        "tell": box.told.append, "folder": box.folder, "found": BOTH, "tryout": box.tryout,
    }  # fmt: skip
    for again, trials in ((False, 1), (False, 1), (True, 2)):
        assert prepared(model, "openvino", 2, again=again, **how).flips == 0
        assert len(box.trials) == trials
    assert box.choose(model, "openvino").measured == ()
    folder = engines(model, "openvino", 2, folder=box.folder, found=BOTH)
    assert (folder / "blob").exists()
    assert engines(model, "cpu", 2, folder=box.folder, found=BOTH) is None
    with pytest.raises(EngineError, match=r"^provider tensorrt: not in this"):
        prepared(model, "tensorrt", 2, **how)


def test_on_this_box_with_a_shipped_package(tmp_path):
    """Real trials; OpenVINO too where it is installed."""
    shipped, told = package.find("synthetic-part"), []
    choice = chosen(shipped, "auto", 1, 1000.0, tell=told.append, folder=str(tmp_path))
    assert "cpu" in names(choice)
    for rated in choice.chain:
        assert rated.flips == 0
        assert rated.runs >= 500
        assert rated.p50_ms <= rated.p99_ms <= rated.p99_upper_ms
    assert [rated.p99_ms for rated in choice.chain] == sorted(r.p99_ms for r in choice.chain)
    again = chosen(shipped, "auto", 1, 1000.0, tell=told.append, folder=str(tmp_path))
    assert again.chain == choice.chain
    assert again.measured == ()
