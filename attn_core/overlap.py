"""Overlaps in memory: elements of one tensor, or of two, that lie in one place."""

from __future__ import annotations

from torch import Tensor

# For each axis with more than one element, longest step first: bytes from an element to the next, number of elements.
Axes = tuple[tuple[int, int], ...]


def overlaps_itself(x: Tensor) -> bool:
    """Return True if elements of ``x`` may lie in one place: if some axis steps less far than those within it reach."""
    if x.is_contiguous():
        return False
    reach = x.element_size()
    for step, length in reversed(_list_axes(x)):
        if step < reach:
            return True
        reach += (length - 1) * step
    return False


def overlap(a: Tensor, b: Tensor) -> bool:
    """Return True if elements of ``a`` and ``b`` may lie in one place. They have one dtype and one shape, and neither
    overlaps itself.

    Caches that are cut out of one tensor, as out of ``[N, 2, S, G, D]``, lie between each other and do not overlap.
    """
    if a.is_meta or b.is_meta:  # which have no memory
        return False
    distance = b.data_ptr() - a.data_ptr()
    if a.is_contiguous() and b.is_contiguous():
        return abs(distance) < a.nbytes
    return _meet(distance, a.element_size(), _list_axes(a), _list_axes(b))


def _list_axes(x: Tensor) -> Axes:
    size = x.element_size()
    axes = ((step * size, length) for step, length in zip(x.stride(), x.shape, strict=True) if length > 1)
    return tuple(sorted(axes, reverse=True))


def _meet(distance: int, size: int, of_a: Axes, of_b: Axes) -> bool:
    """Return True if elements of ``size`` bytes meet, the first of ``b`` being ``distance`` bytes behind that of ``a``.

    As long as both have the same outermost axis, two steps along it are left that may bring them together.
    """
    reach_a, reach_b = (size + sum((length - 1) * step for step, length in axes) for axes in (of_a, of_b))
    if not -reach_b < distance < reach_a:
        return False
    if not of_a or not of_b or of_a[0] != of_b[0]:
        return True
    step, length = of_a[0]
    near = distance // step
    return any(
        abs(steps) < length and _meet(distance - steps * step, size, of_a[1:], of_b[1:]) for steps in (near, near + 1)
    )
