"""From bytes to vectors: one embedder a modality, all behind one interface.

A new modality or front end is one registered class, entered as "<modality>/<name>", with the fields ``config`` and
``dtype`` (of matrix products): ``__call__(bytes) -> Tokens``, and ``example(config)``, one row of its input.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange, reduce
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from xmjax import vocab
from xmjax.config import AudioConfig, ImageConfig, ModelConfig
from xmjax.models import resnet, sound, vit
from xmjax.models.layers import linear, sincos
from xmjax.models.word_hash import kept_words
from xmjax.registry import Registry


class Tokens(NamedTuple):
    """Vectors of one modality.

    Attributes:
      vectors: the tokens.
      valid: False for padding.
      spans: what each token stands for in the units of its input: (first byte, one past the last) for byte strings,
        (y0, x0, y1, x1) as fractions of the side for images, (from, to) in seconds for sounds.
    """

    vectors: Float[Array, "B T D"]
    valid: Bool[Array, "B T"]
    spans: Float[Array, "B T K"]


EMBEDDERS: Registry[type[nn.Module]] = Registry("embedder")

normal = nn.initializers.normal


def byte_spans(batch: int, tokens: int, stride: int) -> Float[Array, "B T 2"]:
    """Spans of tokens of ``stride`` bytes each."""
    start = jnp.arange(tokens, dtype=jnp.float32) * stride
    return jnp.broadcast_to(jnp.stack([start, start + stride], -1), (batch, tokens, 2))


class Text(nn.Module):
    """What the embedders of texts have in common: they read ids of bytes, padded to one length."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")

    @staticmethod
    def example(config: ModelConfig) -> Integer[Array, "1 L"]:
        """One row of input, for initialisation."""
        return jnp.zeros((1, config.text.max_bytes), jnp.uint16)


@EMBEDDERS.register("text/bytes")
class ByteText(Text):
    """One token a byte (ByT5): a table of the byte and its position."""

    @nn.compact
    def __call__(self, text: Integer[Array, "B L"]) -> Tokens:
        width, length = self.config.width, text.shape[1]
        table = self.param("table", normal(1.0), (vocab.SIZE, width))
        position = self.param("position", lambda key, shape: sincos(*shape), (length, width))
        x = table[text] + position
        return Tokens(x, text != vocab.PAD, byte_spans(text.shape[0], length, 1))


@EMBEDDERS.register("text/ngram")
class NgramText(Text):
    """Hashed n-grams of bytes, then a strided convolution to one token for ``downsample`` bytes.

    After CANINE (Clark et al. 2021), with bytes in the place of code points, and the hashed n-grams of BLT (Pagnoni et
    al. 2024). All shapes are static.
    """

    @nn.compact
    def __call__(self, text: Integer[Array, "B L"]) -> Tokens:
        c = self.config
        text = text.astype(jnp.int32)
        x = self.param("table", normal(1.0), (vocab.SIZE, c.width))[text]
        for n in c.text.ngrams:
            table = self.param(f"ngram{n}", normal(0.5), (c.text.buckets, c.width))
            x = x + table[hash_ngrams(text, n, c.text.buckets)]
        valid = text != vocab.PAD
        x = jnp.where(valid[..., None], x, 0).astype(self.dtype)
        stride = c.text.downsample
        # The window reaches half a stride to either side, so that a word on a border is seen whole by one token.
        side = stride // 2
        x = jnp.pad(x, ((0, 0), (side, side), (0, 0)))
        windows = jnp.stack([x[:, i : i + text.shape[1] : stride] for i in range(stride + 2 * side)], axis=2)
        kernel = self.param(
            "kernel", normal((windows.shape[2] * c.width) ** -0.5), (windows.shape[2] * c.width, c.width)
        )
        x = linear(rearrange(windows, "b t k d -> b t (k d)"), kernel)
        x = x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], c.width))
        valid = reduce(valid, "b (t k) -> b t", "max", k=stride)
        return Tokens(x, valid, byte_spans(text.shape[0], x.shape[1], stride))


