"""Given a table as text, when a deployment is asked, then each column is an input, or a number of each row."""

from __future__ import annotations

from typing import Any

import pytest

from forgelog.client.csv_inputs import inputs_of, read_table
from forgelog.errors import InvalidInput

COLUMNS = [
    {"name": "city", "datatype": "BYTES", "shape": [-1]},
    {"name": "age", "datatype": "FP64", "shape": [-1]},
    {"name": "rooms", "datatype": "INT64", "shape": [-1]},
    {"name": "new", "datatype": "BOOL", "shape": [-1]},
]
MATRIX = [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]


def inputs(text: str | bytes, described: list[dict[str, Any]]) -> dict[str, Any]:
    return inputs_of(read_table(text if isinstance(text, bytes) else text.encode(), "rows.csv"), described)


def test_columns_are_inputs_with_the_types_of_the_model() -> None:
    text = '\ufeffcity,age,rooms,new\r\n"Rome, Lazio",1.5,2,true\r\n\r\n,3,4,0\r\n'
    assert inputs(text, COLUMNS) == {
        "city": ["Rome, Lazio", ""],
        "age": [1.5, 3.0],
        "rooms": [2, 4],
        "new": [True, False],
    }


def test_columns_are_the_numbers_of_a_row_where_one_input_has_them_all() -> None:
    assert inputs("a,b\n1,2\n3,4.5\n", MATRIX) == {"x": [[1.0, 2.0], [3.0, 4.5]]}
    assert inputs("a\n1\n", [{**MATRIX[0], "shape": [-1, -1]}]) == {"x": [[1.0]]}


@pytest.mark.parametrize(
    ("text", "described", "said"),
    [
        ("", COLUMNS, "rows.csv: has no row; write the columns' names in the first line"),
        ("city,age\n", COLUMNS, "has no row"),
        (b"a\xff\n1\n", COLUMNS, "is no UTF-8 text at byte 1"),
        ('a,b\n"1,2\n', MATRIX, "is no CSV"),
        ("a,a\n1,2\n", MATRIX, "two columns are called 'a'; give each its own name"),
        ("a,b\n1\n", MATRIX, "line 2 has 1 values, and the header names 2; give as many"),
        ("a,b,c\n1,2,3\n", MATRIX, "has 3 columns, and a row of the model's input 'x' has 2 values"),
        ("a,b\n1,two\n", MATRIX, "line 2, column 'b': 'two' is no finite number; give one"),
        ("a,b\n1,nan\n", MATRIX, "line 2, column 'b': 'nan' is no finite number"),
        ("a,b\n1,\n", MATRIX, "line 2, column 'b': '' is no finite number"),
        ("rooms\n1.5\n", COLUMNS, "line 2, column 'rooms': '1.5' is no whole number"),
        ("new\nmaybe\n", COLUMNS, "'maybe' is no true or false"),
        (
            "label\n1\n",
            COLUMNS,
            "column 'label' is no input of the model; they are city, age, rooms, new; leave it out",
        ),
        ("x\n1\n", [*COLUMNS, *MATRIX], "input 'x' has the shape [-1, 2], and a column is one value a row; write JSON"),
        ("x\n1\n", [], "does not say which inputs it has; write a request as JSON"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str | bytes, described: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InvalidInput) as error:
        inputs(text, described)
    assert said in str(error.value)
