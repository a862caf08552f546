import sys
from types import SimpleNamespace

import numpy as np
import pytest

from fer_jax import faces
from fer_jax.errors import InputError
from fer_jax.faces import pictures
from fer_jax.labels import EMOTIONS, FERPLUS_EMOTIONS
from fer_jax.video import overlay, watch

NOISE = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
BOX = faces.Face(100, 120, 80, 90)


def draw(frame, predictions, emotions=EMOTIONS, **options):
    return overlay.draw(frame, predictions, emotions, **options)


def prediction(probabilities, box=BOX, person=1):
    probabilities = np.array(probabilities, np.float32)
    return watch.Prediction("happy", float(probabilities.max()), probabilities, box, person)


def test_draw_changes_a_copy():
    frame = NOISE.copy()
    drawn = draw(frame, [prediction(np.eye(7)[3])], status="00:00:07")
    np.testing.assert_array_equal(frame, NOISE)
    assert drawn.shape == frame.shape and drawn.dtype == np.uint8
    assert (drawn != frame).any()


def test_draw_of_nothing_changes_nothing():
    np.testing.assert_array_equal(draw(NOISE, []), NOISE)


def test_the_box_has_the_colour_of_its_person_and_the_face_stays_to_be_seen():
    for person in (1, 2, 8):
        drawn = draw(NOISE, [prediction(np.eye(7)[3], person=person)])
        x, y, w, h = BOX[:4]
        border = [drawn[y : y + h, x], drawn[y : y + h, x + w - 1], drawn[y + h - 1, x : x + w]]
        for line in border:
            assert (line == overlay.colour(person)).all()
        inside = np.s_[y + 4 : y + h - 4, x + 4 : x + w - 4]
        np.testing.assert_array_equal(drawn[inside], NOISE[inside])
    assert overlay.colour(1) != overlay.colour(2)


def test_nothing_far_from_the_face_changes():
    drawn = draw(NOISE, [prediction(np.eye(7)[3])])
    changed = (drawn != NOISE).any(axis=2)
    assert not changed[:100].any() and not changed[220:].any()  # the label above, then the box
    assert not changed[:, :98].any() and not changed[:, 300:].any()


def test_bars_are_as_long_as_the_probabilities():
    probabilities = np.array([0.5, 0.02, 0.1, 0.2, 0.0, 0.08, 0.1])
    drawn = draw(np.zeros_like(NOISE), [prediction(probabilities)])
    # beside the box, so the bars alone
    right = (drawn[:, BOX.x + BOX.w + 2 :] == overlay.colour(1)).all(axis=2)
    rows = right[BOX.y + 2 :].sum(axis=1)
    lengths = rows[4::11][:7]
    np.testing.assert_allclose(lengths, probabilities * 50, atol=0.5)


def test_eight_emotions_have_eight_bars():
    drawn = draw(np.zeros_like(NOISE), [prediction(np.full(8, 0.125))], FERPLUS_EMOTIONS)
    right = (drawn[BOX.y + 2 :, BOX.x + BOX.w + 2 :] == overlay.colour(1)).all(axis=2).any(axis=1)
    assert np.diff(right.astype(int)).clip(0).sum() == 8


def test_a_hacked_face_is_named_below_its_box_or_where_the_frame_ends():
    for top in (120, 270):
        clean = prediction(np.eye(7)[3], faces.Face(100, top, 80, 90))
        plain, drawn = (draw(NOISE, [one]) for one in (clean, clean._replace(hacked=clean)))
        changed = (plain != drawn).any(axis=2)
        row = min(top + 90, 360 - 14)
        # the box's lowest line had its colour before
        assert changed[row : row + 14, 100:160].mean() > 0.75
        changed[row : row + 14] = False
        assert not changed.any()


