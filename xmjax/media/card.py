"""The card of a data set: what is in it, what was left out and why, and what it was made with."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmjax import files


def write_card(root: Path, lines: Sequence[Mapping[str, Any]], made: Mapping[str, Any]) -> str:
    """Writes card.md and then card.json.

    Args:
      root: directory of the data set.
      lines: of its files.jsonl.
      made: how it was made: "command", "identity", "versions".

    Returns:
      The card in one line.
    """
    kept = [line for line in lines if line["state"] == "kept"]
    splits = {}
    for split in ("train", "val"):
        of_split = [line for line in kept if line["split"] == split]
        total = {key: sum(line[key] for line in of_split) for key in ("records", "frames", "captions")}
        hours = round(sum(line["seconds"] for line in of_split) / 3600, 4)
        splits[split] = {"files": len(of_split), **total, "hours": hours}
    left_out = {
        state: dict(Counter(line["reason"] for line in lines if line["state"] == state).most_common())
        for state in ("dropped", "broken")
    }
    card = {
        **made,
        "files": len(lines),
        "splits": splits,
        **left_out,
        "silent_clips": sum(line["silent_clips"] for line in kept),
        "still": sum(line["still"] for line in kept),
    }
    files.write(root / "card.md", _text(card))
    files.write(root / "card.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    sizes = ", ".join(f"{s['records']} of {s['files']} files for {name}" for name, s in splits.items())
    frames, hours = (sum(s[key] for s in splits.values()) for key in ("frames", "hours"))
    counts = ", ".join(f"{sum(reasons.values())} {state}" for state, reasons in left_out.items())
    return f"records: {sizes}; {frames} frames, {hours:.2f} h; of {len(lines)} files {counts}; written to {root}"


def _text(card: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {s['files']} | {s['records']} | {s['frames']} | {s['captions']} | {s['hours']} |"
        for name, s in card["splits"].items()
    ]
    left_out = [
        f"| {state} | {reason} | {count} |" for state in ("dropped", "broken") for reason, count in card[state].items()
    ]
    return "\n".join(
        [
            "# Frames with sound",
            "",
            f"    {card['command']}",
            "",
            "| split | files | records | frames | captions | hours |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Left out of {card['files']} files, of which files.jsonl names each with its SHA-256:",
            "",
            "| | reason | files |",
            "|---|---|---|",
            *left_out,
            "",
            f"Of the others {card['silent_clips']} pieces have no sound and were left out; all frames are equal in "
            f"{card['still']}.",
            "",
            "Made with " + ", ".join(f"{name} {number}" for name, number in card["versions"].items()) + ".",
            "",
        ]
    )
