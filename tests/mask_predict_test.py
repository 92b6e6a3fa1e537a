"""Tests of mask-predict: what is masked, what is read of it, and how a text is filled in."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import predict, sharding, vocab
from xmjax.config import ModelConfig, TextConfig
from xmjax.data.arrays import canvas, text_ids
from xmjax.data.playroom import Playroom
from xmjax.data.playroom.lexicon import RELATIONS
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption
from xmjax.data.words import pieces
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS, mask_predict
from xmjax.evaluation.match import encoded, encoded_image, matched
from xmjax.model_api import Model
from xmjax.models.generate import Written
from xmjax.models.passes import Passes
from xmjax.objectives import make, options
from xmjax.objectives.mask_predict import MaskPredict, at_places, composed, drawn_masks
from xmjax.objectives.mask_predict import Options as MaskPredictOptions
from xmjax.objectives.regions import label_nats
from xmjax.training.step import init, make_model


def test_a_caption_is_filled_in_where_no_decoder_was_trained(make_config):
    masking = {"mask_predict": options("mask_predict", units=6)}
    config = make_config({"model.regions.count": 4, "objectives": masking})
    loaded, record = Model(config, jax.jit(lambda: init(config))().params), Playroom("val").read([0])[0]
    boxes = np.array([region.box for region in record.regions])
    (text,) = loaded.caption(record.image, "ko", boxes=boxes)
    given = [":".join(map(str, box)) for box in boxes]
    assert predict.caption(loaded, record.image, "ko", boxes=given).lines == [text]
    assert loaded.caption(record.image, "ko", method="mask_predict", boxes=boxes) == [text]
    assert len(text) <= config.model.text.max_bytes
    several = loaded.caption(record.image, "ko", method="beam", n=2, width=2, boxes=boxes)
    assert len(set(several)) == 2
    assert predict.caption(loaded, record.image, "ko", method="beam", n=2, width=2, boxes=given).lines == several
    for arguments, message in (
        ({}, "writes captions by mask_predict with objects: give the boxes of 1 to 4"),
        ({"n": 2, "boxes": boxes}, "n=2 does not go with method='mask_predict': beam"),
        ({"method": "greedy"}, "has not trained caption but fills words in: mask_predict or beam"),
        ({"method": "beam", "normalisation": 1.0, "boxes": boxes}, "normalisation=1.0"),
    ):
        with pytest.raises(UserError, match=message):
            loaded.caption(record.image, **arguments)


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


def reader(monkeypatch, spelled, units, encode=lambda modality, ids: None):
    """A model of texts of one row, whose words ``spelled`` writes in the place of the decoder."""
    monkeypatch.setattr(mask_predict, "beam", spelled)
    monkeypatch.setattr(mask_predict, "at_places", lambda *_: jnp.zeros((1, units, 8)))
    monkeypatch.setattr(mask_predict, "encoded_image", lambda *_: None)
    return SimpleNamespace(config=ModelConfig(text=TextConfig(embedder="bytes")), encode=encode)


def text_of(prompt, words):
    """The first text of words by bytes, as `judged` spells it."""
    ids = mask_predict.spelled(mask_predict.cut(prompt, words, 1), prompt.shape[1])
    return vocab.decode(np.asarray(ids[0]))


@pytest.mark.parametrize("left", [False, True])
def test_what_is_kept_of_a_text_is_what_is_certain_or_what_comes_first(left, monkeypatch):
    """A model that writes one letter everywhere, the surer of it the further back it stands."""
    seen = []

    def spelled(model, memory, valid, prompt, length, width):
        ids = jnp.where(jnp.arange(length + 1) == 0, 65, jnp.where(jnp.arange(length + 1) == 1, vocab.EOS, vocab.PAD))
        return Written(jnp.tile(ids, (6, 1, 1)), jnp.arange(6.0)[:, None])

    def see(modality, ids):
        jax.debug.callback(lambda ids: seen.append(np.asarray(ids[0])), ids, ordered=True)

    model, prompt = reader(monkeypatch, spelled, 6, see), jnp.array([[vocab.SEP, *[vocab.PAD] * 9]])
    words = mask_predict.in_rounds(model, None, prompt, jnp.array([left]), units=6, max_unit_bytes=3)
    jax.effects_barrier()
    assert text_of(prompt, words) == "AAAAAA"
    kept = [np.flatnonzero(ids[1:] == 65).tolist() for ids in seen]
    assert kept == [list(range(i)) if left else list(range(6 - i, 6)) for i in range(6)]


def test_a_text_ends_at_its_first_empty_word(monkeypatch):
    def spelled(model, memory, valid, prompt, length, width):
        ends = jnp.arange(4)[:, None] == 2
        first, second = (jnp.where(ends, a, b) for a, b in ((vocab.EOS, 65), (vocab.PAD, vocab.EOS)))
        return Written(jnp.concatenate([first, second], 1)[:, None], jnp.zeros((4, 1)))

    prompt = jnp.array([[vocab.SEP, *[vocab.PAD] * 9]])
    model, size = reader(monkeypatch, spelled, 4), {"units": 4, "max_unit_bytes": 1}
    words = mask_predict.in_rounds(model, None, prompt, jnp.array([False]), **size)
    found = mask_predict.spelled(mask_predict.cut(prompt, words, 1), 10)
    assert found.tolist() == [[65, 65, vocab.EOS, *[vocab.PAD] * 7]]


def test_a_text_that_has_no_room_ends_between_two_words(monkeypatch):
    """Five letters of three bytes a word, six of which and the prompt are more than the text holds."""

    def spelled(model, memory, valid, prompt, length, width):
        ids = jnp.array([*"가나다라마".encode(), vocab.EOS])
        return Written(jnp.tile(ids, (6, 1, 1)), jnp.zeros((6, 1)))

    prompt = jnp.array([[*b"ko", vocab.SEP, *[vocab.PAD] * 37]])
    model, size = reader(monkeypatch, spelled, 6), {"units": 6, "max_unit_bytes": 15}
    words = mask_predict.in_rounds(model, None, prompt, jnp.array([False]), **size)
    assert text_of(prompt, words) == "가나다라마" * 2
    whole = mask_predict.cut(prompt, words, 1)[0]
    assert whole[2, :3].tolist() == [vocab.sentinel(0), vocab.EOS, vocab.PAD]  # what has no room is the end
    assert (whole[3:] == vocab.PAD).all()


def test_a_search_pays_for_the_word_that_has_no_room(monkeypatch):
    """Two words of fifteen bytes fit behind the prompt; both the likelier and the other third word end the text."""

    def spelled(model, memory, valid, prompt, length, width):
        words = [[*text.encode(), vocab.EOS] for text in ("가나다라마", "바사아자차")]
        return Written(jnp.tile(jnp.array(words), (2, 1, 1)), jnp.tile(jnp.array([-0.5, -1.0]), (2, 1)))

    prompts = jnp.array([[*b"ko", vocab.SEP, *[vocab.PAD] * 37]] * 2)
    model = reader(monkeypatch, spelled, 6)
    words, score = mask_predict.beam_search(model, None, prompts, units=6, max_unit_bytes=15, width=2)
    texts = [text_of(prompts[:1], words[:, k]) for k in range(2)]
    assert texts[0] == "가나다라마" * 2 and len(set(texts)) == 2
    assert score[0].tolist() == pytest.approx([-1.5, -2.0])


def test_a_search_finds_a_text_once(monkeypatch):
    """An empty word and one without room end a text alike."""

    def spelled(model, memory, valid, prompt, length, width):
        long, empty = [*"가나다라마".encode(), vocab.EOS], [vocab.EOS, *[vocab.PAD] * 15]
        words = jnp.tile(jnp.array([long, empty]), (2, 1, 1))
        return Written(words, jnp.tile(jnp.array([-0.5, -1.0]), (2, 1)))

    prompts = jnp.array([[*b"ko", vocab.SEP, *[vocab.PAD] * 37]] * 2)
    words, score = mask_predict.beam_search(
        reader(monkeypatch, spelled, 6), None, prompts, units=6, max_unit_bytes=15, width=2
    )
    texts = [text_of(prompts[:1], words[:, k]) for k in range(2) if score[0, k] > -np.inf]
    assert len(set(texts)) == len(texts) == 2


@pytest.mark.parametrize(("width", "text"), [(1, "AC"), (2, "BC")])
def test_a_search_finds_the_likelier_of_two_captions(width, text, monkeypatch):
    """A is likelier than B by itself, but whatever follows it is unlikely; both end after two words."""

    def spelled(model, memory, valid, prompt, length, width):
        known = memory[:, 0]
        words = jnp.array([[65, vocab.EOS], [66, vocab.EOS], [67, vocab.EOS], [68, vocab.EOS], [vocab.EOS, vocab.PAD]])
        after_a, after_b = (jnp.any(known == letter, -1) for letter in (65, 66))
        over = jnp.any((known == 67) | (known == 68), -1)
        choice = jnp.select([over, after_a | after_b], [4, 2], 0)
        sure = jnp.select([over, after_a, after_b], [0.0, -2.0, -0.1], -0.4)
        second = jnp.select([over, after_a, after_b], [-9.0, -2.1, -3.0], -0.9)
        ids = words[jnp.stack([choice, jnp.minimum(choice + 1, 4)], 1)[:, :width]]
        return Written(ids, jnp.stack([sure, second], 1)[:, :width])

    model = reader(monkeypatch, spelled, 4, lambda modality, ids: ids)
    monkeypatch.setattr(
        mask_predict, "at_places", lambda model, modality, other, text, canvas: jnp.tile(text[:, None], (1, 4, 1))
    )
    prompts = jnp.array([[vocab.SEP, *[vocab.PAD] * 9]] * width)
    words, score = mask_predict.beam_search(model, None, prompts, units=4, max_unit_bytes=1, width=width)
    assert text_of(prompts[:1], words[:, 0]) == text
    assert score[0, 0] == pytest.approx({1: -2.4, 2: -1.0}[width])


def test_the_agreement_of_words_is_what_each_costs_where_all_others_are_known(make_config, batch_at):
    """Places behind the end cost nothing, and the end does."""
    config = make_config({
        "model.regions.count": 4, "model.text.max_bytes": 64,
        "objectives": {"mask_predict": options("mask_predict", units=6)},
    })  # fmt: skip
    params = {"params": jax.jit(lambda: init(config))().params}
    batch = jax.tree.map(jnp.asarray, batch_at(config)["image_text"])
    other = jax.jit(lambda: Passes(make_model(config).bind(params), batch).fused_with_text("image"))()
    rows, each = len(other.vectors), 4
    captions = [Caption(["a red bat", "파란 여우"][row % 2], "en", "pair") for row in range(rows)]
    prompt, words = (jnp.asarray(np.stack(x)) for x in zip(*(canvas(c, 6, 15, 64) for c in captions), strict=True))

    @jax.jit
    def agreement(words):
        return mask_predict.agreement(make_model(config).bind(params), other, prompt, words)

    @jax.jit
    def alone(masked):
        model = make_model(config).bind(params)
        text = composed(prompt, words, jnp.broadcast_to(masked, (rows, 6)) | (words[..., 0] == vocab.PAD), 64, each)
        return label_nats(model, at_places(model, "image", other, model.encode("text", text.ids), text), words)[0]

    counts = [len(pieces(caption.text, 15)) + 1 for caption in captions]
    nats = [np.asarray(alone(jnp.arange(6) == k))[:, k] for k in range(6)]
    expected = [-sum(float(nats[k][row]) for k in range(count)) for row, count in enumerate(counts)]
    np.testing.assert_allclose(agreement(words), expected, rtol=1e-4)
    ends = jnp.asarray(np.array(counts) - 1)[:, None, None]
    noise = jnp.where((jnp.arange(6)[:, None] > ends) & (jnp.arange(17) == 1), 66, words)
    np.testing.assert_array_equal(mask_predict.cut(prompt, noise, each), words)


def test_texts_are_judged_by_their_pictures_too(make_config):
    """The match of each text with its own picture is added, whatever stands behind it in the row."""
    config = make_config({
        "model.regions.count": 4, "model.text.max_bytes": 64, "model.matching": True, "model.matching_product": True,
        "objectives": {"match": options("match"), "mask_predict": options("mask_predict", units=6)},
    })  # fmt: skip
    params = dict(jax.jit(lambda: init(config))().params)
    rng = np.random.default_rng(0)
    params["matching_product"] = jnp.asarray(rng.standard_normal(params["matching_product"].shape), jnp.float32)
    records, texts = Playroom("val").read(range(2)), ["a red bat", "파란 여우", "a fox"]
    image = jnp.asarray(np.stack([r.image for r in records]))
    boxes = jnp.asarray(np.stack([boxes_array(r.regions, 4) for r in records]))
    prompt, words = (np.stack(x) for x in zip(*(canvas(Caption(t, "en"), 6, 15, 64) for t in texts), strict=True))
    prompt, words = jnp.asarray(prompt[:2]), jnp.asarray(np.stack([words, words[::-1]]))
    settings = mask_predict.settings(config)
    assert settings["matches"] and settings["units"] == 6

    @jax.jit
    def judged():
        model = make_model(config).bind({"params": params})
        mask_predict.set_up(model)
        other = encoded_image(model, image, boxes)
        with_, without = (mask_predict.judged(model, image, other, prompt, words, told) for told in (True, False))
        ids = jnp.asarray(np.stack([text_ids(t, 64) for t in texts + texts[::-1]]))
        shown = jnp.repeat(image, 3, 0), jnp.repeat(boxes, 3, 0)
        return with_, without[1], matched(model, *encoded(model, *shown, ids))

    (found, whole), agreed, logits = judged()
    spelled = [[vocab.decode(np.asarray(ids)) for ids in row] for row in found]
    assert spelled == [texts, texts[::-1]]
    np.testing.assert_allclose(whole - agreed, jax.nn.log_sigmoid(logits).reshape(2, 3), atol=1e-4)
    assert np.std(logits) > 1e-3


def test_a_search_puts_the_best_first_and_no_text_twice(monkeypatch):
    ids = jnp.broadcast_to(jnp.arange(65, 69)[None, :, None], (2, 4, 10)).at[0, 2].set(65)
    score = jnp.array([[-3.0, -2.0, -1.0, -0.5], [-1.0, -2.0, -4.0, -3.0]])
    for name, stub in {
        "set_up": lambda model: None,
        "repeated": lambda tokens, count: None,
        "beam_search": lambda *_, **size: (None, jnp.where(jnp.arange(4) == 3, -jnp.inf, jnp.zeros((2, 4)))),
        "judged": lambda *_: (ids, score),
    }.items():
        monkeypatch.setattr(mask_predict, name, stub)
    model, prompt = reader(monkeypatch, None, 1), jnp.full((2, 10), vocab.PAD)
    found = mask_predict.searched(model, None, None, prompt, units=1, max_unit_bytes=1, width=4, matches=False)
    assert found.ids[:, :3, 0].tolist() == [[66, 65, 65], [65, 66, 67]]
    assert found.log_probability.tolist() == [[-2, -3, -np.inf, -np.inf], [-1, -2, -4, -np.inf]]


@pytest.mark.parametrize("better", range(4))
def test_the_best_text_is_kept(better, monkeypatch):
    """Of two written in rounds and two that a search has found; what it has not found is no text."""

    def word(letters):
        ids = letters[..., None, None]
        return jnp.concatenate([jnp.full_like(ids, vocab.sentinel(0)), ids, jnp.full_like(ids, vocab.EOS)], -1)

    def beam_search(model, other, prompts, **size):
        return word(jnp.array([[67, 68, 69], [99, 100, 101]])), jnp.array([[-1.0, -2.0, -jnp.inf]] * 2)

    def in_rounds(model, other, prompt, left, **size):
        return word(jnp.where(left, 66, 65) + 32 * (jnp.arange(4) // 2))  # capitals for the first picture

    score = jnp.where(jnp.arange(5) == jnp.array([[better], [3 - better]]), -1.0, -2.0).at[:, 4].set(0.0)
    for name, stub in {
        "set_up": lambda model: None,
        "repeated": lambda tokens, count: None,
        "in_rounds": in_rounds,
        "beam_search": beam_search,
        "judged": lambda model, image, other, prompt, words, matches: (words[..., 0, 1:], score),
    }.items():
        monkeypatch.setattr(mask_predict, name, stub)
    prompt = jnp.array([[vocab.SEP, *[vocab.PAD] * 9]] * 2)
    model = reader(monkeypatch, None, 1)
    found = mask_predict.filled_in(model, None, None, prompt, units=1, max_unit_bytes=1, width=3)
    texts = [[vocab.decode(np.asarray(ids)) for ids in rows] for rows in found]
    assert texts == [["ABCD"[better], "abcd"[3 - better]], ["A", "a"], ["B", "b"], ["C", "c"]]


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
