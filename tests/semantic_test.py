"""Tests of the semantic model: that nothing leaks, negatives, matching, masks and their oracles."""

import dataclasses
import json
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import config as config_module
from xmjax import inference, predict, sharding, vocab
from xmjax.config import RegionsConfig
from xmjax.data import playroom
from xmjax.data.arrays import by_character, text_ids
from xmjax.data.pipeline import Example
from xmjax.data.playroom import Playroom, language, world
from xmjax.data.regions import boxes_array, label_ids, masked_group
from xmjax.data.source import Caption, Record, Region, Word
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS, labels
from xmjax.evaluation.items import query
from xmjax.evaluation.labels import MaskedObject, expected, knowable, masked_objects
from xmjax.evaluation.match import encoded, matched, pair_scores, reranked
from xmjax.evaluation.retrieval import both_ways
from xmjax.model_api import Model
from xmjax.models.embedders import seen
from xmjax.models.objects import group, pooled
from xmjax.models.passes import Passes
from xmjax.models.regions import GREY, erased
from xmjax.objectives import contrast, make, match, options, total_loss
from xmjax.objectives.answer import Options as AnswerOptions
from xmjax.objectives.mask_predict import Options as MaskPredictOptions
from xmjax.objectives.match import drawn, one_of
from xmjax.objectives.regions import feature_nats, label_nats
from xmjax.training.alarms import PATIENCE, Alarms
from xmjax.training.step import init, make_model


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(
        {
            "model.regions.count": 4,
            "model.matching": True,
            "objectives": {
                "contrast": options("contrast"),
                "match": options("match"),
                "regions": options("regions", seen=1.0),
            },
        }
    )


@pytest.fixture(scope="module")
def model(config):
    """The model bound to its first parameters."""
    params = jax.jit(lambda: init(config))().params
    return make_model(config).bind({"params": params})


def test_a_loaded_model_matches_texts_with_pictures(config, make_config):
    params = jax.jit(lambda: init(config))().params
    loaded, bound = Model(config, params), make_model(config).bind({"params": params})
    records = Playroom("val").read(range(2))
    boxes = [region.box for region in records[0].regions]
    texts = [caption.text for caption in (*records[0].captions, *records[1].captions)]
    found = loaded.match(texts, records[0].image, boxes)
    assert len(found) == 4 and len(set(found)) > 1
    shown = jnp.asarray(records[0].image[None]), jnp.asarray(boxes_array(records[0].regions, 4)[None])
    for text, probability in zip(texts, found, strict=True):
        ids = jnp.asarray(text_ids(text, config.model.text.max_bytes)[None])
        logit = matched(bound, *encoded(bound, *shown, ids))
        assert probability == pytest.approx(float(jax.nn.sigmoid(logit[0])), abs=1e-5)
    given = [":".join(map(str, box)) for box in boxes]
    answer = predict.match(loaded, texts[0], records[0].image, given)
    assert answer.values["probability"] == pytest.approx(found[0], abs=1e-5) and answer.lines == [f"{found[0]:.1%}"]
    for wrong, message in ((None, "boxes of 1 to 4"), ([], "boxes of 1 to 4"), ([(0, 0, 1)], "is none")):
        with pytest.raises(UserError, match=message):
            loaded.match(texts[0], records[0].image, wrong)
    with pytest.raises(UserError, match="has not trained match"):
        Model(make_config(), {}).match("a", records[0].image)


def test_answers_may_read_objects_in_the_place_of_tokens(make_config, batch_at):
    objective = options("answer", objects=True)
    config = make_config({"model.regions.count": 4, "objectives": {"answer": objective}})
    params = jax.jit(lambda: init(config))().params
    model, objectives = make_model(config).bind({"params": params}), make(config)
    loss = jax.jit(lambda batch: total_loss(objectives, model, batch, jnp.int32(0), jax.random.key(0))[0])
    (batch,) = batch_at(config).values()
    moved = batch | {"boxes": batch["boxes"][::-1]}
    first, second = loss({"image_text": batch}), loss({"image_text": moved})
    assert np.isfinite(first) and first != second

    loaded, record = Model(config, params), Playroom("val").read([0])[0]
    boxes = [region.box for region in record.regions]
    question = "what color is the bat?"
    assert isinstance(loaded.answer(question, record.image, boxes), str)
    assert isinstance(loaded.answer(question), str)  # the guess without a picture asks for no boxes
    for image, given, message in (
        (record.image, None, "answers with objects: give the boxes of 1 to 4"),
        (None, boxes, "boxes are given without a picture"),
        ([record.image], boxes, "whose boxes are of one picture"),
    ):
        with pytest.raises(UserError, match=message):
            loaded.answer(question, image, given)
    with pytest.raises(UserError, match="answers with whole pictures: leave the boxes out"):
        Model(make_config({"objectives": {"answer": options("answer")}}), params).answer("a?", record.image, boxes)
    with pytest.raises(UserError, match="objects reads the objects of pictures"):
        make(make_config({"objectives": {"answer": objective}}))


