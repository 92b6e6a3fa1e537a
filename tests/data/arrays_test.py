"""Tests of what the loader makes of captions."""

import numpy as np
import pytest

from xmjax import vocab
from xmjax.config import ImageConfig
from xmjax.data import playroom
from xmjax.data.arrays import caption_words, draw, fill_arrays, image_bytes, mask_words, prompt_of, prompted, text_ids
from xmjax.data.source import Caption, Record, Word
from xmjax.data.words import words

TEXTS = {
    "english": "A small dog, running (fast) after 2 well-known cats!",
    "korean": "작은 개구리가 빨간 배를 보고 웃는다.",
    "chinese": "一只小狗在红色的房子前面快跑。",
    "emoji": "I ❤️ 👩‍👩‍👧 and 🇰🇷 flags 👍🏽 very much",
    "thai": "หมา ตัวเล็ก วิ่งเร็ว",
}


def spans_of(sequences: np.ndarray) -> list[bytes]:
    """The masked bytes of each used span, after checking sentinel, EOS and padding."""
    found = []
    for i, row in enumerate(sequences.tolist()):
        if row[0] == vocab.PAD:
            assert set(row) == {vocab.PAD}
            continue
        end = row.index(vocab.EOS)
        assert row[0] == vocab.sentinel(i) and set(row[end + 1 :]) <= {vocab.PAD}
        found.append(bytes(row[1:end]))
    return found


def filled_in(masked: np.ndarray, sequences: np.ndarray) -> bytes:
    """The text with every sentinel replaced by what was masked."""
    spans, result = spans_of(sequences), b""
    ids = masked.tolist()
    text = ids[: ids.index(vocab.PAD)] if vocab.PAD in ids else ids
    for id in text:
        result += bytes([id]) if id < 256 else spans[id - vocab.FIRST_SENTINEL]
    assert [id for id in text if id >= 256] == [vocab.sentinel(i) for i in range(len(spans))]
    return result


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("length", [20, 33, 120])
def test_masks_are_whole_words_and_can_be_filled_in(text, length):
    rng = np.random.default_rng(0)
    whole = {text.encode()[w.start : w.end] for w in words(text)}
    cut = vocab.truncate(text.encode(), length)
    masked_before = set()
    for _ in range(50):
        masked, sequences = mask_words(Caption(text), rng, 3, 0.4, 24, length)
        assert masked.shape == (length,) and sequences.shape == (3, 26)
        assert masked.dtype == sequences.dtype == np.uint16
        spans = spans_of(sequences)
        assert spans and set(spans) <= whole and all(span.decode() for span in spans)
        assert filled_in(masked, sequences) == cut
        # No character is split: what stays is text too.
        assert bytes(id if id < 256 else 0x5F for id in masked.tolist() if id != vocab.PAD).decode()
        masked_before |= set(spans)
    usable = {text.encode()[w.start : w.end] for w in words(text) if w.end <= len(cut) and w.end - w.start <= 24}
    assert masked_before == usable


@pytest.mark.parametrize(
    ("rate", "spans", "expected"), [(0.0, 4, 1), (0.3, 4, 2), (0.5, 4, 3), (1.0, 4, 4), (1.0, 9, 6)]
)
def test_every_number_of_words_up_to_the_rate_is_masked(rate, spans, expected):
    rng = np.random.default_rng(0)
    counts = [len(spans_of(mask_words(Caption("a b c d e f"), rng, spans, rate, 4, 32)[1])) for _ in range(60)]
    assert set(counts) == set(range(1, expected + 1))


def test_every_word_is_at_times_the_only_one():
    rng = np.random.default_rng(0)
    found = [spans_of(mask_words(Caption("a b c d e f"), rng, 2, 0.3, 4, 32)[1]) for _ in range(200)]
    assert {spans[0] for spans in found if len(spans) == 1} == {b"a", b"b", b"c", b"d", b"e", b"f"}


def test_long_words_and_texts_without_words_are_not_masked():
    rng = np.random.default_rng(0)
    for text in ("", "...", "incomprehensibilities"):
        masked, sequences = mask_words(Caption(text), rng, 2, 0.5, 10, 32)
        assert (sequences == vocab.PAD).all() and vocab.decode(masked) == text
    caption = Caption("incomprehensibilities of it")
    found = [spans_of(mask_words(caption, rng, 3, 1.0, 10, 32)[1]) for _ in range(20)]
    assert {span for spans in found for span in spans} == {b"of", b"it"}


