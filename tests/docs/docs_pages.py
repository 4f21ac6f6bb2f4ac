"""Reads Markdown pages: their fenced blocks, and how to do what they say in a copy of the checkout."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CODE = ("medvlp", "data_prep", "benchmarks", "configs")
OPEN = re.compile(r"^```(\S*) *(.*)$")


@dataclass(frozen=True)
class Block:
    """One fenced block: ``language`` and ``action`` (``run``, ``file=...``, ...) stand behind the fence."""

    language: str
    action: str
    text: str
    line: int
    heading: str

    @property
    def path(self) -> str | None:
        return self.action.partition("=")[2] or None


def read_blocks(page):
    """All fenced blocks of a page, in order; headings of level 2 name the section."""
    blocks, heading, inside, start, first = [], "", None, 0, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if inside is not None and line.startswith("```"):
            language, action = OPEN.match(first).groups()
            blocks.append(Block(language, action.strip(), "".join(f"{row}\n" for row in inside), start, heading))
            inside = None
        elif inside is not None:
            inside.append(line)
        elif line.startswith("```"):
            inside, start, first = [], number, line
        elif line.startswith("## "):
            heading = line.removeprefix("## ")
    assert inside is None, f"{page.name}: the fence of line {start} is never closed"
    return blocks


def section(page, heading):
    """The lines from one level-2 heading to the next."""
    text = page.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    return text.split("\n## ")[0]


def apply_edit(text, diff):
    """Replace the old lines (blank or minus in front) of each part of a diff by the new ones (blank or plus)."""
    lines = text.splitlines()
    for part in diff.split("@@\n"):
        rows = part.splitlines()
        assert all(row[:1] in {" ", "-", "+"} for row in rows), part
        old, new = ([row[1:] for row in rows if row[0] in signs] for signs in (" -", " +"))
        places = [place for place in range(len(lines)) if lines[place : place + len(old)] == old]
        assert len(places) == 1, f"there {len(places)} times, not exactly once:\n{part}"
        lines[places[0] : places[0] + len(old)] = new
    return "".join(f"{line}\n" for line in lines)


class Checkout:
    """A copy of the checkout's code, in which the blocks of a page are followed."""

    def __init__(self, folder, stores):
        self.folder, self.said = folder, ""
        for name in CODE:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        shutil.copytree(stores, folder / "data")

    def follow(self, blocks):
        """Do what every block says, in order; ``said`` collects what the commands print."""
        for block in blocks:
            if block.action.startswith("file="):
                target = self.folder / block.path
                assert not target.exists(), f"line {block.line}: {block.path} is there already"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.action.startswith("edit="):
                target = self.folder / block.path
                target.write_text(apply_edit(target.read_text(encoding="utf-8"), block.text), encoding="utf-8")
            elif (block.language, block.action) == ("python", "run"):
                script = self.folder / f"line_{block.line}.py"
                script.write_text(block.text, encoding="utf-8")
                self.run([script.name], block)
            elif (block.language, block.action) == ("sh", "run"):
                for line in block.text.splitlines():
                    name, *words = line.split()
                    assert name == "medvlp", f"line {block.line}: only medvlp commands are run"
                    self.run(["-m", "medvlp.cli", *words], block)

    def run(self, arguments, block):
        """Run Python in the copy, where its packages come before any installed ones."""
        settings = {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, **settings, "NO_ALBUMENTATIONS_UPDATE": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"line {block.line}: {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        self.said += done.stdout + done.stderr
