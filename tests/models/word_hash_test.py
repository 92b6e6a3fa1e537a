"""Tests of the words that are kept of a text, and of their hashes on the device and on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.config import ModelConfig, TextConfig
from xmjax.data.arrays import text_ids
from xmjax.data.playroom import Playroom
from xmjax.models.signals import embedder
from xmjax.models.word_hash import STOPWORDS, hash_word, kept_words, one_word

LENGTH = 96


def kept(text: str, count: int = 16) -> list[str]:
    """The words as they stand in the text."""
    words = jax.jit(kept_words, static_argnums=1)(text_ids(text, LENGTH)[None], count)
    spans = np.asarray(words.spans[0])[np.asarray(words.valid[0])].astype(int)
    return [text.encode()[start:end].decode() for start, end in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man riding a wave on top of a surfboard.", "man riding wave top surfboard"),
        ("Two dogs' balls aren't THE same as a dog's 2 balls", "Two dogs balls dog 2 balls"),
        ("  a small blue cup, left of the (red) ball!", "small blue cup left red ball"),
        ("une tasse à café", "une tasse à café"),
        ("파란 컵의 왼쪽에 있는 공", "파란 컵의 왼쪽에 있는 공"),
        ("the and of", ""),
        ("", ""),
        ("x" * LENGTH, "x" * LENGTH),
        ("a1 " * 32, " ".join(["a1"] * 16)),
    ],
)
def test_words_that_are_kept(text, expected):
    assert kept(text) == expected.split()


def test_what_does_not_fit_is_cut_off_and_what_is_missing_is_padding():
    assert kept("one red and one blue and one green ball", 3) == ["one", "red", "one"]
    words = kept_words(jnp.asarray(text_ids("red ball", LENGTH)[None]), 4)
    assert words.valid.tolist() == [[True, True, False, False]]
    assert words.spans.tolist() == [[[0, 3], [4, 8], [LENGTH, LENGTH], [LENGTH, LENGTH]]]


def test_a_masked_word_is_no_word():
    ids = text_ids("a red ball", LENGTH)
    ids[2] = vocab.sentinel(0)
    assert kept_words(jnp.asarray(ids[None]), 2).spans[0, 0].tolist() == [3, 5]


def test_the_hash_is_the_hosts_wherever_a_word_stands():
    texts = [f"{'the ' * i}Ball {i} 눈x" for i in range(20)]
    words = kept_words(jnp.asarray(np.stack([text_ids(t, LENGTH) for t in texts])), 3)
    for i, (one, number, two) in enumerate(words.hashes.tolist()):
        assert (one, number) == (hash_word(b"ball"), hash_word(str(i).encode())) and two == hash_word("눈x".encode())


def test_a_few_thousand_words_have_hashes_of_their_own():
    captions = {c.text for r in Playroom("train").read(range(200)) for c in r.captions}
    words = {w for c in captions for w in c.replace(",", " ").replace(".", " ").split()} | set(STOPWORDS)
    words |= {a + b for a in sorted(words)[:60] for b in sorted(words)[:60]}
    assert len(words) > 3000 and len({hash_word(w.encode()) for w in words}) == len(words)
    buckets = np.bincount([hash_word(w.encode()) % 64 for w in words], minlength=64)
    assert buckets.min() > 0.5 * buckets.mean() and buckets.max() < 1.6 * buckets.mean()


@pytest.mark.parametrize(("text", "word"), [("Ball", b"ball"), ("눈", "눈".encode()), ("New_York", b""), ("'s", b"")])
def test_one_word(text, word):
    assert one_word(text) == word


def test_stop_words_and_case_change_nothing_and_a_word_does():
    config = ModelConfig(width=16, heads=2, text=TextConfig("words", LENGTH, buckets=512, vectors=8))
    module = embedder("text", "words")(config)
    params = module.init(jax.random.key(0), module.example(config))

    def vectors(text: str) -> np.ndarray:
        tokens = module.apply(params, jnp.asarray(text_ids(text, LENGTH)[None]))
        return np.asarray(tokens.vectors[0])[np.asarray(tokens.valid[0])]

    plain = vectors("red ball left blue cup")
    assert plain.shape == (5, 16)
    np.testing.assert_array_equal(vectors("The RED ball is to the left of a Blue cup."), plain)
    changed = np.abs(vectors("red ball left green cup") - plain).max(1) > 1e-6
    assert changed.tolist() == [False, True, True, True, True]  # two convolutions see two words to either side
    assert np.abs(vectors("blue cup left red ball") - plain).max() > 0.1
