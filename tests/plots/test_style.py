import numpy as np
import pytest

from fer_jax import plots


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "curves.png"
    figure = plots.confusion_matrix(np.eye(2), "ab")
    plots.save(figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")

    def fails(path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(OSError, match=r"other\.png"):
        plots.save(figure, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()