@pytest.mark.parametrize(
    ("name", "options"),
    # Hard negatives would be chosen by the towers, which see whole pictures.
    [
        ("match", match.Options(hard=0.0)),
        ("mask_predict", MaskPredictOptions(canvases=2, units=6)),
        ("answer", AnswerOptions(objects=True)),
    ],
)
def test_pictures_without_objects_teach_nothing_of_pictures(make_config, batch_at, name, options):
    kinds = {"model.regions.count": 4, "model.matching": True}
    config = make_config(kinds | {"objectives": {"contrast": {}, name: dataclasses.asdict(options)}})
    model = make_model(config).bind({"params": jax.jit(lambda: init(config))().params})
    (batch,) = (jax.tree.map(jnp.asarray, arrays) for arrays in batch_at(config).values())
    bare = batch | {"boxes": batch["boxes"].at[:2].set(0.0)}
    dark = bare | {"image": bare["image"].at[:2].set(0)}
    loss = jax.jit(lambda batch: make(config)[name].loss(Passes(model, batch), jax.random.key(0))[0])
    assert loss(bare) == pytest.approx(float(loss(dark)), abs=1e-6) and loss(bare) != loss(batch)
    none = loss(batch | {"boxes": jnp.zeros_like(batch["boxes"])})
    assert np.isfinite(none) if name == "answer" else none == 0  # an answer may be guessed from the question


def test_labels_are_scored_as_they_were_learned_cut(config):
    whole = Playroom("val").read(range(4))
    names = iter(range(99))
    long = [
        dataclasses.replace(r, truth=None, regions=tuple(Region(x.box, f"{'배' * 5}{next(names)}") for x in r.regions))
        for r in whole
    ]
    evaluator = EVALUATORS["objects"](config, sharding.make_mesh(config.mesh), long)
    assert set(evaluator.labels) == {"배" * 5} and evaluator.chance == 1  # 15 bytes, between characters


def test_a_word_costs_as_a_whole_or_a_character_at_a_time(make_config):
    """What is told of either is summed over the same words; here an id costs a nat."""
    objectives = {"regions": options("regions", unit="character")}
    config = make_config({"model.regions.count": 4, "objectives": objectives})
    evaluator = EVALUATORS["objects"](config, sharding.make_mesh(config.mesh), Playroom("val").read(range(20)))
    masks = []

    def choose(params, image, boxes, absent, masked, sequences):
        assert len(image) == len(boxes) == len(absent) == len(masked) == len(sequences)
        masks.append(np.sum(masked == vocab.sentinel(0), 1))
        return np.sum(sequences != vocab.PAD, 2) - 1.0

    evaluator.choose = choose
    scores = evaluator._words({})
    words = [vocab.utf8(item.caption.text)[item.word.start : item.word.end].decode() for item in evaluator.words]
    assert {item.caption.language for item in evaluator.words} == {"en", "ko"}
    whole = np.mean([len(word.encode()) + 1 for word in words])
    spaceless = [word.replace(" ", "") for word in words]  # what is between words is no character
    parts = np.mean([len(word.encode()) + len(word) for word in spaceless])
    for arm in ("", "/no_image", "/shuffled_image"):
        assert scores[f"objects/words{arm}/bits"] == pytest.approx(whole / np.log(2))
        assert scores[f"objects/words{arm}/characters/bits"] == pytest.approx(parts / np.log(2))
    assert all((count == 1).all() for count in masks)


