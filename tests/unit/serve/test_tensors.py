"""Tensors come from JSON and bytes and go back to them; what they can't hold is refused with its reason."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from forgelog.serve.problems import ServingError
from forgelog.serve.tensors import DTYPES, datatype_of, from_nested, from_raw, to_flat, to_raw

NUMBERS = [name for name in DTYPES if name not in ("BYTES", "BF16")]


@st.composite
def tensors(draw: Any) -> tuple[str, Any]:
    datatype = draw(st.sampled_from(NUMBERS))
    return datatype, draw(arrays(DTYPES[datatype], array_shapes(min_side=0, max_dims=3, max_side=4)))


@given(tensors())
def test_a_tensor_comes_back_from_its_bytes(tensor: tuple[str, Any]) -> None:
    datatype, array = tensor
    back = from_raw("x", datatype, array.shape, to_raw(datatype, array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


@given(tensors())
def test_a_tensor_comes_back_from_json_flat_and_nested(tensor: tuple[str, Any]) -> None:
    datatype, array = tensor
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return
    assert np.array_equal(from_nested("x", datatype, array.shape, to_flat(datatype, array)), array)
    if array.size:
        assert np.array_equal(from_nested("x", datatype, array.shape, array.tolist()), array)


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_texts_come_back_from_their_bytes(texts: list[bytes]) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    assert from_raw("x", "BYTES", (len(texts),), to_raw("BYTES", array)).tolist() == texts


@given(st.binary(max_size=60), st.lists(st.integers(0, 5), max_size=3), st.sampled_from(list(DTYPES)))
def test_any_bytes_are_a_tensor_or_a_refusal(raw: bytes, shape: list[int], datatype: str) -> None:
    try:
        found = from_raw("x", datatype, tuple(shape), raw)
    except ServingError:
        return
    assert found.shape == tuple(shape)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=12,
)


@given(JSON, st.lists(st.integers(0, 4), max_size=3), st.sampled_from(list(DTYPES)))
def test_any_json_is_a_tensor_or_a_refusal(data: Any, shape: list[int], datatype: str) -> None:
    try:
        found = from_nested("x", datatype, tuple(shape), data)
    except ServingError:
        return
    assert found.size == math.prod(shape)
    assert found.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("datatype", "data", "words"),
    [
        ("INT8", [128], "a number that INT8 can't hold"),
        ("UINT8", [-1], "a number that UINT8 can't hold"),
        ("INT64", [1.5], "data has 1.5, and datatype INT64 takes whole numbers"),
        ("INT64", [True], "data has True"),
        ("INT64", [2**63], "a number that INT64 can't hold"),
        ("BOOL", [1], "datatype BOOL takes true and false"),
        ("BYTES", [1], "datatype BYTES takes texts"),
        ("FP32", [{}], "data has {}"),
        ("FP32", ["x" * 1_000_000], "data has 'xxx"),
    ],
)
def test_a_number_that_a_type_can_not_hold_is_refused(datatype: str, data: Any, words: str) -> None:
    with pytest.raises(ServingError) as error:
        from_nested("x", datatype, (1,), data)
    assert words in error.value.message
    assert len(error.value.message) < 300


@pytest.mark.parametrize(
    ("number", "rounded"), [(1.0, 1.0), (1 + 2**-9, 1.0), (1 + 3 * 2**-8, 1 + 2**-6), (3.14159, 3.140625)]
)
def test_bf16_is_rounded_to_the_nearest_even(number: float, rounded: float) -> None:
    raw = to_raw("BF16", np.array([number], np.float32))
    assert len(raw) == 2
    assert from_raw("x", "BF16", (1,), raw)[0] == rounded


def test_bf16_keeps_infinity_and_nan() -> None:
    back = from_raw("x", "BF16", (2,), to_raw("BF16", np.array([np.inf, np.nan], np.float32)))
    assert back[0] == np.inf
    assert np.isnan(back[1])


@pytest.mark.parametrize(
    ("word", "datatype"),
    [
        ("float32", "FP32"),
        ("double", "FP64"),
        ("long", "INT64"),
        ("string", "BYTES"),
        ("BF16", "BF16"),
        ("Bool", "BOOL"),
    ],
)
def test_words_of_signatures_are_known(word: str, datatype: str) -> None:
    assert datatype_of(word) == datatype
