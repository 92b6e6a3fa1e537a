"""Tests of finding in a picture what is heard: the soft maximum, the map, its overlap with boxes, the evaluator."""

import gzip
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.data.source import Record
from xmjax.errors import UserError
from xmjax.evaluation.localize import (
    LocalizeEvaluator,
    above,
    area,
    at_half,
    box_around,
    boxed,
    boxes_of,
    centre,
    coarse,
    heat,
    iou,
    mask,
    read_boxes,
    spread,
)
from xmjax.evaluation.retrieval import vectors
from xmjax.models.embedders import Tokens, lean
from xmjax.objectives import OBJECTIVES, options
from xmjax.objectives.locate import likest
from xmjax.training.step import init

CHANGES = {
    "model.image.patch": 8, "objectives": {"locate": options("locate")},
    "evaluation.samples": 12, "evaluation.pool": 6, "evaluation.batch_size": 6,
}  # fmt: skip


@pytest.fixture(scope="module")
def config(make_sound_config):
    return make_sound_config(CHANGES)


def test_the_soft_maximum_lies_between_the_mean_and_the_largest():
    rng = np.random.default_rng(0)
    units, vectors = rng.normal(size=(3, 5, 4)).astype(np.float32), rng.normal(size=(2, 4)).astype(np.float32)
    valid = np.ones((3, 5), bool)
    valid[1, 3:] = False
    for sharpness in (0.5, 20.0):
        found = np.asarray(likest(jnp.asarray(units), jnp.asarray(valid), jnp.asarray(vectors), sharpness))
        for i in range(3):
            for j in range(2):
                cosines = [float(units[i, t] @ vectors[j]) for t in range(5) if valid[i, t]]
                expected = np.log(np.mean(np.exp(sharpness * np.array(cosines, np.float64)))) / sharpness
                assert found[i, j] == pytest.approx(expected, abs=1e-5)
                assert np.mean(cosines) - 1e-5 <= found[i, j] <= max(cosines) + 1e-5


def test_the_loss_falls_when_units_of_a_pair_turn_to_it(config):
    objective = OBJECTIVES["locate"](config.objectives["locate"], config)
    rng = np.random.default_rng(0)
    sounds = np.eye(4, 8, dtype=np.float32)
    units = 0.1 * rng.normal(size=(4, 6, 8)).astype(np.float32)

    class Planted:
        batch = {"id": jnp.arange(4)}  # noqa: RUF012

        def __init__(self, found: float):
            self.found = found
            self.model = type("M", (), {"scale": staticmethod(lambda: jnp.float32(10.0))})

        def units(self, modality):
            shown = units.copy()
            shown[:, 2] += self.found * sounds  # one of six units
            return jnp.asarray(shown)

        def alone(self, modality):
            return Tokens(jnp.zeros((4, 6, 8)), jnp.ones((4, 6), bool), jnp.zeros((4, 6, 4)))

        def tower(self, modality):
            return jnp.asarray(sounds)

    losses = [float(objective.loss(Planted(found), jax.random.key(0))[0]) for found in (0.0, 0.5, 1.0)]
    assert losses == sorted(losses, reverse=True) and losses[2] < losses[0] / 3
    assert objective.loss(Planted(1.0), jax.random.key(0))[1]["accuracy"] == 1
    with pytest.raises(UserError, match="sharpness"):
        OBJECTIVES["locate"](OBJECTIVES["locate"].Options(sharpness=0.0), config)


def test_a_map_is_drawn_where_its_cells_are():
    cells = np.zeros(64, np.float32)
    cells[2 * 8 + 5] = 1  # the cell of rows 8 to 11 and columns 20 to 23 of 32 pixels
    drawn = above(spread(cells, 32), 0.5)
    assert drawn[8:12, 20:24].all() and not drawn[:7].any() and not drawn[:, :19].any() and not drawn[13:].any()
    np.testing.assert_array_equal(above(spread(cells, 32, 2.0), 0.5)[2:, 2:], drawn[:-2, :-2])
    assert not above(spread(np.full(64, 0.3), 32)).any()
    with pytest.raises(UserError, match="62 tokens"):
        spread(np.zeros(62), 32)


def test_the_box_around_the_largest_part():
    region = np.zeros((8, 8), bool)
    region[1, 1:5] = region[1:4, 2] = region[7, 7] = True
    box = boxed(region)
    assert box[1:4, 1:5].all() and box.sum() == 12
    assert not boxed(np.zeros((8, 8), bool)).any()


def test_overlap():
    box = (0.25, 0.5, 0.5, 1.0)
    truth = mask([box], 32)
    assert truth.sum() == 8 * 16 and truth[8:16, 16:].all()
    assert mask([box, (0, 0, 0.125, 0.125)], 32).sum() == 8 * 16 + 16
    assert iou(truth, truth) == 1 and iou(truth, ~truth) == 0 and iou(np.zeros_like(truth), np.zeros_like(truth)) == 0
    assert iou(np.ones_like(truth), truth) == pytest.approx(truth.mean())
    half = truth & (np.arange(32) < 24)
    assert iou(half, truth) == 0.5
    assert centre(0.25, 32).sum() == 16 * 16 and centre(0.25, 32)[8:24, 8:24].all()
    np.testing.assert_allclose(coarse(truth, 8).reshape(8, 8), truth[::4, ::4])
    assert at_half(np.array([0.5, 0.49, 1.0, 0.0])) == 0.5
    assert area(np.ones(3)) == 1 and area(np.zeros(3)) == pytest.approx(0.025)
    assert area(np.array([0.5])) == pytest.approx(0.525, abs=0.03)