def test_of_an_unknown_picture_boxes_are_hidden_too(model):
    boxes = jnp.array([[[0.0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]])
    moved = boxes.at[0, 0].set(jnp.array([0.1, 0.3, 0.2, 0.9]))
    tokens = model.encode("image", jnp.full((1, 32, 32, 3), GREY, jnp.uint8))

    @jax.jit
    def grounded(boxes, unknown):
        return model.grounded(tokens, boxes, jnp.array([[True, True, False, False]]), unknown=unknown)

    yes, no = jnp.array([True]), jnp.array([False])
    unknown = grounded(boxes, yes)
    np.testing.assert_array_equal(unknown.vectors[:, :2], grounded(moved, yes).vectors[:, :2])
    assert unknown.valid.tolist() == [[True, True, False, False]]  # how many there are is known
    assert np.abs(grounded(boxes, no).vectors - grounded(moved, no).vectors)[0, 0].max() > 1e-3


def test_nothing_of_a_masked_object_is_seen_through_a_neighbour(config, model):
    # The second box reaches over the first, masked one: pixels of both change nothing inside of it.
    boxes = jnp.array([[[0.0, 0, 0.5, 0.5], [0.25, 0.25, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]])
    masked = jnp.array([[True, False, False, False]])
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    other = image.copy()
    other[:, :16, :16] = rng.integers(0, 256, (1, 16, 16, 3))
    beside = image.copy()
    beside[:, 16:, 16:] = 255 - beside[:, 16:, 16:]

    @jax.jit
    def grounded(image):
        return model.grounded(model.encode("image", erased(image, boxes, masked)), boxes, masked).vectors

    first, same, different = (np.asarray(grounded(jnp.asarray(x))) for x in (image, other, beside))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - different)[0, 1].max() > 1e-3
    assert (np.asarray(erased(jnp.asarray(image), boxes, masked))[0, :16, :16] == GREY).all()


@pytest.mark.parametrize("fusion", ["merged", "coattention"])
def test_objects_without_order_are_a_set(make_config, fusion):
    """Masked or not: objects come out in the order they came in, and neither the text nor the match depends on it."""
    config = make_config({
        "model.regions.count": 4, "model.regions.order": False, "model.fusion": fusion, "model.matching": True,
        "objectives": {"match": options("match")},
    })  # fmt: skip
    params = jax.jit(lambda: init(config))().params
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8))
    corners = np.sort(rng.random((8, 4, 2, 2)), 2).reshape(8, 4, 4)
    boxes, masked = jnp.asarray(corners, jnp.float32), jnp.asarray(rng.random((8, 4)) < 0.4)
    text = jnp.full((8, 32), 65, jnp.uint16)

    @jax.jit
    def fused(boxes, masked):
        model = make_model(config).bind({"params": params})
        parts = {"image": model.grounded(model.encode("image", image), boxes, masked)}
        parts["text"] = model.encode("text", text)
        found = model.fuse(parts)
        return found["image"].vectors, found["text"].vectors, model.matches(parts)

    objects, words, match_of = fused(boxes, masked)
    for _ in range(5):
        order = jnp.asarray(rng.permuted(np.tile(np.arange(4), (8, 1)), axis=1))
        moved = jnp.take_along_axis(boxes, order[..., None], 1), jnp.take_along_axis(masked, order, 1)
        others = fused(*moved)
        np.testing.assert_allclose(others[0], jnp.take_along_axis(objects, order[..., None], 1), atol=1e-5)
        np.testing.assert_allclose(others[1], words, atol=1e-5)
        np.testing.assert_allclose(others[2], match_of, atol=1e-5)
    assert np.abs(np.diff(objects, axis=1)).max() > 1e-2  # they differ


def test_width_stays_with_and_without_coordinates(make_config):
    for coordinates in (True, False):
        config = make_config({"model.regions.count": 2, "model.regions.coordinates": coordinates})
        shapes = jax.eval_shape(lambda config=config: init(config)).params["regions"]
        assert shapes["kernel"].shape == (16 + 56 * coordinates, 16)


@pytest.mark.parametrize("seed", range(50))
def test_what_belongs_together_is_never_drawn(seed):
    rng = np.random.default_rng(seed)
    same = rng.random((6, 6)) < 0.4
    np.fill_diagonal(same, True)
    same[0] = [True] * 5 + [False]
    likeness = jnp.asarray(rng.uniform(-1, 1, (6, 6)).astype(np.float32))
    duplicates = jnp.zeros((6, 6), bool)
    chosen = np.asarray(drawn(jax.random.key(seed), likeness, jnp.asarray(same), duplicates, jnp.arange(6) < 3, 0.1))
    rows = [i for i in range(6) if not same[i].all()]
    assert not any(same[i, chosen[i]] for i in rows)


def test_the_identifier_is_told_what_towers_agree_in(make_config):
    config = make_config(
        {"model.matching": True, "model.matching_product": True, "objectives": {"match": options("match")}}
    )
    model, params = make_model(config), jax.jit(lambda: init(config))().params
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8))
    text = jnp.asarray(np.stack([text_ids(t, config.model.text.max_bytes) for t in ("a red ball", "a blue hat")]))

    @jax.jit
    def logits(params, moved):
        bound = model.bind({"params": params})
        (seen, first), (read, second) = encoded(bound, image, jnp.zeros((2, 1, 4)), text)
        return bound.matches({"image": seen, "text": read}, first + moved, second)

    shape = params["matching_product"].shape
    assert shape == (config.model.embedding, config.model.width)
    np.testing.assert_array_equal(logits(params, 0.0), logits(params, 0.5))  # it begins without effect
    told = {**params, "matching_product": jnp.asarray(rng.standard_normal(shape).astype(np.float32))}
    assert np.abs(logits(told, 0.0) - logits(told, 0.5)).min() > 1e-3
    gradient = jax.jit(jax.grad(lambda p: logits(p, 0.0).sum()))(told)
    assert not any(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient["towers_image"]))
    assert float(jnp.abs(gradient["matching_product"]).max()) > 0
    with pytest.raises(UserError, match=r"needs model\.matching=True"):
        make_config({"model.matching_product": True})


