"""How a dataset stands: where it came from, and what officers signed about it, on a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from gateway.core.classes import DataClass
from gateway.core.review import Lineage, Review
from gateway.core.rows import DataProfile
from gateway.core.spec import JobSpec
from gateway.sdk.scanning import beside
from gateway.sdk.scrubbing import lineage_of

if TYPE_CHECKING:
    from gateway.data import Dataset
    from gateway.policy.determinations import Place
    from gateway.sdk.rooms import Rooms

REVIEWS_FOLDER = "reviews"


def reviewed(rooms: Rooms, spec: JobSpec, profile: DataProfile, on: date, *, name: str) -> DataProfile:
    """A profile with its data's origin and with what officers signed about it, as that holds on a day.

    Raises:
        DataError: dismissals hold, and the data cannot be read again.
    """
    from gateway.data import open_dataset

    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    profile = replace(profile, lineage=lineage_of(dataset))
    documents = signed_documents(rooms)
    if not documents:
        return profile
    from gateway.policy.determinations import About, review

    found, places = review(documents, rooms.trust.approvers, About(profile.hash, name, profile.lineage), on)
    if places and profile.scan is not None and profile.scan.complete:
        return _without(rooms, dataset, spec, profile, found, places)
    return replace(profile, review=found)


def still_determined(rooms: Rooms, data: Mapping[str, Any], on: date) -> DataClass:
    """The class of a planned dataset on a later day: its determination may have lapsed.

    Args:
        data: the `data` of a stored plan.
    """
    planned = DataClass.parse(data["class"]["effective"])
    document = data["class"].get("determination")
    if document is None:
        return planned
    from gateway.policy.determinations import About, review

    said = data["lineage"]
    lineage = said and Lineage(said["source_hash"], said["method"], DataClass.parse(said["source_class"]))
    found, _ = review(signed_documents(rooms), rooms.trust.approvers, About(data["hash"], "", lineage), on)
    if found.determination is not None and found.determination.document == document:
        return planned
    return DataClass.parse(data["undetermined"])


def signed_documents(rooms: Rooms) -> dict[str, bytes]:
    """What officers signed, by file name: the home folder's, those that the settings name, and the trust
    bundle's."""
    folder = rooms.settings.home / REVIEWS_FOLDER
    return {
        **{path.name: path.read_bytes() for path in sorted(folder.glob("*.json"))},
        # by their whole path: none takes the place of a later, stricter one of the same name
        **{str(path): path.read_bytes() for path in rooms.settings.determination_files},
        **rooms.trust.determinations,
    }


def _without(
    rooms: Rooms,
    dataset: Dataset,
    spec: JobSpec,
    profile: DataProfile,
    found: Review,
    places: frozenset[Place],
) -> DataProfile:
    """The profile as the same scan makes it when it passes over dismissed findings."""
    from gateway.data import run_pass
    from gateway.privacy.dismissing import Dismissing

    dismissed = [(p.file, p.line, p.field, p.type) for p in places]
    scanner = Dismissing(
        dismissed, beside=beside(spec), ner=rooms.ner
    )  # else the scan that the plan is made from
    run_pass(dataset, [scanner])
    return replace(
        profile,
        scan=scanner.summary(),
        review=replace(found, dismissed=dict(sorted(scanner.dismissed.items()))),
    )
