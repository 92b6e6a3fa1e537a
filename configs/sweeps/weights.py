"""Weights of modalities in `bind`: equal ones, sound counted threefold, and a focus on what is learned least.

    python launch/pretrain.py --config=configs/base.py
    python launch/sweep.py --config=configs/sweeps/weights.py --jobs=2     two CPU cores, within an hour (12 runs)

All begin with the base run's pictures and texts, but one: what is that worth?
"""

from ml_collections import ConfigDict

from configs.sweeps import SMALL


def get_config() -> ConfigDict:
    """Equal, given and by their losses; and equal from a random beginning."""
    weights, focus = "objectives.bind.weights", "objectives.bind.focus"
    few = SMALL | {"steps": 400, "evaluation.names": ("retrieval", "zero_shot", "emergent")}
    begun = few | {"begin_from": "runs/base"}
    modalities = ("audio", "depth", "inertial", "tags", "thermal")
    return ConfigDict(
        {
            "name": "weights",
            "base": "configs/bind.py",
            "arms": {
                "equal": begun | {weights: ()},
                "sound threefold": begun,
                "focus 1": begun | {weights: (), focus: 1.0},
                "equal, from nothing": few | {weights: ()},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                *(f"playroom/emergent/text_to_{m}/R@10" for m in modalities),
                *(f"playroom/emergent/audio_to_{m}/R@10" for m in modalities[1:]),
                "playroom/retrieval/text_to_image/R@1",
                "playroom/zero_shot/model",
            ),
            "control": "equal",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
