"""Manifests: what a user writes, what it means, and what is said about a mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.language.jobs.spec import DependencyKind, JobPriority, JobSpec, RestartMode
from forgelog.errors import InvalidInput, ManifestError
from forgelog.manifest import job_from, load, parse

T = TypeVar("T")


def errors_of(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        parse(text)
    return [str(problem) for problem in caught.value.errors]


def caught(call: Callable[[], T]) -> T | ManifestError:
    try:
        return call()
    except ManifestError as error:
        return error


def one_error(text: str) -> str:
    errors = errors_of(text)
    assert len(errors) == 1, errors
    return errors[0]


def spec_of(text: str) -> JobSpec:
    jobs = parse(text)
    assert len(jobs) == 1
    return jobs[0].spec({})


class TestWhatItMeans:
    def test_a_name_and_a_command_are_enough(self) -> None:
        spec = spec_of("name: hello\ncommand: [echo, hi]\n")
        assert spec.metadata.name == "hello"
        assert (spec.command, spec.args) == ("echo", ("hi",))

    def test_human_units_and_shortcuts(self) -> None:
        spec = spec_of(
            """
            kind: Job
            name: train
            labels: {team: vision}
            command: [python, train.py]
            args: [--lr, 0.10]
            array: 3
            resources: {cpus: 500m, memory: 1.5Gi, gpus: 1, gpu_memory: 40G, storage: 10GiB}
            env: {EPOCHS: 03, FLAG: yes, RATE: 1e-3, QUOTED: "x"}
            secrets: [token]
            max_runtime: 1h30m
            grace: 30s
            restart: on_failure
            """
        )
        assert spec.args == ("train.py", "--lr", "0.10"), "scalars given as text keep their source text"
        assert spec.array is not None
        assert spec.array.size == 3
        assert spec.resources.cpus == 0.5
        assert spec.resources.memory_bytes == 3 << 29
        assert spec.resources.gpu_memory_bytes == 40_000_000_000
        assert spec.resources.storage_bytes == 10 << 30
        assert spec.environment.variables == {"EPOCHS": "03", "FLAG": "yes", "RATE": "1e-3", "QUOTED": "x"}
        assert [secret.name for secret in spec.environment.secrets] == ["token"]
        assert spec.scheduling.max_runtime_seconds == 5400
        assert spec.scheduling.grace_seconds == 30
        assert spec.scheduling.restart.mode is RestartMode.ON_FAILURE

    def test_the_language_own_names_work_too(self) -> None:
        spec = spec_of(
            """
            metadata: {name: a, labels: {x: y}}
            command: prog
            resources: {memory_bytes: 1073741824}
            scheduling: {restart: {mode: always, backoff: 500ms, max_backoff_seconds: 60}}
            """
        )
        assert spec.resources.memory_bytes == 1 << 30
        assert spec.scheduling.restart.backoff_seconds == 0.5
        assert spec.scheduling.restart.max_backoff_seconds == 60

    def test_shortcuts_and_their_sections_go_together(self) -> None:
        spec = spec_of("name: a\nmetadata: {description: long}\nlabels: {k: v}\ncommand: x\n")
        assert (spec.metadata.name, spec.metadata.description, spec.metadata.labels) == ("a", "long", {"k": "v"})

    def test_json_is_a_manifest_too(self) -> None:
        text = json.dumps({"name": "naïve 😀", "command": ["echo", "\t"], "priority": "high"}, indent="\t")
        spec = parse(text)[0].spec({})
        assert spec.metadata.name == "naïve 😀"
        assert spec.args == ("\t",)
        assert spec.priority is JobPriority.HIGH

    def test_a_json_list_is_several_jobs(self) -> None:
        assert [job.name for job in parse('[{"name":"a","command":"x"},{"name":"b","command":"x"}]')] == [
            "a",
            "b",
        ]

    def test_anchors_and_merge_keys(self) -> None:
        spec = spec_of("name: a\ncommand: x\nresources: &r {cpus: 2}\nscheduling: {}\n")
        assert spec.resources.cpus == 2
        spec = spec_of("name: a\ncommand: x\nresources:\n  <<: {cpus: 2, gpus: 1}\n  cpus: 4\n")
        assert (spec.resources.cpus, spec.resources.gpus) == (4, 1)

    def test_plain_data_is_read_like_a_manifest(self) -> None:
        job = job_from({"name": "a", "command": ["echo", 1], "resources": {"memory": "2Gi"}, "array": 2})
        assert job.base.args == ("1",)
        assert job.base.resources.memory_bytes == 2 << 30

    @given(st.builds(dict, name=st.text(min_size=1, max_size=20), command=st.text(min_size=1, max_size=20)))
    def test_any_text_is_read_or_refused_in_words(self, data: dict[str, str]) -> None:
        found = caught(lambda: job_from(data))
        assert found.errors if isinstance(found, ManifestError) else found.name == data["name"]

    @given(st.text(max_size=80))
    def test_any_file_is_read_or_refused_in_words(self, text: str) -> None:
        found = caught(lambda: parse(text))
        assert found.errors if isinstance(found, ManifestError) else found


class TestMistakes:
    def test_a_misspelt_key_is_named_with_its_place_and_the_right_key(self) -> None:
        text = "name: a\ncommand: x\nresources:\n    memroy: 4Gi\n"
        assert one_error(text) == "line 4, column 5: unknown key 'memroy' in resources; did you mean 'memory'?"

    def test_a_key_in_the_wrong_place_is_shown_the_right_one(self) -> None:
        assert "write it below 'resources'" in one_error("name: a\ncommand: x\nmemory: 4Gi\n")

    def test_a_program_without_a_name_is_none(self) -> None:
        assert "command: is empty; give at least 1 character" in one_error('name: a\ncommand: ""\n')

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("resources: {memory: 4}", "line 3, column 21: resources.memory: should be greater than"),
            ("resources: {memory: 4 gigs}", "'4 gigs' is not an amount of memory; write for example"),
            ("resources: {cpus: .nan}", "resources.cpus: should be a finite number"),
            ("resources: {cpus: -1}", "resources.cpus: should be greater than 0"),
            ("resources: {cpus: 1e300}", "resources.cpus: should be less than or equal to 4096"),
            ("resources: {gpus: yes please}", "resources.gpus: should be a valid integer"),
            ("resources: {gpus: true}", "resources.gpus: true is not a number"),
            ("resources: 4", "resources: needs to be a map"),
            ("priority: hgih", "did you mean 'high'?"),
            ("array: 100000", "array.size: should be less than or equal to 10000; it is 100000"),
            ("max_runtime: soon", "'soon' is not a duration"),
            ("env: [A=1]", "environment.variables: needs to be a map"),
            ("env: {1A: x}", "key '1A' is not allowed here; use letters, digits and '_', no digit first"),
            ("env: {A: }", 'write "" for an empty text'),
            ("args: x", "args: needs to be a list"),
            (
                "labels: {k: 'a b'}",
                "metadata.labels.k: 'a b' is not allowed here; a label's value has at most 63 letters",
            ),
            ("kind: Pod", "kind 'Pod' is not known; the kinds are Dataset, Deployment, Job"),
            ("kind: job", "kind 'job' is not known; did you mean 'Job'?"),
            ("kind: [Job]", "kind '' is not known; the kinds are Dataset, Deployment, Job"),
            ("job_id: Not An Id", "job_id: 'Not An Id' is not an id"),
            ("name: b", "key 'name' is given twice, first in line 1"),
            ("metadata: {name: b}", "metadata.name: is given twice; first in line 1"),
            ("depends_on: [Some Thing]", "'Some Thing' is no job of this file and not an id"),
            ("depends_on: [{kind: after_ok}]", "names no job"),
            ("depends_on: [{job: b, kind: after_oke}]", "did you mean 'after_ok'?"),
            ("queue: '!'", "queue: '!' is not allowed here; use 1 to 128 lower-case letters"),
            ("x: !!python/object:os.system []", "unknown key 'x'"),
            ("env: {A: !secret x}", "tag '!secret' is not supported"),
        ],
    )
    def test_each_mistake_in_its_own_words(self, line: str, said: str) -> None:
        error = one_error(f"name: a\ncommand: x\n{line}\n") if "kind: after_oke" not in line else (
            errors_of(f"name: a\ncommand: x\n{line}\n")[0]
        )  # fmt: skip
        assert said in error
        assert error.startswith("line 3, column ")

    def test_a_missing_name_or_command(self) -> None:
        assert "'name' is missing" in " ".join(errors_of("metadata: {}\ncommand: x\n"))
        assert "every job needs a name" in one_error("command: x\n")
        assert (
            one_error("name: a\n")
            == "line 1, column 1: 'command' is missing; write for example 'command: [python, train.py]'"
        )

    def test_a_name_without_visible_characters(self) -> None:
        assert "line 1, column 7: metadata.name" in one_error("name: '   '\ncommand: x\n")
        assert "control character" in one_error('name: "a\\u0007"\ncommand: x\n')

    def test_a_shell_line_is_refused_with_the_list_to_write(self) -> None:
        assert "write [python, train.py, --lr, 1], or [sh, -c, ...]" in one_error(
            "name: a\ncommand: python train.py --lr 1\n"
        )

    def test_all_errors_of_a_file_at_once_in_its_order(self) -> None:
        errors = errors_of("name: a\ncmmand: x\npriority: no\n---\nname: b\ncommand: x\nqueu: y\n")
        assert [error.split(":")[0] for error in errors] == [
            "line 1, column 1",
            "line 2, column 1",
            "line 3, column 11",
            "line 7, column 1",
        ]

    def test_broken_yaml_has_its_place(self) -> None:
        assert one_error("name: a\ncommand: [x\nqueue: b\n").startswith("line 3, column ")
        assert "this is not YAML" in one_error("\x00")

    def test_an_empty_file(self) -> None:
        assert "the file is empty" in one_error("---\n# nothing\n")

    def test_limits(self) -> None:
        assert "larger than 1000000 bytes" in one_error("#" * 1_000_001)
        assert "nested deeper" in one_error("name: a\ncommand: x\nenv: " + "[" * 40 + "]" * 40)
        assert "nested deeper" in one_error("[" * 20_000)
        assert "more than 500 documents" in one_error("---\nname: a\ncommand: x\n" * 501)

    @pytest.mark.parametrize("bottom", ["{}", "{k: v}"], ids=["of nothing", "of something"])
    def test_merges_in_merges_do_not_multiply(self, bottom: str) -> None:
        """Nine maps, each of ten times the one before: a thousand million merges."""
        lines = [f"m0: &m0 {bottom}"]
        lines += [f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 10)}]}}" for n in range(1, 10)]
        assert "more than 200000 values" in one_error("\n".join(lines))

    def test_a_merge_of_itself(self) -> None:
        assert "nested deeper" in one_error("a: &a {<<: *a}\n")

    def test_a_long_text_in_many_places(self) -> None:
        """Few values and a small file, but a command of gigabytes."""
        text = f"name: a\ncommand: x\nenv: {{k: &a {'x' * 400_000}}}\nargs: [{', '.join(['*a'] * 100_000)}]\n"
        assert "characters together" in one_error(text)

    def test_one_list_in_many_places_of_python_data(self) -> None:
        value: list[object] = []
        for _ in range(30):
            value = [value] * 10
        with pytest.raises(ManifestError) as caught:
            job_from({"name": "a", "command": "x", "args": value})
        assert "more than 200000 values" in str(caught.value)

    def test_a_billion_laughs(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
        assert "more than 200000 values" in one_error("\n".join(lines))

    def test_an_anchor_that_holds_itself(self) -> None:
        assert "nested deeper" in one_error("name: a\ncommand: x\nargs: &a [*a]\n")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"can't read .*gone.yaml: No such file"):
            load(tmp_path / "gone.yaml")

    def test_a_file_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_bytes(b"name: \xff")
        with pytest.raises(ManifestError, match="not UTF-8 text at byte 6"):
            load(tmp_path / "x.yaml")


class TestDependencies:
    def test_an_id_of_this_file_is_the_job_that_gets_it(self) -> None:
        """Outside `local/default` that id ends in its project's mark."""
        jobs = parse(
            "{name: report, command: x, depends_on: [{job_id: first}]}\n---\n{name: a, job_id: first, command: x}\n"
        )
        assert [job.name for job in jobs] == ["a", "report"]
        assert [each.job_id for each in jobs[1].spec({1: "first.abcde"}).depends_on] == ["first.abcde"]

    def test_names_become_ids_in_an_order_that_works(self) -> None:
        jobs = parse(
            "{name: report, command: x, depends_on: [train, {job: clean, kind: after_any}]}\n---\n"
            "{name: train, command: x, depends_on: prepare}\n---\n"
            "{name: prepare, command: x}\n---\n"
            "{name: clean, command: x, depends_on: [{job_id: job-from-yesterday, kind: after_not_ok}]}\n"
        )
        assert [job.name for job in jobs] == ["prepare", "train", "clean", "report"]
        ids = {job.index: f"id-{job.name}" for job in jobs}
        report, clean = jobs[3].spec(ids), jobs[2].spec(ids)
        assert [(item.job_id, item.kind) for item in report.depends_on] == [
            ("id-train", DependencyKind.AFTER_OK),
            ("id-clean", DependencyKind.AFTER_ANY),
        ]
        assert [item.job_id for item in clean.depends_on] == ["job-from-yesterday"]

    def test_a_cycle_is_named(self) -> None:
        error = one_error(
            "{name: a, command: x, depends_on: [b]}\n---\n"
            "{name: b, command: x, depends_on: [c]}\n---\n"
            "{name: c, command: x, depends_on: [a]}\n"
        )
        assert error == "line 5, column 36: depends_on: the jobs wait for each other: a → b → c → a; take one away"

    def test_a_job_that_waits_for_itself(self) -> None:
        assert "a → a" in one_error("{name: a, command: x, depends_on: [a]}")

    def test_a_misspelt_name_is_no_id(self) -> None:
        error = one_error("{name: prepare, command: x}\n---\n{name: b, command: x, depends_on: [preprae]}\n")
        assert "there is no job 'preprae' in this file; did you mean 'prepare'?" in error

    def test_a_name_that_two_jobs_have(self) -> None:
        error = one_error(
            "{name: a, command: x}\n---\n{name: a, command: x}\n---\n{name: b, command: x, depends_on: a}\n"
        )
        assert "'a' names 2 jobs (lines 1 and 3)" in error

    @given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
    def test_every_graph_is_ordered_or_its_cycle_is_named(self, edges: list[tuple[int, int]]) -> None:
        needs: dict[int, set[int]] = {index: {b for a, b in edges if a == index} for index in range(8)}
        documents = [
            {"name": f"j{index}", "command": "x", "depends_on": [f"j{other}" for other in sorted(needs[index])]}
            for index in range(8)
        ]
        found = caught(lambda: parse(json.dumps(documents)))
        if isinstance(found, ManifestError):
            assert all("wait for each other" in item.problem for item in found.errors)
            assert not _sortable(needs)
        else:
            place = {job.index: at for at, job in enumerate(found)}
            assert all(place[b] < place[a] for a, b in edges)


def _sortable(needs: dict[int, set[int]]) -> bool:
    left = {index: set(others) for index, others in needs.items()}
    while left:
        free = [index for index, others in left.items() if not others]
        if not free:
            return False
        for index in free:
            del left[index]
        for others in left.values():
            others.difference_update(free)
    return True


@pytest.mark.parametrize("number", ["9" * 100_000, "0x" + "f" * 100_000, "1:59" + ":59" * 30_000, "-" + "9" * 5_000])
def test_a_number_of_any_length_is_refused_in_a_few_words(number: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse(f"name: a\ncommand: 'true'\nscheduling: {{max_runtime: {number}}}\npriority: {number}\n", "job.yaml")
    assert len(str(caught.value)) < 500


def test_a_number_of_any_size_from_python_is_refused_in_a_few_words() -> None:
    with pytest.raises(ManifestError, match="bits"):
        job_from({"name": "a", "command": "true", "max_runtime": 10**5000})
    with pytest.raises(ManifestError) as caught:
        job_from({"name": "a", "command": "true", "priority": "9" * 100_000})
    assert len(str(caught.value)) < 500
