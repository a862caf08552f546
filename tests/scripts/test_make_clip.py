"""scripts/make_clip.py where it must not write."""


def test_a_file_that_is_no_video_stays(run_script, tmp_path, capsys):
    path = tmp_path / "letter.txt"
    path.write_text("dear")
    assert run_script("make_clip", "--out", path) == 2
    rule = "must end in .mp4, received '.txt'"
    assert capsys.readouterr().err == f"error: {path}: {rule}\n"
    assert path.read_text() == "dear"
