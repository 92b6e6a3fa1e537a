"""What the fields of a config may hold."""

from collections.abc import Mapping
from typing import Any

from xmjax import vocab
from xmjax.config import STREAMS, AudioConfig, Config, ModelConfig
from xmjax.data.playroom.language import KINDS_OF_WORDS
from xmjax.data.playroom.world import GRADES
from xmjax.errors import UserError
from xmjax.models.fusion import FUSIONS
from xmjax.models.objects import METHODS
from xmjax.models.signals import EMBEDDERS
from xmjax.models.sound import most_bands
from xmjax.models.vit import HEAD
from xmjax.training import adapters

NETWORKS = ("resnet18", "vit", "words")
"""Embedders that are networks of their own: they need no layers behind them, and can begin with weights of a file."""


def validate(config: Config) -> None:
    """Checks the values of a config whose fields have the right types.

    Raises:
      UserError: a value cannot work.
    """
    _ranges(config)
    _run(config)
    _streams(config)
    _model(config.model)
    _image(config.model)
    _audio(config.model.audio)
    _text(config.model)
    for name, options in config.objectives.items():
        _objective(name, options, config)


def _ranges(config: Config) -> None:
    """Numbers that are at least 1, or at least 0, whatever the others are."""
    for field in (
        "steps", "batch_size", "log_every", "keep", "optimizer.accumulate", "optimizer.rank", "guard.window",
        "guard.patience",
        "evaluation.samples", "evaluation.pool", "evaluation.batch_size", "evaluation.beams",
        "data.captions",
        "model.width", "model.heads", "model.decoder_layers", "model.embedding", "model.unroll", "model.bottleneck",
        "model.image.patch", "model.image.size", "model.text.downsample", "model.text.max_bytes", "model.text.unit",
        "model.text.buckets", "model.image.table",
        "model.audio.window", "model.audio.hop", "model.audio.bands", "model.audio.patch",
        "model.text.words", "model.text.vectors",
    ):  # fmt: skip
        check(_at(config, field) >= 1, field, _at(config, field), "must be at least 1")
    for field in (
        "save_every", "evaluation.every", "data.prefetch", "frame_audio.prefetch", "data.max_unreadable",
        "optimizer.warmup", "optimizer.weight_decay", "optimizer.clip", "guard.sigma", "model.fusion_layers",
        "model.text.unimodal_layers", "model.image.unimodal_layers", "model.image.reach", "model.image.stem",
        "model.audio.unimodal_layers", "frame_audio.captions", "model.regions.count",
    ):  # fmt: skip
        check(_at(config, field) >= 0, field, _at(config, field), "must not be negative")


def _run(config: Config) -> None:
    """The run itself: precision, optimizer, evaluation."""
    optimizer = config.optimizer
    one_of("precision", config.precision, "auto", "float32", "bfloat16")
    one_of("optimizer.name", optimizer.name, "adamw", "muon")
    one_of("optimizer.trained", optimizer.trained, *adapters.WAYS)
    one_of("optimizer.decay", optimizer.decay, "cosine", "linear", "step", "constant")
    check(0 <= optimizer.drop_at <= 1, "optimizer.drop_at", optimizer.drop_at, "must be a share, from 0 to 1")
    for field in ("b1", "b2", "ema"):
        value = getattr(optimizer, field)
        check(0 <= value < 1, f"optimizer.{field}", value, "must be from 0 to below 1")
    check(optimizer.learning_rate > 0, "optimizer.learning_rate", optimizer.learning_rate, "must be positive")
    check(
        config.batch_size % optimizer.accumulate == 0,
        "optimizer.accumulate",
        optimizer.accumulate,
        f"must divide batch_size={config.batch_size}",
    )
    whole = all("{}" in template for template in config.evaluation.templates)
    check(whole, "evaluation.templates", config.evaluation.templates,
          "write {} where the label stands, such as 'a photo of a {}'")  # fmt: skip
    part = config.evaluation.audio_share
    check(0 <= part <= 1, "evaluation.audio_share", part, "must be a share, from 0 to 1")
    best, every = config.evaluation.best, config.evaluation.every
    check(not best or every >= 1, "evaluation.best", best, "nothing is compared; set config.evaluation.every too")
    check(bool(config.objectives), "objectives", {}, "name at least one objective, such as fill")


