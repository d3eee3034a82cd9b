"""Tier 1: a model of names beside the rules, held to what it says it can read."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.errors import SettingsError, Unsupported
from gateway.core.rows import Finding
from gateway.core.spec import Data
from gateway.data import Dataset, open_dataset
from gateway.data.lines import RawRecord
from gateway.privacy import Scanner, scan_dataset, scan_record
from gateway.privacy.cache import key_of
from gateway.privacy.dismissing import Dismissing
from gateway.privacy.ner import Ner, together
from gateway.privacy.scrubbing import Method, scrub_record
from tests.privacy.ner_made import make_model

needs_the_extra = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="the extra `ner` is not installed"
)
pytestmark = needs_the_extra


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("ner"))


@pytest.fixture(scope="module")
def ner(folder: Path) -> Ner:
    return Ner(folder)


def places(text: str, ner: Ner) -> list[tuple[str, str]]:
    """(type, what stands there) of everything that the model finds in a text."""
    (read,) = ner.read([text])
    assert read is not None
    return [(each.type, text[each.start : each.end]) for each in read]


def test_what_the_rules_cannot_know_is_found_at_its_place(ner: Ner) -> None:
    raw = {"messages": [{"role": "user", "content": "é, the old zorblax went to quuxville."}]}
    assert not scan_record(raw).findings
    found = scan_record(raw, ner=ner, line=7, file=1).findings
    assert [(each.type, each.start, each.end) for each in found] == [("name", 11, 18), ("geography", 27, 36)]
    assert {(each.line, each.file, each.field) for each in found} == {(7, 1, "messages[0].content")}
    assert all(0.5 <= each.confidence <= 0.99 for each in found)


def test_offsets_are_right_in_every_window_of_a_long_text(ner: Ner) -> None:
    words = ["the", "zorblax,", "é", "saw"] * 60
    text = " ".join(words)
    assert places(text, ner) == [("name", "zorblax")] * 60


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["the", "zorblax", "quuxville", "ab12", ".", "é", "old-zorblax", "\n"]), max_size=60
    )
)
def test_where_the_windows_are_cut_changes_nothing(folder: Path, words: list[str]) -> None:
    """The made model looks at no neighbours, so that each word is found wherever it stands."""
    text, ner = " ".join(words), _shared(folder)
    covered = {at for kind, start in _spans(text, ner) if kind != "unknown_content" for at in start}
    for word in ("zorblax", "quuxville"):
        at = text.find(word)
        while at >= 0:
            assert covered >= set(range(at, at + len(word)))
            at = text.find(word, at + 1)
    assert len(covered) <= sum(len(word) for word in words if "z" in word or "q" in word) + text.count(" ")


_made: dict[Path, Ner] = {}


def _shared(folder: Path) -> Ner:
    return _made.setdefault(folder, Ner(folder))


def _spans(text: str, ner: Ner) -> list[tuple[str, range]]:
    (read,) = ner.read([text])
    assert read is not None
    return [(each.type, range(each.start, each.end)) for each in read]


def test_half_a_word_is_the_whole_word(ner: Ner) -> None:
    assert places("the zorblaxes and Zorblax's", ner) == [("name", "zorblaxes"), ("name", "Zorblax")]


def test_a_word_longer_than_a_window_is_not_read_and_the_scan_is_incomplete(ner: Ner) -> None:
    raw = {"text": "zorblax " + "b" * 40}
    assert ner.read([raw["text"]]) == [None]
    assert scan_record(raw, ner=ner).complete is False
    scanner = Scanner(ner=ner)
    for each in ({"text": "the old"}, raw, {"text": "saw"}):
        scanner.see_raw(RawRecord(1, 0, each))
    assert scanner.summary().complete is False
    assert scanner.summary().records == 3


def test_letters_that_the_model_has_no_token_for_are_unknown_content(ner: Ner) -> None:
    """Its tokenizer gives up on a word of more than a hundred letters, or of another alphabet."""
    long = "b" * 101
    assert places(f"the {long} went", ner) == [("unknown_content", long)]
    assert places("the Иванов went", ner) == [("unknown_content", "Иванов")]
    assert places("the → went, é", ner) == []  # one sign alone names nobody
    assert scan_record({"text": f"the {long}"}, ner=ner).complete


def test_what_identifies_counts_together_over_its_labels(tmp_path: Path) -> None:
    """Two labels of a name at four tenths each are a name, though O at two tenths is no less sure."""
    unsure = Ner(make_model(tmp_path, labels=("O", "B-PER", "I-PER"), sure=0.05))
    assert places("the old went", unsure)


def test_ages_below_ninety_are_nobodys(tmp_path: Path) -> None:
    aged = Ner(make_model(tmp_path, labels=("O", "AGE", "MISC")))
    model: Any = aged._model  # pyright: ignore[reportPrivateUsage]
    vocabulary = model._tokenizer.get_vocab()
    weights = model._model.bert.embeddings.word_embeddings.weight
    for token in ("4", "##5", "9", "##4"):
        weights.data[vocabulary[token]] = weights.data[vocabulary["zorblax"]]
    assert places("45 and 94", aged) == [("age", "94")]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (("O", "I-PERSON", "B-GPE"), "name"),
        (("O", "S-PATIENT", "DATE"), "name"),
        (("O", "ID", "MISC"), "other_id"),
        (("O", "B-MEDICAL_RECORD", "MISC"), "mrn"),
        (("O", "U-ORG", "MISC"), "other_id"),
    ],
)
def test_labels_are_told_in_our_words(tmp_path: Path, labels: tuple[str, ...], kind: str) -> None:
    assert places("zorblax", Ner(make_model(tmp_path, labels=labels))) == [(kind, "zorblax")]


def test_a_label_that_nobody_explained_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="B-WOMBAT"):
        Ner(make_model(tmp_path / "a", labels=("O", "B-WOMBAT", "B-LOC"))).read(["the"])
    with pytest.raises(SettingsError, match="LABEL_1"):
        Ner(make_model(tmp_path / "b", labels=("LABEL_0", "LABEL_1", "LABEL_2"))).read(["the"])
    with pytest.raises(SettingsError, match="identifies anybody"):
        Ner(make_model(tmp_path / "c", labels=("O", "MISC", "TIME"))).read(["the"])


def test_weights_that_are_a_pickle_are_never_opened(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    (other / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert places("zorblax", Ner(other))  # beside safetensors it is left alone
    (other / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match="pickle"):
        Ner(other)


def test_a_folder_that_lacks_something_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such folder"):
        Ner(tmp_path / "nowhere")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        other = tmp_path / name
        shutil.copytree(folder, other)
        (other / name).unlink()
        with pytest.raises(SettingsError, match=name):
            Ner(other)
    adapter = tmp_path / "adapter"
    shutil.copytree(folder, adapter)
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere/model"}')
    with pytest.raises(SettingsError, match="adapter"):
        Ner(adapter)


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    config |= {
        "model_type": "its-own",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForTokenClassification": "code.M"},
    }
    (other / "config.json").write_text(json.dumps(config))
    (other / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(SettingsError, match="cannot be loaded"):
        Ner(other).read(["the"])
    assert not (tmp_path / "ran").exists()


def test_a_model_without_its_head_would_answer_at_random(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing.*classifier"):
        Ner(make_model(tmp_path, heads=False)).read(["the"])


def test_damaged_weights_are_an_error_that_quotes_nothing(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    (other / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(SettingsError, match="cannot be loaded") as caught:
        Ner(other).read(["the"])
    assert caught.value.__cause__ is None


def _lying(answer: Callable[[Any], Any]) -> Callable[..., Any]:
    """A model's `forward` that says something else."""
    from transformers import BertForTokenClassification

    true: Any = BertForTokenClassification.forward  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def forward(self: Any, **inputs: Any) -> Any:
        told = true(self, **inputs)
        told.logits = answer(told.logits)
        return told

    return forward


