"""The README tells the truth about commands and files."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_file_of_the_tree_exists():
    tree = README.split("## Files")[1]
    paths = [line.split()[0] for line in tree.splitlines() if line.startswith("    ")]
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path.rstrip(",")).exists()] == []


def test_every_config_and_script_that_is_named_exists():
    named = set(re.findall(r"(?:configs|launch)/[\w/]+\.py", README)) - {
        "configs/sweeps/NAME.py",
        "configs/bench/NAME.py",
    }
    assert len(named) > 5
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("module", ["xmjax.data.playroom", "xmjax.report", "xmjax.requirements"])
def test_modules_explain_themselves(module: str):
    result = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0 and "usage" in result.stdout.lower()