def test_words_of_the_source_come_first():
    caption = Caption("an ice cream", words=(Word(3, 12, "kind"),))
    assert caption_words(caption) == caption.words
    assert spans_of(mask_words(caption, np.random.default_rng(0), 2, 1.0, 12, 16)[1]) == [b"ice cream"]
    assert [w.start for w in caption_words(Caption("an ice cream"))] == [0, 3, 7]


def test_every_caption_of_the_playroom_can_be_masked():
    for record in playroom.Playroom("train").read(range(100)):
        for caption in record.captions:
            data = caption.text.encode()
            whole = [data[w.start : w.end] for w in caption.words]
            masked, sequences = mask_words(caption, np.random.default_rng(1), 2, 0.3, 15, 64)
            spans = spans_of(sequences)
            assert 1 <= len(spans) <= 2 and set(spans) <= set(whole)
            assert filled_in(masked, sequences) == vocab.truncate(data, 64)


def test_fill_arrays_by_hand():
    masked, sequences = fill_arrays(b"a red hat", [Word(2, 5), Word(6, 9)], 3, 4, 9)
    s0, s1, pad, eos = vocab.sentinel(0), vocab.sentinel(1), vocab.PAD, vocab.EOS
    assert masked.tolist() == [*b"a ", s0, *b" ", s1, pad, pad, pad, pad]
    assert sequences.tolist() == [[s0, *b"red", eos, pad], [s1, *b"hat", eos, pad], [pad] * 6]


def test_prompted_by_hand():
    caption = Caption("눈", "ko", "one")
    ids = prompted(caption, 8, 6).tolist()
    assert ids == [vocab.BOS, *b"ko one", vocab.SEP, *"눈".encode(), vocab.EOS] + [vocab.PAD] * 5
    assert len(ids) == 8 + 6 + 3


@pytest.mark.parametrize("room", range(8))
@pytest.mark.parametrize("length", range(8))
def test_prompted_never_splits_a_character_and_always_ends(room, length):
    ids = prompted(Caption("눈a배", "한글", ""), room, length)
    assert ids.shape == (room + length + 3,) and ids.dtype == np.uint16
    ids = ids.tolist()
    sep, eos = ids.index(vocab.SEP), ids.index(vocab.EOS)
    assert bytes(ids[1:sep]) == vocab.truncate("한글".encode(), room)
    assert bytes(ids[sep + 1 : eos]) == vocab.truncate("눈a배".encode(), length)
    assert set(ids[eos + 1 :]) <= {vocab.PAD}


@pytest.mark.parametrize(
    ("language", "style", "prompt"), [("", "", ""), ("en", "", "en"), ("", "list", "list"), ("ko", "pair", "ko pair")]
)
def test_the_prompt_names_what_is_known(language, style, prompt):
    assert prompt_of(Caption("x", language, style)) == prompt


def test_text_is_cut_between_characters():
    assert text_ids("a배", 3).tolist() == [ord("a"), vocab.PAD, vocab.PAD]
    assert text_ids("a배", 5).tolist() == [ord("a"), *"배".encode(), vocab.PAD]


def test_draw_takes_different_captions_while_there_are_enough():
    captions = tuple(Caption(str(i)) for i in range(5))
    seen = set()
    for seed in range(40):
        drawn = draw(captions, 3, np.random.default_rng(seed))
        assert len(set(drawn)) == 3
        seen |= {c.text for c in drawn}
        assert {c.text for c in draw(captions, 12, np.random.default_rng(seed))} == set("01234")
        assert len(draw(captions, 12, np.random.default_rng(seed))) == 12
    assert seen == set("01234")
    assert draw(captions, 5, np.random.default_rng(0)) == captions
    assert draw((), 3, np.random.default_rng(0)) == ()


def test_a_picture_is_pixels_or_a_file():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    assert image_bytes(Record("x", image=pixels), ImageConfig()) is pixels
    options = ImageConfig(embedder="file", max_file_bytes=40)
    ids = image_bytes(Record("x", image=pixels), options)
    header = b"P6 3 2 255\n"
    assert bytes(ids[: len(header) + 18].tolist()) == header + pixels.tobytes()
    assert (ids[len(header) + 18 :] == vocab.PAD).all() and ids.shape == (40,)
    ids = image_bytes(Record("x", image=pixels, file=b"\x89PNG" + bytes(50)), options)
    assert bytes(ids.tolist()) == b"\x89PNG" + bytes(36)
