"""Registration: known moves come back, failures are told, and a reader applies it to every part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edge.core.errors import FootageError
from edge.core.pool import FramePool
from edge.core.types import ALIGN_SIDE_PX, Fault, ViewSpec
from edge.historian.footage import FootageWriter
from models.build.boards import board, taken
from sensors.align import Aligner, References, UnplacedError, registered
from sensors.footage import open_footage
from sensors.grabber import UnreadError
from sensors.mcap import open_recording
from sensors.synthetic import PartGenerator
from sensors.synthetic_camera import SyntheticRows
from tests.sensors.test_mcap import a_part, a_session

NEAR_PX = 0.3
SIZE = (256, 256)
PICTURE = ViewSpec("image", "picture", "uint8", SIZE)
ALIGNED = ViewSpec("golden", "reference", "uint8", SIZE, align="affine")
PLAIN = ViewSpec("golden", "reference", "uint8", SIZE)


def a_board(seed: int = 1, size: tuple[int, int] = SIZE) -> tuple[Any, Any]:
    """A board's reference, and the same with a short between two traces."""
    for more in range(100):
        rng = np.random.default_rng(1000 * seed + more)
        made = board(rng, size, "short")
        if made is not None:
            reference, _, _ = made
            flawed = reference.copy()
            y, x = (side // 2 for side in size)
            cv2.circle(flawed, (x, y), 12, 255 - int(reference[y, x]), -1)
            return reference, flawed
    raise AssertionError("no board has room for a short")


def a_move(
    shift: tuple[float, float] = (0, 0),
    turn_deg: float = 0,
    scale: float = 1,
    size: tuple[int, int] = SIZE,
) -> Any:
    """About the centre, from reference to picture."""
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    turn = np.deg2rad(turn_deg)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, centre - linear @ centre + shift])


