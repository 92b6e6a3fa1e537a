"""The mathematics of sound: PCM bytes to samples, short-time Fourier transform, mel filters, log-mel spectrogram."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Complex64, Float, Shaped, UInt8

from xmjax.data.source import RATE

FLOOR = 1e-6
"""Power below which a band counts as silent."""


def samples(pcm: UInt8[Array, "B N"]) -> Float[Array, "B T"]:
    """Little-endian 16-bit PCM bytes as samples from -1 to below 1, exactly; T = N / 2."""
    pairs = rearrange(pcm, "b (t two) -> b t two", two=2)
    return jax.lax.bitcast_convert_type(pairs, jnp.int16).astype(jnp.float32) / 32768


def frames(x: Shaped[Array, "B T"], window: int, hop: int) -> Shaped[Array, "B F W"]:
    """Windows of ``window`` samples (or bytes) every ``hop`` of them that lie wholly within the sound."""
    count = 1 + (x.shape[1] - window) // hop
    index = hop * np.arange(count)[:, None] + np.arange(window)
    return x[:, index]


def stft(x: Float[Array, "B T"], window: int, hop: int) -> Complex64[Array, "B F K"]:
    """Short-time Fourier transform under a periodic Hann window (Allen and Rabiner 1977), K = window / 2 + 1.

    Neither padded nor scaled: `scipy.signal.stft` without boundary and padding is this over the window's sum.
    """
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    return jnp.fft.rfft(frames(x, window, hop) * jnp.asarray(hann, jnp.float32))


@functools.cache
def most_bands(bins: int) -> int:
    """The most mel bands, and any number below it, of which each holds one of so many bins."""
    return next(bands for bands in range(1, bins + 2) if not _filters(bands, bins).any(0).all()) - 1


@functools.cache
def mel_filters(bands: int, bins: int, rate: int = RATE) -> np.ndarray:
    """Triangular filters float32 [bins, bands], evenly spaced in mel, 2595 log10(1 + f / 700), from 0 to rate / 2.

    Each rises from the middle of the one below it to 1 at its own and falls to the middle of the one above
    (O'Shaughnessy 1987; the form that HTK has). Too many bands for the bins would leave some empty.

    Raises:
      ValueError: a band holds no bin.
    """
    filters = _filters(bands, bins, rate)
    if not filters.any(0).all():
        raise ValueError(f"{bands} mel bands are too many for {bins} bins: the lowest hold none")
    return filters.astype(np.float32)


def _filters(bands: int, bins: int, rate: int = RATE) -> np.ndarray:
    """`mel_filters`, of which some may be empty."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequency = np.linspace(0, rate / 2, bins)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    return np.clip(np.minimum((frequency - low) / (middle - low), (high - frequency) / (high - middle)), 0, None)


def log_mel(x: Float[Array, "B T"], window: int, hop: int, bands: int) -> Float[Array, "B F M"]:
    """Logarithm of the power in each mel band of each frame, scaled to about -1 (silence) to 1."""
    power = jnp.square(jnp.abs(stft(x, window, hop)))
    mel = jnp.matmul(power, mel_filters(bands, window // 2 + 1), precision="highest")  # of few operations
    floor = np.log(FLOOR)
    return (jnp.log(mel + FLOOR) - floor / 2) / (-floor / 2)