def hash_ngrams(text: Int[Array, "B L"], n: int, buckets: int) -> Int[Array, "B L"]:
    """Bucket of the ``n`` bytes that end at every position, by a multiplicative hash modulo 2^32."""
    value = jnp.zeros(text.shape, jnp.uint32)
    for i in range(n):
        shifted = jnp.pad(text, ((0, 0), (i, 0)), constant_values=vocab.PAD)[:, : text.shape[1]]
        value = (value ^ shifted.astype(jnp.uint32)) * jnp.uint32(2654435761)
        value = value ^ (value >> 15)
    return (value % jnp.uint32(buckets)).astype(jnp.int32)


@EMBEDDERS.register("text/units")
class UnitText(Text):
    """One token a unit of so many characters or bytes, none of which splits a character (EP 3 889 830, claim 8).

    A unit is the sum of its bytes, each from a table of its own for every place in a unit, so that order counts. Places
    of units count from 2, after the one that all objects of a picture may share.
    """

    @nn.compact
    def __call__(self, text: Integer[Array, "B L"]) -> Tokens:
        c, width = self.config.text, self.config.width
        characters = c.unit_of == "characters"
        unit = unit_of_bytes(text, c.unit, characters)
        valid = text != vocab.PAD
        at = jnp.arange(text.shape[1])
        member = (unit[:, None, :] == jnp.arange(c.units)[:, None]) & valid[:, None, :]  # [B, units, L]
        first = jnp.min(jnp.where(member, at, text.shape[1]), -1)
        end = jnp.max(jnp.where(member, at + 1, 0), -1)
        places = vocab.MAX_CHARACTER * c.unit if characters else max(c.unit, vocab.MAX_CHARACTER)
        place = jnp.clip(at - jnp.take_along_axis(first, unit, 1), 0, places - 1)
        table = self.param("table", normal(places**-0.5), (places, vocab.SIZE, width))
        x = table[place, text.astype(jnp.int32)].astype(self.dtype)
        x = jnp.einsum("btl,bld->btd", member.astype(self.dtype), x)
        x = x + self.param("position", lambda key, shape: sincos(shape[0] + 2, width)[2:], (c.units, width))
        there = jnp.any(member, -1)
        return Tokens(x, there, jnp.where(there[..., None], jnp.stack([first, end], -1), 0).astype(jnp.float32))


