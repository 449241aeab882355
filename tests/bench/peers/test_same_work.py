"""The bare session and ONNX Runtime's own loop see the same frames and give the same scores."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from bench.peers.roster import ROSTER, SCRIPTS, Work
from bench.peers.turn import taken
from models import package
from sensors.synthetic import PartGenerator


@pytest.mark.parametrize("variant", ["default", "threads=2"])
def test_scores_are_the_same_bit_for_bit(tmp_path, variant):
    model = package.find("synthetic-part").path
    parts = PartGenerator(7)
    images = np.stack([parts.part(index).image for index in range(1, 6)])
    np.savez(tmp_path / "frames.npz", image=images)
    work = Work(model, tmp_path / "frames.npz", 3, tmp_path, lambda line: None)
    limit = ROSTER[0].take("bare", "session.run", work)
    command = (str(SCRIPTS / "run_onnxruntime.py"), variant, str(model), str(work.frames), "3")
    peer = taken([sys.executable, "-P", *command], tmp_path)
    assert len(limit.samples_ms) == len(peer.samples_ms) == 3
    assert len(set(limit.scores)) > 1
    assert peer.scores == limit.scores
    assert peer.versions == limit.versions