class Sure:
    """A model that takes everything for a match, or for as likely a match as it is told."""

    def __init__(self, model, logit=9.0):
        self._model, self._logit = model, logit

    def __getattr__(self, name):
        return getattr(self._model, name)

    def matches(self, tokens, first, second):
        return jnp.full(len(tokens["text"].vectors), self._logit)


def test_a_batch_of_one_picture_has_no_mismatches(config, batch_at, model):
    batch = batch_at(config)["image_text"]
    for ids, accuracy in ((batch["id"], 1 / 3), (np.full_like(batch["id"], 7), 1.0)):
        passes = Passes(Sure(model), jax.tree.map(jnp.asarray, {**batch, "id": ids}))
        loss, metrics = make(config)["match"].loss(passes, jax.random.key(0))
        assert float(metrics["accuracy"]) == pytest.approx(accuracy)
        assert float(loss) == pytest.approx(float(jax.nn.softplus(-9.0)) + (1 - accuracy) * 9.0, rel=1e-3)


@pytest.mark.parametrize("every", [1, 2])
def test_mismatches_are_made_in_three_ways(config, batch_at, model, monkeypatch, every):
    """Another text, another picture, or both: all of them and none else, and never a pair that belongs together."""
    batch = jax.tree.map(jnp.asarray, batch_at(config)["image_text"])
    batch |= {"id": batch["id"].at[1].set(batch["id"][0])}
    batch |= {"caption_id": batch["caption_id"].at[3].set(batch["caption_id"][2])}
    batch["picture_id"] = jnp.arange(len(batch["id"]), dtype=jnp.int32).at[5].set(4)
    belonging = np.asarray(contrast.positives(batch, "image", "text")).reshape(len(batch["id"]), len(batch["id"]), -1)
    assert belonging[0, 1].all() and belonging[2, 3].all() and belonging[4, 5].all() and not belonging[0, 2].any()
    half = dataclasses.replace(config.objectives["match"], both=0.5, every=every)
    objective = make(dataclasses.replace(config, objectives={"match": half}))["match"]
    taken, rows = match.taken, []
    monkeypatch.setattr(match, "taken", lambda tokens, which: (rows.append(np.asarray(which)), taken(tokens, which))[1])
    count, kinds, read = len(batch["id"]) // every, Counter(), set()
    for seed in range(8):
        rows.clear()
        objective.loss(Passes(Sure(model), batch), jax.random.key(seed))
        read |= {int(row) for which in rows for row in which}
        for k, (picture, text) in enumerate(zip(*rows, strict=True)):
            own = k % count * every
            kinds["picture" * int(picture != own), "text" * int(text != own)] += 1
            assert k < count or not belonging[picture, text].any()
    assert kinds.keys() == {("", ""), ("", "text"), ("picture", ""), ("picture", "text")}
    assert kinds["", ""] == kinds["", "text"] == 8 * count
    assert 0.25 < kinds["picture", "text"] / (8 * count) < 0.75
    assert read == set(range(len(batch["id"])))  # out of all of which mismatches are drawn


def test_near_duplicates_are_drawn_only_where_nothing_else_is_left():
    same, likeness = jnp.eye(3, dtype=bool), jnp.zeros((3, 3))
    duplicates = jnp.array([[True, True, False], [True, True, False], [False, False, True]])
    hard = jnp.zeros(3, bool)
    draws = np.stack([drawn(jax.random.key(i), likeness, same, duplicates, hard, 0.1) for i in range(20)])
    assert (draws[:, 0] == 2).all() and (draws[:, 1] == 2).all()
    everything = jnp.ones((3, 3), bool)
    draws = np.stack([drawn(jax.random.key(i), likeness, same, everything, hard, 0.1) for i in range(20)])
    assert set(draws[:, 0]) == {1, 2}


def test_hard_negatives_are_the_likely_mistakes():
    likeness = jnp.array([[1.0, 0.9, -0.5, -0.5]])
    same = jnp.array([[True, False, False, False]])
    for by_likeness, low, high in ((True, 0.95, 1.0), (False, 0.2, 0.5)):
        draws = [
            int(drawn(jax.random.key(i), likeness, same, jnp.zeros((4, 4), bool), jnp.array([by_likeness]), 0.1)[0])
            for i in range(200)
        ]
        assert low <= draws.count(1) / 200 <= high