def unit_of_bytes(text: Integer[Array, "B L"], size: int, characters: bool) -> Int[Array, "B L"]:
    """Index of the unit that every byte belongs to; ids that are no bytes are characters of their own.

    Args:
      text: ids.
      size: characters of a unit, or most bytes of it; a longer character is a unit by itself.
      characters: which of the two.
    """
    ids = text.astype(jnp.int32)
    starts = (ids & 0xC0 != 0x80) | (ids > 255)
    if characters:
        return jnp.maximum(jnp.cumsum(starts, -1) - 1, 0) // size
    length = jnp.where(ids > 255, 1, 1 + (ids >= 0xC0) + (ids >= 0xE0) + (ids >= 0xF0))

    def step(carry: tuple[Array, Array], scanned: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        unit, used = carry
        start, length = scanned
        new = start & (used + length > size) & (used > 0)
        unit, used = unit + new, jnp.where(new, 0, used) + jnp.where(start, length, 0)
        return (unit, used), unit

    zero = jnp.zeros(len(ids), jnp.int32)
    _, units = jax.lax.scan(step, (zero, zero), (starts.T, length.T))
    return units.T


@EMBEDDERS.register("text/words")
class WordText(Text):
    """The first words that are no stop words, by their hashes from a table, then two convolutions over three words.

    How Kim and Yoon prepare texts (Image-Bridged Multimodal Half-Supervised Learning Model, 3.1 and 3.2), from bytes
    and with hashes in the place of a vocabulary: words that share a bucket share a row. With `weights` the table holds
    word vectors that stay as they are, as theirs did; else it is learned.
    """

    @nn.compact
    def __call__(self, text: Integer[Array, "B L"]) -> Tokens:
        c, width = self.config.text, self.config.width
        words = kept_words(text, c.words)
        table = self.param("table", normal(1.0), (c.buckets, c.vectors))
        if c.weights:
            table = jax.lax.stop_gradient(table)
        x = table[(words.hashes % jnp.uint32(c.buckets)).astype(jnp.int32)]
        for layer in range(2):
            # Padding is zero wherever it is read, so that what a text is padded to does not change its words.
            x = jnp.where(words.valid[..., None], x, 0).astype(self.dtype)
            x = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
            x = jnp.concatenate([x[:, i : i + c.words] for i in range(3)], -1)
            kernel = self.param(f"kernel_{layer}", normal((2 / x.shape[-1]) ** 0.5), (x.shape[-1], width))
            shift = self.param(f"shift_{layer}", nn.initializers.zeros, (width,))
            x = jax.nn.relu(linear(x, kernel) + shift.astype(x.dtype))
        return Tokens(x, words.valid, words.spans)


class Picture(nn.Module):
    """What the embedders of pictures have in common: they read raw RGB bytes."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")

    @staticmethod
    def example(config: ModelConfig) -> UInt8[Array, "1 Y X 3"]:
        """One row of input, for initialisation."""
        return jnp.zeros((1, config.image.size, config.image.size, 3), jnp.uint8)


@EMBEDDERS.register("image/pixels")
class PixelImage(Picture):
    """Raw RGB bytes: a table of the byte's value, then patches, or overlapping convolutions that end in patches.

    The convolutions (``stem`` > 0; Xiao et al. 2021) halve the side until a token covers ``patch`` pixels.
    """

    @nn.compact
    def __call__(self, image: UInt8[Array, "B Y X 3"]) -> Tokens:
        options = self.config.image
        x = patches(self, image, options, self.config.width)
        return Tokens(x, jnp.ones(x.shape[:2], bool), squares(x.shape[0], options.size // options.patch))


def patches(module: nn.Module, data: UInt8[Array, "B Y X C"], options: Any, width: int) -> Float[Array, "B T D"]:
    """Squares of a grid of bytes as vectors that know their place, by the module's parameters.

    Args:
      module: in whose compact method this is called.
      data: the bytes.
      options: with the fields `size`, `patch`, `table` and `stem`.
      width: of the vectors.
    """
    table = module.param("table", _byte_waves, (256, options.table))
    x = rearrange(table.astype(module.dtype)[data.astype(jnp.int32)], "b y x c k -> b y x (c k)")
    if options.stem:
        for level in range(int(np.log2(options.patch))):
            shape = (3, 3, x.shape[-1], options.stem * 2**level)
            x = jax.nn.relu(halve(x, module.param(f"stem{level}", normal((9 * x.shape[-1]) ** -0.5 * 1.4), shape)))
    else:
        x = rearrange(x, "b (y p) (x q) c -> b y x (p q c)", p=options.patch, q=options.patch)
    kernel = module.param("kernel", normal(x.shape[-1] ** -0.5), (x.shape[-1], width))
    x = linear(rearrange(x, "b y x c -> b (y x) c"), kernel)
    return x + module.param("position", _grid, (x.shape[1], width))


def patch_products(options: Any, channels: int, width: int) -> float:
    """Multiply-adds of `patches` on one row of so many channels."""
    side, inputs, total = options.size, channels * options.table, 0.0
    if not options.stem:
        return float((side // options.patch) ** 2 * options.patch**2 * inputs * width)
    for level in range(int(np.log2(options.patch))):
        side, outputs = side // 2, options.stem * 2**level
        total += side * side * 9 * inputs * outputs
        inputs = outputs
    return float(total + side * side * inputs * width)


def lean(options: ImageConfig) -> float:
    """Pixels from the middle of a token's cell to the middle of what the token sees, to the right and down alike.

    With stride 2 the convolutions of `PixelImage` are padded behind alone: a token sees 2 * patch - 1 pixels from the
    first of its cell on. Those of a ResNet are padded on both sides: that first pixel is the middle.
    """
    half = (options.patch - 1) / 2
    return {"pixels": half if options.stem else 0.0, "resnet18": -half}.get(options.embedder, 0.0)


def seen(spans: Float[Array, "B T 4"], options: ImageConfig) -> Float[Array, "B T 4"]:
    """Where what a picture's tokens see lies: their cells, moved by `lean`, as far as they are in the picture."""
    return jnp.clip(spans + lean(options) / options.size, 0, 1)


def squares(batch: int, side: int) -> Float[Array, "B T 4"]:
    """Squares of a grid, row by row."""
    edge = jnp.arange(side) / side
    y0, x0 = jnp.meshgrid(edge, edge, indexing="ij")
    box = jnp.stack([y0, x0, y0 + 1 / side, x0 + 1 / side], -1).reshape(side * side, 4)
    return jnp.broadcast_to(box, (batch, *box.shape))


def halve(x: Float[Array, "B Y X C"], kernel: Float[Array, "3 3 C F"]) -> Float[Array, "B y x F"]:
    """A 3x3 convolution with stride 2."""
    return jax.lax.conv_general_dilated(
        x, kernel.astype(x.dtype), (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _byte_waves(key: Array, shape: tuple[int, int]) -> Float[Array, "256 K"]:
    """The value itself and waves of rising frequency: near bytes start as near vectors."""
    value = np.linspace(-1, 1, shape[0])
    columns = [value * 1.7] + [np.cos(np.pi * k * (value + 1) / 2) * 1.4 for k in range(1, shape[1])]
    return jnp.asarray(np.stack(columns, -1)[:, : shape[1]], jnp.float32)


def _grid(key: Array, shape: tuple[int, int]) -> Float[Array, "T D"]:
    """Sine and cosine of row and of column, half of the width each."""
    side, half = int(shape[0] ** 0.5), shape[1] // 2
    rows, columns = sincos(side, half), sincos(side, shape[1] - half)
    return jnp.concatenate([jnp.repeat(rows, side, 0), jnp.tile(columns, (side, 1))], -1)


@EMBEDDERS.register("image/file")
class FileImage(nn.Module):
    """The bytes of the image's file as they are, by a strided convolution (ByteFormer, Horton et al. 2023).

    The input holds ids: bytes and PAD. Spans are byte ranges, since a file has no places.
    """

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")

    @staticmethod
    def example(config: ModelConfig) -> Integer[Array, "1 L"]:
        """One row of input, for initialisation."""
        return jnp.zeros((1, config.image.max_file_bytes), jnp.uint16)

    @nn.compact
    def __call__(self, image: Integer[Array, "B L"]) -> Tokens:
        c, kernel = self.config, self.config.image.file_kernel
        stride, small = kernel // 2, max(8, c.width // 4)
        valid = image != vocab.PAD
        x = self.param("table", normal(1.0), (vocab.SIZE, small))[image.astype(jnp.int32)]
        x = jnp.where(valid[..., None], x, 0).astype(self.dtype)
        x = rearrange(jnp.pad(x, ((0, 0), (0, stride), (0, 0))), "b (t k) d -> b t (k d)", k=stride)
        weights = self.param("kernel", normal((kernel * small) ** -0.5), (kernel * small, c.width))
        x = linear(jnp.concatenate([x[:, :-1], x[:, 1:]], -1), weights)
        x = x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], c.width))
        valid = reduce(valid, "b (t k) -> b t", "max", k=stride)
        return Tokens(x, valid, byte_spans(image.shape[0], x.shape[1], stride))


