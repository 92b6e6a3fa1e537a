"""Tests of filling in: in rounds, by a search, and what is kept of both."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import predict, vocab
from xmjax.config import ModelConfig, TextConfig
from xmjax.data.arrays import canvas, text_ids
from xmjax.data.playroom import Playroom
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption
from xmjax.data.words import pieces
from xmjax.errors import UserError
from xmjax.evaluation import filling
from xmjax.evaluation.filling import Filling
from xmjax.evaluation.match import encoded, encoded_image, matched
from xmjax.model_api import Model
from xmjax.models.generate import Written
from xmjax.models.passes import Passes
from xmjax.objectives import options
from xmjax.objectives.mask_predict import at_places, composed
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


def reader(monkeypatch, spelled, units, encode=lambda modality, ids: None):
    """A model of texts of one row, whose words ``spelled`` writes in the place of the decoder."""
    monkeypatch.setattr(filling, "beam", spelled)
    monkeypatch.setattr(filling, "at_places", lambda *_: jnp.zeros((1, units, 8)))
    monkeypatch.setattr(filling, "encoded_image", lambda *_: None)
    return SimpleNamespace(config=ModelConfig(text=TextConfig(embedder="bytes")), encode=encode)


def text_of(prompt, words):
    """The first text of words by bytes, as `judged` spells it."""
    ids = filling.spelled(filling.cut(prompt, words, 1), prompt.shape[1])
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
    words = filling.in_rounds(model, None, prompt, jnp.array([left]), units=6, max_unit_bytes=3)
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
    words = filling.in_rounds(model, None, prompt, jnp.array([False]), **size)
    found = filling.spelled(filling.cut(prompt, words, 1), 10)
    assert found.tolist() == [[65, 65, vocab.EOS, *[vocab.PAD] * 7]]


def test_a_text_that_has_no_room_ends_between_two_words(monkeypatch):
    """Five letters of three bytes a word, six of which and the prompt are more than the text holds."""

    def spelled(model, memory, valid, prompt, length, width):
        ids = jnp.array([*"가나다라마".encode(), vocab.EOS])
        return Written(jnp.tile(ids, (6, 1, 1)), jnp.zeros((6, 1)))

    prompt = jnp.array([[*b"ko", vocab.SEP, *[vocab.PAD] * 37]])
    model, size = reader(monkeypatch, spelled, 6), {"units": 6, "max_unit_bytes": 15}
    words = filling.in_rounds(model, None, prompt, jnp.array([False]), **size)
    assert text_of(prompt, words) == "가나다라마" * 2
    whole = filling.cut(prompt, words, 1)[0]
    assert whole[2, :3].tolist() == [vocab.sentinel(0), vocab.EOS, vocab.PAD]  # what has no room is the end
    assert (whole[3:] == vocab.PAD).all()


def test_a_search_pays_for_the_word_that_has_no_room(monkeypatch):
    """Two words of fifteen bytes fit behind the prompt; both the likelier and the other third word end the text."""

    def spelled(model, memory, valid, prompt, length, width):
        words = [[*text.encode(), vocab.EOS] for text in ("가나다라마", "바사아자차")]
        return Written(jnp.tile(jnp.array(words), (2, 1, 1)), jnp.tile(jnp.array([-0.5, -1.0]), (2, 1)))

    prompts = jnp.array([[*b"ko", vocab.SEP, *[vocab.PAD] * 37]] * 2)
    model = reader(monkeypatch, spelled, 6)
    words, score = filling.beam_search(model, None, prompts, units=6, max_unit_bytes=15, width=2)
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
    words, score = filling.beam_search(
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
        filling, "at_places", lambda model, modality, other, text, canvas: jnp.tile(text[:, None], (1, 4, 1))
    )
    prompts = jnp.array([[vocab.SEP, *[vocab.PAD] * 9]] * width)
    words, score = filling.beam_search(model, None, prompts, units=4, max_unit_bytes=1, width=width)
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
        return filling.agreement(make_model(config).bind(params), other, prompt, words)

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
    np.testing.assert_array_equal(filling.cut(prompt, noise, each), words)


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
    assert Filling.of(config) == Filling(6, 15, matches=True)

    @jax.jit
    def judged():
        model = make_model(config).bind({"params": params})
        filling.set_up(model)
        other = encoded_image(model, image, boxes)
        with_, without = (filling.judged(model, image, other, prompt, words, told) for told in (True, False))
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
        monkeypatch.setattr(filling, name, stub)
    model, prompt = reader(monkeypatch, None, 1), jnp.full((2, 10), vocab.PAD)
    found = filling.searched(model, None, None, prompt, Filling(1, 1), width=4)
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
        monkeypatch.setattr(filling, name, stub)
    prompt = jnp.array([[vocab.SEP, *[vocab.PAD] * 9]] * 2)
    model = reader(monkeypatch, None, 1)
    found = filling.filled_in(model, None, None, prompt, Filling(1, 1), width=3)
    texts = [[vocab.decode(np.asarray(ids)) for ids in rows] for rows in found]
    assert texts == [["ABCD"[better], "abcd"[3 - better]], ["A", "a"], ["B", "b"], ["C", "c"]]
