"""A checkpoint goes on on another mesh."""

import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.slow

MESH = ("--config.mesh.data=2", "--config.mesh.fsdp=2", "--config.mesh.tensor=2")
FLAGS = ("--config.steps=24", "--config.save_every=12", "--config.log_every=1", "--config.keep=3")


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1)])
def test_goes_on_on_another_mesh(before, after, launcher, workdir, tmp_path):
    """The losses are those of the run that stays, to the tolerance of float32 sums in another order."""
    flags = (*launcher.SMOKE, *FLAGS)
    launcher.run(*flags, *(MESH if before == 8 else ()), f"--workdir={workdir}", devices=before)
    stayed, losses = workdir.state(), workdir.losses()
    moved = type(workdir)(tmp_path / "moved")
    shutil.copytree(workdir.path, moved.path)
    shutil.rmtree(moved.path / "checkpoints" / "24")
    output = launcher.run(*flags, *(MESH if after == 8 else ()), f"--workdir={moved}", devices=after)
    assert "step 12 of 24: compiling" in output
    assert moved.losses().keys() == losses.keys() and len(losses) == 24
    assert [moved.losses()[step] for step in range(1, 13)] == [losses[step] for step in range(1, 13)]
    np.testing.assert_allclose(list(moved.losses().values()), list(losses.values()), rtol=1e-4)
    for key, value in moved.state().items():
        if value.dtype.kind == "f" and ".params" in key and value.size > 1:
            scale = np.abs(stayed[key]).max()
            assert np.abs(value - stayed[key]).max() <= 2e-2 * max(scale, 1e-3), key