@EMBEDDERS.register("image/resnet18")
class ResNetImage(Picture):
    """ResNet-18 on the picture, a token for each cell of its last map; see `resnet` for norms and small pictures.

    Cells are given no places: the padding of the convolutions tells them.
    """

    @nn.compact
    def __call__(self, image: UInt8[Array, "B Y X 3"]) -> Tokens:
        x = (image.astype(jnp.float32) / 255 - jnp.array(resnet.MEAN)) / jnp.array(resnet.DEVIATION)
        x = _cells(self, x.astype(self.dtype), self.config.image, self.config.width)
        side = x.shape[1]
        x = rearrange(x, "b y x d -> b (y x) d")
        return Tokens(x, jnp.ones(x.shape[:2], bool), squares(x.shape[0], side))


@EMBEDDERS.register("image/vit")
class VisionTransformer(Picture):
    """A vision transformer as published on the picture's pixels, one token a patch; see `vit`."""

    @nn.compact
    def __call__(self, image: UInt8[Array, "B Y X 3"]) -> Tokens:
        c, o = self.config, self.config.image
        side = o.size // o.patch
        p = vit.parameters(self, vit.shapes(o.stem, o.depth, o.patch, side))
        levels = (image.astype(jnp.float32) / 255 - vit.MEAN) / vit.DEVIATION
        x = vit.features(p, levels.astype(self.dtype), o.patch, c)
        if o.stem != c.width:
            x = linear(x, self.param("kernel", normal(o.stem**-0.5), (o.stem, c.width)))
        return Tokens(x, jnp.ones(x.shape[:2], bool), squares(x.shape[0], side))