def test_a_status_is_written_into_the_corner():
    drawn = draw(NOISE, [], status="00:00:07")
    changed = (drawn != NOISE).any(axis=2)
    assert changed[:14, :40].mean() > 0.9
    assert not changed[14:].any()


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (48, 48), (720, 1280), (2160, 3840)])
@pytest.mark.parametrize(
    "box", [faces.Face(0, 0, 10, 10), faces.Face(-5, -5, 20, 20), faces.Face(25, 15, 4000, 3000)]
)
def test_any_frame_and_any_box_can_be_drawn(size, box):
    frame = np.zeros((*size, 3), np.uint8)
    people = [prediction(np.eye(7)[3], box, 1), prediction(np.eye(7)[4], box, 2)]
    drawn = draw(frame, people, status="12:00:00  25 frames/s")
    assert drawn.shape == frame.shape and drawn.any()


def test_panels_stay_within_the_frame():
    """A face at each edge has all seven bars, of equal length."""
    for x, y in ((0, 0), (560, 0), (0, 270), (560, 270)):
        one = prediction(np.full(7, 0.14), faces.Face(x, y, 80, 90))
        drawn = draw(np.zeros_like(NOISE), [one])
        shade = (drawn == overlay.colour(1)).all(axis=2)
        shade[y : y + 90, x : x + 80] = False
        rows = shade.sum(axis=1)
        # of seven pixels; one more where the box's line runs beside
        assert ((rows >= 7) & (rows <= 8)).sum() >= 7 * 5


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
def test_a_machine_without_a_screen_is_refused(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="--display: this machine has no screen"):
        overlay.require_screen()


def test_a_machine_is_refused_only_if_opencv_opens_no_window_on_it(monkeypatch, tmp_path):
    """A process of its own finds the OpenCV that lies in PYTHONPATH."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "cv2.py").write_text("namedWindow = waitKey = print")
    overlay.require_screen()
    (tmp_path / "cv2.py").write_text("namedWindow = print")
    with pytest.raises(InputError, match="--display: this machine has no screen"):
        overlay.require_screen()


@pytest.fixture
def screen(monkeypatch):
    """An OpenCV with windows: what it showed, and what its user does."""
    screen = SimpleNamespace(shown=[], key=-1, visible=1.0, closed=0)
    fake = SimpleNamespace(
        imshow=lambda title, frame: screen.shown.append((title, frame)),
        waitKey=lambda _: screen.key,
        getWindowProperty=lambda *_: screen.visible,
        WND_PROP_VISIBLE=4,
        destroyAllWindows=lambda: setattr(screen, "closed", screen.closed + 1),
    )
    monkeypatch.setattr(pictures, "opencv", lambda: fake)
    return screen


def test_a_window_shows_frames_until_the_user_has_enough(screen):
    with overlay.Window("live") as window:
        assert window.show(NOISE)
        screen.key = ord("x")
        assert window.show(NOISE)
        for screen.key in (ord("q"), 27):
            assert not window.show(NOISE)
        screen.key, screen.visible = -1, 0.0
        assert not window.show(NOISE)
    assert [title for title, _ in screen.shown] == ["live"] * 5
    assert screen.closed == 1


def test_a_window_without_frames_serves_its_user_and_says_so_after_a_second(screen, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(overlay, "time", SimpleNamespace(monotonic=lambda: now[0]))
    labels = []
    monkeypatch.setattr(overlay, "_label", lambda frame, text, *_: labels.append(text))
    with overlay.Window("live") as window:
        assert window.wait() and screen.shown == []  # before the first frame there is no window
        window.show(NOISE)
        for now[0], said in ((100.5, []), (103.2, ["no picture for 3 s"])):
            assert window.wait()
            assert labels == said
        for screen.key in (ord("q"), 27):
            assert not window.wait()
        screen.key, screen.visible = -1, 0.0
        assert not window.wait()
    assert len(screen.shown) == 6


def test_the_rate_is_that_of_the_last_thirty_calls(monkeypatch):
    moments = iter([*np.arange(0, 10, 1.0), *np.arange(10, 20, 0.1)])
    monkeypatch.setattr(overlay, "time", SimpleNamespace(monotonic=lambda: float(next(moments))))
    window = overlay.Window("live")
    assert window.rate() == 0
    assert [window.rate() for _ in range(9)] == pytest.approx([1.0] * 9)
    assert [window.rate() for _ in range(40)][-1] == pytest.approx(10)
