"""The catalogue of GPUs: what a driver calls them, and units one can buy."""

from __future__ import annotations

from pathlib import Path

import pytest

from cost import load_gpus
from gateway.core.errors import SettingsError


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
    ],
)
def test_a_gpu_is_known_by_what_its_driver_calls_it(driver: str, name: str) -> None:
    gpu = load_gpus().gpu(driver)
    assert gpu is not None
    assert gpu.name == name


@pytest.mark.parametrize("driver", ["NVIDIA L40", "GeForce GTX 1080", ""])
def test_a_gpu_that_is_not_listed_is_not_taken_for_a_neighbour(driver: str) -> None:
    assert load_gpus().gpu(driver) is None


def test_every_rental_is_a_known_gpu_with_a_source_that_may_be_used() -> None:
    catalogue = load_gpus()
    names = {gpu.name for gpu in catalogue.gpus}
    assert catalogue.rentals
    for rental in catalogue.rentals:
        assert rental.gpu in names
        assert rental.source.confidence.usable
        assert rental.usd_per_hour > 0


def test_a_rental_of_an_unknown_gpu_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "gpus.toml"
    file.write_text(
        'schema = 1\ngpus = []\n[sources.a]\nurl = "x"\nas_of = 2026-01-01\nconfidence = "high"\n'
        '[[rentals]]\nprovider = "p"\nunit = "u"\ngpu = "Z9"\ngpus = 1\nregion = "r"\n'
        'usd_per_hour = 1.0\nsource = "a"\n'
    )
    with pytest.raises(SettingsError, match="Z9") as caught:
        load_gpus(file)
    assert caught.value.place == str(file)
