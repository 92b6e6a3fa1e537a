"""What closes the gap between a modality that is learned fast and one that is not: leaving them out, or a focus.

    python launch/sweep.py --config=configs/sweeps/balance.py --jobs=2     two CPU cores, within an hour (15 runs)

Each modality is missing in 30 of 100 captions, and what is learned least may count more. Beside them a run that always
has both, and one of the picture alone, which is what can be learned of it in as many steps where nothing crowds it out.
The table is docs/results/balance.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import SINGLE, SMALL


def get_config() -> ConfigDict:
    """Each missing at times, two strengths of a focus, both always there, and the picture alone."""
    return ConfigDict(
        {
            "name": "balance",
            "base": "configs/uneven.py",
            "arms": {f"focus {power:g}": SINGLE | SMALL | {"objectives.fill.focus": power} for power in (0.0, 1.0, 3.0)}
            | {
                "always both": SINGLE | SMALL | {"objectives.fill.drop": 0.0},
                "picture alone": SINGLE | SMALL | {"objectives.fill.others": ()},
            },
            "seeds": (0, 1, 2),
            "metrics": tuple(
                f"playroom/subsets/{name}"
                for name in ("gap/unimodal", "tags", "image", "image+tags", "text_alone", "chance", "most_frequent")
            ),
            "control": "focus 0",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
