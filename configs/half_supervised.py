"""The image-bridged half-supervised model as Kim and Yoon trained it: ResNet-18 twice, words, ranking losses.

    python launch/pretrain.py --config=configs/half_supervised.py       a GPU; on a CPU hours, it seems
    python launch/pretrain.py --config=configs/half_supervised.py:smoke                    two CPU cores, under a minute
    python launch/pretrain.py --config=configs/half_supervised.py:size=base,pairs=180000   one GPU; pictures of 224 px

From "Image-Bridged Multimodal Half-Supervised Learning Model", 3.1 and 3.2: pictures and log-mel spectrograms each pass
a ResNet-18, texts lose their stop words and are the vectors of sixteen words under a convolution; heads of two layers
and unit vectors; a ranking loss whose margin varies where an image is the anchor; Adam at 1e-4, at 1e-5 after 30 of 40
epochs; the checkpoint that is best on held-out data is kept. The paper names no margin; 0.2 is this config's. Its
batch of 512 and its networks' sizes are those of size=base and up; below, pictures and batches are small.

`pairs=N` says how many pairs of each stream the data hold, which decides how many steps 40 epochs are. With the paper's
initial weights, in files that you have:

    --config.model.image.weights=resnet18.safetensors --config.model.audio.weights=resnet18.safetensors
    --config.model.text.weights=GoogleNews-vectors-negative300.bin

The weights' classifiers are left out; `pip install -e ".[vectors]"` reads word vectors. What was loaded is printed and
kept in weights.json. On other data set config.data and config.frame_audio; neither fusion nor decoder is trained.
"""

from ml_collections import ConfigDict

from configs import base
from xmjax import config as xmjax_config
from xmjax.errors import UserError
from xmjax.objectives import options

EPOCHS, DROP = 40, 30


def get_config(arg: str = "") -> ConfigDict:
    """The config for the modes of configs/base.py and "pairs=N"."""
    pairs, arg = parse(arg)
    size, smoke = base.parse(arg)
    small = size in ("tiny", "small")
    config = xmjax_config.default()
    config.name = base.run_name("half_supervised", arg)
    for stream in (config.data, config.frame_audio):
        stream.source, stream.languages = "playroom", ("en",)
    config.data.captions = 1
    config.frame_audio.sound, config.frame_audio.captions = True, 0
    ranking = {"loss": "ranking", "margin": 0.2, "variable": True}
    config.objectives = ConfigDict({"contrast": options("contrast", **ranking), "sound": options("sound", **ranking)})

    model, image, audio, text = config.model, config.model.image, config.model.audio, config.model.text
    image.embedder, image.stem, audio.embedder, text.embedder = "resnet18", 64, "resnet18", "words"
    image.size, image.patch = (32, 16) if small else (224, 32)
    audio.seconds, audio.patch = (1.0 if small else 3.0), 32
    text.max_bytes, text.buckets = (96, 4096) if small else (256, 131_072)
    model.width, model.embedding, model.heads = 512, 512, 4
    image.unimodal_layers = audio.unimodal_layers = text.unimodal_layers = model.fusion_layers = 0
    # A decoder that nothing trains, as small as it can be.
    model.decoder_layers, model.mlp_ratio = 1, 1.0

    optimizer = config.optimizer
    optimizer.name, optimizer.weight_decay, optimizer.b1, optimizer.b2 = "adamw", 0.0, 0.9, 0.999  # which is Adam
    optimizer.learning_rate, optimizer.final, optimizer.warmup, optimizer.clip = 1e-4, 0.1, 0, 0.0
    optimizer.decay, optimizer.drop_at = "step", DROP / EPOCHS
    config.batch_size = 64 if small else 512
    epoch = -(-(pairs or (2_000 if small else 180_000)) // config.batch_size)
    config.steps = EPOCHS * epoch
    config.evaluation.names, config.evaluation.best = ("retrieval", "sound"), "retrieval/text_to_image/R@1"
    config.evaluation.every, config.save_every = epoch, 5 * epoch
    if smoke:
        base.shrink(config)
        image.unimodal_layers = text.unimodal_layers = model.fusion_layers = 0
        image.patch = audio.patch = 16
        audio.stem, audio.bands, audio.seconds, text.vectors = 8, 16, 0.5, 16
        config.evaluation.every = 10
    return config


def parse(arg: str) -> tuple[int, str]:
    """Number of pairs, 0 where it is not given, and the rest of the config's argument."""
    parts = (arg or "").split(",")
    given = [part.removeprefix("pairs=") for part in parts if part.startswith("pairs=")]
    rest = ",".join(part for part in parts if not part.startswith("pairs="))
    if not given:
        return 0, rest
    if len(given) > 1 or not given[0].isdecimal() or not int(given[0]):
        raise UserError(f"pairs={given[-1]!r} after the config's colon: give the number of pairs once, such as 180000")
    return int(given[0]), rest
