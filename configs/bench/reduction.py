"""What a training step costs with a picture's tokens reduced, by method and budget, on a CPU.

    python launch/bench.py --config=configs/bench/reduction.py     two CPU cores, seven minutes; nothing else may run

The cases are the arms of configs/sweeps/reduction.py, which tells what they cost in quality.
"""

from ml_collections import ConfigDict

from configs.sweeps import reduction


def get_config() -> ConfigDict:
    """The sweep's arms, begun with nothing: what parameters hold does not change what a step costs."""
    sweep = reduction.get_config()
    return ConfigDict(
        {
            "name": "reduction",
            "base": sweep.base,
            "cases": {name: {k: v for k, v in arm.items() if k != "begin_from"} for name, arm in sweep.arms.items()},
            "repeats": 3,
            "steps": 10,
            "measure": ("random_data_step",),
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
