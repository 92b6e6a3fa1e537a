"""The base run: fill, contrast and captions on the playroom, in English and Korean.

    python launch/pretrain.py --config=configs/base.py                  one CPU core, eleven to eighteen minutes
    python launch/pretrain.py --config=configs/base.py:smoke            two CPU cores, under a minute, learns nothing
    python launch/pretrain.py --config=configs/base.py:size=small       two CPU cores, within an hour
    python launch/pretrain.py --config=configs/base.py:size=base        accelerators; also large and huge

Expected figures are in docs/log.md.
"""

from ml_collections import ConfigDict

from xmjax import config as xmjax_config
from xmjax.errors import UserError
from xmjax.objectives import options

SIZES = ("tiny", "small", "base", "large", "huge")


def get_config(arg: str = "") -> ConfigDict:
    """The config for "smoke", "size=NAME", or both with a comma between."""
    config = start(arg)
    if parse(arg) == ("tiny", False):
        config.data.first_share = 0.375  # few steps need the easier scenes for longer (docs/log.md)
    return config


def start(arg: str = "") -> ConfigDict:
    """What the configs of the playroom start from: objectives, recipe and size."""
    size, smoke = parse(arg)
    config = xmjax_config.default()
    config.name = run_name("base", arg)
    config.data.source = "playroom"
    # Toys one at a time first: what kinds look like is learned many times faster than from whole scenes (docs/log.md).
    config.data.first_grade, config.data.first_share = "single", 0.2
    with config.unlocked():
        config.objectives = {
            "fill": options("fill", max_span_bytes=15),
            "contrast": options("contrast"),
            "caption": options("caption", captions=1),
        }
    resize(config, size)
    if smoke:
        shrink(config)
    return config


def on_other_data(name: str, arg: str, source: str) -> ConfigDict:
    """What the configs for real data start from: the base config's size for another source, without its curriculum."""
    config = start(f"size={parse(arg)[0]}")
    config.name = run_name(name, arg)
    config.data.source, config.data.name = source, name
    config.data.first_grade, config.data.first_share = "", 0.0
    # As it was measured; width, weights and spans of the playroom's runs have not been tried on real pictures.
    if parse(arg)[0] == "tiny":
        config.model.width = 128
    weigh(config, fill=1.0, contrast=1.0, caption=1.0)
    config.objectives.fill.spans = 2
    return config


def parse(arg: str) -> tuple[str, bool]:
    """Size and smoke mode of a config's argument."""
    size, smoke = "tiny", False
    for part in filter(None, (arg or "").split(",")):
        if part == "smoke":
            smoke = True
        elif part.removeprefix("size=") in SIZES:
            size = part.removeprefix("size=")
        else:
            raise UserError(
                f"unknown mode {part!r} after the config's colon: smoke, or size= one of {', '.join(SIZES)}"
            )
    return size, smoke


def run_name(name: str, arg: str) -> str:
    """Name of a run, which its default workdir takes: the config's and what differs from its default."""
    size, smoke = parse(arg)
    return "-".join([name, *([size] if size != "tiny" else []), *(["smoke"] if smoke else [])])


def resize(config: ConfigDict, size: str) -> None:
    """Sets the model and the recipe for a size. From base up these are the widths and depths of ViT-B, L and H."""
    model, image, text, optimizer = config.model, config.model.image, config.model.text, config.optimizer
    optimizer.name = "muon"
    if size in ("tiny", "small"):
        # On a CPU every operation counts: few tokens, unrolled layers, depth first where the picture is read, and half
        # of the width for few minutes (docs/log.md).
        tiny = size == "tiny"
        config.batch_size, config.steps = 64, 1500 if tiny else 3100
        model.width, model.heads, model.unroll = 64 if tiny else 128, 2, 4
        model.fusion_layers = model.decoder_layers = 1 if tiny else 2
        image.size, image.patch, image.stem = 32, 8, 64
        image.unimodal_layers, text.unimodal_layers = 2, 1
        text.ngrams = ()
        config.save_every = 250
        config.objectives.fill.spans = 1  # the sequences of a second word are mostly padding, for a quarter of a step
        # Losses a byte are small, and contrast would lead every update.
        weigh(config, fill=2.0, contrast=0.1, caption=4.0)
        optimizer.learning_rate, optimizer.warmup = 4e-3, 50
        return
    layers, model.width, model.heads = {"base": (12, 768, 12), "large": (24, 1024, 16), "huge": (32, 1280, 16)}[size]
    image.size, image.patch, image.stem = 224, 14 if size == "huge" else 16, 0
    image.unimodal_layers, text.unimodal_layers = layers, layers // 2
    model.fusion_layers = model.decoder_layers = layers // 2
    text.max_bytes, text.ngrams, text.buckets = 256, (3, 4, 5), 16384
    model.embedding, model.unroll, model.remat = 512, 1, "dots"
    config.objectives.caption.captions = 0
    config.batch_size, config.steps, config.data.captions = 1024, 100_000, 1
    config.save_every, config.evaluation.every = 1000, 5000
    optimizer.learning_rate, optimizer.warmup = 5e-4, 2000


def weigh(config: ConfigDict, **weights: float) -> None:
    """Sets the weights of objectives."""
    for name, weight in weights.items():
        config.objectives[name].weight = weight


def shrink(config: ConfigDict) -> None:
    """Smoke mode: every part of the run, a few steps each, on two cores in under a minute."""
    model = config.model
    model.width, model.heads, model.embedding, model.mlp_ratio = 32, 2, 32, 2.0
    model.fusion_layers = model.decoder_layers = 1
    model.image.unimodal_layers = model.text.unimodal_layers = model.unroll = 1
    model.image.size, model.image.patch, model.text.buckets = 32, 8, 64
    model.image.stem = min(model.image.stem, 8)
    model.text.max_bytes = 64
    config.batch_size, config.steps, config.optimizer.warmup = 16, 20, 5
    config.log_every, config.save_every = 5, 10
    config.evaluation.samples, config.evaluation.pool, config.evaluation.batch_size = 40, 20, 20
