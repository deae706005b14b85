"""The shipped captures, their README and the scenes that make them belong together."""

from __future__ import annotations

import re
from pathlib import Path

import scenes

CAPTURES = Path(__file__).parents[2] / "captures"


def test_each_capture_has_a_scene_that_makes_it_and_a_line_in_the_readme():
    scenes.load()
    table = re.findall(r"^\| (\S+\.pcap\S*) ", (CAPTURES / "README.md").read_text(), re.MULTILINE)
    made = [scene.name for scene in scenes.SCENES]
    shipped = [path.name for path in CAPTURES.glob("*.pcap*")]
    assert sorted(table) == sorted(made) == sorted(shipped)


def test_the_captures_stay_small():
    assert sum(path.stat().st_size for path in CAPTURES.iterdir()) < 2_000_000
