"""Tests of weights and word vectors from files, with files that the tests write."""

import dataclasses
import json
import struct

import jax
import ml_dtypes
import numpy as np
import pytest

from xmjax.config import AudioConfig, ImageConfig, ModelConfig, TextConfig
from xmjax.errors import UserError
from xmjax.models import resnet
from xmjax.models.signals import embedder
from xmjax.models.word_hash import hash_word
from xmjax.training import weights

STEM = 8
IMAGE = ImageConfig("resnet18", size=16, patch=8, stem=STEM)
AUDIO = AudioConfig("resnet18", seconds=0.2, bands=16, patch=8, stem=STEM)


def state_dict(stem: int = STEM, seed: int = 0) -> dict[str, np.ndarray]:
    """A ResNet-18 by the names and shapes of torchvision's documentation, with a classifier and counters."""
    rng, found = np.random.default_rng(seed), {}

    def convolution(name: str, norm: str, outputs: int, inputs: int, side: int) -> None:
        found[f"{name}.weight"] = rng.standard_normal((outputs, inputs, side, side)) * (inputs * side**2) ** -0.5
        found[f"{norm}.weight"], found[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, (2, outputs))
        found[f"{norm}.bias"], found[f"{norm}.running_mean"] = rng.standard_normal((2, outputs)) * 0.1
        found[f"{norm}.num_batches_tracked"] = np.int64(9)

    convolution("conv1", "bn1", stem, 3, 7)
    inputs = stem
    for stage in range(1, 5):
        width = stem * 2 ** (stage - 1)
        for block in range(2):
            layer = f"layer{stage}.{block}"
            convolution(f"{layer}.conv1", f"{layer}.bn1", width, inputs, 3)
            convolution(f"{layer}.conv2", f"{layer}.bn2", width, width, 3)
            if inputs != width:
                convolution(f"{layer}.downsample.0", f"{layer}.downsample.1", width, inputs, 1)
            inputs = width
    found["fc.weight"], found["fc.bias"] = np.zeros((10, width)), np.zeros(10)
    return {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in found.items()}


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a .safetensors file."""
    kinds = {np.dtype(v): k for k, v in weights.SAFETENSORS.items()}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        array = np.asarray(array)
        data = array.tobytes()
        place = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kinds[array.dtype], "shape": list(array.shape), "data_offsets": place}
        body += data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def write(path, arrays) -> str:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(packed(arrays))
    return str(path)


def shapes(config: ModelConfig):
    found = {}
    for modality, options in config.modalities.items():
        module = embedder(modality, options.embedder)(config)
        found[f"embedders_{modality}"] = jax.eval_shape(module.init, jax.random.key(0), module.example(config))[
            "params"
        ]
    return found


def with_image(path: str, **fields) -> ModelConfig:
    return ModelConfig(width=16, heads=2, image=dataclasses.replace(IMAGE, weights=path, **fields))


def normalised(x, given, norm):
    """Batch norm after training."""
    mean, variance, weight, bias = (
        given[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_what_a_file_has_is_loaded_and_told(tmp_path, suffix):
    given = state_dict()
    del given["layer4.1.conv2.weight"], given["layer4.1.bn2.running_var"]
    config = with_image(write(tmp_path / f"resnet{suffix}", given))
    arrays, report = weights.read(config, shapes(config))
    told = report["image"]
    assert told["file"] == config.image.weights and len(told["loaded"]) == len(arrays) == 57
    assert told["missing"] == ["kernel", "kernel_4_1_2", "scale_4_1_2", "shift_4_1_2"] and told["reshaped"] == []
    counters = {name for name in given if name.endswith("tracked")}
    left = {f"layer4.1.bn2.{part}" for part in ("weight", "bias", "running_mean")}
    assert set(told["unused"]) == {"fc.weight", "fc.bias"} | counters | left
    one = "embedders_image/{}_2_0_skip"
    kernel = given["layer2.0.downsample.0.weight"]
    np.testing.assert_array_equal(arrays[one.format("kernel")][0, 0], kernel[:, :, 0, 0].T)
    x = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)
    found = x * arrays[one.format("scale")] + arrays[one.format("shift")]
    np.testing.assert_allclose(found, normalised(x, given, "layer2.0.downsample.1"), atol=1e-5)
    kernel = given["conv1.weight"][3, 2, 1, 6]
    assert arrays["embedders_image/kernel_stem"][1, 6, 2, 3] == kernel
    assert "57 loaded; 4 missing (kernel, kernel_4_1_2, scale_4_1_2, ...)" in weights.summary(told)


def test_types_of_safetensors_are_read(tmp_path):
    given = {name: np.asarray(value).astype(ml_dtypes.bfloat16) for name, value in state_dict().items()}
    config = with_image(write(tmp_path / "a.safetensors", given))
    arrays, _ = weights.read(config, shapes(config))
    kernel = arrays["embedders_image/kernel_1_0_1"]
    assert kernel.dtype == np.float32 and len(arrays) == 60
    np.testing.assert_array_equal(kernel, given["layer1.0.conv1.weight"].astype(np.float32).transpose(2, 3, 1, 0))


def test_the_first_convolution_is_averaged_for_sounds(tmp_path):
    given = state_dict()
    audio = dataclasses.replace(AUDIO, weights=write(tmp_path / "a.npz", given))
    config = ModelConfig(width=16, heads=2, image=IMAGE, audio=audio)
    arrays, report = weights.read(config, shapes(config))
    assert list(report) == ["audio"] and report["audio"]["missing"] == ["kernel", "silence"]
    assert report["audio"]["reshaped"] == ["conv1.weight: averaged over its 3 channels"]
    kernel = arrays["embedders_audio/kernel_stem"]
    np.testing.assert_allclose(kernel[:, :, 0], given["conv1.weight"].mean(1).transpose(1, 2, 0), atol=1e-6)


def test_loaded_weights_compute_what_they_did(tmp_path):
    """The stem and the first block of the file's own network, by hand, on one picture."""
    given = state_dict()
    config = with_image(write(tmp_path / "a.npz", given), size=32)
    module = embedder("image", "resnet18")(config)
    params = jax.jit(module.init)(jax.random.key(0), module.example(config))["params"]
    arrays, _ = weights.read(config, {"embedders_image": params})
    params = weights.placed({"embedders_image": params}, arrays)["embedders_image"]
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)

    def layer(x, name, norm):
        kernel = given[f"{name}.weight"]
        side = kernel.shape[2] // 2
        padded = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], (1, 2))
        return normalised(np.einsum("byxckl,fckl->byxf", seen, kernel), given, norm)

    y = np.maximum(layer(x, "conv1", "bn1"), 0)
    z = np.maximum(layer(y, "layer1.0.conv1", "layer1.0.bn1"), 0)
    expected = np.maximum(layer(z, "layer1.0.conv2", "layer1.0.bn2") + y, 0)

    def ours(x, name):
        x = resnet.convolve(x, params[f"kernel_{name}"], 1)
        return resnet.affine(x, params[f"scale_{name}"], params[f"shift_{name}"])

    y = jax.nn.relu(ours(jax.numpy.asarray(x), "stem"))
    found = jax.nn.relu(ours(jax.nn.relu(ours(y, "1_0_1")), "1_0_2") + y)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def word2vec(path, entries: dict[str, np.ndarray]) -> str:
    """Writes a file in the binary format of word2vec."""
    width = len(next(iter(entries.values())))
    body = b"".join(w.encode() + b" " + v.astype("<f4").tobytes() + b"\n" for w, v in entries.items())
    path.write_bytes(f"{len(entries)} {width}\n".encode() + body)
    return str(path)


