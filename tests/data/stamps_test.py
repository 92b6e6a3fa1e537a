"""Tests of Tux Paint's stamps."""

from pathlib import Path

import pytest
from PIL import Image

from xmjax.data.source import Record, Region
from xmjax.data.stamps import open_stamps
from xmjax.errors import UserError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "stamps"


@pytest.fixture
def tree(tmp_path) -> Path:
    """A tree as the Debian package installs it."""
    frog, boat = tmp_path / "animals" / "frog", tmp_path / "vehicles" / "ship" / "boat"
    for stem in (frog, boat):
        stem.parent.mkdir(parents=True)
        Image.new("RGBA", (6, 4), (0, 200, 0, 255)).save(f"{stem}.png")
    Image.new("RGBA", (6, 4)).save(f"{frog}_mirror.png")
    Path(f"{frog}.txt").write_text("A frog.\nko.utf8=개구리\nde.utf8=\npt_BR.utf8=Um sapo = rã.\nnoise\n", "utf-8")
    Path(f"{boat}.txt").write_text("A boat.\nko.utf8=배\n", "utf-8")
    Path(f"{frog}.dat").write_text("35")
    (frog.parent / "drawing.svg").write_text("<svg/>")
    (frog.parent / "drawing.txt").write_text("A drawing.\n")
    return tmp_path


def test_tree(tree):
    source = open_stamps(str(tree), split="all", image_size=4)
    assert source.name == "stamps"
    frog, boat = source.read([0, 1])
    assert len(source) == 2
    assert (frog.id, boat.id) == ("animals/frog", "vehicles/ship/boat")
    assert [(caption.language, caption.text) for caption in frog.captions] == [
        ("en", "A frog."),
        ("ko", "개구리"),
        ("pt_BR", "Um sapo = rã."),
    ]
    assert not frog.regions
    (frog,) = open_stamps(str(tree), split="all", image_size=4, whole=True).read([0])
    assert frog.regions == (Region((0.0, 0.0, 1.0, 1.0), "frog"),)
    assert frog.image.shape == (4, 4, 3) and frog.image[0, 0].tolist() == [0, 200, 0]


def test_languages_and_manifest(tree):
    both, one = (open_stamps(str(tree), split="all", languages=tags) for tags in ((), ("pt_BR",)))
    assert [record.id for record in one.read(range(len(one)))] == ["animals/frog"]
    assert both.manifest() != one.manifest()
    before = both.manifest()
    (tree / "animals" / "frog.txt").write_text("A toad.\n")
    assert open_stamps(str(tree), split="all").manifest() != before


def test_mistakes_are_named(tree, tmp_path_factory):
    with pytest.raises(UserError, match="languages xx: there is en, ko, pt_BR"):
        open_stamps(str(tree), languages=("xx",))
    with pytest.raises(UserError, match="tuxpaint-stamps-default"):
        open_stamps(str(tmp_path_factory.mktemp("empty")))
    with pytest.raises(UserError, match=r"--config\.data\.root=.*none does not exist"):
        open_stamps(str(tree / "none"))
    (tree / "animals" / "frog.txt").write_bytes(b"A frog.\nde.utf8=\xff\n")
    with pytest.raises(UserError, match=r"frog\.txt: not UTF-8"):
        open_stamps(str(tree))


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/stamps is not there")
def test_list_of_stamps():
    source = open_stamps(str(DATA), split="all", image_size=16, languages=("en", "ko"))
    records = source.read(range(len(source)))
    assert len(records) == 477 and source.name == "stamps"
    assert all(isinstance(record, Record) for record in records)
    assert "animals/amphibians/frog" in {record.id for record in records}
