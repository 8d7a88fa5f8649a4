"""Hunts of backends by name: killed or survived, as plain data."""

from __future__ import annotations

import json

from properties.run.hunted import hunt_each
from verification.problem.json_io import from_json

BUGS = "tests.verification.many_bugs"


def test_a_mutant_is_killed_and_the_original_survives() -> None:
    """With the law, the smallest problem and what it took; equal seeds take as many problems."""
    names = [f"{BUGS}:ThreeBugs", f"{BUGS}:Buggy"]
    killed, survived = hunt_each(names, "cpu", 3, 1.0, None, 1)
    assert (killed.killed, killed.law, survived.killed, survived.law) == (True, "agrees_with_reference", False, "")
    assert 0 < killed.problems < survived.problems
    assert survived.problem is None
    data = json.loads(json.dumps(killed.to_dict()))
    assert from_json(json.dumps(data["problem"])).phase == "decode"
    assert "decode in " in data["words"]
    [again] = hunt_each(names[:1], "cpu", 3, None, None, 1)
    assert again.problems == killed.problems
