"""Each kind of numbers is what it is called, and finite in every format."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from verification.problem.formats import FORMATS
from verification.problem.problem import ScoreFill, ValueFill
from verification.tensors.fill import fill_scores, fill_values

Q, K = (24, 3, 16), (40, 2, 16)
DTYPES = pytest.mark.parametrize("dtype", FORMATS)


def scores_of(kind: str, dtype: str = "float16", seed: int = 0) -> np.ndarray:
    """Unscaled products of what the format holds of q and k, first heads."""
    fmt = FORMATS[dtype]
    q, k = (x.astype(fmt.numpy).astype(np.float64) for x in fill_scores(kind, np.random.default_rng(seed), Q, K, fmt))
    return q[:, 0] @ k[:, 0].T


@DTYPES
@pytest.mark.parametrize("kind", get_args(ScoreFill))
def test_queries_and_keys_are_finite(kind: str, dtype: str) -> None:
    """Once they are stored in their format."""
    fmt = FORMATS[dtype]
    for shape, x in zip((Q, K), fill_scores(kind, np.random.default_rng(1), Q, K, fmt), strict=True):
        assert x.shape == shape
        assert np.isfinite(np.asarray(x).astype(fmt.numpy)).all()


@DTYPES
@pytest.mark.parametrize("kind", get_args(ValueFill))
def test_values_are_finite(kind: str, dtype: str) -> None:
    """Once they are stored in their format."""
    fmt = FORMATS[dtype]
    values = fill_values(kind, np.random.default_rng(1), K, fmt)
    assert values.shape == K
    assert np.isfinite(values.astype(fmt.numpy)).all()


@pytest.mark.parametrize("kind", get_args(ScoreFill))
def test_no_tokens_are_no_problem(kind: str) -> None:
    """Empty tensors are ordinary input."""
    q, k = fill_scores(kind, np.random.default_rng(0), (0, 1, 1), (0, 1, 1), FORMATS["float16"])
    assert q.shape == k.shape == (0, 1, 1)


def test_kinds_of_scores() -> None:
    """Uniform, past +-100, all below -1e4, past float16's largest number."""
    scale = Q[-1] ** -0.5
    assert (scores_of("ones") == Q[-1]).all()
    assert (scores_of("zeros") == 0).all()
    assert set(np.unique(scores_of("onehot"))) == {0.0, 16.0}
    steep = scale * scores_of("steep")
    assert steep.max() > 100
    assert steep.min() < -100
    assert (scale * scores_of("negative")).max() < -1e4
    assert np.median(np.abs(scores_of("huge"))) > 65504


def test_an_outlier_is_one_number() -> None:
    """All others are about 1."""
    rng = np.random.default_rng(0)
    fmt = FORMATS["float16"]
    for x in (*fill_scores("outlier", rng, Q, K, fmt), fill_values("outlier", rng, K, fmt)):
        assert (np.abs(x) > 10).sum() <= 1


@DTYPES
def test_tiny_numbers_lie_around_the_smallest_normal(dtype: str) -> None:
    """Some are subnormal (in float64, where float32 has its border)."""
    fmt = FORMATS[dtype]
    border = max(fmt.smallest_normal, 2.0**-126)
    held = np.abs(fill_values("tiny", np.random.default_rng(0), K, fmt).astype(fmt.numpy).astype(np.float64))
    assert ((held > 0) & (held < border)).any()
    assert ((held > border) & (held < 10 * border)).any()


def test_index_values_name_their_token() -> None:
    """Token n holds n."""
    values = fill_values("index", np.random.default_rng(0), K, FORMATS["float16"])
    assert (values == np.arange(40)[:, None, None]).all()


def test_unknown_scores_are_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="'odd'"):
        fill_scores("odd", np.random.default_rng(0), Q, K, FORMATS["float16"])


def test_unknown_values_are_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match="'odd'"):
        fill_values("odd", np.random.default_rng(0), K, FORMATS["float16"])
