"""What is up to date: by settings and content, whatever the files' times."""

import os

import pytest

from crowd.data.stage import is_made, origin, read_record, record_path, write_record

SETTINGS = {"size": (4, 3), "smooth": True}


@pytest.fixture
def made(tmp_path):
    """Outputs that are recorded as made; a function that says whether they still are."""
    sources, outputs = [tmp_path / "a.jpg", tmp_path / "a.mat"], [tmp_path / "out/a.jpg"]
    for path in (*sources, *outputs):
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    record = record_path(outputs[0])
    write_record(record, origin(SETTINGS, sources))

    def still(settings=SETTINGS, sources=sources):
        return is_made(record, origin(settings, sources), outputs)

    assert still()
    return still


@pytest.mark.parametrize("name", ["a.jpg", "a.mat"])
def test_content_decides_however_old_it_is(made, tmp_path, name):
    (tmp_path / name).write_text("2")
    os.utime(tmp_path / name, (0, 0))
    assert not made()
    (tmp_path / name).write_text("1")
    assert made()
    (tmp_path / name).unlink()
    assert not made()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", "7", "\x00"),
        *('{"settings": {}}', '{"settings": [], "sources": {}}', '{"settings": {}, "sources": 1}'),
    ],
)
def test_a_damaged_record_vouches_for_nothing(made, tmp_path, text):
    record = record_path(tmp_path / "out/a.jpg")
    record.write_text(text)
    assert not made()
    assert read_record(record) == {}