def _cells(
    module: nn.Module, picture: Float[Array, "B Y X C"], options: ImageConfig | AudioConfig, width: int
) -> Float[Array, "B y x D"]:
    """The last map of a ResNet-18 whose parameters are the module's, projected where it is not as wide as the model."""
    plan = resnet.convolutions(options.stem, picture.shape[-1], options.patch)
    shapes = {name: (one.kernel, one.kernel, one.inputs, one.outputs) for name, one in plan.items()}
    kernels = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    if module.is_initializing():
        # One draw for all of them: with one for each, a smoke run's initialisation took 47 CPU-seconds, not 18.
        ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
        drawn = jnp.split(jax.random.normal(module.make_rng("params"), (int(ends[-1]),)), ends[:-1])
        kernels = {
            name: part.reshape(shape) * np.float32((2 / np.prod(shape[:3])) ** 0.5)
            for (name, shape), part in zip(shapes.items(), drawn, strict=True)
        }
    p = {}
    for name, kernel in kernels.items():
        p[f"kernel_{name}"] = module.param(f"kernel_{name}", lambda _, kernel=kernel: kernel)
        p[f"scale_{name}"] = module.param(f"scale_{name}", nn.initializers.ones, kernel.shape[3:])
        p[f"shift_{name}"] = module.param(f"shift_{name}", nn.initializers.zeros, kernel.shape[3:])
    x = resnet.features(p, picture, plan, options.patch, frozen=bool(options.weights))
    if x.shape[-1] == width:
        return x
    return linear(x, module.param("kernel", normal(x.shape[-1] ** -0.5), (x.shape[-1], width)))


def _sound_example(config: ModelConfig) -> UInt8[Array, "1 N"]:
    return jnp.zeros((1, 2 * config.audio.samples), jnp.uint8)


def spectrogram(pcm: UInt8[Array, "B N"], options: AudioConfig) -> Float[Array, "B T F"]:
    """Log-mel of the frames that become tokens."""
    return sound.log_mel(sound.samples(pcm), options.window, options.hop, options.bands)[:, : options.frames]


def _sounding(x: Float[Array, "B T D"], pcm: UInt8[Array, "B N"], silence: Array, config: ModelConfig) -> Tokens:
    """Tokens of a sound, several of which may stand for the same time; digital silence is a state of its own.

    A recorder that was off and a quiet room are different things: tokens all of whose samples are zero are ``silence``.
    """
    c = config.audio
    times = c.frames // c.patch
    parts = x.shape[1] // times
    start, length = jnp.arange(times, dtype=jnp.float32) * (c.patch * c.hop), (c.patch - 1) * c.hop + c.window
    spans = jnp.repeat(jnp.stack([start, start + length], -1) / sound.RATE, parts, 0)
    loud = jnp.any(sound.frames(pcm, 2 * length, 2 * c.patch * c.hop)[:, :times] != 0, -1)
    x = jnp.where(jnp.repeat(loud, parts, 1)[..., None], x, silence.astype(x.dtype))
    return Tokens(x, jnp.ones(x.shape[:2], bool), jnp.broadcast_to(spans, (x.shape[0], *spans.shape)))


