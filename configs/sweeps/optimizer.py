"""AdamW and Muon on the base model, in a run of 400 steps.

    python launch/sweep.py --config=configs/sweeps/optimizer.py     two CPU cores, half an hour by estimate (9 runs)

Not run to its end yet; the table will be docs/results/optimizer.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """AdamW at its usual rate and at Muon's, against Muon."""
    short = {"steps": 400}
    return ConfigDict(
        {
            "name": "optimizer",
            "base": "configs/base.py",
            "arms": {
                "adamw 1e-3": short | {"optimizer.name": "adamw", "optimizer.learning_rate": 1e-3},
                "adamw 2e-3": short | {"optimizer.name": "adamw", "optimizer.learning_rate": 2e-3},
                "muon 2e-3": short | {"optimizer.name": "muon", "optimizer.learning_rate": 2e-3},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/retrieval/text_to_image/R@1",
                "playroom/caption/bits_per_byte",
            ),
            "control": "adamw 1e-3",
            "budget_seconds": 240.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
