"""Text files that survive a kill: written whole or not at all, and lines of JSON of which the last may be cut short."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from xmjax.errors import UserError


def make_directory(path: Path, flag: str) -> None:
    """Makes a directory that ``flag`` names, and those above it, where there is none.

    Raises:
      UserError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be made: {error.strerror}; choose another {flag}") from error


def check_place(path: str | os.PathLike[str], flag: str) -> None:
    """Tells before the work is done that the file that ``flag`` names could not be written.

    Raises:
      UserError: its folder does not exist.
    """
    if not Path(path).resolve().parent.is_dir():
        raise UserError(f"{flag}={path} cannot be written: give a file in a folder that exists")


def remove_without_files(path: Path) -> None:
    """Removes a directory in which, and below which, there is no file."""
    if not any(below.is_file() for below in path.rglob("*")):
        shutil.rmtree(path, ignore_errors=True)


def write(path: Path, text: str) -> None:
    """Replaces a file's content; whoever reads it meanwhile, or after a kill, finds the old or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where there is no file; what a kill left unfinished is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
