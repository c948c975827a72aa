"""What a file says of a model's inputs and outputs, and what is said of a wrong one."""

from __future__ import annotations

import pytest

from forgelog.errors import ManifestError
from forgelog.manifest.kinds import parse
from forgelog.manifest.signatures import SIGNATURE


def test_columns_and_tensors() -> None:
    text = "inputs: [{name: city, type: string}]\noutputs: [{name: scores, type: float32, shape: [-1, 3]}]"
    assert parse(text, "sig.yaml", SIGNATURE) == [
        {
            "inputs": [{"name": "city", "type": "string"}],
            "outputs": [{"name": "scores", "type": "float32", "shape": [-1, 3]}],
        }
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("inputs: [{name: a, typ: x}]", "line 1, column 20: unknown key 'typ' in inputs.0; did you mean 'type'?"),
        ("outputs: [{name: a, type: x}]", "inputs are missing; name each with its type"),
        ("- 1", "a signature is a map of keys"),
        ("inputs: [{type: x}]\n---\ninputs: [{type: x}]", "is a second document; a signature is one"),
        ("inputs: [{type: x, shape: [a]}]", "inputs.0.shape.0"),
        ("", "the file is empty; write at least inputs"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ManifestError) as error:
        parse(text, "sig.yaml", SIGNATURE)
    assert said in str(error.value)