def _streams(config: Config) -> None:
    """Where records come from."""
    for field in ("data", "frame_audio"):
        stream = _at(config, field)
        one_of(f"{field}.fit", stream.fit, "stretch", "crop", "pad")
        one_of(f"{field}.grade", stream.grade, *GRADES)
        one_of(f"{field}.first_grade", stream.first_grade, "", *GRADES)
        check(0 <= stream.first_share <= 1, f"{field}.first_share", stream.first_share, "must be a share, from 0 to 1")
        every = stream.first_every
        check(every == 0 or every > 1, f"{field}.first_every", every, "must be 0, or at least 2")
        # Clips have sounds without being asked for them: a run of the playroom is evaluated on them as it is.
        sounds = not stream.sound or (
            stream.source in ("playroom", "clips", "none") and bool(config.model.audio.embedder)
        )
        lists = not stream.held_out or stream.source in ("folder", "stamps")
        check(lists, f"{field}.held_out", stream.held_out, "lists records of a folder or of stamps; leave it empty")
        check(sounds, f"{field}.sound", True, "needs config.model.audio.embedder, such as 'mel', and source='playroom'")
    check(
        config.data.source != "none" or config.frame_audio.source != "none",
        "data.source",
        "none",
        "every stream is left out; choose a source for at least one",
    )


