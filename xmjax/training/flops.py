"""Floating-point operations, counted by hand: matrix products only, two operations a multiply-add.

Compilers count the body of a scan once and see nothing inside kernels, so that the count is ours and is tested.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import jax

from xmjax import vocab
from xmjax.config import AudioConfig, ImageConfig, ModelConfig
from xmjax.models import resnet
from xmjax.models.embedders import patch_products
from xmjax.models.signals import EMBEDDERS

PEAK = {
    "h200": 989e12, "h100": 989e12, "a100": 312e12, "l40s": 362e12, "l40": 181e12, "l4": 121e12,
    "v100": 125e12, "t4": 65e12,
    "tpu v2": 46e12, "tpu v3": 123e12, "tpu v4": 275e12, "tpu v5 lite": 197e12, "tpu v5e": 197e12,
    "tpu v5p": 459e12, "tpu v5": 459e12, "tpu v6": 918e12, "tpu7x": 2307e12,
}  # fmt: skip
"""Dense bfloat16 operations a second of one chip, by the vendors' data sheets; keys are parts of JAX's device kind."""


def peak(device_kind: str) -> float | None:
    """Peak of a device, None where it is not known. Of several keys that fit, the longest counts."""
    fits = [key for key in PEAK if key in device_kind.lower()]
    return PEAK[max(fits, key=len)] if fits else None


def stack(config: ModelConfig, depth: int, length: float, memory: float = 0.0, rows: float = 1.0) -> float:
    """Forward pass of a stack over ``rows`` sequences of ``length`` tokens, which share a memory if there is one."""
    width, hidden = config.width, config.width * config.mlp_ratio
    products = 4 * width * width + 2 * width * hidden
    attention = 2 * length * width
    total = rows * length * (products + attention)
    if memory:
        total += rows * length * (2 * width * width + 2 * memory * width) + memory * 2 * width * width
    return 2 * depth * total


def fuse(config: ModelConfig, lengths: Mapping[str, float]) -> float:
    """Forward pass of the fusion layers over one row; modalities without tokens in ``lengths`` are one absent token."""
    lengths = {m: lengths.get(m, 1.0) for m in config.modalities}
    depth, whole, text = config.fusion_layers, sum(lengths.values()), lengths["text"]
    if config.fusion == "merged":
        return stack(config, depth, whole)
    if config.fusion == "cross":
        return stack(config, depth, text, whole - text)
    if config.fusion == "bottleneck":
        return sum(stack(config, depth, length + config.bottleneck) for length in lengths.values())
    if config.fusion == "coattention":
        second_mlp = 4 * depth * whole * config.width * config.width * config.mlp_ratio
        return second_mlp + sum(stack(config, depth, length, whole - length) for length in lengths.values())
    return 0.0  # not counted


def decoder(config: ModelConfig, length: float, memory: float, rows: float) -> float:
    """Forward pass of the decoder with its byte head."""
    return stack(config, config.decoder_layers, length, memory, rows) + 2 * rows * length * config.width * vocab.SIZE


def tokens(config: ModelConfig, modality: str) -> int:
    """Tokens that a modality's embedder makes of one row; 0 for those of users' own embedders."""
    image, text = config.image, config.text
    if modality == "text":
        if text.embedder == "words":
            return text.words
        if text.embedder == "units":
            return text.units
        return text.max_bytes // (text.downsample if text.embedder == "ngram" else 1)
    if modality == "audio":
        audio = config.audio
        return (
            audio.frames // audio.patch * (audio.bands // audio.patch if audio.embedder in ("mel", "resnet18") else 1)
        )
    if modality != "image":
        return _work(config, modality)[0]
    if image.embedder == "file":
        return -(-image.max_file_bytes // (image.file_kernel // 2))
    return (image.size // image.patch) ** 2


def kept(config: ModelConfig, modality: str) -> int:
    """Tokens of one row that take part in fusion and are read with the text."""
    image = config.image
    return image.keep if modality == "image" and image.reduce else tokens(config, modality)


def encode(config: ModelConfig, modality: str, share: float = 1.0) -> float:
    """Embedding and own layers of one row; ``share`` is the part of a text that is not padding."""
    width = config.width
    if modality == "text":
        count = tokens(config, "text") * share
        window = 2 * config.text.downsample * width if config.text.embedder == "ngram" else 0
        window = 3 * (config.text.vectors + width) if config.text.embedder == "words" else window
        return stack(config, config.text.unimodal_layers, count) + 2 * count * window * width
    if modality == "audio":
        audio, count = config.audio, tokens(config, "audio")
        entries = {"mel": audio.patch**2, "frames": audio.patch * audio.bands, "bytes": 8 * audio.patch * audio.hop}
        mel = audio.window // 2 + 1
        filtered = {"mel": mel, "resnet18": mel, "frames": audio.window, "bytes": 0}[audio.embedder]
        filters = 2 * audio.frames * filtered * audio.bands
        if audio.embedder == "resnet18":
            cells = _resnet18(audio, 1, audio.bands, audio.frames, count, width)
            return filters + cells + stack(config, audio.unimodal_layers, count)
        return filters + 2 * count * entries[audio.embedder] * width + stack(config, audio.unimodal_layers, count)
    if modality != "image":
        count, products = _work(config, modality)
        return 2 * products + stack(config, config.modalities[modality].unimodal_layers, count)
    image, count = config.image, tokens(config, "image")
    if image.embedder == "file":
        return stack(config, image.unimodal_layers, count) + 2 * count * image.file_kernel * max(8, width // 4) * width
    if image.embedder == "resnet18":
        embedding = _resnet18(image, 3, image.size, image.size, count, width)
    elif image.embedder == "vit":
        own = dataclasses.replace(config, width=image.stem, mlp_ratio=4.0)
        projection = image.stem * width if image.stem != width else 0
        embedding = 2 * count * (3 * image.patch**2 * image.stem + projection) + stack(own, image.depth, count + 1)
    else:
        embedding = 2 * patch_products(image, 3, width)
    return embedding + stack(config, image.unimodal_layers, count)


def _work(config: ModelConfig, modality: str) -> tuple[int, float]:
    """Tokens of one row of a further modality and multiply-adds that make them; 0 where they are not known."""
    options = config.modalities[modality]
    known = EMBEDDERS.items.get(f"any/{options.embedder}")
    return known.work(options, config.width) if known else (0, 0.0)


def _resnet18(
    options: ImageConfig | AudioConfig, channels: int, height: int, across: int, count: int, width: int
) -> float:
    """ResNet-18 on a picture of this size, with the projection of its ``count`` cells where they are of other width."""
    plan = resnet.convolutions(options.stem, channels, options.patch)
    last = 8 * options.stem
    projection = count * last * width if last != width else 0
    return 2.0 * (resnet.multiply_adds(plan, height, across, options.patch) + projection)


def total(passes: Iterable[Mapping[str, float]]) -> float:
    """Forward and backward passes of one row: what several objectives share counts once, backward is two forwards."""
    union: dict[str, float] = {}
    for named in passes:
        union |= named
    return 3 * sum(union.values())


def utilisation(flops_per_second: float) -> float | None:
    """Model FLOPs utilisation over all devices, None on a device whose peak is not known."""
    limit = peak(jax.devices()[0].device_kind)
    return None if limit is None else flops_per_second / (limit * jax.device_count())
