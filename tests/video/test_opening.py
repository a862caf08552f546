import os
import struct
import sys
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from fer_jax.errors import InputError
from fer_jax.video import capture


def test_a_file_whose_name_holds_digits_is_no_picture_sequence(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"image{index}.png"), np.zeros((48, 48), np.uint8))
    with capture.Video(tmp_path / "image0.png") as video:
        assert len(list(video.frames())) == 1


def test_what_is_no_video_is_named(write_video, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(write_video(tmp_path / "whole.mp4", 20, 25).read_bytes()[:300])
    with pytest.raises(
        InputError, match=r"empty\.mp4: must be a camera or a video, but the file is empty"
    ):
        capture.Video(tmp_path / "empty.mp4")
    for source in (text, cut):
        with pytest.raises(InputError, match=f"{source.name}: must be a camera or a video"):
            capture.Video(source)
    with pytest.raises(InputError, match=r"gone\.mp4: cannot be read: No such file"):
        capture.Video(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        capture.Video(tmp_path)
    with pytest.raises(InputError, match="camera 99: must be a camera"):
        capture.Video(99)
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/x: .* does not answer"):
        capture.Video("http://127.0.0.1:9/x")


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a file's name be any bytes")
def test_a_path_that_is_not_utf8_is_refused_before_opencv_sees_it(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.mp4"))
    path.write_bytes(b"something")
    with pytest.raises(InputError, match="must be valid UTF-8"):
        capture.Video(path)


def test_what_has_a_length(serve):
    for kind, end, has in (
        ("video/webm", "", True),
        ("application/octet-stream", ".ts?key=1", True),
        ("application/octet-stream", "/live.m3u8?key=1", False),  # the length of a playlist
        ("application/vnd.apple.mpegurl", "", False),
        ("multipart/x-mixed-replace", "", False),
        ("image/jpeg", "", False),  # a camera's newest picture
    ):
        _, url = serve(b"content", kind)
        assert capture.has_length(url + end) == has, (kind, end)
    assert not capture.has_length("rtsp://127.0.0.1:9/x") and not capture.has_length(
        "http://me:secret@127.0.0.1:9/x"
    )


def test_a_number_that_is_no_camera_is_refused():
    with pytest.raises(
        InputError,
        match=r"camera 20240101123456: must be an index from 0 to 99; .* \./20240101123456",
    ):
        capture.Video(20240101123456)


def test_an_audio_file_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    with pytest.raises(InputError, match=r"sound\.wav: must be .* no picture in it can be decoded"):
        capture.Video(path)


def picture_frame(content):
    """An ID3 tag with a cover picture."""
    picture = b"\0image/png\0\3\0" + content
    frame = b"APIC" + struct.pack(">IH", len(picture), 0) + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame


def test_sound_with_a_cover_is_no_video(tmp_path):
    path, cover = (
        tmp_path / "song.mp3",
        cv2.imencode(".png", np.zeros((48, 48, 3), np.uint8))[1].tobytes(),
    )
    silence = b"\xff\xfb\x90\x64" + bytes(413)  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 26 ms
    path.write_bytes(picture_frame(cover) + 100 * silence)
    with pytest.raises(
        InputError,
        match=r"song\.mp3: must be a camera or a video, but it is sound with a cover picture",
    ):
        capture.Video(path)
