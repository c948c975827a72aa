"""Which runtime the lists of deployments and revisions show."""

from __future__ import annotations

from typing import Any

import pytest

from forgelog.cli.deployments import runtime_text


@pytest.mark.parametrize(
    ("model_format", "serving", "shown"),
    [
        ("onnx", {}, "onnx"),
        ("onnx", {"runtime": {"name": "onnx", "class_name": ""}}, "onnx"),
        ("torchscript", {"runtime": {"name": None}}, "torchscript"),
        ("torchscript", {"runtime": {"name": "onnx"}}, "onnx"),
        ("other", {}, "by its files' names"),
        (None, {}, "by its files' names"),
        ("onnx", {"file": "model.skops"}, "by the file's name"),
        ("other", {"runtime": {"name": "python", "class_name": "model:Model"}}, "python"),
        ("safetensors", {"runtime": {"name": None, "class_name": "model:Model"}}, "python"),
    ],
)
def test_it_is_the_one_that_is_named_or_where_it_comes_from(
    model_format: str | None, serving: dict[str, Any], shown: str
) -> None:
    row = {"model": {"name": "m", "number": 1, "model_format": model_format}, "spec": {"serving": serving}}
    assert runtime_text(row) == shown


def test_a_command_and_a_version_that_is_not_known_yet_have_none() -> None:
    assert runtime_text({"model": None, "spec": {"model": {"name": "m"}}}) == ""
    assert runtime_text({"model": {"name": "m", "model_format": "onnx"}, "spec": {"command": "serve"}}) == ""
