"""Tests of the regions of a record: groups that are masked together, the arrays of a batch, and boxes of files."""

import json

import numpy as np
import pytest
from PIL import Image

from xmjax import vocab
from xmjax.data.folder import Folder, regions
from xmjax.data.image_files import squared
from xmjax.data.playroom import Playroom
from xmjax.data.regions import boxes_array, groups, kept, label_ids, masked_group, overlaps
from xmjax.data.source import Region
from xmjax.errors import UserError


def drawn_boxes(rng):
    """None to eight boxes on a grid, so that some touch, some overlap and some are one in another."""
    low = rng.integers(0, 12, (rng.integers(9), 2))
    return [tuple(box) for box in np.concatenate([low, low + rng.integers(1, 7, low.shape)], 1) / 18]


@pytest.mark.parametrize("seed", range(50))
def test_a_masked_group_is_one_component_of_overlaps(seed):
    found = drawn_boxes(np.random.default_rng(seed))
    regions = [Region(box, "ball") for box in found]
    masked = masked_group(regions, 8, np.random.default_rng(0))
    chosen = np.flatnonzero(masked).tolist()
    assert bool(chosen) == bool(found)
    if not found:
        return
    touches = overlaps(found)
    others = [i for i in range(len(found)) if i not in chosen]
    assert not touches[np.ix_(chosen, others)].any()
    reached, todo = {chosen[0]}, [chosen[0]]  # all of it hangs together
    while todo:
        at = todo.pop()
        more = [j for j in chosen if touches[at, j] and j not in reached]
        reached.update(more)
        todo += more
    assert reached == set(chosen)
    assert sorted(i for group in groups(found) for i in group) == list(range(len(found)))


def test_of_too_many_regions_the_largest_are_kept_in_their_order():
    regions = [Region((0, 0, size, size), str(i)) for i, size in enumerate((0.3, 0.1, 0.5, 0.2))]
    assert [r.label for r in kept(regions, 2)] == ["0", "2"]
    assert boxes_array(regions, 6)[4:].tolist() == [[0] * 4] * 2


def test_labels_are_written_for_what_is_masked_only():
    regions = [Region((0, 0, 1, 1), "red ball"), Region((0, 0, 1, 1), "공")]
    ids = label_ids(regions, np.array([True, False, False]), 10)
    assert ids[0, :10].tolist() == [vocab.sentinel(0), *b"red ball", vocab.EOS]
    assert (ids[1:] == vocab.PAD).all()


def test_regions_of_the_playroom_are_its_toys_in_reading_order():
    for record in Playroom("val").read(range(10)):
        found = {tuple(round(32 * edge) for edge in region.box) for region in record.regions}
        assert found == {toy.box for toy in record.truth.toys}
        assert [r.box[1] for r in record.regions] == sorted(r.box[1] for r in record.regions)


@pytest.mark.parametrize(
    ("fit", "expected"),
    [("stretch", (0.0, 0.5, 1.0, 1.0)), ("crop", (0.0, 0.5, 1.0, 1.0)), ("pad", (0.25, 0.5, 0.75, 1.0))],
)
def test_boxes_follow_the_picture_into_its_square(fit, expected):
    found = squared(Region((0, 0.5, 1, 1), "dog"), (200, 100), fit)
    assert found is not None and found.box == pytest.approx(expected)


def test_what_a_crop_cuts_away_is_left_out():
    assert squared(Region((0, 0, 1, 0.3), "dog"), (200, 100), "crop") is None
    assert squared(Region((0, 0, 1, 0.5), "dog"), (200, 100), "crop") is not None


def test_both_conventions_of_boxes_are_read():
    coco = [{"bbox": [50, 0, 50, 20], "category": "dog"}, {"bbox": [0, 0, 9, 9], "category": "men", "iscrowd": 1}]
    faces = {"bbox": [[50, 0, 50, 20]], "category": ["dog"]}
    for value in (coco, faces):
        assert list(regions(value, (100, 40), "")) == [Region((0, 0.5, 0.5, 1), "dog")]
    for wrong in ([{"bbox": [1, 2, 3], "category": "dog"}], [{"bbox": [1, 2, 3, 4], "category": 7}], {"bbox": [[1]]}):
        with pytest.raises(UserError, match="line 3"):
            list(regions(wrong, (100, 40), "metadata.jsonl, line 3"))


def test_regions_of_a_folder(tmp_path):
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.png")
    line = {"file_name": "a.png", "text": "a dog", "objects": [{"bbox": [10, 0, 20, 10], "category": "dog"}]}
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line | {"width": 40, "height": 20}) + "\n")
    folder = Folder(str(tmp_path), regions_column="objects", split="all", image_size=16, fit="crop")
    [record] = folder.read([0])
    assert record.regions == (Region((0, 0, 0.5, 1), "dog"),)
    (tmp_path / "metadata.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(UserError, match="width_column"):
        Folder(str(tmp_path), regions_column="objects", split="all")