TEXT = TextConfig("words", 32, buckets=4096, vectors=6, words=4)


@pytest.mark.parametrize("name", ["v.bin", "v.txt"])
def test_word_vectors_are_found_by_the_hash_of_their_word(tmp_path, name):
    pytest.importorskip("gensim")
    rng = np.random.default_rng(0)
    names = ("Ball", "the", "ball", "New_York", "눈", "Paris")
    entries = {w: rng.standard_normal(6).astype(np.float32) for w in names}
    if name == "v.bin":
        word2vec(tmp_path / name, entries)
    else:
        lines = [f"{w} {' '.join(map(repr, map(float, v)))}" for w, v in entries.items()]
        (tmp_path / name).write_text("\n".join([f"{len(lines)} 6", *lines]) + "\n")
    config = ModelConfig(width=16, heads=2, text=dataclasses.replace(TEXT, weights=str(tmp_path / name)))
    arrays, report = weights.read(config, shapes(config))
    table = arrays["embedders_text/table"]
    assert table.shape == (4096, 6) and (np.abs(table).sum(1) > 0).sum() == 3 == report["text"]["rows"]
    for word, entry in (("ball", "ball"), ("눈", "눈"), ("paris", "Paris")):  # "Ball" comes first, "ball" counts
        np.testing.assert_allclose(table[hash_word(word.encode()) % 4096], entries[entry], atol=1e-6)
    assert report["text"]["unused"] == [
        "1 entries that are not one word", "1 stop words", "1 words whose row another has",
    ]  # fmt: skip
    assert report["text"]["missing"] == ["kernel_0", "kernel_1", "shift_0", "shift_1"]


