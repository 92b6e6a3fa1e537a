"""Tests of the mathematics of sound, against scipy and plain loops, and of what embedders make of bytes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from xmjax.config import AudioConfig, ModelConfig
from xmjax.models import sound
from xmjax.models.signals import embedder

AUDIO = AudioConfig("mel", seconds=0.2, window=400, hop=160, bands=16, patch=4)
CONFIG = ModelConfig(width=16, heads=2, audio=AUDIO)


def pcm(values) -> np.ndarray:
    """Samples as rows of bytes."""
    return np.ascontiguousarray(values, "<i2").view(np.uint8)


def test_bytes_are_the_samples_exactly():
    values = np.arange(-32768, 32768, dtype=np.int16).reshape(2, -1)
    np.testing.assert_array_equal(np.asarray(sound.samples(jnp.asarray(pcm(values)))) * 32768, values)


@pytest.mark.parametrize(("window", "hop"), [(400, 160), (256, 64), (64, 64)])
def test_stft_is_that_of_scipy(window, hop):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 1600)).astype(np.float32)
    _, _, expected = scipy.signal.stft(x, nperseg=window, noverlap=window - hop, boundary=None, padded=False)
    hann = scipy.signal.get_window("hann", window)
    found = np.asarray(sound.stft(jnp.asarray(x), window, hop))
    np.testing.assert_allclose(found / hann.sum(), expected.transpose(0, 2, 1), atol=1e-4 * np.abs(expected).max())


def test_mel_filters_are_those_of_a_loop():
    bands, bins = 20, 201
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = [700 * (10 ** (mel(8000) * k / (bands + 1) / 2595) - 1) for k in range(bands + 2)]
    expected = np.zeros((bins, bands))
    for i in range(bins):
        f = i * 40.0
        for k in range(bands):
            if edges[k] < f <= edges[k + 1]:
                expected[i, k] = (f - edges[k]) / (edges[k + 1] - edges[k])
            elif edges[k + 1] < f < edges[k + 2]:
                expected[i, k] = (edges[k + 2] - f) / (edges[k + 2] - edges[k + 1])
    np.testing.assert_allclose(sound.mel_filters(bands, bins), expected, atol=1e-4)
    with pytest.raises(ValueError, match="too many"):
        sound.mel_filters(128, 65)


def test_log_mel_is_that_of_scipy():
    x = np.random.default_rng(0).uniform(-1, 1, (2, 1600)) * np.array([[1.0], [1e-3]])
    _, _, z = scipy.signal.stft(x, nperseg=400, noverlap=240, boundary=None, padded=False)
    hann = scipy.signal.get_window("hann", 400)
    power = (np.abs(z) * hann.sum()).transpose(0, 2, 1) ** 2
    # Of the floor, 1e-6, the logarithm is -13.8; it is scaled to -1.
    expected = np.log(power @ sound.mel_filters(64, 201) + 1e-6) / 6.907755 + 1
    np.testing.assert_allclose(sound.log_mel(jnp.asarray(x, jnp.float32), 400, 160, 64), expected, atol=1e-4)


def test_log_mel_hears_pitch_and_loudness():
    time = np.arange(3200) / 16000
    tones = np.stack([np.sin(2 * np.pi * f * time) * a for f, a in ((300, 0.5), (3000, 0.5), (3000, 0.05), (0, 0))])
    mel = np.asarray(sound.log_mel(jnp.asarray(tones, jnp.float32), 400, 160, 40))
    assert mel.shape == (4, 18, 40)
    low, high, quiet, silent = mel.mean(1)
    assert low.argmax() < high.argmax() == quiet.argmax() and quiet.max() < high.max()
    np.testing.assert_allclose(silent, -1, atol=1e-5)
    assert mel.min() >= -1 - 1e-6 and mel.max() < 2.5


@pytest.mark.parametrize("name", ["mel", "frames", "bytes", "resnet18"])
def test_silence_is_a_state_of_its_own_and_tokens_know_their_time(name):
    patch = 8 if name == "resnet18" else AUDIO.patch
    config = dataclasses.replace(CONFIG, audio=dataclasses.replace(AUDIO, embedder=name, patch=patch, stem=8))
    module = embedder("audio", name)(config)
    rng = np.random.default_rng(0)
    values = rng.integers(-9000, 9000, (2, config.audio.samples))
    values[1, : config.audio.samples // 2] = 0
    params = jax.jit(module.init)(jax.random.key(0), module.example(config))
    tokens = jax.jit(module.apply)(params, pcm(values.astype(np.int16)))
    times = config.audio.frames // config.audio.patch
    parts = tokens.vectors.shape[1] // times
    assert tokens.vectors.shape == (2, times * parts, 16) and parts == {"mel": 4, "resnet18": 2}.get(name, 1)
    spans = np.asarray(tokens.spans[0])
    assert (spans[:, 0] < spans[:, 1]).all() and spans.max() <= config.audio.seconds + 1e-6
    silent = spans[:, 1] <= config.audio.seconds / 2
    assert 0 < silent.sum() < len(silent)
    same = np.isclose(tokens.vectors, params["params"]["silence"], atol=1e-6).all(-1)
    np.testing.assert_array_equal(same[1], silent)
    assert not same[0].any()
