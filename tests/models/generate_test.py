"""Tests of greedy decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.models.generate import greedy

LENGTH, ROOM, ROWS = 7, 5, 4


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
