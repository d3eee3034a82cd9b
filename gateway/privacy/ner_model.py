"""The model behind `ner`: loaded and held to its word, asked window by window, its tokens made spans."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gateway.core.errors import SettingsError
from gateway.privacy.classes import THRESHOLD
from gateway.privacy.ner import Named, Read
from gateway.privacy.ner_labels import types_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]  # tokens × types: how sure the model is

_WINDOW = 512  # tokens, specials included; longer windows cost more a token and find no more
_LEAST = 8
_BATCH_TOKENS = 4096
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"\d+")
_UNREAD = ("unknown_content", 0.9)
_OLDEST_AGE = 89


class _Window(NamedTuple):
    text: int
    start: int
    ids: list[int]


class Garbled(Exception):
    """The model's answer is none."""


class NerModel:
    """A token-classification model on the processor, its answers the same every time.

    Raises:
        SettingsError: it cannot be loaded, its head has no weights, a label is unknown, or it does not answer
            as it says it does.
    """

    def __init__(self, folder: Path) -> None:
        self._place = str(folder)
        try:
            self._tokenizer, self._model, missing = _load(folder)
        except Exception as error:  # whatever a damaged file makes a library say, which may quote it
            raise SettingsError(
                f"this model cannot be loaded ({type(error).__name__})",
                place=self._place,
                fix="it must be a token-classification model that Transformers knows by itself",
            ) from None
        if missing:
            raise SettingsError(
                f"weights are missing ({', '.join(missing[:3])}), and would be drawn at random",
                place=self._place,
                fix="give a model that was tuned for token classification",
            )
        labels: dict[int, str] = self._model.config.id2label
        self._of_label = types_of([labels[at] for at in sorted(labels)], f"{self._place}/config.json")
        self._types = sorted(set(self._of_label) - {""})
        self._before, self._after = _specials(self._tokenizer)
        self._unknown = _unknown_id(self._tokenizer)
        self._room = self._checked_room()

    def read(self, texts: Sequence[str]) -> list[Read | None]:
        """What stands in each text; None where it could not be read."""
        encodings: list[Any] = []
        windows: list[_Window] = []
        unread: set[int] = set()
        for at, text in enumerate(texts):
            encoding = self._encoded(text)
            encodings.append(encoding)
            cut = list(_cut(encoding.word_ids, self._room)) if encoding else []
            if encoding is None or any(end - start > self._room for start, end in cut):
                unread.add(at)  # it has a word that is longer than the model can see
            else:
                windows += [_Window(at, start, encoding.ids[start:end]) for start, end in cut]
        scores = self._score(windows, [len(each.ids) if each else 0 for each in encodings], unread)
        return [
            None if at in unread else _named(text, encodings[at], scores[at], self._types, self._unknown)
            for at, text in enumerate(texts)
        ]

    def _encoded(self, text: str) -> Any | None:
        try:  # half a surrogate pair is no text to a tokenizer; its stand-in has the same length
            return self._tokenizer.encode(_SURROGATE.sub("\ufffd", text), add_special_tokens=False)
        except Exception:  # what its Rust raises, when it has no token for something
            return None

    def _score(self, windows: Sequence[_Window], lengths: Sequence[int], unread: set[int]) -> list[Scores]:
        """For every token of every text, the most that any window made of it. Adds to `unread`."""
        import numpy as np

        scores = [np.zeros((length, len(self._types)), dtype=np.float32) for length in lengths]
        for batch in _batches(sorted(windows, key=lambda window: len(window.ids))):
            try:
                answers = self._ask([window.ids for window in batch])
            except (Garbled, RuntimeError, IndexError, ValueError, TypeError, MemoryError):
                unread |= {window.text for window in batch}
                continue
            for window, answer in zip(batch, answers, strict=True):
                place = scores[window.text][window.start : window.start + len(window.ids)]
                np.maximum(place, answer, out=place)
        return scores

    def _ask(self, windows: Sequence[list[int]]) -> list[Scores]:
        """Scores of the tokens of each window.

        Raises:
            Garbled: there is not one answer for each token, or it is no number.
        """
        import torch

        full = [[*self._before, *ids, *self._after] for ids in windows]
        longest = max(map(len, full))
        pad = self._model.config.pad_token_id or 0
        ids = torch.tensor([[*each, *[pad] * (longest - len(each))] for each in full])
        mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in full])
        with torch.inference_mode():
            logits = self._model(input_ids=ids, attention_mask=mask).logits
        if tuple(logits.shape) != (len(full), longest, len(self._of_label)):
            raise Garbled
        answers: list[Scores] = []
        for row, each in zip(logits, windows, strict=True):
            own = row[len(self._before) : len(self._before) + len(each)]
            if not bool(torch.isfinite(own).all()):
                raise Garbled
            answers.append(self._by_type(torch.softmax(own.float(), -1).numpy()))
        return answers

    def _by_type(self, by_label: Scores) -> Scores:
        """Labels of one type together: B-PER and I-PER are both a person."""
        import numpy as np

        columns = [
            by_label[:, [at for at, of in enumerate(self._of_label) if of == kind]].sum(axis=1)
            for kind in self._types
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def _checked_room(self) -> int:
        """How many tokens of a text fit a window, seen to be answered for.

        Models of RoBERTa's kind say two more than they read.
        """
        config = self._model.config
        said = [getattr(config, "max_position_embeddings", None), getattr(config, "n_positions", None)]
        limit = min([_WINDOW, *(each for each in said if isinstance(each, int) and each > 0)])
        size = self._model.get_input_embeddings().weight.shape[0]
        if self._tokenizer.get_vocab_size() > size:
            raise SettingsError("the tokenizer has more tokens than the model", place=self._place)
        for length in (limit, limit - 2):
            room = length - len(self._before) - len(self._after)
            if room < _LEAST:
                break
            try:
                self._ask([[at % size for at in range(room)]])
            except (Garbled, RuntimeError, IndexError, ValueError, TypeError, MemoryError):
                continue
            return room
        raise SettingsError(
            "this model does not answer for each token of a text of the length it says it reads",
            place=self._place,
            fix="give a token-classification model; its config.json says how long its texts may be",
        )


def _load(folder: Path) -> tuple[Any, Any, list[str]]:
    """Tokenizer, model and the names of weights that the file does not have."""
    import torch
    import transformers
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        made = cast("Any", transformers.AutoTokenizer).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
        model, info = cast("Any", transformers.AutoModelForTokenClassification).from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(verbosity)
    tokenizer = made.backend_tokenizer
    tokenizer.no_truncation()  # a tokenizer's file may say that it cuts
    tokenizer.no_padding()
    return tokenizer, model.eval(), sorted(info["missing_keys"])


def _specials(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What stands before and after every text, such as [CLS] and [SEP]."""
    encoding = tokenizer.encode("a")
    own = [at for at, special in enumerate(encoding.special_tokens_mask) if not special]
    if not own:
        return encoding.ids[:1], encoding.ids[1:]
    return encoding.ids[: own[0]], encoding.ids[own[-1] + 1 :]


def _unknown_id(tokenizer: Any) -> int | None:
    """The token that stands for what the model has none for; None where it has one for everything."""
    token = getattr(tokenizer.model, "unk_token", None)
    if token is not None:
        return tokenizer.token_to_id(token)
    return next((at for word in ("<unk>", "[UNK]") if (at := tokenizer.token_to_id(word)) is not None), None)


def _cut(words: Sequence[int | None], room: int) -> Iterator[tuple[int, int]]:
    """Windows over tokens, (start, end), each begun and ended where a word does, a quarter of it shared with
    the next. A window of more than `room` tokens is a word that does not fit.

    Args:
        words: the word each token belongs to.
    """
    starts = [at for at, word in enumerate(words) if at == 0 or word is None or word != words[at - 1]]
    starts.append(len(words))
    first = 0
    while first < len(starts) - 1:
        last = first + 1
        while last < len(starts) - 1 and starts[last + 1] - starts[first] <= room:
            last += 1
        yield starts[first], starts[last]
        if last == len(starts) - 1:
            return
        following = last
        while following - 1 > first and starts[last] - starts[following - 1] <= room // 4:
            following -= 1
        first = following


def _batches(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Windows of about one length together."""
    rest = iter(windows)
    while batch := list(islice(rest, 1)):
        batch += islice(rest, max(_BATCH_TOKENS // (len(batch[0].ids) + 2) - 1, 0))
        yield batch


def _named(text: str, encoding: Any, scores: Scores, types: Sequence[str], unknown: int | None) -> Read:
    """Tokens made spans of whole words, and what no token stands for."""
    found: list[Named] = []
    totals, best = scores.sum(axis=1), scores.argmax(axis=1)
    for at, (start, end) in enumerate(encoding.offsets):
        if start == end or not _counts(float(totals[at])):
            continue
        start, end = _whole(text, start, end)
        sure = round(min(float(totals[at]), 0.99), 2)
        kind = types[int(best[at])]
        last = found[-1] if found else None
        if last and last.type == kind and not text[last.end : start].strip():
            found[-1] = Named(last.start, max(end, last.end), kind, max(last.confidence, sure))
        elif not last or last.end < end:
            found.append(Named(max(start, last.end if last else 0), end, kind, sure))
    kept = [each for each in found if each.type != "age" or _tells(text[each.start : each.end])]
    return (*kept, *_no_token(text, encoding, unknown))


def _counts(total: float) -> bool:
    """By all that identifies together: B-PER at a third and I-PER at a third is a person."""
    return round(total, 2) >= THRESHOLD


def _whole(text: str, start: int, end: int) -> tuple[int, int]:
    """The whole word: a name of which the model saw one half is a name. Scripts without capitals put no
    space between words, so that theirs stay as they are."""
    while start < end - 1 and text[start].isspace():
        start += 1
    while start > 0 and _in_word(text[start - 1]) and _in_word(text[start]):
        start -= 1
    while end < len(text) and _in_word(text[end]) and _in_word(text[end - 1]):
        end += 1
    return start, end


def _in_word(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()


def _tells(age: str) -> bool:
    """Whether an age is one over 89, or might be."""
    years = [int(number) for number in _NUMBER.findall(age)]
    return not years or max(years) > _OLDEST_AGE


def _no_token(text: str, encoding: Any, unknown: int | None) -> Iterator[Named]:
    """Runs of letters that no token of the model stands for: it cannot have seen what they say."""
    read = bytearray(len(text))
    for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token != unknown:
            read[start:end] = b"\1" * (end - start)
    for run in re.finditer(rb"\0{2,}", read):
        if sum(map(str.isalnum, text[run.start() : run.end()])) > 1:
            gap = text[run.start() : run.end()]
            lead = len(gap) - len(gap.lstrip())
            yield Named(run.start() + lead, run.start() + len(gap.rstrip()), *_UNREAD)
