"""Pictures, texts and sounds: configs/sound.py with three seeds.

    python launch/sweep.py --config=configs/sweeps/sound.py      two CPU cores, an hour and a half

The table is docs/results/sound.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One arm, nothing changed."""
    return ConfigDict(
        {
            "name": "sound",
            "base": "configs/sound.py",
            "arms": {"sound": {}},
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/retrieval/text_to_image/R@1",
                "playroom/retrieval/image_to_text/R@1",
                "playroom/retrieval/audio_to_image/R@1",
                "playroom/retrieval/image_to_audio/R@1",
                "playroom/retrieval/text_to_audio/R@10",
                "playroom/retrieval/audio_to_text/R@10",
                "playroom/localize/cIoU@0.5",
                "playroom/localize/AUC",
                "playroom/localize/map",
                "playroom/localize/shuffled_sound",
                "playroom/localize/whole_image",
                "playroom/localize/centre",
                "playroom/arithmetic/top1",
                "playroom/arithmetic/top1_inputs_kept",
                "playroom/arithmetic/top1/text_alone",
                "playroom/arithmetic/anywhere/top1",
                "playroom/retrieval/image+audio_to_image/R@5",
                "playroom/zero_shot/model",
                "playroom/zero_shot/seen",
                "playroom/tags/image_to_tag_mAP",
                "playroom/tags/tag_to_image_mAP",
            ),
            "control": "sound",
            "budget_seconds": 1800.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