def _cut(logits: Any) -> Any:
    return logits[:, :8]


def _empty(logits: Any) -> Any:
    return logits * float("nan")


def _fails(logits: Any) -> Any:
    raise RuntimeError("the patient is zorblax")


@pytest.mark.parametrize("answer", [_cut, _empty, _fails])
def test_a_model_that_cuts_off_fails_or_says_no_number_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Any]
) -> None:
    from transformers import BertForTokenClassification

    ner, text = Ner(folder), {"text": "the zorblax went the old way the old way the old way"}
    assert scan_record({"text": "the"}, ner=ner).complete  # loaded, and checked, while it was sound
    monkeypatch.setattr(BertForTokenClassification, "forward", _lying(answer))
    scanned = scan_record(text, ner=ner)
    assert (scanned.complete, scanned.findings) == (False, ())
    with pytest.raises(SettingsError, match="does not answer"):
        Ner(folder).read(["the"])  # and at load it is noticed at once


def test_a_config_that_promises_more_than_the_weights_hold_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    shutil.copytree(folder, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    with pytest.raises(SettingsError):
        Ner(other).read(["the"])


def test_the_cache_knows_the_model(folder: Path, tmp_path: Path) -> None:
    data, other = dataset(tmp_path), tmp_path / "model"
    shutil.copytree(folder, other)
    keys = {key_of(data, {}), key_of(data, {}, Ner(folder))}
    assert key_of(data, {}, Ner(other)) in keys  # the same content elsewhere is the same model
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "id2label": {"0": "O", "1": "ID", "2": "LOC"}}))
    keys.add(key_of(data, {}, Ner(other)))
    assert len(keys) == 3


