"""Records in words: one sentence each, for people who read an account."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Said = Mapping[str, Any]
_HERE = re.compile(r"127\.|localhost\b|\[?::1")  # a rehearsal, a server of one's own, or a tunnel


def in_words(kind: str, said: Said) -> str:
    """A record as a sentence."""
    tell = _SENTENCES.get(kind)
    return tell(said) if tell else kind


def place_in_words(place: Mapping[str, Any]) -> str:
    parts = (place[name] for name in ("backend", "model", "region", "offer"))
    return " · ".join(str(part) for part in parts if part)


def hosts_in_words(said: Said) -> str:
    """Where the calls went, where that is not where one would think; empty where it is."""
    here = [host for host in said.get("hosts") or () if _HERE.match(host)]
    return f"through an address on this machine ({', '.join(here)})" if here else ""


def agreement_in_words(each: Mapping[str, Any]) -> str:
    until = f"until {each['expires']}" if each["expires"] else "without end"
    account = f", account {each['account']}" if each.get("account") else ""
    evidence = f", {each['evidence']}" if each["evidence"] else ""
    return f"{each['kind']} signed {each['signed']}, {until}{account}{evidence}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "nothing"


def _scan(said: Said) -> str:
    whole = "" if said["complete"] else "NOT completely "
    return f"{whole}scanned with {said['engine']}: {said['records']} rows; found {_counted(said['findings'])}"


def _decision(said: Said) -> str:
    verdicts = Counter(str(each["verdict"]) for each in said["candidates"])
    rules = Counter(
        str(ground["rule"])
        for each in said["candidates"]
        if each["gate"] and not each["gate"]["allowed"]
        for ground in each["gate"]["grounds"]
    )
    denied = f" (denied by {', '.join(f'{rule} ×{n}' for rule, n in rules.most_common())})" if rules else ""
    return (
        f"{len(said['candidates'])} places judged: {_counted(verdicts)}{denied}; chosen: {said['chosen']}; "
        f"rules {', '.join(said['rules'])}, {said['trust']}"
    )


def _approval(said: Said) -> str:
    asked = f", asked for by {said['requested_by']}" if said["requested_by"] else ""
    return f"approved by {said['approver']} (key {said['key_id'][:12]}…){asked}"


def _gate(said: Said) -> str:
    gate = said.get("gate")
    if not gate:
        return "the gate's answer was another process's"
    rules = ", ".join(ground["rule"] for ground in gate["grounds"])
    return f"{'allowed' if gate['allowed'] else 'DENIED'} by {rules or 'no rule'}, {gate['trust']}"


def _agreed(said: Said) -> str:
    agreements = "; ".join(agreement_in_words(each) for each in said["agreements"])
    return agreements or "no agreement on record"


def _upload(said: Said) -> str:
    file, place, through = said["file"], said["place"], hosts_in_words(said)
    return (
        f"upload of {file['name']} ({file['rows']} rows, SHA-256 {str(file['sha256'])[:12]}…) to "
        f"{place_in_words(place)}{through and f', {through}'}, data goes: {place['residency']}; "
        f"{_gate(said)}; {_agreed(said)}"
    )


def _dispatch(said: Said) -> str:
    remote = said["remote"]
    return f"{place_in_words(said['candidate'])} has the job, as {remote['id']}; {_gate(said)}"


def _denial(said: Said) -> str:
    return f"{said['action']} at {place_in_words(said['place'])} of {said['data_class']}: {_gate(said)}"


def _inference(said: Said) -> str:
    place, answer = place_in_words(said["place"]), _gate(said)
    return f"{said['model']} asked at {place}, prompts as {said['data_class']}; {answer}; {_agreed(said)}"


_DEPLOYED = {"deploy": "deployment", "undeploy": "end of the deployment", "export": "export of the model"}


def _deployment(said: Said) -> str:
    what = _DEPLOYED[said["what"]]
    return f"{what} of {said['remote']['id']} at {place_in_words(said['place'])}; {_gate(said)}"


def _result(said: Said) -> str:
    return f"training {said['state']} ({said['raw_state']}); evaluation {said.get('evaluation') or 'unknown'}"


def _deletion(said: Said) -> str:
    gone = [item["name"] for item in said["items"] if item["deleted"]]
    left = [f"{item['name']} ({item['code']})" for item in said["items"] if not item["deleted"]]
    still = f"; NOT deleted: {', '.join(left)}" if left else ""
    return f"deleted at {said['backend']} ({said['why']}): {', '.join(gone) or 'nothing'}{still}"


def _determination(said: Said) -> str:
    bound = "" if said["upper_bound"] is None else f", at most {said['upper_bound']:.2%} at 95 %"
    return (
        f"{said['officer']} determined {said['before']} → {said['to']} ({said['method']}): "
        f"{said['leaks']} leaks in {said['sampled']} rows{bound}; until {said['expires'] or 'no end'}"
    )


_SENTENCES: Mapping[str, Callable[[Said], str]] = {
    "scan": _scan,
    "decision": _decision,
    "approval": _approval,
    "upload": _upload,
    "dispatch": _dispatch,
    "denial": _denial,
    "inference": _inference,
    "deployment": _deployment,
    "training_result": _result,
    "deletion": _deletion,
    "determination": _determination,
    "dismissal": lambda said: f"{said['officer']} dismissed findings: {_counted(said['dismissed'])}",
    "key_rotation": lambda said: (
        f"key {said['retired'][:12]}… retired; {said['successor'][:12]}… follows ({said['why']})"
    ),
    "pruned": lambda said: (
        f"{said['removed']} records up to {said['through']} removed, of {said['oldest'][:10]} to "
        f"{said['newest'][:10]}"
    ),
}
