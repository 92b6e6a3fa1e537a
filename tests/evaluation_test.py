"""Tests of scores: recall with ties, controls, oracles and baselines."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import sharding, vocab
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.data.source import Caption, Record, Word
from xmjax.evaluation.caption import CaptionEvaluator
from xmjax.evaluation.fill import FillEvaluator, _masked, _tokens, oracle, other_pictures, score_seen
from xmjax.evaluation.items import FillItem, commonest, describes, fill_items, query, references
from xmjax.evaluation.retrieval import RetrievalEvaluator, recalls
from xmjax.models.embedders import Tokens

RECORDS = playroom.Playroom("val").read(range(120))


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_one_score_for_all_is_chance(size):
    found = recalls([np.full((size, size), 0.3)])
    assert found["R@1"] == pytest.approx(1 / size) and found["MedR"] == (size + 1) / 2
    for k in (5, 10):
        assert found[f"R@{k}"] == pytest.approx(min(1, k / size))


def test_random_features_are_at_chance():
    rng = np.random.default_rng(0)
    matrices = []
    for _ in range(20):
        a, b = (rng.standard_normal((1000, 16)) for _ in range(2))
        matrices.append(a @ b.T)
    found = recalls(matrices)  # 20,000 queries: three standard deviations of a share p are 3 sqrt(p (1 - p) / 20,000)
    for k in (1, 5, 10):
        p = k / 1000
        assert abs(found[f"R@{k}"] - p) < 3 * np.sqrt(p * (1 - p) / 20_000)
    assert abs(found["MedR"] - 500) < 15


def test_ties_by_hand():
    scores = np.array([
        [3.0, 1.0, 1.0, 1.0],  # first
        [2.0, 2.0, 0.0, 0.0],  # tied with one for the first place: rank 1.5
        [1.0, 1.0, 1.0, 5.0],  # one above, tied with two: ranks 2 to 4, mean 3
        [4.0, 3.0, 2.0, 1.0],  # last
    ])  # fmt: skip
    found = recalls([scores])
    assert found["R@1"] == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert found["R@5"] == 1 and found["MedR"] == np.median([1, 1.5, 3, 4])


def test_pools_are_ranked_apart():
    good, bad = np.eye(20), -np.eye(20)
    assert recalls([good]) == {"R@1": 1, "R@5": 1, "R@10": 1, "MedR": 1}
    assert recalls([bad]) == {"R@1": 0, "R@5": 0, "R@10": 0, "MedR": 20}
    assert recalls([good, bad])["R@1"] == 0.5


def test_no_answer_stays_true_in_a_derangement():
    items = fill_items(RECORDS, 64)
    assert len(items) > 100
    clashes = 0
    for seed in range(20):
        donor = other_pictures(items, seed)
        assert sorted(donor) == list(range(len(items)))
        assert not any(item.fits(items[d].record) for item, d in zip(items, donor, strict=True))
        plain = np.random.default_rng(seed).permutation(len(items))
        clashes += sum(item.fits(items[d].record) for item, d in zip(items, plain, strict=True))
    assert clashes > 10  # in the same permutations before the clashes are swapped away


def item_of(name: str, word: str, language: str = "en", kind: str = "") -> FillItem:
    """An item of real data whose only caption is "a WORD"."""
    caption = Caption(f"a {word}", language, words=(Word(2, 2 + len(word.encode()), kind),))
    candidates = ("bat", "cat", "dog")
    return FillItem(Record(name, (caption,)), caption, caption.words[0], candidates, candidates.index(word))


def test_a_derangement_swaps_equal_answers_apart():
    items = [item_of(str(i), w) for i, w in enumerate(["cat"] * 5 + ["dog"] * 5)]
    for seed in range(5):
        donor = other_pictures(items, seed)
        assert sorted(donor) == list(range(10))
        assert all((i < 5) != (d < 5) for i, d in enumerate(donor))


def test_the_commonest_answer_is_told_by_the_other_half():
    assert commonest(["en"] * 40, [{"cat"}] * 30 + [{"dog"}] * 10) == 0.75
    assert commonest(["en", "ko"] * 20, [{"cat"}, {"dog"}] * 20) == 1
    assert commonest(list(range(20)), [{"cat"}] * 20) == 0  # alone in their groups: nothing is known
    assert commonest(["en"] * 40, [{"cat", "bat"}] * 40) == 1
    assert commonest([], []) == 0
    even = [{word} for word in np.random.default_rng(0).choice(["cat", "dog"], 2000).tolist()]
    assert commonest(["en"] * 2000, even) == pytest.approx(0.5, abs=0.05)


def test_the_oracle_reads_the_picture():
    items = fill_items(RECORDS, 64)
    own = oracle(items, list(range(len(items))))
    assert own == 1  # only words that the picture decides are asked
    chance = np.mean([1 / len(item.candidates) for item in items])
    assert oracle(items, other_pictures(items)) <= chance + 1e-9
    pair = [item_of("0", "cat"), item_of("1", "dog")]
    assert oracle(pair, [0, 1]) == 1 and oracle(pair, [1, 0]) == 0
    blank = FillItem(pair[0].record, Caption("a cat", "ko"), pair[0].word, pair[0].candidates, 1)
    assert oracle([blank], [0]) == pytest.approx(1 / 3)  # nothing is true of a picture without captions in its language


def test_real_items_ask_for_words_of_other_captions():
    texts = ["a red cat", "a big dog", "two dogs run", "the bat flies"]
    records = [Record(str(i), (Caption(t, "en"),)) for i, t in enumerate(texts)]
    items = fill_items(records, 64)
    assert len(items) == 4
    for item, text in zip(items, texts, strict=True):
        answer = item.candidates[item.answer]
        assert answer in text.split() and item.true_in(item.record)[item.answer]
        assert len(set(item.candidates)) == len(item.candidates) > 2
        assert not {c for c in item.candidates if c != answer} & set(text.split())
        assert item.masked_text().count("▁▁▁") == 1 and item.masked_text().replace("▁▁▁", answer) == text


@pytest.fixture(scope="module")
def evaluators(make_config):
    config = make_config({"evaluation.samples": 40, "evaluation.pool": 20, "model.text.max_bytes": 64})
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    return {cls: cls(config, mesh, RECORDS) for cls in (FillEvaluator, RetrievalEvaluator, CaptionEvaluator)}


def test_modalities_are_read_in_the_order_of_the_objective():
    class Named:
        def encode(self, modality, data):
            return modality, data

        def reduced(self, modality, tokens):
            return tokens

    assert list(_tokens(Named(), {"depth": 1, "image": 2}, ("image", "depth")).values()) == [("image", 2), ("depth", 1)]


def test_the_fill_scorer_picks_a_planted_winner(evaluators):
    evaluator = evaluators[FillEvaluator]
    answers = np.array([item.answer for item in evaluator.items])
    rows = np.arange(len(answers))
    planted = evaluator.sequences[rows, answers].astype(int)

    class Planted:
        """A model whose decoder knows one sequence for each row."""

        def encode(self, modality, data):
            return Tokens(jnp.zeros((len(rows), 1, 4)), jnp.ones((len(rows), 1), bool), jnp.zeros((len(rows), 1, 2)))

        def reduced(self, modality, tokens):
            return tokens

        def fuse(self, tokens, absent):
            return tokens

        def decode(self, inputs, memory, valid):
            logits = 30 * jax.nn.one_hot(planted[:, 1:], vocab.SIZE)
            return jnp.repeat(logits[:, None], inputs.shape[1], 1)

    def nats(absent: bool) -> np.ndarray:
        given = (jnp.asarray(a) for a in (evaluator.image, evaluator.masked, evaluator.sequences))
        return np.asarray(score_seen(Planted(), *given, jnp.full(len(rows), absent), ""))

    found = nats(False)
    used = evaluator.sequences[..., 0] != vocab.PAD
    assert np.isfinite(found[used]).all() and np.isinf(found[~used]).all()
    evaluator.run = lambda params, image, masked, sequences, absent: found
    report = evaluator(None)
    np.testing.assert_array_equal(np.argmin(found, 1), answers)
    assert report.scores["fill/image"] == 1 and report.scores["fill/n"] == len(rows)
    assert report.scores["fill/image/oracle"] == 1
    assert report.scores["fill/chance"] == pytest.approx(np.mean([1 / len(i.candidates) for i in evaluator.items]))
    classes = {k: v for k, v in report.scores.items() if k.startswith("fill/by_class/") and k.count("/") == 2}
    assert classes and set(classes.values()) == {1.0}
    wrong = found.copy()
    wrong[rows[::2], answers[::2]] = 1e6
    evaluator.run = lambda params, image, masked, sequences, absent: wrong
    assert evaluator(None).scores["fill/image"] == pytest.approx(1 - len(rows[::2]) / len(rows))


def test_the_controls_are_given_other_pictures(evaluators):
    evaluator, seen = evaluators[FillEvaluator], []

    def run(params, image, masked, sequences, absent):
        seen.append((image, absent))
        return np.zeros(sequences.shape[:2])

    evaluator.run = run
    report = evaluator(None)
    (own, a), (same, b), (other, c) = seen
    assert not a.any() and b.all() and not c.any()
    np.testing.assert_array_equal(own, same)
    assert all((x != y).any() for x, y in zip(own, other, strict=True))
    assert report.scores["fill/shuffled_image/oracle"] < report.scores["fill/chance"] + 1e-9


def test_what_is_masked_is_not_shown(evaluators):
    for item, masked in zip(evaluators[FillEvaluator].items, evaluators[FillEvaluator].masked, strict=True):
        text = masked.tolist()
        assert text.count(vocab.sentinel(0)) == 1
        shown = item.masked_text().encode().split("▁▁▁".encode())
        at = text.index(vocab.sentinel(0))
        assert bytes(text[:at]) == shown[0] and bytes(i for i in text[at + 1 :] if i < 256) == shown[1]


def test_retrieval_of_perfect_and_of_constant_vectors(evaluators):
    evaluator = evaluators[RetrievalEvaluator]
    count = len(evaluator.records)
    assert count == 40 and len(evaluator.pools) == 2
    evaluator.run = lambda params, image, text: (np.eye(count), np.eye(count))
    scores = evaluator(None).scores
    assert scores["retrieval/text_to_image/R@1"] == scores["retrieval/image_to_text/R@1"] == 1
    assert scores["retrieval/text_to_image/n"] == 40
    evaluator.run = lambda params, image, text: (np.ones((count, 3)), np.ones((count, 3)))
    scores = evaluator(None).scores
    for direction in ("text_to_image", "image_to_text"):
        for name, chance in (("R@1", 0.05), ("R@5", 0.25), ("R@10", 0.5), ("MedR", 10.5)):
            found = scores[f"retrieval/{direction}/{name}"]
            assert found == pytest.approx(chance) == scores[f"retrieval/{direction}/{name}/random"]
    assert 0.9 < scores["retrieval/text_to_image/R@1/oracle"] <= 1
    assert all(describes(query(r, i), r) for i, r in enumerate(RECORDS))


def test_captions_are_compared_with_those_of_their_language_and_style(evaluators):
    evaluator = evaluators[CaptionEvaluator]
    count = len(evaluator.records)

    def write(texts):
        ids = np.stack([np.append(vocab.padded(t.encode(), 64), vocab.PAD) for t in texts])
        for row, text in zip(ids, texts, strict=True):
            row[len(text.encode())] = vocab.EOS
        return lambda *a: ids

    own, asked = evaluator.image, []

    def measure(params, image, sequence):
        asked.append(image)
        return np.full(count, (8 if image is own else 12) * np.log(2)), np.full(count, 4.0)

    evaluator.measure = measure
    evaluator.write = write([sorted(known)[0] if known else "" for known in evaluator.references])
    scores = evaluator(None).scores
    assert scores["caption/exact"] == scores["caption/exact/oracle"] == 1
    assert scores["caption/bits_per_byte"] == pytest.approx(2)
    assert scores["caption/shuffled_image/bits_per_byte"] == pytest.approx(3)
    assert sorted(row.tobytes() for row in asked[1]) == sorted(row.tobytes() for row in own)
    counts = Counter(b for c in evaluator.captions for b in [*c.text.encode(), vocab.EOS])
    share = np.array(list(counts.values())) / counts.total()
    assert scores["caption/bits_per_byte/unigram"] == pytest.approx(-(share * np.log2(share)).sum())
    best = scores["caption/exact/most_frequent"]
    assert 0 <= best < 0.5
    for texts in (["x"] * count, [c.text + "!" for c in evaluator.captions]):
        evaluator.write = write(texts)
        assert evaluator(None).scores["caption/exact"] == 0
    for caption, record in zip(evaluator.captions, evaluator.records, strict=True):
        assert caption.text in references(caption, record)
    # The prompt names language and style and nothing of the caption.
    for prompt, caption in zip(evaluator.prompt, evaluator.captions, strict=True):
        ids = prompt.tolist()
        assert bytes(ids[1 : ids.index(vocab.SEP)]).decode() in f"{caption.language} {caption.style}"
        assert set(ids[ids.index(vocab.SEP) + 1 :]) <= {vocab.PAD}


def test_a_long_caption_is_cut_after_its_masked_word():
    caption = Caption("a pear " + "배" * 40, "en", words=(Word(2, 6),))
    item = FillItem(Record("r", (caption,)), caption, caption.words[0], ("pear", "boat"), 0)
    masked = _masked(item, 16)
    assert masked.tolist()[:4] == [*b"a ", vocab.sentinel(0), ord(" ")] and masked.shape == (16,)
    assert vocab.decode(masked) == "a  배배배"
