"""Sources by name: what ``config.data.source`` can be."""

from collections.abc import Callable, Sequence
from pathlib import Path

from xmjax.config import Config, DataConfig
from xmjax.data.labelled import LABEL, WithLabelQuestions
from xmjax.data.similar import WithSimilar
from xmjax.data.source import Source
from xmjax.errors import UserError
from xmjax.registry import Registry

SOURCES: Registry[Callable[[Config, DataConfig, str], Source]] = Registry("data source")
"""Functions of the run's config, the stream's options and the split, "train" or "val"."""


def open_source(config: Config, options: DataConfig, split: str) -> Source:
    """The records of one split of a stream."""
    source = SOURCES[options.source](config, options, split)
    if options.source != "playroom" and LABEL in options.questions:
        source = WithLabelQuestions(source)
    return WithSimilar(source, options.similar) if options.similar and split == "train" else source


@SOURCES.register("playroom")
def _playroom(config: Config, options: DataConfig, split: str) -> Source:
    from xmjax.data.playroom import KINDS_OF_QUESTIONS, LANGUAGES, SIGNALS, STYLES, Playroom

    def chosen(names: Sequence[str]) -> tuple[str, ...]:
        """Of what is to be shown often in training, once each where it is scored."""
        return tuple(names) if split == "train" else tuple(dict.fromkeys(names))

    languages = options.languages or LANGUAGES
    try:
        return Playroom(
            split,
            options.grade,
            config.model.image.size,
            languages=languages,
            styles=chosen(options.styles or STYLES),
            # The stream draws from these. What sounds may have none, so that no sound is ever paired with a text.
            captions_per_record=max(options.captions, len(languages)) if options.captions else 0,
            kinds_of_questions=chosen(options.questions or KINDS_OF_QUESTIONS),
            questions_per_record=len(languages) if "answer" in config.objectives and not options.sound else 0,
            seconds=config.model.audio.seconds if options.sound else 0.0,
            further=[m for m in config.model.others if m in SIGNALS and options.further],
        )
    except ValueError as error:
        raise UserError(f"config.data: {error}") from None


def _image_options(config: Config, options: DataConfig) -> dict:
    return {
        "image_size": config.model.image.size,
        "fit": options.fit,
        "keep_file_bytes": config.model.image.embedder == "file",
    }


def _split_options(options: DataConfig, split: str) -> dict:
    return {
        "split": split,
        "validation_fraction": options.validation_fraction,
        "held_out": _held_out(options.held_out),
    }


def _held_out(path: str) -> frozenset[str] | None:
    """The ids that a file lists, None without a file."""
    if not path:
        return None
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"config.data.held_out={path} cannot be read ({reason}): write one record id a line") from error
    return frozenset(line.strip() for line in lines if line.strip())


@SOURCES.register("folder")
def _folder(config: Config, options: DataConfig, split: str) -> Source:
    from xmjax.data.folder import Folder

    return Folder(
        options.root,
        metadata=options.metadata,
        file_column=options.file_column,
        text_column=options.text_column,
        id_column=options.id_column,
        regions_column=options.regions_column,
        width_column=options.width_column,
        height_column=options.height_column,
        label_column=options.label_column,
        languages=options.languages,
        name=options.name or "folder",
        **_split_options(options, split),
        **_image_options(config, options),
    )


@SOURCES.register("stamps")
def _stamps(config: Config, options: DataConfig, split: str) -> Source:
    from xmjax.data.stamps import INSTALLED, open_stamps

    return open_stamps(
        options.root or INSTALLED,
        languages=options.languages,
        whole=config.model.regions.given > 0,
        **_split_options(options, split),
        **_image_options(config, options),
    )


@SOURCES.register("tfds")
def _tfds(config: Config, options: DataConfig, split: str) -> Source:
    from xmjax.data.tfds_source import Tfds

    return Tfds(
        options.builder,
        root=options.root,
        split=options.train_split if split == "train" else options.validation_split,
        image_feature=options.image_feature,
        text_feature=options.text_feature,
        language=options.languages[0] if options.languages else "",
        name=options.name,
        **_image_options(config, options),
    )


@SOURCES.register("clips")
def _clips(config: Config, options: DataConfig, split: str) -> Source:
    from xmjax.data.clips import Clips

    if options.held_out:
        raise UserError("config.data.held_out does not reach clips: give it to launch/prepare.py as --held_out=FILE")
    return Clips(
        options.root,
        split=split,
        samples=config.model.audio.samples if config.model.audio.embedder else 0,
        captions=options.captions > 0,
        languages=options.languages,
        name=options.name or "clips",
        **_image_options(config, options),
    )
