"""Tests of the published vision transformer: weights by timm's names give timm's output.

`vit_timm.npz` holds what timm makes of `published` and `pictures`. ``python tests/models/vit_test.py`` wrote it,
where torch and timm were installed too; they are no requirements of the tests.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

WIDTH, DEPTH, PATCH, SIZE, LARGER = 128, 2, 8, 32, 48
EXPECTED = Path(__file__).with_name("vit_timm.npz")


def published(side: int = SIZE // PATCH) -> dict[str, np.ndarray]:
    """A state dict by timm's names, drawn at random."""
    rng = np.random.default_rng(0)
    found = {}

    def draw(name: str, *shape: int, scale: float = 1.0, shift: float = 0.0):
        found[name] = (shift + scale * (rng.random(shape) - 0.5)).astype(np.float32)

    draw("cls_token", 1, 1, WIDTH)
    draw("pos_embed", 1, side * side + 1, WIDTH)
    draw("patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH, scale=0.25)
    draw("patch_embed.proj.bias", WIDTH)
    for i in range(DEPTH):
        block = f"blocks.{i}"
        for norm in ("norm1", "norm2"):
            draw(f"{block}.{norm}.weight", WIDTH, scale=0.5, shift=1.0)
            draw(f"{block}.{norm}.bias", WIDTH, scale=0.2)
        draw(f"{block}.attn.qkv.weight", 3 * WIDTH, WIDTH, scale=0.6)
        draw(f"{block}.attn.qkv.bias", 3 * WIDTH)
        draw(f"{block}.attn.proj.weight", WIDTH, WIDTH, scale=0.4)
        draw(f"{block}.attn.proj.bias", WIDTH)
        draw(f"{block}.mlp.fc1.weight", 4 * WIDTH, WIDTH, scale=0.4)
        draw(f"{block}.mlp.fc1.bias", 4 * WIDTH)
        draw(f"{block}.mlp.fc2.weight", WIDTH, 4 * WIDTH, scale=0.2)
        draw(f"{block}.mlp.fc2.bias", WIDTH)
    draw("norm.weight", WIDTH, scale=0.5, shift=1.0)
    draw("norm.bias", WIDTH, scale=0.2)
    draw("head.weight", 5, WIDTH)
    draw("head.bias", 5)
    return found


def pictures() -> np.ndarray:
    """Two pictures, uint8 [2, 32, 32, 3]."""
    return np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def build(make_config, tmp_path_factory):
    """Function from changes to the config of a tiny model that begins with the weights."""
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    save_file(published(), path)
    changes = {
        "model.width": WIDTH, "model.image.embedder": "vit", "model.image.stem": WIDTH, "model.image.depth": DEPTH,
        "model.image.patch": PATCH, "model.image.unimodal_layers": 0, "model.image.weights": str(path),
    }  # fmt: skip
    return lambda **more: make_config(changes | more)


@pytest.fixture(scope="module")
def begun(build):
    """A model's embedder, its parameters with the weights in them, and the report."""
    from xmjax.models.signals import embedder
    from xmjax.training.weights import read

    def one(config):
        module = embedder("image", "vit")(config.model)
        drawn = module.init(jax.random.key(0), module.example(config.model))["params"]
        arrays, report = read(config.model, {"embedders_image": drawn})
        params = drawn | {name.removeprefix("embedders_image/"): jnp.asarray(x) for name, x in arrays.items()}
        return module, params, report["image"]

    return one


def test_published_weights_give_the_published_output(begun, build):
    module, params, report = begun(build())
    assert report["missing"] == [] and report["unused"] == ["head.bias", "head.weight"] and not report["reshaped"]
    tokens = jax.jit(module.apply)({"params": params}, jnp.asarray(pictures()))
    np.testing.assert_allclose(tokens.vectors, np.load(EXPECTED)["tokens"], rtol=1e-4, atol=2e-5)


def test_places_are_stretched_to_another_size_and_that_is_told(begun, build):
    _, params, report = begun(build(**{"model.image.size": LARGER}))
    assert report["reshaped"] == ["pos_embed: of 4 x 4 tokens, stretched to 6 x 6"] and report["missing"] == []
    np.testing.assert_allclose(params["places"], np.load(EXPECTED)["places"].astype(np.float32), atol=2e-3)


def test_a_file_of_another_model_is_refused(begun, build, tmp_path):
    from safetensors.numpy import save_file

    from xmjax.errors import UserError

    with pytest.raises(UserError, match=r"set model\.image\.stem"):
        begun(build(**{"model.image.stem": 64}))
    with pytest.raises(UserError, match=r"has 2 layers; set config\.model\.image\.depth=2, which is 3"):
        begun(build(**{"model.image.depth": 3}))
    path = tmp_path / "other.safetensors"
    save_file(published() | {"blocks.0.ls1.gamma": np.ones(WIDTH, np.float32)}, path)
    with pytest.raises(UserError, match=r"another kind of vision transformer, which has blocks\.0\.ls1\.gamma"):
        begun(build(**{"model.image.weights": str(path)}))
    save_file({"weight": np.ones(3, np.float32)}, path)
    with pytest.raises(UserError, match="no array named as in timm's vision transformers"):
        begun(build(**{"model.image.weights": str(path)}))


@pytest.mark.slow
def test_every_parameter_is_trained(begun, build):
    module, params, _ = begun(build())
    shown = jnp.asarray(pictures())
    drawn = jax.random.normal(jax.random.key(2), (2, 16, WIDTH))
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(drawn * module.apply({"params": p}, shown).vectors)))(params)
    # A shift of all keys changes no softmax.
    assert {name for name, g in gradient.items() if not float(jnp.abs(g).max()) > 1e-4} == {"attention_key_shift"}


def test_operations_and_parameters_are_those_of_vit_base(make_config):
    from xmjax.models import vit
    from xmjax.training import flops

    held = sum(int(np.prod(shape)) for shape in vit.shapes(768, 12, 16, 14).values())
    assert held == 85_798_656  # timm's vit_base_patch16_224 without its head
    config = make_config({
        "model.width": 768, "model.heads": 12, "model.image.embedder": "vit", "model.image.stem": 768,
        "model.image.patch": 16, "model.image.size": 224, "model.image.unimodal_layers": 0,
    }).model  # fmt: skip
    assert flops.encode(config, "image") == pytest.approx(2 * 17.56e9, rel=0.01)  # multiply-adds as timm has them
    small = dataclasses.replace(config, image=dataclasses.replace(config.image, depth=1))
    assert flops.encode(small, "image") < flops.encode(config, "image") / 10


if __name__ == "__main__":
    import timm
    import torch

    model = timm.models.vision_transformer.VisionTransformer(
        SIZE, PATCH, num_classes=5, embed_dim=WIDTH, depth=DEPTH, num_heads=WIDTH // 64
    ).eval()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in published().items()})
    with torch.no_grad():
        shown = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() / 255
        tokens = model.forward_features((shown - 0.5) / 0.5)[:, 1:].numpy()
        places = timm.layers.resample_abs_pos_embed(model.pos_embed, [LARGER // PATCH] * 2, num_prefix_tokens=1)
        np.savez_compressed(EXPECTED, tokens=tokens, places=places[0].numpy().astype(np.float16))
    print(f"{EXPECTED}: timm {timm.__version__}, torch {torch.__version__}")
