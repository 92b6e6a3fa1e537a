"""A sweep of two arms that learns nothing: shows that sweeps work.

    python launch/sweep.py --config=configs/sweeps/smoke.py --results=runs/sweeps/smoke     two CPU cores, two minutes

It shows that sweeps work; its figures mean nothing.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Two optimizers, a few steps each."""
    return ConfigDict(
        {
            "name": "smoke",
            "base": "configs/base.py:smoke",
            "arms": {
                "muon": {"steps": 4, "optimizer.name": "muon"},
                "adamw": {"steps": 4, "optimizer.name": "adamw"},
            },
            "seeds": (0,),
            "metrics": ("playroom/fill/image", "playroom/retrieval/text_to_image/R@1"),
            "control": "muon",
            "budget_seconds": 120.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
