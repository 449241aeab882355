"""`edge model golden`: an option that would change nothing is refused."""

from __future__ import annotations

import pytest

from edge.__main__ import main


def test_data_for_a_golden_set_that_is_drawn_is_refused_in_one_line(capsys, monkeypatch):
    pytest.importorskip("onnx", reason="building needs onnx")
    monkeypatch.setattr("sys.argv", ["edge", "model", "golden", "deeppcb", "--data", "/nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "--data /nowhere: deeppcb draws its golden set" in told.err
    assert not told.out
