"""A probe that has to build the embedded base first says how far that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.local.probing import _tell as tell  # pyright: ignore[reportPrivateUsage]
from backends.local.run import Run
from gateway import Gateway


def test_how_much_of_the_base_is_built_is_told(tmp_path: Path) -> None:
    run, seen = Run(tmp_path / "run"), list[tuple[int, int]]()
    run.create({"key": "probe"}, {})
    tell(run, lambda done, total: seen.append((done, total)))
    assert seen == []
    run.event("info", "building_base", "building the base model", share=0.25)
    run.event("info", "building_base", "building the base model", share=0.5)
    tell(run, lambda done, total: seen.append((done, total)))
    assert seen == [(50, 100)]


@pytest.mark.slow
def test_a_first_probe_shows_its_way_to_the_whole_base(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    spec = tmp_path / "job.yaml"
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"prompt": "number {n} of them", "completion": "yes {n}"}}\n' for n in range(48))
    )
    spec.write_text(
        "version: 1\nname: first\nmodel: tunegate-demo\nroute: {backends: [local]}\n"
        "data: {train: rows.jsonl, class: public, format: columns,\n"
        "       columns: {prompt: prompt, completion: completion}}\n"
    )
    costs = Gateway(home=tmp_path / "home").costs
    found = costs.probe(spec, on_progress=lambda done, total: seen.append((done, total)))
    assert len(found.probe.steps) > 0
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {100}
