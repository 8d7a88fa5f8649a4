"""One call of attention as plain data: its fields, labels, JSON form, validation, misuse, edits and description."""

from verification.problem.problem import Numbers, Problem, Special
from verification.problem.scoring import Scoring

__all__ = ["Numbers", "Problem", "Scoring", "Special"]
