"""Tests of what users give: pictures in any form, and sentences with a masked place."""

import io
import wave

import numpy as np
import pytest
from PIL import Image

from xmjax import vocab
from xmjax.data import images
from xmjax.errors import UserError
from xmjax.inputs import each_masked, marked, masked, picture, sound


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A picture that is not square."""
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """The bytes of its file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_the_same_in_every_form(pixels, make_config, tmp_path):
    path = tmp_path / "그림.png"
    path.write_bytes(png(pixels))
    for fit in images.FITS:
        config = make_config({"data.fit": fit})
        forms = [
            str(path),
            path,
            png(pixels),
            Image.fromarray(pixels),
            Image.open(path),
            pixels,
            pixels[:, ::-1][:, ::-1],
        ]
        found = [picture(form, config) for form in forms]
        assert found[0].shape == (32, 32, 3) and found[0].dtype == np.uint8
        for one in found[1:]:
            np.testing.assert_array_equal(one, found[0])


def test_a_small_picture_stays_as_it_is(pixels, tiny_config):
    np.testing.assert_array_equal(picture(pixels[:32, :32], tiny_config), pixels[:32, :32])


def test_a_turned_picture_is_turned_upright(pixels, tiny_config, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = picture(np.rot90(pixels, -1), tiny_config)
    turned = [picture(tmp_path / "turned.png", tiny_config), picture(Image.open(tmp_path / "turned.png"), tiny_config)]
    np.testing.assert_array_equal(turned[0], turned[1])
    assert np.abs(turned[0].astype(int) - upright).mean() < 2


def test_the_bytes_of_a_file_go_as_they_are(pixels, make_config):
    config = make_config({"model.image.embedder": "file"})
    found = picture(png(pixels[:8, :8]), config)
    assert found.dtype == np.uint16 and found.shape == (config.model.image.max_file_bytes,)
    assert found[found != vocab.PAD].astype(np.uint8).tobytes() == png(pixels[:8, :8])
    assert bytes(picture(pixels, config)[:2].tolist()) == b"P6"  # raw pixels have no file, and get a plain one


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/nowhere/x.png", ("/nowhere/x.png", "does not exist", "path")),
        ("/", ("is not a file",)),
        (b"", ("the picture", "empty")),
        (b"not an image", ("the picture", "known format", "JPEG")),
        (png(np.zeros((9, 9, 3), np.uint8))[:-30], ("cannot be decoded",)),
        (np.zeros((4, 4, 3), np.float32), ("uint8 [Y, X, 3]", "float32 [4, 4, 3]")),
        (np.zeros((4, 4), np.uint8), ("uint8 [Y, X, 3]", "uint8 [4, 4]")),
        (np.zeros((0, 4, 3), np.uint8), ("uint8 [Y, X, 3]",)),
        (3, ("a picture is a path", "int")),
    ],
)
def test_what_is_no_picture(given, expected, tiny_config):
    with pytest.raises(UserError) as error:
        picture(given, tiny_config)
    assert all(text in str(error.value) for text in expected), error.value


def shown(ids: np.ndarray) -> str:
    """The text with its sentinel as a star."""
    return "".join("*" if i == vocab.sentinel(0) else bytes([i]).decode("latin-1") for i in ids if i != vocab.PAD)


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a red ___", None, "a red *"),
        ("▁▁▁▁ hat", None, "* hat"),
        ("a bat and a battle", "bat", "a * and a battle"),
        ("a red bat", "red bat", "a *"),
        ("snake_case", None, ()),
        ("in (brackets)", "brackets", "in (*)"),
        ("a+b is a", "a+b", "* is a"),
        ("a red bat", " bat ", "a red *"),
    ],
)
def test_masked_places(text, word, expected):
    if expected:
        assert shown(masked(text, word, 32)) == expected
    else:
        with pytest.raises(UserError, match="no masked place"):
            masked(text, word, 32)


def test_a_word_is_masked_with_what_is_written_in_one_with_it():
    assert shown(masked("배가 있다", "배", 32)).encode("latin-1").decode() == "* 있다"
    ids, surface = marked("빨간 배에서 배가", "배", 32, occurrence=2)
    assert surface == "배가" and vocab.decode(ids[ids < 256]) == "빨간 배에서 \n배가"
    assert marked("一个红球", "球", 32)[1] == "红球"


def test_a_word_in_another_one_is_not_in_the_text():
    for text, word in (("a blue starfish", "star"), ("in combat", "bat"), ("아기배가 있다", "배")):
        with pytest.raises(UserError, match="is not in"):
            masked(text, word, 32)


def test_the_one_that_is_meant():
    assert shown(masked("a bat and a bat", "bat", 32, occurrence=1)) == "a * and a bat"
    assert shown(masked("a bat and a bat", "bat", 32, occurrence=2)) == "a bat and a *"
    with pytest.raises(UserError, match="occurrence=3"):
        masked("a bat and a bat", "bat", 32, occurrence=3)


def test_texts_are_utf8():
    for ask in (lambda t: masked(t, "red", 32), lambda t: marked(t, "red", 32), lambda t: each_masked(t, 32)):
        with pytest.raises(UserError, match="UTF-8"):
            ask("a red \udcff key")


def test_no_word_of_a_sentence_is_left_out_in_silence():
    with pytest.raises(UserError, match="9 bytes"):
        each_masked("a red bat", 8)
    _, rows = each_masked("a red bat", 32, lambda word: word.start == 6)
    assert [shown(row) for row in rows] == ["* red bat", "a * bat", "a red *\nbat"]


def test_a_long_text_is_cut_between_characters():
    assert shown(masked("___ " + "배" * 9, None, 7)).encode("latin-1").decode() == "* 배"
    assert shown(masked("a red bat in a box", "bat", 11)) == "a red * i"


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("a red bat", None, ("no masked place", "'a red bat'", "___")),
        ("a ___ and a ___", None, ("2 masked places", "leave one")),
        ("a red bat", "cat", ("'cat'", "not in 'a red bat'")),
        ("a bat and a bat", "bat", ("2 times", "occurrence")),
        ("a ___ bat", "bat", ("leave one of them out",)),
        ("a red bat", " ", ("empty",)),
        ("a very long sentence about a ___", None, ("byte 30", "reads 16", "shorten")),
    ],
)
def test_what_cannot_be_masked(text, word, expected):
    with pytest.raises(UserError) as error:
        masked(text, word, 16)
    assert all(part in str(error.value) for part in expected), error.value


def test_a_silent_file_is_heard_as_silence(make_sound_config):
    pytest.importorskip("av")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(bytes(2 * 8000))
    heard = sound(file.getvalue(), make_sound_config({}))
    assert len(heard) and not heard.any()
