"""Tests of mask-predict: what is masked, and what is read of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import sharding, vocab
from xmjax.data.arrays import canvas
from xmjax.data.playroom import Playroom
from xmjax.data.playroom.lexicon import RELATIONS
from xmjax.data.source import Caption
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.models.passes import Passes
from xmjax.objectives import make, options
from xmjax.objectives.mask_predict import MaskPredict, composed, drawn_masks
from xmjax.objectives.mask_predict import Options as MaskPredictOptions
from xmjax.training.step import init, make_model


def test_a_record_may_be_masked_in_several_texts(make_config, batch_at):
    several = make_config({
        "model.regions.count": 4, "model.text.max_bytes": 64,
        "objectives": {"mask_predict": options("mask_predict", canvases=3)},
    })  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch_at(several)["image_text"])
    rows = batch["image"].shape[0]
    assert batch["canvas"].shape[:2] == (rows, 3)
    assert all(len(np.unique(np.asarray(texts), axis=0)) == 2 for texts in batch["canvas"])  # two captions were drawn
    bound = make_model(several).bind({"params": jax.jit(lambda: init(several))().params})
    loss, metrics = make(several)["mask_predict"].loss(Passes(bound, batch), jax.random.key(0))
    assert 0 < float(loss) < 20 and np.isfinite(float(metrics["bits_per_byte"]))
    with pytest.raises(UserError, match="canvases"):
        make_config({
            "model.regions.count": 4,
            "objectives": {"mask_predict": options("mask_predict", canvases=0, units=6)},
        })  # fmt: skip


def test_words_are_masked_anywhere_or_behind_a_beginning():
    written = jnp.arange(8)[None] < jnp.full((200, 1), 6)  # five words and the end, two places behind it
    anywhere, wholly = drawn_masks(jax.random.key(0), written, 0.3, 0.0)
    behind, _ = drawn_masks(jax.random.key(0), written, 0.0, 1.0)
    assert anywhere[:, 6:].all() and behind[:, 6:].all()
    assert 30 < wholly.sum() < 90 and anywhere[wholly].all()
    inside = np.asarray(anywhere[~wholly, :6])
    assert 0.4 < inside.mean() < 0.6 and (np.diff(inside.astype(int), axis=1) < 0).any()
    left = np.asarray(behind[:, :6])
    assert set(left.sum(1)) == set(range(1, 7)) and (np.diff(left.astype(int), axis=1) >= 0).all()


def test_a_single_marked_word_is_masked_whole(make_config, batch_at):
    """Of a kind that is named, however many places it takes; what has none of it is masked as it would be."""
    changes = {"model.regions.count": 4, "data.languages": ("en",), "data.styles": ("pair", "list")}
    masking = {"units": 12, "single": 1.0, "single_kinds": ("relation",)}
    config = make_config({
        **changes, "model.text.max_bytes": 80, "objectives": {"mask_predict": options("mask_predict", **masking)}
    })  # fmt: skip
    batch = batch_at(config)["image_text"]
    asked = []
    for units, single in zip(batch["canvas"][:, 0], batch["canvas_single"][:, 0], strict=True):
        words = [vocab.decode(ids[1:]) for ids in units]
        asked.append("".join(words[i] for i in np.flatnonzero(single)).strip())
        assert ("and" in "".join(words)) == (asked[-1] == "")
    assert "" in asked and set(asked) - {""} <= set(RELATIONS["en"]) and any(" " in words for words in asked)
    bound = make_model(config).bind({"params": jax.jit(lambda: init(config))().params})
    batch = jax.tree.map(jnp.asarray, batch)
    _, metrics = make(config)["mask_predict"].loss(Passes(bound, batch), jax.random.key(0))
    assert 0 < float(metrics["single_bits_per_byte"]) < 20
    rows = jnp.arange(len(batch["id"]))
    others = {"canvas": batch["canvas"].at[rows, 0, jnp.argmax(batch["canvas_single"][:, 0], 1), 1].set(65)}
    again = make(config)["mask_predict"].loss(Passes(bound, batch | others), jax.random.key(0))[1]
    assert float(again["single_bits_per_byte"]) != float(metrics["single_bits_per_byte"])  # what is asked is that word
    anywhere = MaskPredict(MaskPredictOptions(single=1.0), config)
    free = Caption("a red bat", "en")  # no words are marked: all may be it
    found = {tuple(np.flatnonzero(anywhere.single(free, np.random.default_rng(seed)))) for seed in range(20)}
    assert found == {(0,), (1,), (2,)}
    short = MaskPredict(MaskPredictOptions(single=1.0, units=2), config)
    cut = {tuple(np.flatnonzero(short.single(free, np.random.default_rng(seed)))) for seed in range(20)}
    assert cut == {(0,), (1,)}  # what has no place is not asked for
    assert not MaskPredict(MaskPredictOptions(), config).single(free, np.random.default_rng(0)).any()


@pytest.mark.parametrize("each", [1, 4])
def test_a_mask_takes_as_much_of_a_text_whatever_it_hides(each):
    """Each masked word has a token to itself, and a text that is known comes out as it was."""
    captions = [Caption("a red bat", "en", "pair"), Caption("파란 여우가 있다", "ko")]
    prompts, units = (jnp.asarray(np.stack(x)) for x in zip(*(canvas(c, 6, 15, 48) for c in captions), strict=True))
    whole = composed(prompts, units, jnp.zeros((2, 6), bool), 48, each)
    texts = [vocab.decode(ids[ids != vocab.PAD]) for ids in np.asarray(whole.ids)]
    assert texts == ["en paira red bat", "ko파란 여우가 있다"]
    masked = jnp.array([[False, True, True, True, True, True], [True, False, False, True, True, True]])
    hidden = composed(prompts, units, masked, 48, each)
    first = np.asarray(hidden.ids[0])
    assert first[:9].tolist() == [*b"en pair", vocab.SEP, *b"a"] and (first[9 : 8 + each] == vocab.PAD).all()
    masks = first[8 + each :]
    assert (masks[: 5 * each] == vocab.MASK).all() and (masks[5 * each :] == vocab.PAD).all()
    for row in range(2):
        tokens = np.asarray(hidden.token[row][masked[row]])
        assert len(set(tokens.tolist())) == len(tokens)
        ids = np.asarray(hidden.ids[row]).reshape(-1, each)[tokens]
        assert (ids == vocab.MASK).all()
    assert hidden.inside.all() and not composed(prompts, units, masked, 16, 4).inside.all()


def test_what_is_hidden_does_not_show():
    """Texts that differ in masked words alone, in how long they are and in where they end, are read alike."""
    captions = [Caption("a red bat and a butterfly", "en"), Caption("a big bat", "en"), Caption("a", "en")]
    prompts, units = (jnp.asarray(np.stack(x)) for x in zip(*(canvas(c, 6, 15, 48) for c in captions), strict=True))
    masked = jnp.arange(6)[None] > jnp.zeros((3, 1))
    for part in composed(prompts, units, masked, 48, 4):
        np.testing.assert_array_equal(part[1:], part[:1].repeat(2, 0))


def test_words_that_have_no_place_or_no_room_are_left_out():
    long = Caption("a red bat and a big blue crane", "en")
    prompt, units = canvas(long, 4, 15, 48)
    assert [vocab.decode(ids[1:]) for ids in units] == ["a", " red", " bat", " and"]
    text = composed(jnp.asarray(prompt)[None], jnp.asarray(units)[None], jnp.zeros((1, 4), bool), 12, 4)
    assert text.inside.tolist() == [[True, True, False, False]]  # a token of the prompt, and one of each word


def test_what_is_known_or_has_no_place_teaches_nothing(make_config, batch_at):
    """The loss is of masked words alone, whatever stands in the rows of others."""
    masking = {"mask_predict": options("mask_predict", units=6, unknown=1.0, written=6)}
    config = make_config({"model.regions.count": 4, "model.text.max_bytes": 64, "objectives": masking})
    batch = jax.tree.map(jnp.asarray, batch_at(config)["image_text"])
    bound = make_model(config).bind({"params": jax.jit(lambda: init(config))().params})

    @jax.jit
    def loss(canvas):
        return make(config)["mask_predict"].loss(Passes(bound, batch | {"canvas": canvas}), jax.random.key(0))

    whole, metrics = loss(batch["canvas"])
    assert metrics["bits_per_byte"] == pytest.approx(float(metrics["unknown_bits_per_byte"]))
    without = batch["canvas"].at[:, :, 2:].set(vocab.PAD)  # texts of two words, and no end
    assert loss(without)[0] != whole and np.isfinite(loss(without)[0])
    nothing, _ = loss(jnp.full_like(batch["canvas"], vocab.PAD))
    assert float(nothing) == 0


def test_the_oracle_of_captions_that_are_filled_in_knows_their_room(make_config):
    def oracle(units):
        masking = {"mask_predict": options("mask_predict", units=units)}
        config = make_config({"model.regions.count": 4, "model.text.max_bytes": 80, "objectives": masking})
        evaluator = EVALUATORS["mask_predict"](config, sharding.make_mesh(config.mesh), Playroom("val").read(range(40)))
        room = zip(evaluator.captions, evaluator.references, strict=True)
        return np.mean([any(evaluator.has_room(caption, text) for text in known) for caption, known in room])

    assert oracle(12) == 1 and 0 < oracle(6) < 1


@pytest.mark.parametrize(
    ("changes", "options_", "message"),
    [
        ({}, {}, "12 masks take 48 bytes"),
        ({"model.text.embedder": "characters"}, {"units": 6}, "fixed number of bytes"),
        ({}, {"units": 6, "unknown": 0.6, "begun": 0.6}, "more than 1 together"),
        ({}, {"units": 6, "single": 1.5}, "single=1.5: must be a share"),
        ({}, {"units": 6, "single_kinds": ("size",)}, "single=0 takes nothing"),
        ({}, {"units": 6, "single": 0.5, "single_kinds": ("sizes",)}, "single_kinds='sizes'.*size"),
        ({}, {"units": 0}, "units"),
        ({}, {"units": 6, "written": 0}, "written"),
        ({}, {"units": 6, "max_unit_bytes": 3}, "max_unit_bytes"),
    ],
)
def test_mistakes_in_mask_predict_are_named(make_config, changes, options_, message):
    with pytest.raises(UserError, match=message):
        make(make_config({**changes, "objectives": {"mask_predict": options("mask_predict", **options_)}}))