def test_loaded_word_vectors_are_not_trained_and_random_ones_are():
    from xmjax.data.arrays import text_ids

    ids = jax.numpy.asarray(text_ids("red ball", 32)[None])
    for path in ("", "v.bin"):
        config = ModelConfig(width=16, heads=2, text=dataclasses.replace(TEXT, weights=path))
        module = embedder("text", "words")(config)
        params = jax.jit(module.init)(jax.random.key(0), module.example(config))
        gradient = jax.jit(jax.grad(lambda p, m=module: m.apply(p, ids).vectors.sum()))(params)["params"]
        assert (np.abs(gradient["table"]).max() == 0) == bool(path) and np.abs(gradient["kernel_0"]).max() > 0


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    def message(config: ModelConfig) -> str:
        with pytest.raises(UserError) as error:
            weights.read(config, shapes(config))
        assert "\n" not in str(error.value)
        return str(error.value)

    none = tmp_path / "none.npz"
    assert message(with_image(str(none))).startswith(f"config.model.image.weights={none}: there is no such file")
    (tmp_path / "a.pth").write_bytes(b"PK")
    assert "unknown format '.pth'; save the arrays as .safetensors or .npz" in message(with_image(f"{tmp_path}/a.pth"))
    other = write(tmp_path / "vit.npz", {"patch_embed.weight": np.zeros(3)})
    assert "no array named as in torchvision's or timm's ResNet-18" in message(with_image(other))
    wide = message(with_image(write(tmp_path / "wide.npz", state_dict(16))))
    assert "kernel_stem has shape (7, 7, 3, 16) there and (7, 7, 3, 8) here" in wide
    whole = packed(state_dict())
    for name, data in {
        "cut": whole[:-5],
        "header": whole[:50],
        "no": b"",
        "list": struct.pack("<Q", 2) + b"[]",
    }.items():
        (tmp_path / f"{name}.safetensors").write_bytes(data)
        assert "cannot be read as .safetensors" in message(with_image(f"{tmp_path}/{name}.safetensors"))
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    assert "cannot be read as .npz" in message(with_image(f"{tmp_path}/bad.npz"))


def test_what_cannot_be_read_as_vectors_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("gensim")

    def message(path: str) -> str:
        config = ModelConfig(width=16, heads=2, text=dataclasses.replace(TEXT, weights=path))
        with pytest.raises(UserError) as error:
            weights.read(config, shapes(config))
        return str(error.value)

    (tmp_path / "a.bin").write_bytes(b"3 6\nball \0\0")
    assert "cannot be read as word2vec's .bin" in message(f"{tmp_path}/a.bin")
    (tmp_path / "a.npy").write_bytes(b"")
    assert "unknown format '.npy'" in message(f"{tmp_path}/a.npy")
    entries = {"ball": np.ones(5, np.float32)}
    assert "set config.model.text.vectors=5" in message(word2vec(tmp_path / "five.bin", entries))
    phrases = word2vec(tmp_path / "phrases.bin", {"New_York": np.ones(6, np.float32)})
    assert "none of its 1 entries is a word" in message(phrases)
    monkeypatch.setitem(__import__("sys").modules, "gensim.models", None)
    assert 'pip install -e ".[vectors]"' in message(f"{tmp_path}/a.bin")