def test_boxes_of_vgg_sound_sources(tmp_path):
    rows = [{"file": "abc_000030", "class": "x", "bbox": [[0.1, 0.2, 0.5, 0.6], [0, 0, 0.1, 0.1]]}]
    plain, packed = tmp_path / "a.json", tmp_path / "b.json.gz"
    plain.write_text(json.dumps(rows))
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        known = read_boxes(path)
        assert known == {"abc_000030": [(0.2, 0.1, 0.6, 0.5), (0, 0, 0.1, 0.1)]}
        assert boxes_of(Record("videos/abc_000030.mp4#0"), known) == known["abc_000030"]
        assert boxes_of(Record("abc_000030"), known) == known["abc_000030"] and not boxes_of(Record("other"), known)
    # What lies outside of the frame is cut off, and a box of which nothing is left is none.
    rows = [{"file": "a", "bbox": [[-0.2, 0.5, 0.5, 1.5], [0.3, -3e16, 0.3, 1]]}, {"file": "b", "bbox": [[2, 2, 3, 3]]}]
    plain.write_text(json.dumps(rows))
    assert read_boxes(plain) == {"a": [(0.5, 0.0, 1.0, 0.5)], "b": []}
    # Of a frame twice as wide as high: cut, padded or stretched to a square.
    wide = Record("c", frame=(320, 160))
    known = {"c": [(0.0, 0.5, 0.5, 1.0)]}
    assert boxes_of(wide, known, "stretch") == [(0.0, 0.5, 0.5, 1.0)]
    assert boxes_of(wide, known, "crop") == [(0.0, 0.5, 0.5, 1.0)]
    assert boxes_of(wide, known, "pad") == [(0.25, 0.5, 0.5, 1.0)]
    plain.write_text('{"file": 3}')
    for path in (plain, tmp_path / "none.json"):
        with pytest.raises(UserError, match=r"evaluation\.boxes.*VGG-SS"):
            read_boxes(path)


def test_the_evaluator_scores_a_planted_map(make_sound_config, make_config):
    config = make_sound_config(CHANGES | {"model.image.stem": 8})
    assert lean(config.model.image) == 3.5
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    evaluator = LocalizeEvaluator(config, mesh, [])
    assert len(evaluator.records) == 12
    for record, truth in zip(evaluator.records, evaluator.truth, strict=True):
        y0, x0, y1, x1 = record.truth.toys[record.truth.sounding].box
        assert truth.sum() == (y1 - y0) * (x1 - x0) and truth[y0:y1, x0:x1].all()
    # What tokens tell lies where they see it, which is not where their cells are.
    fine = np.stack([spread(t.reshape(-1), 32, -lean(config.model.image)).reshape(-1) for t in evaluator.truth])
    evaluator.run = lambda params, image, audio: fine if audio is evaluator.arrays[1] else np.zeros_like(fine)
    scores = evaluator(None).scores
    assert scores["localize/cIoU@0.5"] == scores["localize/cIoU@0.5/oracle"] == 1 and scores["localize/AUC"] > 0.95
    assert scores["localize/shuffled_sound"] == 0 and scores["localize/n"] == 12
    assert scores["localize/whole_image"] == np.mean([t.mean() >= 0.5 for t in evaluator.truth])
    silent = make_config({"objectives": {"contrast": options("contrast")}})
    assert LocalizeEvaluator(silent, mesh, [])(None).scores == {"localize/n": 0}


def test_heat_is_the_cosine_of_each_token(config, apply_model):
    params = jax.jit(partial(init, config))().params
    source = playroom.Playroom("val", image_size=32, seconds=0.25)
    records = source.read(range(3))
    image = np.stack([r.image for r in records])
    audio = np.stack([r.audio.view(np.uint8) for r in records])

    def run(model, image, audio):
        tokens = model.alone("image", model.encode("image", image))
        return heat(model, image, audio), model.units("image", tokens), model.tower("image", tokens)

    found, units, whole = (np.asarray(x) for x in apply_model(config, run)(params, image, audio))
    assert found.shape == (3, 16) and (np.abs(found) <= 1 + 1e-5).all() and found.std(1).min() > 1e-4
    np.testing.assert_allclose(np.linalg.norm(units, axis=-1), 1, atol=1e-5)
    assert whole.shape == units[:, 0].shape


def test_a_map_is_evened_out_among_what_looks_alike(config, apply_model):
    params = jax.jit(partial(init, config))().params
    image = np.full((1, 32, 32, 3), 90, np.uint8)
    image[:, :, :16] = 200  # two halves, of which all cells look alike
    audio = playroom.Playroom("val", image_size=32, seconds=0.25).read([0])[0].audio.view(np.uint8)[None]

    def run(model, image, audio):
        tokens = model.alone("image", model.encode("image", image))
        plain = jnp.einsum("bte,be->bt", model.units("image", tokens), vectors(model, audio, "audio"))
        return heat(model, image, audio), plain

    evened, plain = (np.asarray(x).reshape(4, 4) for x in apply_model(config, run)(params, image, audio))
    assert evened.min() >= plain.min() - 1e-6 and evened.max() <= plain.max() + 1e-6
    assert evened[:, :2].std() < plain[:, :2].std()


def test_of_two_peaks_the_box_is_around_the_larger_part():
    heat = np.zeros((32, 32), np.float32)
    heat[2:10, 2:10], heat[25:29, 25:29], heat[0, 31] = 1.0, 1.0, 0.5
    assert box_around(heat) == (2 / 32, 2 / 32, 10 / 32, 10 / 32)
    assert box_around(np.ones((8, 8), np.float32)) is None
