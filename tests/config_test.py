"""Tests of building and validating configs."""

import json
from typing import Any

import pytest

from configs.base import SIZES, get_config
from xmjax import config as config_module
from xmjax.errors import UserError
from xmjax.objectives import options

MODES = ["", "smoke", *(f"size={s}" for s in SIZES), *(f"size={s},smoke" for s in SIZES)]


def changed(field: str, value) -> dict[str, Any]:
    """The smoke config's plain values with one changed, whatever its type."""
    values = get_config("smoke").to_dict()
    group = values
    *groups, last = field.split(".")
    for name in groups:
        group = group[name]
    group[last] = value
    return values


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_builds_and_survives_json(mode):
    config = config_module.build(get_config(mode))
    values = config_module.to_dict(config)
    assert config_module.build(values) == config
    assert config_module.build(json.loads(json.dumps(values))) == config


def test_modes_differ_in_what_they_say():
    width = {mode: get_config(mode).model.width for mode in MODES}
    assert width["size=base"] < width["size=large"] < width["size=huge"]
    assert width["smoke"] == width["size=base,smoke"] == 32 and width[""] == 64
    assert len({get_config(mode).name for mode in MODES}) == len(MODES) - 2  # tiny is the default


@pytest.mark.parametrize("mode", ["smok", "size=medium", "size", "smoke,", "size=base;smoke"])
def test_an_unknown_mode_is_an_error(mode):
    if mode == "smoke,":  # an empty part says nothing
        assert get_config(mode).name == get_config("smoke").name
        return
    with pytest.raises(UserError, match="unknown mode"):
        get_config(mode)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "config.stepz: did you mean 'steps'"),
        ({"model": {"widht": 3}}, "config.model.widht: did you mean 'width'"),
        ({"model": {"image": {"pach": 3}}}, "config.model.image.pach: did you mean 'patch'"),
        ({"objectives": {"fil": {}}}, "unknown objective 'fil': did you mean 'fill'"),
        ({"objectives": {"fill": {"rat": 0.5}}}, "config.objectives.fill.rat: did you mean 'rate'"),
        ({"zzz": 3}, "known: batch_size"),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests(values, message):
    with pytest.raises(UserError) as error:
        config_module.build(values)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("steps", "3", "config.steps must be of type int, got '3'"),
        ("steps", 3.0, "config.steps must be of type int, got 3.0"),
        ("steps", True, "config.steps must be of type int, got True"),
        ("steps", None, "config.steps must be of type int, got None"),
        ("name", 3, "config.name must be of type str, got 3"),
        ("optimizer.learning_rate", "1e-3", "config.optimizer.learning_rate must be of type float"),
        ("optimizer.learning_rate", True, "config.optimizer.learning_rate must be of type float"),
        ("evaluation.names", "fill", "config.evaluation.names must be a tuple, got 'fill'"),
        ("data.languages", ("en", 3), "config.data.languages must be of type str, got 3"),
        ("model.text.ngrams", (2, 2.5), "config.model.text.ngrams must be of type int, got 2.5"),
        ("objectives.fill", 3, "config.objectives.fill must hold the objective's options"),
        ("objectives.fill.schedule", ((0, "x"),), "config.objectives.fill.schedule must be of type float"),
        ("model.image", 3, "config.model.image must be a group of fields, got 3"),
        ("objectives", 3, "config.objectives must be a group of fields, got 3"),
    ],
)
def test_a_wrong_type_is_an_error(field, value, message):
    with pytest.raises(UserError) as error:
        config_module.build(changed(field, value))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("batch_size", 0), ("log_every", 0), ("keep", 0), ("precision", "float16"),
        ("model.attention", "flash"), ("model.remat", "some"), ("optimizer.name", "sgd"), ("optimizer.decay", "steps"),
        ("model.heads", 3), ("model.image.patch", 5), ("model.text.downsample", 3), ("optimizer.learning_rate", 0.0),
        ("optimizer.accumulate", 3), ("objectives", {}), ("data.source", "none"), ("data.captions", 0),
        ("frame_audio.captions", -1), ("model.image.max_file_bytes", 4100), ("model.image.file_kernel", 1),
        ("frame_audio.sound", True), ("model.audio.hop", 0), ("evaluation.best", "retrieval/text_to_image/R@1"),
        ("frame_audio.grade", "hard"), ("frame_audio.fit", "cover"), ("model.image.weights", "a.npz"),
        ("optimizer.drop_at", 1.5),
        ("objectives.fill.max_span_bytes", 2000), ("objectives.caption.max_prompt_bytes", 1000),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_an_error(field, value):
    with pytest.raises(UserError) as error:
        config_module.build(changed(field, value))
    assert f"config.{field}=" in str(error.value) and repr(value) in str(error.value)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_modality_needs_a_layer(modality):
    values = changed("model.fusion_layers", 0)
    config_module.build(values)
    values["model"][modality]["unimodal_layers"] = 0
    with pytest.raises(UserError, match=rf"config\.model\.{modality}\.unimodal_layers=0: there is no layer"):
        config_module.build(values)


def test_values_are_taken_as_they_are_meant():
    config = config_module.build(changed("optimizer.learning_rate", 1))
    assert config.optimizer.learning_rate == 1.0 and isinstance(config.optimizer.learning_rate, float)
    config = config_module.build(changed("data.languages", ["en"]))
    assert config.data.languages == ("en",)
    config = config_module.build(changed("objectives.fill.schedule", [[0, 0], [1, 2]]))
    assert config.objectives["fill"].schedule == ((0.0, 0.0), (1.0, 2.0))


def test_the_config_cannot_be_changed():
    config = config_module.build(get_config("smoke"))
    with pytest.raises(AttributeError):
        config.model.width = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_what_hears_sounds_needs_them(make_sound_config):
    for objectives in ({"sound": options("sound")}, {"bind": options("bind", modalities=("audio",))}):
        with pytest.raises(UserError, match=r"config\.frame_audio\.sound=False.*hears sounds"):
            make_sound_config({"objectives": objectives, "frame_audio.sound": False})
    make_sound_config({"objectives": {"contrast": options("contrast")}, "frame_audio.sound": False})


def test_what_reads_further_modalities_needs_them(make_config):
    depth = {"embedder": "plane", "unimodal_layers": 1, "size": 32, "patch": 16, "stem": 0, "table": 4}
    changes = {"model.others": {"depth": depth}, "data.further": False}
    make_config(changes)
    with pytest.raises(UserError, match=r"config\.data\.further=False.*fill reads depth; set it to True"):
        make_config(changes | {"objectives": {"fill": options("fill", others=("depth",))}})


def test_a_run_of_the_playroom_is_evaluated_on_clips_as_it_is(make_sound_config):
    config = make_sound_config({"frame_audio.source": "clips", "frame_audio.root": "set"})
    assert config.frame_audio.sound


def test_no_more_bands_than_a_window_tells_apart(make_sound_config):
    make_sound_config({"model.audio.window": 400, "model.audio.bands": 88})
    with pytest.raises(UserError, match=r"model\.audio\.bands=96.*400 samples tells 89 apart"):
        make_sound_config({"model.audio.window": 400, "model.audio.bands": 96})
