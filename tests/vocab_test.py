"""Tests of bytes as ids."""

import random

import numpy as np
import pytest

from xmjax import vocab
from xmjax.errors import UserError


def random_text(rng: random.Random, length: int) -> str:
    """Code points of all planes alike, surrogates included."""
    return "".join(chr((rng.randrange(17) << 16) | rng.randrange(1 << 16)) for _ in range(length))


def valid_text(rng: random.Random, length: int) -> str:
    return "".join(c for c in random_text(rng, length) if not "\ud800" <= c <= "\udfff")


def test_every_string_survives():
    rng = random.Random(0)
    for _ in range(10_000):
        text = random_text(rng, rng.randrange(12))
        ids = vocab.encode(text)
        assert ids.dtype == np.uint16 and (not len(ids) or ids.max() < 256)
        assert vocab.decode(ids) == text


def test_every_byte_string_survives():
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        data = rng.bytes(int(rng.integers(20)))
        ids = vocab.padded(data, 24)
        assert ids.dtype == np.uint16 and (ids[len(data) :] == vocab.PAD).all() and len(ids) == 24
        assert ids[: len(data)].astype(np.uint8).tobytes() == data
        text = vocab.decode(ids)  # never raises; what is no UTF-8 is shown as such
        assert text.encode("utf-8", "surrogatepass") == data or "\ufffd" in text


def test_padded_cuts_what_is_too_long():
    assert vocab.padded(b"abcdef", 4).tolist() == list(b"abcd")


def test_decode_stops_at_the_end_and_leaves_specials_out():
    ids = [vocab.BOS, ord("a"), vocab.MASK, vocab.sentinel(3), ord("b"), vocab.EOS, ord("c")]
    assert vocab.decode(np.array(ids)) == "ab"
    assert vocab.decode(np.array([ord("a"), vocab.PAD, ord("b")])) == "a"
    assert vocab.decode(np.array([0xE0, ord("a")])) == "\ufffda"


def test_special_ids_are_apart_and_inside_the_table():
    specials = [vocab.PAD, vocab.MASK, vocab.BOS, vocab.EOS, vocab.SEP, vocab.CLS]
    ids = specials + [vocab.sentinel(i) for i in range(vocab.SENTINELS)]
    assert len(set(ids)) == len(ids) and min(ids) == 256 and max(ids) < vocab.SIZE and vocab.SIZE % 128 == 0
    for outside in (-1, vocab.SENTINELS):
        with pytest.raises(UserError, match="masked spans"):
            vocab.sentinel(outside)


def test_truncate_takes_the_longest_prefix_of_whole_characters():
    rng = random.Random(1)
    for text in ["", "a", "배", "눈eye😀é", *(valid_text(rng, 6) for _ in range(300))]:
        data = text.encode()
        ends = [len(text[:i].encode()) for i in range(len(text) + 1)]
        for limit in range(len(data) + 2):
            assert vocab.truncate(data, limit) == data[: max(end for end in ends if end <= limit)]


def accepts(strings: list[bytes]) -> np.ndarray:
    """Whether the automaton walks through each string and ends between characters; strings run side by side, padded."""
    allowed, following = vocab.utf8_automaton()
    longest = max(map(len, strings))
    ids = np.stack([vocab.padded(s, longest + 1) for s in strings]).astype(int)
    state, good = np.zeros(len(ids), int), np.ones(len(ids), bool)
    for column in ids.T:
        real = column != vocab.PAD
        good &= ~real | allowed[state, column]
        state = np.where(real & good, following[state, column], state)
    return good & allowed[state, vocab.EOS]


def strict(data: bytes) -> bool:
    try:
        data.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return False
    return True


def test_automaton_accepts_what_python_does_for_every_two_bytes():
    pairs = [bytes([a, b]) for a in range(256) for b in range(256)]
    for rest in (b"", b"\x80", b"\x80\xbf", b"a"):
        strings = [pair + rest for pair in pairs]
        expected = np.array([strict(s) for s in strings])
        assert expected.any() and not expected.all()
        np.testing.assert_array_equal(accepts(strings), expected)


def test_automaton_accepts_what_python_does_for_random_bytes():
    rng = random.Random(2)
    strings = [rng.randbytes(rng.randrange(6)) for _ in range(20_000)]
    for _ in range(20_000):  # random bytes are seldom well-formed: valid text too, as it is and with one byte changed
        data = bytearray(valid_text(rng, 3).encode())
        strings.append(bytes(data))
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
            strings.append(bytes(data))
    expected = np.array([strict(s) for s in strings])
    assert 0.3 < expected.mean() < 0.7
    np.testing.assert_array_equal(accepts(strings), expected)


def test_automaton_allows_bytes_and_the_end_only():
    allowed, following = vocab.utf8_automaton()
    assert not np.delete(allowed[:, 256:], vocab.EOS - 256, 1).any()
    assert allowed[:, vocab.EOS].tolist() == [True] + [False] * (vocab.UTF8_STATES - 1)
    # Bytes still due are the length of the shortest way back between characters.
    for state in range(1, vocab.UTF8_STATES):
        after = following[state][allowed[state]]
        assert vocab.UTF8_REMAINING[state] == 1 + min(vocab.UTF8_REMAINING[s] for s in after)
    assert vocab.UTF8_REMAINING[0] == 0
