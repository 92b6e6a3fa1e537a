"""Tests of the playroom's sounds: what they tell can be heard, and is told by nothing else."""

import dataclasses
import itertools

import numpy as np
import pytest

from xmjax.data import playroom
from xmjax.data.playroom import sounds, world
from xmjax.data.playroom.sounds import sound

SCENE = playroom.Scene((playroom.Toy("cup", "red", "big", (4, 2, 14, 12)),), None, "easy", 32, (99, 99, 99), 0)


def heard(seed: int = 0, seconds: float = 1.0, **changes) -> np.ndarray:
    """The sound of a scene of one toy that is changed, as samples from -1 to 1."""
    toy = dataclasses.replace(SCENE.toys[0], **changes)
    scene = dataclasses.replace(SCENE, toys=(toy,))
    return sound(scene, 0, seconds, np.random.default_rng(seed)) / 32768


def spectrum(x: np.ndarray) -> np.ndarray:
    """Amplitudes at every hertz."""
    return np.abs(np.fft.rfft(x * np.hanning(len(x)), 16000))


def test_timbre_pitch_rhythm_and_sweep_tell_kind_size_colour_and_place():
    codes = list(sounds.timbres().values())
    assert len(codes) == len(world.KINDS)
    assert min(sum(a != b for a, b in zip(x, y, strict=True)) for x, y in itertools.combinations(codes, 2)) >= 3
    for kind, size in itertools.product(("cup", "pear", "boat"), world.SIZES):
        f = sounds.PITCH[size]
        found = spectrum(heard(kind=kind, size=size))
        levels = np.array([found[int(f * k) - 2 : int(f * k) + 3].max() for k in range(1, 11)])
        np.testing.assert_array_equal(levels > levels[0] / 3, [1, *sounds.timbres()[kind]])
    loud = [heard(color=color).reshape(16, -1).std(1) > 0.05 for color in ("red", "purple")]
    assert loud[0].sum() >= 15 and loud[1].sum() <= 8
    ends = []
    for x in (2, 12, 22):
        last = heard(box=(4, x, 14, x + 8), color="purple")[-2000:]
        found = spectrum(last)
        ends.append(5800 + found[5800:].argmax())
    assert ends == sorted(ends) and ends[2] - ends[0] > 800


def test_rhythms_differ_wherever_they_begin():
    turned = {c: {p[k:] + p[:k] for k in range(8)} for c, p in sounds.RHYTHM.items()}
    assert all(not turned[a] & turned[b] for a, b in itertools.combinations(turned, 2))
    assert set(sounds.RHYTHM) == set(world.COLORS)


def test_a_record_sounds_as_its_index_says_and_its_captions_name_what_is_heard():
    source = playroom.Playroom(seconds=0.5)
    records = source.read(range(60))
    again = playroom.Playroom(seconds=0.5).read([7])[0]
    np.testing.assert_array_equal(again.audio, records[7].audio)
    assert again.captions == records[7].captions and again.truth == records[7].truth
    for record in records:
        scene = record.truth
        toy = scene.toys[scene.sounding]
        assert record.audio.dtype == np.int16 and record.audio.shape == (8000,)
        assert 0.02 < np.abs(record.audio / 32768).max() < 1
        for caption in record.captions:
            (phrase,) = caption.meaning.phrases
            assert (phrase.color, phrase.size) == (toy.color, toy.size)
            assert phrase.word == playroom.NAMES[caption.language][toy.kind]
    assert {r.truth.sounding for r in records} > {0, 1}
    silent = playroom.Playroom().read(range(60))
    assert all(r.audio is None and r.truth.sounding is None for r in silent)
    looks = [{(r.truth.toys, r.truth.texture) for r in part} for part in (records, silent)]
    assert not looks[0] & looks[1]  # scenes that sound are never those that have captions of the other stream
    assert source.manifest() != playroom.Playroom().manifest()


@pytest.mark.parametrize("seconds", [0.3, 1.0, 2.0])
def test_sounds_have_the_length_that_is_asked_for(seconds):
    assert len(heard(seconds=seconds)) == round(16000 * seconds)