def _model(model: ModelConfig) -> None:
    """What all modalities share, and what each of them needs."""
    one_of("model.attention", model.attention, "auto", "xla", "cudnn")
    one_of("model.remat", model.remat, "none", "full", "dots")
    one_of("model.fusion", model.fusion, *FUSIONS.items)
    one_of("model.text.unit_of", model.text.unit_of, "characters", "bytes")
    check(model.width % model.heads == 0, "model.heads", model.heads, f"must divide model.width={model.width}")
    check(
        model.matching or not model.matching_product,
        "model.matching_product",
        model.matching_product,
        "needs model.matching=True",
    )
    check(model.mlp_ratio > 0, "model.mlp_ratio", model.mlp_ratio, "must be positive")
    if model.library.path:
        told = model.library.texts or (model.library.objects and model.regions.count > 0)
        remedy = "nothing is looked up in it; set model.library.texts, or model.library.objects and model.regions.count"
        check(told, "model.library.path", model.library.path, remedy)
        remedy = "objects are looked up by their pixels; choose another model.image.embedder than file"
        check(model.image.embedder != "file", "model.library.path", model.library.path, remedy)
    if model.regions.discovered:
        most = (model.image.size // model.image.patch) ** 2
        remedy = f"finds model.regions.count objects among the {most} tokens of a picture: set it, such as 8"
        check(1 <= model.regions.count <= most, "model.regions.discovered", True, remedy)
        remedy = "only tokens of pixels have places"
        check(model.image.embedder == "pixels", "model.regions.discovered", True, remedy)
    for name, others in model.others.items():
        _check_other(name, others, model)
    audio = [("audio", model.audio)] if model.audio.embedder else []
    for modality, side in (("text", model.text), ("image", model.image), *audio):
        if side.embedder not in NETWORKS:
            _check_layers(f"model.{modality}.unimodal_layers", side.unimodal_layers, model, fused=modality == "text")
        known = ", ".join(NETWORKS)
        check(not side.weights or side.embedder in NETWORKS, f"model.{modality}.weights", side.weights,
              f"config.model.{modality}.embedder={side.embedder!r} takes none; those that do are {known}")  # fmt: skip
    for field, side in (("model.image", model.image), ("model.audio", model.audio)):
        if side.embedder == "resnet18":
            check(side.patch in (8, 16, 32), f"{field}.patch", side.patch, "of resnet18 it is 8, 16 or 32")
            two = side.stem >= 8 and side.stem & (side.stem - 1) == 0
            check(two, f"{field}.stem", side.stem, "of resnet18 it is a power of two from 8 on, 64 as published")


def _check_layers(where: str, layers: int, model: ModelConfig, fused: bool = False) -> None:
    """That tokens pass a layer: one of their own, or one of fusion, which "cross" has for text (`fused`) alone."""
    there = model.fusion_layers if fused or model.fusion != "cross" else 0
    remedy = "there is no layer at all; raise it or model.fusion_layers"
    if model.fusion == "cross" and not fused:
        remedy = "with model.fusion='cross' only text has layers there; raise it"
    check(layers + there >= 1, where, layers, remedy)


def _image(model: ModelConfig) -> None:
    image = model.image
    check(image.size % image.patch == 0, "model.image.patch", image.patch, f"must divide image.size={image.size}")
    check(
        not image.stem or image.embedder == "vit" or image.patch & (image.patch - 1) == 0,
        "model.image.patch",
        image.patch,
        "with a stem it must be a power of two, since every convolution halves the side",
    )
    check(
        image.file_kernel >= 2 and image.file_kernel % 2 == 0,
        "model.image.file_kernel",
        image.file_kernel,
        "must be even and at least 2: the stride is half of it",
    )
    check(
        image.max_file_bytes > 0 and image.max_file_bytes % (image.file_kernel // 2) == 0,
        "model.image.max_file_bytes",
        image.max_file_bytes,
        f"must be a multiple of {image.file_kernel // 2}, the stride of model.image.file_kernel={image.file_kernel}",
    )
    near = not image.reach or (image.embedder == "pixels" and image.unimodal_layers >= 1)
    check(near, "model.image.reach", image.reach, "is of the picture's own layers over tokens of pixels; leave it 0")
    one_of("model.image.reduce", image.reduce, "", *METHODS)
    if image.reduce:
        check(image.embedder == "pixels", "model.image.reduce", image.reduce, "only tokens of pixels have places")
        whole = (image.size // image.patch) ** 2
        check(1 <= image.keep <= whole, "model.image.keep", image.keep, f"must be 1 to {whole}, the tokens there are")
        square = round(image.keep**0.5) ** 2 == image.keep
        check(square or image.reduce != "grid", "model.image.keep", image.keep, "a grid needs a square number")
    if image.embedder == "vit":
        whole = image.stem >= HEAD and image.stem % HEAD == 0
        check(whole, "model.image.stem", image.stem, f"of vit it is its width, a multiple of {HEAD}, such as 768")
        check(image.depth >= 1, "model.image.depth", image.depth, "must be at least 1")


def _audio(audio: AudioConfig) -> None:
    if not audio.embedder:
        return
    check(
        audio.frames > 0,
        "model.audio.seconds",
        audio.seconds,
        f"must hold a token of {audio.patch} frames of {audio.window} samples, {audio.hop} apart, at 16 kHz",
    )
    whole = audio.embedder not in ("mel", "resnet18") or audio.bands % audio.patch == 0
    check(whole, "model.audio.patch", audio.patch, "must divide audio.bands")
    if audio.embedder in ("mel", "resnet18"):
        most = most_bands(audio.window // 2 + 1)
        remedy = f"a window of {audio.window} samples tells {most} apart: choose no more, or a longer window"
        check(1 <= audio.bands <= most, "model.audio.bands", audio.bands, remedy)


def _text(model: ModelConfig) -> None:
    text = model.text
    check(all(n >= 1 for n in text.ngrams), "model.text.ngrams", model.text.ngrams, "sizes are 1 and more")
    check(
        text.max_bytes <= 960, "model.text.max_bytes", text.max_bytes, "the decoder has 1024 positions; use at most 960"
    )
    check(
        text.max_bytes % text.downsample == 0,
        "model.text.downsample",
        text.downsample,
        f"must divide text.max_bytes={text.max_bytes}",
    )
    if text.embedder == "words":
        check(not text.unimodal_layers, "model.text.unimodal_layers", text.unimodal_layers,
              "words pass a convolution in their place; set 0")  # fmt: skip
        check(not model.association, "model.association", True,
              "words leave out what is masked; choose another text embedder")  # fmt: skip


def _objective(name: str, options: Any, config: Config) -> None:
    """Options of one objective: the fields that it has."""
    model, text = config.model, config.model.text
    one_of(f"objectives.{name}.stream", options.stream, *STREAMS)
    check(options.weight >= 0, f"objectives.{name}.weight", options.weight, "must not be negative")
    points = options.schedule
    pairs = all(len(point) == 2 for point in points)
    check(pairs, f"objectives.{name}.schedule", points, "write ((share of the run, factor), ...)")
    turn = options.turn
    fits = not turn or (len(turn) == 2 and 0 <= turn[0] < turn[1])
    check(fits, f"objectives.{name}.turn", turn, "write (k, n), the k-th of every n steps, k from 0 to n - 1")
    for field in ("modality", "first", "second", "to"):
        if hasattr(options, field):
            one_of(f"objectives.{name}.{field}", getattr(options, field), *model.modalities)
    for field, first in (("others", "modality"), ("modalities", "to")):
        if field not in vars(options):
            continue
        named = getattr(options, field)
        for modality in named:
            one_of(f"objectives.{name}.{field}", modality, *model.modalities)
        apart = {*named, getattr(options, first), *(("text",) if field == "others" else ())}
        once = len(apart) == len(named) + (2 if field == "others" else 1)
        check(once, f"objectives.{name}.{field}", named, f"name each once, and not what {first} is")
    read = {getattr(options, field, "") for field in ("first", "second", "modality", "to")}
    read |= {m for field in ("modalities", "others") for m in getattr(options, field, ())}
    stream, where = config.stream(options.stream), STREAMS[options.stream]
    if stream.source == "playroom":
        check(stream.sound or "audio" not in read, f"{where}.sound", False,
              f"objectives.{name} hears sounds; set it to True")  # fmt: skip
        check(stream.further or not read & {*model.others}, f"{where}.further", False,
              f"objectives.{name} reads {', '.join(sorted(read & {*model.others}))}; set it to True")  # fmt: skip
        for kind in getattr(options, "single_kinds", ()):
            one_of(f"objectives.{name}.single_kinds", kind, *KINDS_OF_WORDS)
    for field in (
        "rate", "drop", "entities", "thirds", "gain", "parallel", "wrong", "hard", "both", "words", "begun", "unknown",
        "everything", "single",
    ):  # fmt: skip
        share = getattr(options, field, 0)
        check(0 <= share <= 1, f"objectives.{name}.{field}", share, "must be a share, from 0 to 1")
    for field in ("spans", "alternatives", "questions", "every", "canvases", "units", "written"):
        count = getattr(options, field, 1)
        check(count >= 1, f"objectives.{name}.{field}", count, "must be at least 1")
    for field in ("seen", "features"):
        weight = getattr(options, field, 0)
        check(weight >= 0, f"objectives.{name}.{field}", weight, "must not be negative")
    temperature = getattr(options, "temperature", 1)
    check(temperature > 0, f"objectives.{name}.temperature", temperature, "must be positive")
    for field, low, high in (
        ("max_span_bytes", 1, 1022),
        ("max_unit_bytes", vocab.MAX_CHARACTER, 1022),
        ("max_answer_bytes", 1, 1022),
        ("max_gloss_bytes", 1, 1022),
        ("max_label_bytes", 1, 1022),
        ("max_prompt_bytes", 0, 1022 - text.max_bytes),
    ):
        value = getattr(options, field, low)
        check(
            low <= value <= high,
            f"objectives.{name}.{field}",
            value,
            f"must be {low} to {high}: the decoder has 1024 positions",
        )


def check(ok: bool, field: str, value: Any, remedy: str) -> None:
    """Raises UserError with a field, its value and the remedy, unless the value is well."""
    if not ok:
        raise UserError(f"config.{field}={value!r}: {remedy}")


def one_of(field: str, value: str, *choices: str) -> None:
    """Raises UserError unless a field has one of several values."""
    check(value in choices, field, value, f"choose one of {', '.join(choices)}")


RESERVED = ("image", "text", "audio", "id", "labels", "boxes", "masked", "captions", "file", "truth", "questions")
"""Names that no further modality may have: of other modalities, of fields of records and of arrays of a batch."""


def _check_other(name: str, options: Any, model: ModelConfig) -> None:
    """What a further modality must say of itself."""
    where = f"model.others.{name}"
    check(name not in RESERVED, "model.others", name, "the name means something else; choose another")
    check(isinstance(options, Mapping), where, options, "write {'embedder': NAME, 'unimodal_layers': 1, ...}")
    for field in ("embedder", "unimodal_layers"):
        check(field in options, where, dict(options), f"must name its {field}")
    layers = options["unimodal_layers"]
    check(isinstance(layers, int) and layers >= 0, f"{where}.unimodal_layers", layers, "must be a whole number")
    _check_layers(f"{where}.unimodal_layers", layers, model)
    kind = f"any/{options['embedder']}"
    known = f"{name}/{options['embedder']}" in EMBEDDERS or kind in EMBEDDERS
    check(known, f"{where}.embedder", options["embedder"], "choose plane, series or bytes, or register one")
    if f"{name}/{options['embedder']}" in EMBEDDERS:
        return  # it knows its fields
    fields = EMBEDDERS[kind].fields
    check(set(options) == {"embedder", "unimodal_layers", *fields}, where, sorted(options),
          f"its fields are embedder, unimodal_layers, {', '.join(fields)}")  # fmt: skip
    for field in fields:
        value = options[field]
        right = isinstance(value, int) and value >= (0 if field == "stem" else 1)
        check(right, f"{where}.{field}", value, "must be a whole number above 0")
    if "size" in options:
        size, patch, stem = (options[field] for field in ("size", "patch", "stem"))
        check(size % patch == 0, f"{where}.patch", patch, f"must divide size={size}")
        check(not stem or patch & (patch - 1) == 0, f"{where}.patch", patch, "with a stem it is a power of 2")
    else:
        token = options["patch"] * 2 * options.get("channels", 0.5)
        check(options["length"] % token == 0, f"{where}.length", options["length"], f"must be a multiple of {token:g}")


def _at(config: Config, field: str) -> Any:
    value: Any = config
    for name in field.split("."):
        value = getattr(value, name)
    return value