def test_losses_are_finite_and_learn_from_the_identifier(config, batch_at):
    batch = {name: jax.tree.map(jnp.asarray, arrays) for name, arrays in batch_at(config).items()}
    objectives = make(config)
    params = jax.jit(lambda: init(config))().params

    def loss(params):
        model = make_model(config).bind({"params": params})
        return total_loss(objectives, model, batch, jnp.int32(0), jax.random.key(0))

    (_, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    assert all(np.isfinite(float(value)) for value in metrics.values())
    assert metrics["regions/seen_bits_per_byte"] > 0
    for name in ("matching_identifier", "matching_head"):
        assert float(jnp.abs(gradient[name]).max()) > 0
    for leaf in jax.tree.leaves(gradient["regions"]):
        assert float(jnp.abs(leaf).max()) > 0


def test_captions_of_every_language_are_read(config, make_config):
    """They come in the order of their languages, so that the first alone would be one language."""
    more = make_config({
        "model.regions.count": 4, "model.text.max_bytes": 64,
        "objectives": {name: options(name) for name in ("mask_predict", "regions")},
    })  # fmt: skip
    objectives, records = make(more), Playroom("train").read(range(30))
    texts = {"mask_predict": "canvas", "regions": "masked_caption"}
    for name, array in texts.items():
        korean = [
            (objectives[name].features(Example(r, r.captions, np.random.default_rng(i)))[array] & 0x3E0 == 0xE0).any()
            for i, r in enumerate(records)
        ]
        assert 5 < sum(korean) < 25, name
    rows = jnp.arange(12).reshape(6, 2)
    np.testing.assert_array_equal(one_of(rows, jnp.array([1, 0, 1])), rows[jnp.array([1, 2, 5])])


def test_names_and_colours_tell_most_pictures_apart():
    records = Playroom("val").read(range(60))
    asked = [query(record, i) for i, record in enumerate(records)]
    found = labels.named(asked, records)
    assert (found.diagonal() > 0).all()
    for i, j in zip(*np.nonzero(found), strict=True):
        toys = {(playroom.NAMES[asked[i].language][toy.kind], toy.color) for toy in records[j].truth.toys}
        assert {(phrase.word, phrase.color) for phrase in asked[i].meaning.phrases} <= toys
    scores = both_ways([found], "objects")
    assert 0.85 < scores["objects/text_to_image/R@1"] <= 1.0 and scores["objects/image_to_text/R@1"] > 0.9


def test_a_run_of_before_is_read_if_it_told_no_masked_bytes(make_config, tmp_path):
    config = make_config()
    values = config_module.to_dict(config)
    for unmasking in (False, True):
        values["model"]["unmasking"] = unmasking
        (tmp_path / "config.json").write_text(json.dumps(values))
        if not unmasking:
            assert inference.read_config(tmp_path) == config
    with pytest.raises(UserError, match=r"unknown config field config\.model\.unmasking"):
        inference.read_config(tmp_path)


def test_shares_of_the_tasks(config, make_config):
    [record] = Playroom("train").read([7])

    def drawn_tasks(**changes):
        objective = make(
            make_config({"model.regions.count": 4, "objectives": {"regions": options("regions", **changes)}})
        )
        rows = [
            objective["regions"].features(Example(record, record.captions, np.random.default_rng(i))) for i in range(40)
        ]
        return {(bool(r["masked_regions"].any()), bool((r["caption_spans"] != vocab.PAD).any())) for r in rows}

    assert drawn_tasks(words=1.0, both=0.0) == {(False, True)}
    assert drawn_tasks(words=0.0, both=0.0) == {(True, False)}
    assert drawn_tasks(words=0.0, both=1.0) == {(True, True)}
    with pytest.raises(UserError, match="more than 1"):
        drawn_tasks(words=0.7, both=0.7)


def test_terms_of_a_dictionary_are_masked_whole(make_config, tmp_path):
    table = tmp_path / "terms.jsonl"
    entries = [("哈尔滨", "zh", "a city"), ("city", "en", "a large town")]
    table.write_text(
        "".join(json.dumps(dict(zip(("word", "language", "gloss"), e, strict=True))) + "\n" for e in entries)
    )
    [record] = Playroom("train").read([7])
    chosen = {"dictionary": str(table), "words": 1.0, "both": 0.0}
    config = make_config({"model.regions.count": 4, "objectives": {"regions": options("regions", **chosen)}})
    for text, spoken, term in (("我想去哈尔滨看雪", "zh", "哈尔滨"), ("it is a large city", "en", "city")):
        example = Example(record, (Caption(text, spoken),), np.random.default_rng(0))
        rows = make(config)["regions"].features(example)
        assert vocab.decode(rows["caption_spans"][0, 1:]) == term
        assert vocab.decode(rows["masked_caption"]).count("\ufffd") == 0
    with pytest.raises(UserError, match=r"regions\.dictionary"):
        wrong = chosen | {"unit": "character"}
        make(make_config({"model.regions.count": 4, "objectives": {"regions": options("regions", **wrong)}}))


def test_labels_of_what_is_seen_are_asked_where_the_config_says_so(config, make_config):
    [record] = Playroom("train").read([7])
    masked_only = make_config({"model.regions.count": 4, "objectives": {"regions": options("regions", words=0.0)}})
    for chosen, everywhere in ((config, True), (masked_only, False)):
        rows = make(chosen)["regions"].features(Example(record, record.captions, np.random.default_rng(0)))
        asked = (rows["labels"] != vocab.PAD).any(-1)
        there = boxes_array(record.regions, 4)[:, 2] > 0
        assert (asked == (there if everywhere else rows["masked_regions"])).all()


def test_a_label_is_read_at_its_object_alone(model):
    objects = jax.random.normal(jax.random.key(0), (1, 2, 16))
    labels = np.full((1, 2, 8), vocab.PAD, np.uint16)
    labels[0, :, :3] = [vocab.sentinel(0), 65, vocab.EOS]
    nats, count = label_nats(model, objects, jnp.asarray(labels))
    other, _ = label_nats(model, objects.at[0, 1].add(1.0), jnp.asarray(labels))
    assert count.tolist() == [[2, 2]]
    assert float(nats[0, 0]) == pytest.approx(float(other[0, 0]), abs=1e-6) and float(nats[0, 1]) != float(other[0, 1])


def test_features_are_found_among_those_of_other_pictures():
    looks = jnp.asarray(np.eye(8, dtype=np.float32).reshape(4, 2, 8))
    valid = jnp.array([[True, True], [True, False], [True, True], [True, True]])
    alone = jnp.eye(4, dtype=bool)
    nats, right = feature_nats(looks, looks, valid, alone)
    assert (right == valid).all() and nats[1, 1] == 0 and (nats[valid] < 0.01).all()
    wrong, _ = feature_nats(looks[::-1], looks, valid, alone)
    assert wrong[0, 0] > 5
    # Of two equal pictures the other's objects are no mistakes.
    twice = looks.at[1].set(looks[0])
    equal = alone.at[0, 1].set(True).at[1, 0].set(True)
    (apart, _), (together, _) = (feature_nats(twice, twice, valid, same) for same in (alone, equal))
    assert apart[0, 0] > 0.6 and together[0, 0] < 0.01


def test_masked_objects_are_told_by_their_features_too(make_config, batch_at):
    regions = {"regions": options("regions", words=0.0, both=0.5, features=1.0)}
    config = make_config({"model.regions.count": 4, "model.regions.features": True, "objectives": regions})
    batch = jax.tree.map(jnp.asarray, batch_at(config)["image_text"])
    params = jax.jit(lambda: init(config))().params

    def step(params):
        passes = Passes(make_model(config).bind({"params": params}), batch)
        return make(config)["regions"].loss(passes, jax.random.key(0))

    (loss, metrics), pull = jax.jit(jax.value_and_grad(step, has_aux=True))(params)
    assert np.isfinite(loss) and 0 <= metrics["feature_accuracy"] <= 1 and np.abs(pull["region_features"]).max() > 0
    records = Playroom("val").read(range(8))
    evaluator = EVALUATORS["objects"](config, sharding.make_mesh(config.mesh), records)
    assert evaluator(params).scores.keys() >= {"objects/features", "objects/features/no_text"}
    true, count = np.eye(len(evaluator.items)), len(evaluator.items)
    for shift in (0, 1):  # what is expected is the object itself, and the one before it
        evaluator.look = lambda *_, shift=shift: np.stack([np.roll(true, shift, 1), true], 1)
        alike = np.mean([evaluator.answers[i] == evaluator.answers[(i + shift) % count] for i in range(count)])
        assert evaluator._features(params)["objects/features"] == alike
    for changes in ({"model.regions.features": False}, {"objectives": {"regions": options("regions")}}):
        with pytest.raises(UserError, match="give a weight and True"):
            make(
                make_config({"model.regions.count": 4, "model.regions.features": True, "objectives": regions} | changes)
            )
    with pytest.raises(UserError, match="tells no features"):
        plain = make_config({"model.regions.count": 4})
        make_model(plain).bind({"params": params}).expected_looks(jnp.zeros((1, 4, config.model.width)))


def test_the_alarm_is_told_once_of_a_constant_predictor(config, batch_at, model):
    objectives = make(config)
    batch = jax.tree.map(jnp.asarray, batch_at(config)["image_text"])
    present = np.asarray(batch["boxes"][..., 2] > 0).any(-1)
    half = present & (np.cumsum(present) <= present.sum() // 2)
    for known in (present, half):  # where pictures have no objects fewer mismatches are left
        some = batch | {"boxes": jnp.where(known[:, None, None], batch["boxes"], 0.0)}
        matched, pairs = known.sum(), 2 * known.sum() + len(known)
        share = matched / pairs
        entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
        passes = Passes(Sure(model, float(np.log(share / (1 - share)))), some)
        loss, metrics = objectives["match"].loss(passes, jax.random.key(0))
        logged = {"match/loss": float(loss), "match/prior_entropy": float(metrics["prior_entropy"])}
        assert logged == pytest.approx(dict.fromkeys(logged, entropy), abs=1e-4)
        alarms = Alarms(objectives)
        told = [text for step in range(3 * PATIENCE) for text in alarms(step, logged)]
        assert len(told) == 1 and "config.objectives.match.schedule" in told[0]
        alarms = Alarms(objectives)
        assert not any(alarms(step, logged | {"match/loss": 0.3}) for step in range(3 * PATIENCE))
    for turn in ((), (1, 2)):  # in turn or not, and not before it is trained
        later = match.Options(schedule=((0.2, 0.0), (0.3, 1.0)), turn=turn)
        alarms = Alarms(make(dataclasses.replace(config, steps=100, objectives={"match": later})))
        with jax.transfer_guard("disallow"):
            assert [step for step in range(100) for _ in alarms(step, logged)] == [20 + PATIENCE]


def test_objectives_say_what_they_need(make_config):
    for name, remedy in (("match", "config.model.matching=True"), ("regions", "config.model.regions.count")):
        with pytest.raises(UserError, match=remedy):
            make(make_config({"objectives": {name: options(name)}}))


def test_asked_objects_are_told_by_their_captions():
    records = Playroom("val").read(range(40))
    items = masked_objects(records, 4)
    assert len(items) > 25
    for item in items:
        region = item.record.regions[item.asked]
        color, _, _ = region.label.partition(" ")
        assert item.masked[item.asked]
        said = next(p for p in item.caption.meaning.phrases if p.color == color)
        names = {
            playroom.NAMES["en"][k] for k, word in playroom.NAMES[item.caption.language].items() if word == said.word
        }
        assert names == {region.label.partition(" ")[2]}


@pytest.mark.parametrize(
    ("relation", "second", "known"),
    [("in front of", "star", 0.5), ("above", "star", 1.0), ("in front of", "key", 1.0)],
    ids=["boxes of one shape", "told by their places", "told by their shapes"],
)
def test_an_oracle_knows_what_text_and_boxes_tell(relation, second, known):
    """A green toy is masked together with a yellow star: which of the boxes is the star's, where each may be?"""
    height, width = world.extent("star", "medium", 32)
    tall, wide = world.extent(second, "medium", 32)
    top = 8 if relation == "in front of" else 18
    scene = playroom.Scene(
        (
            playroom.Toy(second, "green", "medium", (top, 2, top + tall, 2 + wide)),
            playroom.Toy("star", "yellow", "medium", (2, 2, 2 + height, 2 + width)),
        ),
        None, "easy", 32, (99, 99, 99), 0,
    )  # fmt: skip
    phrases = (playroom.Phrase("star", "yellow"), playroom.Phrase(playroom.NAMES["en"][second], "green"))
    caption = playroom.compose(playroom.Meaning(phrases, relation), "en", "pair")
    assert playroom.describes(caption, scene)
    record = Record("0", (caption,), truth=scene, regions=language.regions(scene, "en"))
    for asked in range(2):
        assert knowable(MaskedObject(record, caption, (True, True, False, False), asked)) == known
    assert knowable(MaskedObject(record, caption, (True, False, False, False), 0)) == 1.0  # the other one is seen
    assert 0.98 < np.mean([knowable(i) for i in masked_objects(Playroom("val").read(range(100)), 4)]) <= 1


def test_only_the_best_are_ranked_again():
    towers = np.array([[0.9, 0.8, 0.1, 0.0]])
    better = np.array([[-3.0, 2.0, 9.0, 9.0]])
    assert np.argsort(-reranked(towers, better, 2)[0]).tolist() == [1, 0, 2, 3]


def test_pairs_are_scored_text_by_picture():
    images, texts = (np.arange(6), np.arange(6)), np.arange(6) * 10
    found = pair_scores(lambda params, image, text: image[0] + text, None, images, texts, slice(2, 4))
    assert found.tolist() == [[22, 23], [32, 33]]


def test_regions_config_is_off_by_default():
    assert RegionsConfig().count == 0


def test_objects_may_be_discovered_in_the_place_of_given_boxes(make_config, batch_at):
    """They are groups of the tokens, with the boxes that these see, and pictures need none."""
    found = make_config({
        "model.regions.count": 3, "model.regions.discovered": True, "model.matching": True,
        "objectives": {"match": options("match")},
    })  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch_at(found)["image_text"])
    assert "boxes" not in batch
    bound = make_model(found).bind({"params": jax.jit(lambda: init(found))().params})
    tokens = bound.encode("image", batch["image"])
    objects = bound.grounded(tokens, None)
    groups = pooled(tokens, group(tokens, "relation", 3))
    assert objects.vectors.shape[1] == 3 and objects.valid.all()
    np.testing.assert_allclose(objects.spans, seen(groups.tokens.spans, found.model.image))
    given = dataclasses.replace(found.model.regions, discovered=False)
    boxed = make_model(dataclasses.replace(found, model=dataclasses.replace(found.model, regions=given)))
    by_box = boxed.bind(bound.variables)
    with pytest.raises(UserError, match="in given boxes"):
        by_box.grounded(tokens, None)
    same = by_box.regions(tokens, groups.groups, objects.spans)
    np.testing.assert_allclose(same.vectors, objects.vectors)
    loss, _ = make(found)["match"].loss(Passes(bound, batch), jax.random.key(0))
    assert np.isfinite(float(loss))
    bare = [dataclasses.replace(record, regions=()) for record in Playroom("val").read(range(4))]
    assert len(EVALUATORS["match"](found, sharding.make_mesh(found.mesh), bare).records) == 4
    with pytest.raises(UserError, match="labels are of given boxes"):
        make(make_config({
            "model.regions.count": 3, "model.regions.discovered": True, "objectives": {"regions": options("regions")},
        }))  # fmt: skip
    with pytest.raises(UserError, match="such as 8"):
        make_config({"model.regions.discovered": True})


def test_one_object_or_character_may_be_masked_alone(config, make_config):
    crowd = [Region((0, 0, 0.6, 0.6), "ball"), Region((0.4, 0.4, 1, 1), "key"), Region((0, 0.8, 0.1, 1), "hat")]
    drawn_alone = [masked_group(crowd, 4, np.random.default_rng(i), whole=False) for i in range(40)]
    assert {tuple(np.flatnonzero(m)) for m in drawn_alone} == {(0,), (1,), (2,)}
    caption = Caption("빨간 ball", "ko", words=(Word(0, 6), Word(7, 11, "kind")))
    apart = by_character(caption)
    assert [(w.start, w.end, w.kind) for w in apart.words] == [
        (0, 3, ""), (3, 6, ""), (7, 8, "kind"), (8, 9, "kind"), (9, 10, "kind"), (10, 11, "kind")
    ]  # fmt: skip
    accented = by_character(Caption("cafe\u0301", "en")).words
    assert accented is not None and [(w.start, w.end) for w in accented] == [(0, 1), (1, 2), (2, 3), (3, 6)]
    chosen = options("regions", unit="character", groups=False, words=1.0, both=0.0)
    known = make(make_config({"model.regions.count": 4, "objectives": {"regions": chosen}}))["regions"]
    record = Playroom("train").read([3])[0]
    for seed in range(20):
        spans = known.features(Example(record, record.captions, np.random.default_rng(seed)))["caption_spans"]
        written = vocab.decode(spans[0][spans[0] < 256])
        assert len(written) == 1
    with pytest.raises(UserError, match="choose word or character"):
        make(make_config({"model.regions.count": 4, "objectives": {"regions": options("regions", unit="byte")}}))


def test_objects_that_no_text_speaks_of_count_nothing(config, model):
    """What is expected of a picture is measured from what its boxes alone make expected."""
    records = Playroom("val").read(range(2))
    boxes = jnp.asarray(np.stack([boxes_array(r.regions, 4) for r in records]))
    there = np.asarray(boxes)[..., 2] > 0
    labels = jnp.asarray(np.stack([label_ids(r.regions, t, 15) for r, t in zip(records, there, strict=True)]))
    text = jnp.asarray(np.stack([text_ids(r.captions[0].text, config.model.text.max_bytes) for r in records]))
    asked, blind = expected(model, (boxes, labels), text), expected(model, (boxes, labels), None)
    assert np.isfinite(asked).all() and (np.asarray(blind) > 0).all() and np.abs(asked - blind).min() > 1e-4
    nothing = jnp.full_like(labels, vocab.PAD)
    assert not np.any(expected(model, (boxes, nothing), text)) and not np.any(expected(model, (boxes, nothing), None))
