"""Tests of greedy, sampled and beam decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.models.generate import _nucleus, beam, greedy, sampled
from xmjax.objectives.base import sequence_nats, written_after_prompt

LENGTH, ROOM, ROWS, WIDTH = 7, 5, 4, 5


@pytest.fixture(scope="module")
def run(apply_model, tiny_config):
    """Jitted greedy decoding of at most seven bytes."""
    return apply_model(tiny_config, lambda model, *a: greedy(model, *a, LENGTH))


@pytest.fixture(scope="module")
def inputs():
    """Memories with padding, and prompts of different length."""
    rng = np.random.default_rng(0)
    memory = jnp.asarray(rng.standard_normal((ROWS, 3, 16)), jnp.float32)
    valid = jnp.asarray(np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool))
    prompt = np.full((ROWS, ROOM), vocab.PAD, np.int32)
    for row, text in enumerate([b"", b"k", b"ko", b"en "]):
        prompt[row, : len(text) + 2] = [vocab.BOS, *text, vocab.SEP]
    return memory, valid, jnp.asarray(prompt)


def wild(params, seed: int):
    """Parameters of a decoder whose outputs are as good as random, and differ from place to place."""
    rng = np.random.default_rng(seed)
    decoder = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape) * 0.7, x.dtype), params["decoder"])
    return params | {"decoder": decoder}


def text_of(ids: np.ndarray) -> bytes:
    """The bytes written; checks that nothing but one EOS and PAD follows them."""
    ids = ids.tolist()
    end = ids.index(vocab.EOS)
    assert max(ids[:end], default=0) < 256 and set(ids[end + 1 :]) <= {vocab.PAD}
    return bytes(ids[:end])


def test_the_output_is_always_utf8_and_never_too_long(run, inputs, tiny_params):
    lengths, wide = [], 0
    for seed in range(60):
        for ids in np.asarray(run(wild(tiny_params, seed), *inputs)):
            assert ids.shape == (LENGTH + 1,)
            text = text_of(ids).decode("utf-8", "strict")
            lengths.append(len(text.encode()))
            wide += len(text.encode()) > len(text)
    assert max(lengths) == LENGTH and min(lengths) < LENGTH and wide > 60


def test_greedy_equals_a_loop_without_a_cache(run, inputs, apply_model, tiny_config, tiny_params):
    memory, valid, prompt = inputs
    decode = apply_model(tiny_config, lambda model, ids, *m: model.decode(ids[:, None], *m)[:, 0])
    allowed, following = vocab.utf8_automaton()
    for seed in range(5):
        params = wild(tiny_params, seed)
        found = np.asarray(run(params, *inputs))
        expected = np.full((ROWS, LENGTH + 1), vocab.PAD)
        for row in range(ROWS):
            ids = [i for i in prompt[row].tolist() if i != vocab.PAD]
            state, start = 0, len(ids)
            while len(ids) - start <= LENGTH:
                padded = np.full((ROWS, ROOM + LENGTH), vocab.PAD, np.int32)
                padded[row, : len(ids)] = ids
                logits = np.asarray(decode(params, padded, memory, valid))[row, len(ids) - 1]
                room = LENGTH - (len(ids) - start)
                for id in np.argsort(-logits, kind="stable"):
                    if allowed[state, id] and (
                        id == vocab.EOS or 1 + vocab.UTF8_REMAINING[following[state, id]] <= room
                    ):
                        break
                expected[row, len(ids) - start] = id
                ids.append(int(id))
                state = following[state, id]
                if id == vocab.EOS:
                    break
        np.testing.assert_array_equal(found, expected)


def test_rows_do_not_depend_on_the_prompts_beside_them(run, inputs, tiny_params):
    memory, valid, prompt = inputs
    for seed in range(5):
        params = wild(tiny_params, seed)
        together = np.asarray(run(params, *inputs))
        for row in range(ROWS):
            alone = run(params, *(jnp.repeat(a[row : row + 1], ROWS, 0) for a in (memory, valid, prompt)))
            np.testing.assert_array_equal(alone, np.repeat(together[row : row + 1], ROWS, 0))


def test_the_prompt_and_the_memory_matter(run, inputs, tiny_params):
    memory, valid, prompt = inputs
    params = wild(tiny_params, 3)
    before = np.asarray(run(params, *inputs))
    assert (np.asarray(run(params, memory[::-1], valid[::-1], prompt)) != before).any()
    assert (np.asarray(run(params, memory, valid, prompt.at[3, 1].set(ord("q"))))[3] != before[3]).any()
    hidden = np.asarray(run(params, memory.at[2, 1:].set(9.0), valid, prompt))
    np.testing.assert_array_equal(hidden, before)


@pytest.fixture(scope="module")
def search(apply_model, tiny_config):
    """Jitted beam decoding with five rows."""
    return apply_model(tiny_config, lambda model, *a: beam(model, *a, LENGTH, width=WIDTH))


@pytest.fixture(scope="module")
def draw(apply_model, tiny_config):
    """Jitted sampling of two texts a memory, by keys, temperature, top_p and top_k."""

    def texts(model, memory, valid, prompt, key, temperature, top_p, top_k):
        settings = {"temperature": temperature, "top_p": top_p, "top_k": top_k}
        return sampled(model, memory, valid, prompt, LENGTH, key, count=2, **settings)

    return apply_model(tiny_config, texts)


@pytest.fixture(scope="module")
def measure(apply_model, tiny_config):
    """Log-probability of texts [B, K, L] after their prompts, all bytes told at once and without a cache."""

    def nats(model, sequence, memory, valid):
        logits = model.decode(sequence[..., :-1], memory, valid)
        return -sequence_nats(logits, sequence, written_after_prompt(sequence))[0]

    run = apply_model(tiny_config, nats)

    def score(params, inputs, ids: np.ndarray) -> np.ndarray:
        memory, valid, prompt = inputs
        sequence = np.full((*ids.shape[:2], ROOM + LENGTH + 1), vocab.PAD, np.int32)
        for row, before in enumerate(np.asarray(prompt)):
            start = int((before != vocab.PAD).sum())
            sequence[row, :, :start] = before[:start]
            sequence[row, :, start : start + LENGTH + 1] = ids[row]
        return np.asarray(run(params, sequence, memory, valid))

    return score


def test_a_beam_of_one_row_is_greedy(run, inputs, apply_model, tiny_config, tiny_params, measure):
    single = apply_model(tiny_config, lambda model, *a: beam(model, *a, LENGTH, width=1))
    for seed in range(10):
        params = wild(tiny_params, seed)
        ids, score = single(params, *inputs)
        np.testing.assert_array_equal(ids[:, 0], run(params, *inputs))
        np.testing.assert_allclose(score, measure(params, inputs, np.asarray(ids)), rtol=1e-4)


def test_beams_are_different_texts_that_the_model_finds_likely(run, search, inputs, tiny_params, measure):
    better = 0
    for seed in range(40):
        params = wild(tiny_params, seed)
        ids, score = (np.asarray(a) for a in search(params, *inputs))
        first = np.asarray(run(params, *inputs))
        np.testing.assert_allclose(score, measure(params, inputs, ids), rtol=1e-4)
        for row in range(ROWS):
            texts = [text_of(one) for one in ids[row]]
            assert [text.decode("utf-8", "strict") for text in texts] and len(set(texts)) == WIDTH
            assert (np.diff(score[row]) <= 0).all()
            at = texts.index(text_of(first[row]))  # the greedy text is found, so that the best is never worse
            better += score[row, 0] > score[row, at]
    assert better > 40


def test_rows_of_a_beam_do_not_depend_on_those_beside_them(search, inputs, tiny_params):
    memory, valid, prompt = inputs
    params = wild(tiny_params, 1)
    together = np.asarray(search(params, *inputs).ids)
    for row in range(ROWS):
        alone = search(params, *(jnp.repeat(a[row : row + 1], ROWS, 0) for a in (memory, valid, prompt)))
        np.testing.assert_array_equal(alone.ids, np.repeat(together[row : row + 1], ROWS, 0))


def test_a_wide_beam_finds_all_texts_there_are(inputs, apply_model, tiny_config, tiny_params):
    wide = apply_model(tiny_config, lambda model, *a: beam(model, *a, 1, width=140))
    ids, score = (np.asarray(a) for a in wide(wild(tiny_params, 0), *inputs))
    for row in range(ROWS):
        # Nothing and the 128 characters of one byte; rows that find no text of their own are empty.
        assert {text_of(one) for one in ids[row, :129]} == {b"", *(bytes([b]) for b in range(128))}
        assert np.isfinite(score[row, :129]).all() and (score[row, 129:] == -np.inf).all()
        assert {text_of(one) for one in ids[row, 129:]} == {b""}


def test_normalisation_ranks_by_the_mean(inputs, apply_model, tiny_config, tiny_params):
    search = apply_model(tiny_config, lambda model, *a: beam(model, *a, LENGTH, width=WIDTH, normalisation=1.0))
    for seed in range(10):
        ids, score = (np.asarray(a) for a in search(wild(tiny_params, seed), *inputs))
        mean = score / (ids != vocab.PAD).sum(-1)
        assert (np.diff(mean) <= 1e-6).all()


def test_cold_or_narrow_samples_are_greedy(run, draw, inputs, tiny_params):
    for seed in range(10):
        params = wild(tiny_params, seed)
        expected = np.repeat(np.asarray(run(params, *inputs))[:, None], 2, 1)
        keys = jax.random.split(jax.random.key(seed), ROWS)
        for temperature, top_p, top_k in [
            (0.0, 1.0, vocab.SIZE),
            (1e-6, 1.0, vocab.SIZE),
            (1.0, 1e-9, 9),
            (9.0, 1.0, 1),
        ]:
            ids = draw(params, *inputs, keys, temperature, top_p, top_k).ids
            np.testing.assert_array_equal(ids, expected)


def test_samples_are_utf8_and_told_by_their_key(draw, inputs, tiny_params, measure):
    memory, valid, prompt = inputs
    lengths = set()
    for seed in range(20):
        params = wild(tiny_params, seed)
        keys = jax.random.split(jax.random.key(seed), ROWS)
        ids, score = (np.asarray(a) for a in draw(params, *inputs, keys, 2.0, 1.0, vocab.SIZE))
        np.testing.assert_allclose(score, measure(params, inputs, ids), rtol=1e-4)
        lengths |= {len(text_of(one).decode("utf-8", "strict").encode()) for row in ids for one in row}
        assert (ids[:, 0] != ids[:, 1]).any(-1).sum() > 1
    assert max(lengths) == LENGTH and min(lengths) < LENGTH
    np.testing.assert_array_equal(ids, draw(params, *inputs, keys, 2.0, 1.0, vocab.SIZE).ids)
    other = draw(params, *inputs, jax.random.split(jax.random.key(99), ROWS), 2.0, 1.0, vocab.SIZE).ids
    assert (np.asarray(other) != ids).any((1, 2)).all()
    for row in range(ROWS):  # and by nothing that stands beside them
        same = [jnp.repeat(a[row : row + 1], ROWS, 0) for a in (memory, valid, prompt, keys)]
        np.testing.assert_array_equal(draw(params, *same, 2.0, 1.0, vocab.SIZE).ids[0], ids[row])


def test_samples_have_the_shares_of_the_model(inputs, apply_model, tiny_config, tiny_params, measure):
    count = 1500
    one = tuple(a[:1] for a in inputs)
    draw = apply_model(tiny_config, lambda model, key, *a: sampled(model, *a, 1, key, count=count))
    params = jax.tree.map(lambda x: x, wild(tiny_params, 0))
    params["decoder"]["head"] = params["decoder"]["head"] * 0.3  # so that many bytes have a share
    ids = np.asarray(draw(params, jax.random.split(jax.random.key(0), 1), *one).ids)[0, :, 0]
    logits = apply_model(tiny_config, lambda model, p, *m: model.decode(p[:, None], *m)[:, 0])
    at = int((np.asarray(one[2]) != vocab.PAD).sum()) - 1
    fits = np.append(np.arange(128), vocab.EOS)
    share = jax.nn.softmax(logits(params, one[2], *one[:2])[0, at, fits])
    found = np.bincount(ids, minlength=vocab.SIZE)[fits] / count
    assert set(ids.tolist()) <= set(fits.tolist())
    assert (np.abs(found - share) < 4.5 * np.sqrt(share * (1 - share) / count) + 1e-9).all()


def test_the_likeliest_by_hand():
    logits = jnp.full((4, vocab.SIZE), -jnp.inf).at[:, :4].set(jnp.log(jnp.array([0.2, 0.4, 0.1, 0.3])))
    kept = _nucleus(logits, jnp.array([0.5, 0.71, 1.0, 0.0]), jnp.array([384, 384, 3, 384]))
    expected = [{1, 3}, {0, 1, 3}, {0, 1, 3}, {1}]
    assert [set(np.flatnonzero(row).tolist()) for row in kept] == expected
