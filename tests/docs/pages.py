"""The pages of the documentation, and the fenced blocks in them that are run.

A comment directly before a block marks it: `<!-- run -->`, or `<!-- run: this | and that -->` with what its
output must contain.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

_BLOCK = re.compile(r"<!-- run(?::(?P<wanted>[^\n]*?))? -->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S)
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    wanted: tuple[str, ...]


def pages() -> list[Path]:
    """Every page that belongs to the project, whoever wrote it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in sorted(listed.stdout.split()) if (ROOT / name).exists()]


def blocks(page: Path, language: str) -> list[Block]:
    """The marked blocks of one language, in order."""
    return [
        Block(found["language"], found["code"], _parts(found["wanted"]))
        for found in _BLOCK.finditer(page.read_text())
        if found["language"] == language
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings."""
    titles = re.findall(r"^#+ +(.+?) *$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _parts(wanted: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (wanted or "").split(" | ") if part.strip())