def dataset(folder: Path) -> Dataset:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{number} the old zorblax"},
                {"role": "assistant", "content": "ok"},
            ]
        }
        for number in range(40)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_dataset(Data(train=("rows.jsonl",)), folder, task="sft")


def test_a_dataset_is_scanned_the_same_in_batches_and_row_by_row(tmp_path: Path, ner: Ner) -> None:
    data, told = dataset(tmp_path), list[Finding]()
    totals = scan_dataset(
        data, on_finding=told.append, ner=ner, processes=2, beside={"system": "old zorblax"}
    )
    assert totals.complete
    assert (totals.records, totals.flagged, totals.findings) == (40, 40, {"name": 41})
    assert totals.detected is DataClass.PII
    assert [each.line for each in told] == list(range(41))
    alone = [
        found
        for file, row in data.originals()
        for found in scan_record(row.value or {}, line=row.line, file=file, ner=ner).findings
    ]
    assert told[1:] == alone


def test_dismissals_are_judged_by_the_same_scan(tmp_path: Path, ner: Ner) -> None:
    """Without the model, a dismissal of one finding would drop all of the model's."""
    scanner = Dismissing([(0, 1, "messages[0].content", "name")], ner=ner)
    for record in dataset(tmp_path).records():
        scanner.see(record)
    assert scanner.summary().flagged == 39
    assert scanner.summary().detected is DataClass.PII
    assert scanner.dismissed == {"name": 1}


def test_scrubbing_takes_out_what_the_model_finds(ner: Ner) -> None:
    method = Method("shift", 2026, ner=ner)
    done = scrub_record({"text": "the zorblax saw John Miller. zorblax went"}, b"k" * 32, method)
    assert "zorblax" not in json.dumps(done.record)
    assert "Miller" not in json.dumps(done.record)
    assert not done.left
    assert f"ner={ner.fingerprint[:16]}" in str(method)
    assert scrub_record({"text": "b" * 40}, b"k" * 32, method).problem == "not_scanned"


def _found(start: int, end: int, kind: str, confidence: float = 0.9) -> Finding:
    return Finding(1, "text", start, end, kind, confidence)


def test_rules_and_model_cover_together_what_each_of_them_found() -> None:
    text = {"text": "Dr. Mary Zorblax, 123456"}
    rules = [_found(4, 8, "name"), _found(18, 24, "other_id", 0.3)]
    merged = together(rules, [_found(0, 16, "name"), _found(18, 24, "mrn")], text)
    assert [(each.start, each.end, each.type) for each in merged] == [
        (0, 3, "name"), (4, 8, "name"), (9, 16, "name"), (18, 24, "mrn"),
    ]  # fmt: skip
    assert together([_found(0, 3, "name")], [_found(0, 3, "unknown_content")], text) == (
        _found(0, 3, "name"),
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 8), st.sampled_from(["name", "mrn", "unknown_content"]))
    ),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8), st.sampled_from(["name", "date"])), max_size=3),
)
def test_nothing_that_was_found_is_lost_and_nothing_overlaps(
    model: list[tuple[int, int, str]], rules: list[tuple[int, int, str]]
) -> None:
    text, first, end = {"text": "a" * 30}, list[Finding](), -1
    for start, length, kind in sorted(rules):
        if start >= end:
            end = start + length
            first.append(_found(start, end, kind))
    second = [_found(start, start + length, kind) for start, length, kind in model]
    merged = together(first, second, text)
    places = [at for each in merged for at in range(each.start, each.end)]
    assert len(places) == len(set(places))
    assert set(places) == {at for each in (*first, *second) for at in range(each.start, each.end)}


def test_without_the_extra_the_error_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[[str], object] = importlib.util.find_spec

    def absent(name: str) -> object:
        return None if name == "transformers" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(Unsupported, match="tunegate\\[ner\\]"):
        Ner(folder)


def test_looking_at_the_folder_loads_nothing_heavy(folder: Path) -> None:
    code = f"import sys; from pathlib import Path; from gateway.privacy.ner import Ner; Ner(Path({str(folder)!r})).fingerprint; print('torch' in sys.modules)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
