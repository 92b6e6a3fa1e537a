"""Weights of modalities in `bind`: equal ones, sound counted threefold, and a focus on what is learned least.

python launch/sweep.py --config=configs/sweeps/weights.py --jobs=2     two CPU cores, within an hour (9 runs)
"""

from ml_collections import ConfigDict

from configs.sweeps import SMALL


def get_config() -> ConfigDict:
    """Equal, given and by their losses."""
    weights, focus = "objectives.bind.weights", "objectives.bind.focus"
    steps = SMALL | {"steps": 400, "evaluation.names": ("retrieval", "emergent")}
    modalities = ("audio", "depth", "inertial", "tags", "thermal")
    return ConfigDict(
        {
            "name": "weights",
            "base": "configs/bind.py",
            "arms": {
                "equal": steps | {weights: ()},
                "sound threefold": steps,
                "focus 1": steps | {weights: (), focus: 1.0},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                *(f"playroom/emergent/text_to_{m}/R@10" for m in modalities),
                "playroom/emergent/audio_to_inertial/R@10",
                "playroom/retrieval/text_to_image/R@1",
            ),
            "control": "equal",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
