"""The ledger: processor time of every step, energy and CO2e by codecarbon without a network, and what a million inferences save."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.api import compress
from pipeline.errors import MissingExtraError, RecipeError
from pipeline.ledger import Spent, metered, of_inference, saved
from pipeline.recipe import LedgerSettings, recipe_from
from pipeline.report.text import to_markdown
from pipeline.stage import discover
from tests.small_task import Bars

GERMANY = LedgerSettings(country="DEU", price_per_hour=3.6)


def burn(seconds: float) -> None:
    import time

    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_what_a_block_uses_is_told_at_its_end_with_its_label() -> None:
    with metered(GERMANY) as spent:
        burn(0.75)
        half = spent.energy_wh_so_far
        burn(0.75)
        assert spent == Spent()
        assert 0 < half < spent.energy_wh_so_far

    assert spent.energy_wh == spent.energy_wh_so_far > half
    assert spent.label in ("measured", "estimated")
    assert spent.energy_wh > 0
    assert 0 < spent.co2e_g < spent.energy_wh  # no grid makes a kilogram of a kilowatt-hour
    assert "Germany" in spent.how


def test_without_a_ledger_nothing_is_metered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "codecarbon", None)
    with metered(None) as spent:
        assert spent.energy_wh_so_far == 0
    assert spent == Spent()
    with pytest.raises(MissingExtraError, match=r"edgepress\[ledger\]"), metered(GERMANY):
        pass


def test_no_request_leaves_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the ledger asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with metered(GERMANY):
        burn(0.1)


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ({"country": "Germany"}, r"key 'ledger.country'"),
        (
            {"country": "DEU", "prize_per_hour": 1.0},
            r"unknown key 'ledger.prize_per_hour'; did you mean 'price_per_hour'",
        ),
    ],
)
def test_a_ledger_that_can_t_be_kept_is_one_line(ledger: dict[str, Any], said: str) -> None:
    content = {"schema": 1, "name": "x", "task": "t.py:task", "targets": ["a"], "ledger": ledger}
    with pytest.raises(RecipeError, match=said):
        recipe_from(content, folder=Path(), where="recipe", stages=tuple(discover()))


def test_a_country_that_nobody_knows_is_one_line() -> None:
    with (
        pytest.raises(RecipeError, match=r"\[ledger\] country = 'XQZ'.*three letters"),
        metered(LedgerSettings(country="XQZ")),
    ):
        pass


def test_a_million_inferences_save_hours_and_what_the_board_draws_in_them() -> None:
    own = {"file": "int8 tflite", "device": "raspberry-pi-4", "latency_ms": 1.0, "energy_mj": of_inference(1.0, 3.06)}
    teacher = {
        "file": "teacher tflite",
        "device": "raspberry-pi-4",
        "latency_ms": 4.6,
        "energy_mj": of_inference(4.6, 3.06),
    }

    assert saved(own, teacher)["hours"] == pytest.approx(1.0)
    assert saved(own, teacher)["energy_wh"] == pytest.approx(3.06)
    assert saved({**own, "energy_mj": None}, teacher)["energy_wh"] is None


def test_a_run_tells_what_it_took_and_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRESS_STORE", str(tmp_path / "store"))
    settings = {
        "stages": ["teach", "distill", "export"],
        "measure": False,
        "controls": False,
        "teach": {"epochs": 1},
        "distill": {"epochs": 1},
        "audit": {"on_weak": "skip"},
        "ledger": {"country": "DEU", "price_per_hour": 3.6},
    }
    first = compress(Bars(), ["raspberry-pi-4"], tmp_path / "out", settings)["raspberry-pi-4"].ledger
    again = compress(Bars(), ["raspberry-pi-4"], tmp_path / "out", settings)["raspberry-pi-4"]

    assert first is not None
    assert again.ledger is not None
    assert first["made"]["cpu_seconds"] > 0
    assert first["made"]["money"] == pytest.approx(first["made"]["seconds"] / 1000)
    assert (again.ledger["made"]["steps"], again.ledger["made"]["money"]) == (0, 0)
    assert again.ledger["found"]["cpu_seconds"] == pytest.approx(first["made"]["cpu_seconds"])
    assert f"| {again.ledger['found']['steps']} steps found in the store |" in to_markdown(again)