def photographed(design: Any, move: Any, *, noise: float = 3, light: float = 12) -> Any:
    slope = np.array([light, -light])
    clean = taken(design, move.astype(np.float32), (50, 180), slope, 1.0)
    noisy = clean + np.random.default_rng(5).normal(0, noise, clean.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def error_px(found: Any, move: Any, size: tuple[int, int]) -> float:
    """RMS over the corners and the centre."""
    bottom, right = size[0] - 1, size[1] - 1
    points = np.array([[0, right, 0, right, right / 2], [0, 0, bottom, bottom, bottom / 2]])
    apart = np.array(found.matrix).reshape(2, 3) - move
    return float(np.sqrt(((apart[:, :2] @ points + apart[:, 2:]) ** 2).sum(0).mean()))


# ---- what comes back ----


@pytest.mark.parametrize("flawed", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(
    ("shift", "turn_deg", "scale"),
    [
        ((0, 0), 0, 1),
        ((4, -4), 0, 1),
        ((0, 0), 0.5, 1),
        ((0, 0), 0, 0.995),
        ((-3.7, 2.2), -0.5, 1.005),
        ((4, 4), 0.5, 1.005),
    ],
)
def test_a_known_move_comes_back(shift, turn_deg, scale, inverted, flawed):
    reference, spoiled = a_board()
    move = a_move(shift, turn_deg, scale)
    design = spoiled if flawed else reference
    picture = photographed(np.bitwise_not(design) if inverted else design, move)
    out = np.zeros_like(reference)
    found = registered(reference, picture, out)
    assert found.ok, found.why
    assert error_px(found, move, SIZE) < NEAR_PX
    assert (found.correlation < 0) == inverted
    assert abs(found.correlation) > 0.9
    # What is written fits the picture: black and white lie where they are seen.
    seen = (picture > 115) != inverted
    inside = (slice(10, -10),) * 2  # the border is the reference's own, repeated
    apart = (seen != (out > 127))[inside].mean()
    assert apart < (0.025 if flawed else 0.01)


@pytest.mark.parametrize("size", [(128, 128), (300, 401), (513, 257), (700, 1100)])
def test_sizes(size):
    reference, _ = a_board(2, size)
    move = a_move((3, -2), 0.4, 0.997, size)
    out = np.zeros_like(reference)
    found = registered(reference, photographed(reference, move), out)
    assert found.ok, found.why
    assert error_px(found, move, size) < NEAR_PX


def test_a_large_defect_does_not_pull():
    reference, _ = a_board()
    move = a_move((3, -2), 0.3)
    picture = photographed(reference, move)
    picture[100:160, 100:160] = 180
    found = registered(reference, picture, np.zeros(SIZE, np.uint8))
    assert found.ok, found.why
    assert error_px(found, move, SIZE) < NEAR_PX


def test_a_blank_reference_is_right_where_it_is():
    blank = np.full(SIZE, 255, np.uint8)
    speck = blank.copy()
    speck[100:112, 60:75] = 0
    for design in (blank, speck):  # a flaw on bare board
        out = np.zeros(SIZE, np.uint8)
        found = registered(blank, photographed(design, a_move((2, 1))), out)
        assert (found.ok, found.matrix) == (True, (1, 0, 0, 0, 1, 0))
        assert (out == blank).all()


def test_what_no_edge_holds_stays_where_it_was():
    traces = np.zeros(SIZE, np.uint8)
    traces[:, 40::50] = 255
    traces = cv2.dilate(traces, np.ones((1, 12), np.uint8))
    move = a_move((3, 4))
    found = registered(traces, photographed(traces, move), np.zeros(SIZE, np.uint8))
    assert found.ok, found.why
    shift = np.array(found.matrix).reshape(2, 3) @ (127.5, 127.5, 1) - 127.5
    assert abs(shift[0] - 3) < 0.1
    assert abs(shift[1]) < 1  # nobody can tell
    assert found.loose_px > 2


# ---- what is refused ----


def unrelated(reference: Any) -> Any:
    return photographed(a_board(9)[0], a_move())


def turned(reference: Any) -> Any:
    return photographed(reference, a_move(turn_deg=8))


def black(reference: Any) -> Any:
    return np.zeros(SIZE, np.uint8)


def uniform(reference: Any) -> Any:
    return np.random.default_rng(1).normal(120, 3, SIZE).astype(np.uint8)


def noise(reference: Any) -> Any:
    return np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)


def faint(reference: Any) -> Any:
    return np.where(reference > 127, 104, 98).astype(np.uint8)


UNFIT = (unrelated, turned, black, uniform, noise, faint)


@pytest.mark.parametrize("spoil", UNFIT)
def test_a_failure_is_told(spoil):
    reference, _ = a_board()
    found = registered(reference, spoil(reference), np.zeros(SIZE, np.uint8))
    assert not found.ok
    assert found.why
    views = (PICTURE, ALIGNED)
    with pytest.raises(UnplacedError, match=r"golden cannot be registered with image: ."):
        References(views).place({"image": spoil(reference), "golden": reference.copy()})


def test_a_blank_reference_beside_a_busy_picture_is_refused():
    found = registered(np.full(SIZE, 255, np.uint8), unrelated(None), np.zeros(SIZE, np.uint8))
    assert not found.ok
    assert "blank" in found.why


def test_what_takes_no_registration_is_an_error():
    gray, out = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    for wrong in (np.zeros((*SIZE, 3), np.uint8), np.zeros((256, 255), np.uint8), gray / 2):
        with pytest.raises(ValueError, match="uint8"):
            registered(gray, wrong, out)
    with pytest.raises(ValueError, match="themselves"):
        registered(gray, out, out)
    for shape in ((*SIZE, 3), (ALIGN_SIDE_PX - 1, 256)):
        with pytest.raises(ValueError, match="at least 128"):
            Aligner(shape)


# ---- the same bytes, in the place that was given ----


def test_the_same_bytes_give_the_same_bytes():
    reference, _ = a_board()
    picture = photographed(reference, a_move((2.5, -1.2), 0.3))
    other = photographed(a_board(3)[0], a_move((-3, 1)))
    outs = [np.zeros(SIZE, np.uint8) for _ in range(3)]
    used = Aligner(SIZE)
    used.registered(a_board(3)[0], other, outs[0])  # leaves nothing behind
    threads = cv2.getNumThreads()
    found = [used.registered(reference, picture, outs[0])]
    try:
        cv2.setNumThreads(2)
        found += [registered(reference, picture, out) for out in outs[1:]]
    finally:
        cv2.setNumThreads(threads)
    assert found[0] == found[1] == found[2]
    assert (outs[0] == outs[1]).all()
    assert (outs[1] == outs[2]).all()


def test_it_is_written_where_it_was_asked_for():
    reference, _ = a_board()
    picture, wanted = photographed(reference, a_move((3, 2))), np.zeros(SIZE, np.uint8)
    assert registered(reference, picture, wanted).ok
    pool = FramePool.create((PICTURE, ALIGNED), 2)
    slot, _ = pool.lease(1)
    views = pool.arrays(slot)
    views["image"][:] = picture
    assert registered(reference, views["image"], views["golden"]).ok
    assert (pool.arrays(slot)["golden"] == wanted).all()
    assert (views["image"] == picture).all()
    pool.close()
    wide = np.full((256, 600), 7, np.uint8)  # rows that do not follow one another
    assert registered(reference, picture, wide[:, 100:356]).ok
    assert (wide[:, 100:356] == wanted).all()
    assert (wide[:, :100] == 7).all()
    assert (wide[:, 356:] == 7).all()


def test_each_part_moves_the_pristine_reference():
    reference, _ = a_board()
    references = References((PICTURE, ALIGNED))
    for place in range(3):
        picture = photographed(reference, a_move((place, -place), 0.2 * place))
        arrays = {"image": picture, "golden": reference.copy()}
        assert references.place(arrays) > 0
        once = np.zeros(SIZE, np.uint8)
        registered(reference, picture, once)
        assert (arrays["golden"] == once).all()


# ---- where parts are read ----


def a_folder(folder: Path) -> Path:
    """Three parts: good, moved, beside another board's reference."""
    reference, flawed = a_board()
    cv2.imwrite(str(folder / "reference.png"), reference)
    cv2.imwrite(str(folder / "other.png"), a_board(9)[0])
    cv2.imwrite(str(folder / "0.png"), photographed(reference, a_move((3, 2), 0.3)))
    cv2.imwrite(str(folder / "1.png"), photographed(flawed, a_move((-4, 1), -0.4)))
    cv2.imwrite(str(folder / "2.png"), photographed(reference, a_move()))
    (folder / "footage.csv").write_text(
        "path,label,reference_path\n0.png,good,reference.png\n1.png,defect,reference.png\n"
        "2.png,good,other.png\n"
    )
    return folder


def read(rows: Any, row: int, views: tuple[ViewSpec, ...]) -> tuple[dict[str, Any], int | None]:
    arrays = {view.name: np.zeros(view.shape, view.dtype) for view in views}
    reader = rows.reader()
    try:
        return arrays, reader.fill(row, arrays)
    finally:
        reader.close()


def test_a_reader_registers_what_the_package_wants_registered(tmp_path):
    folder = a_folder(tmp_path)
    pristine = cv2.imread(str(folder / "reference.png"), cv2.IMREAD_GRAYSCALE)
    for row in (0, 1):
        arrays, spent_ns = read(open_footage(folder, views=(PICTURE, PLAIN)), row, (PICTURE, PLAIN))
        assert (arrays["golden"] == pristine).all()
        assert spent_ns == 0
        wanted = np.zeros(SIZE, np.uint8)
        assert registered(pristine, arrays["image"], wanted).ok
        views = (PICTURE, ALIGNED)
        arrays, spent_ns = read(open_footage(folder, views=views), row, views)
        assert (arrays["golden"] == wanted).all()
        assert not (arrays["golden"] == pristine).all()
        assert spent_ns
    with pytest.raises(UnreadError, match="golden cannot be registered with image: ") as caught:
        read(open_footage(folder, views=views), 2, views)
    assert caught.value.fault is Fault.UNFIT_IMAGE


def test_a_drawn_part_and_its_twin_are_registered_too():
    views = (PICTURE, ALIGNED)
    rows = SyntheticRows(PartGenerator(10_007), views, rate_hz=20, parts=2)
    arrays, spent_ns = read(rows, 0, views)
    assert spent_ns
    twin = PartGenerator(10_007).twin(1).image
    assert np.abs(arrays["golden"].astype(int) - twin).mean() < 1  # it lay there before


def test_a_recording_gives_back_what_was_registered(tmp_path):
    views = (PICTURE, ALIGNED)
    arrays, _ = read(open_footage(a_folder(tmp_path), views=views), 1, views)
    writer = FootageWriter(tmp_path / "a.mcap", a_session(*views))
    writer.part(*a_part(1), arrays)
    opened, closed = a_part(2, "none", Fault.UNFIT_IMAGE, "golden cannot be registered")
    unseen = type(closed)(
        type(closed.record)(
            **{
                name: getattr(closed.record, name)
                for name in ("part", "number", "deadline", "decision")
            }
        ),
        "none",
        0,
        1,
    )
    writer.part(opened, unseen, None)
    writer.close()
    recording = open_recording(tmp_path / "a.mcap")
    assert recording.views == views
    again, spent_ns = read(recording, 0, views)
    assert (again["golden"] == arrays["golden"]).all()
    assert not spent_ns
    with pytest.raises(UnreadError, match="cannot be registered") as caught:
        read(recording, 1, views)
    assert caught.value.fault is Fault.UNFIT_IMAGE
    recording.check(views)
    with pytest.raises(FootageError, match=r"align affine\); the package wants .*256x256\)$"):
        recording.check((PICTURE, PLAIN))
