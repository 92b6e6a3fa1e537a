"""What it costs to have learned with modalities missing, and what it saves where they are.

python launch/sweep.py --config=configs/sweeps/missing.py --jobs=2     two CPU cores, within an hour (9 runs)
"""

from ml_collections import ConfigDict

from configs.sweeps import SINGLE, SMALL, SUBSETS


def get_config() -> ConfigDict:
    """Modality dropout of 0, 0.3 and 0.6."""
    return ConfigDict(
        {
            "name": "missing",
            "base": "configs/subsets.py",
            "arms": {
                f"drop {share}": SINGLE | SMALL | {"steps": 400, "objectives.fill.drop": share}
                for share in (0.3, 0.0, 0.6)
            },
            "seeds": (0, 1, 2),
            "metrics": SUBSETS,
            "control": "drop 0.3",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