@EMBEDDERS.register("audio/mel")
class MelAudio(nn.Module):
    """Log-mel spectrogram of the samples that the bytes are, in square patches (Gong et al. 2021)."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    example = staticmethod(_sound_example)

    @nn.compact
    def __call__(self, audio: UInt8[Array, "B N"]) -> Tokens:
        c, width = self.config.audio, self.config.width
        mel = spectrogram(audio, c).astype(self.dtype)
        x = rearrange(mel, "b (t p) (f q) -> b (t f) (p q)", p=c.patch, q=c.patch)
        x = linear(x, self.param("kernel", normal(x.shape[-1] ** -0.5), (x.shape[-1], width)))
        x = x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], width))
        return _sounding(x, audio, self.param("silence", normal(1.0), (width,)), self.config)


@EMBEDDERS.register("audio/frames")
class FrameAudio(nn.Module):
    """Learned filters over frames of samples in the place of the spectrogram (Baevski et al. 2020), then patches."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    example = staticmethod(_sound_example)

    @nn.compact
    def __call__(self, audio: UInt8[Array, "B N"]) -> Tokens:
        c, width = self.config.audio, self.config.width
        x = sound.frames(sound.samples(audio), c.window, c.hop)[:, : c.frames].astype(self.dtype)
        filters = self.param("stem", normal(c.window**-0.5), (c.window, c.bands))
        # The logarithm of a filter's energy, as a spectrogram has it: loudness spans many orders of magnitude.
        x = jnp.log(jnp.square(linear(x, filters)) + sound.FLOOR) / 7
        x = rearrange(x, "b (t p) f -> b t (p f)", p=c.patch)
        x = linear(x, self.param("kernel", normal(x.shape[-1] ** -0.5), (x.shape[-1], width)))
        x = x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], width))
        return _sounding(x, audio, self.param("silence", normal(1.0), (width,)), self.config)


@EMBEDDERS.register("audio/bytes")
class ByteAudio(nn.Module):
    """The bytes of the samples through a small table, a token for every ``patch`` hops (Horton et al. 2023)."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    example = staticmethod(_sound_example)

    @nn.compact
    def __call__(self, audio: UInt8[Array, "B N"]) -> Tokens:
        c, width = self.config.audio, self.config.width
        size = 2 * c.patch * c.hop
        data = audio[:, : c.frames // c.patch * size]
        x = self.param("table", normal(1.0), (256, 4)).astype(self.dtype)[data.astype(jnp.int32)]
        x = rearrange(x, "b (t n) k -> b t (n k)", n=size)
        x = linear(x, self.param("kernel", normal(x.shape[-1] ** -0.5), (x.shape[-1], width)))
        x = x + self.param("position", lambda key, shape: sincos(*shape), (x.shape[1], width))
        return _sounding(x, audio, self.param("silence", normal(1.0), (width,)), self.config)


@EMBEDDERS.register("audio/resnet18")
class ResNetAudio(nn.Module):
    """ResNet-18 on the log-mel spectrogram as a picture of one channel, bands as rows (Palanisamy et al. 2020)."""

    config: ModelConfig
    dtype: jnp.dtype = jnp.dtype("float32")
    example = staticmethod(_sound_example)

    @nn.compact
    def __call__(self, audio: UInt8[Array, "B N"]) -> Tokens:
        c, width = self.config.audio, self.config.width
        mel = spectrogram(audio, c).astype(self.dtype)
        x = _cells(self, rearrange(mel, "b t f -> b f t 1"), c, width)
        x = rearrange(x, "b f t d -> b (t f) d")
        return _sounding(x, audio, self.param("silence", normal(1.0), (width,)), self.config)
