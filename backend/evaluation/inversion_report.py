# SPDX-License-Identifier: Apache-2.0
"""All results of a folder, whichever runs left them, as tables, sheets and findings."""

import json
from pathlib import Path

from backend.evaluation.inversion_bench import InversionBench
from backend.evaluation.inversion_claims import Outcome, asked, find
from backend.evaluation.inversion_items import Entry
from backend.evaluation.inversion_page import (
    claim_table,
    failure_table,
    method_sheet,
    method_tables,
    write_csv,
    write_pages,
)
from backend.evaluation.run import ITEMS
from backend.evaluation.scores import ItemResult
from backend.staging import staging

SHEETS = "sheets"


def report(out: Path, bench: InversionBench, *, quality: str, machine: str, command: str) -> None:
    """Write everything that a folder's results tell.

    Args:
        out: The folder.
        bench: Results of other weights, seeds or measures are left out.
        quality: At which methods are compared.
        machine: Where it ran.
        command: What was typed last.

    Raises:
        OutputError: A file cannot be written.
    """
    outcomes = gather(out, bench)
    findings = [find(claim, outcomes) for claim in asked(quality)]
    tables = [*method_tables(outcomes), claim_table(findings), failure_table(outcomes)]
    sheets = _write_sheets(out, outcomes)
    write_csv(out / "results.csv", outcomes)
    facts = f"Starter {bench.weights('protome')[:12]}, {machine}. benchmarks/inversion.py {command}"
    write_pages(out, tables, sheets, facts)


def gather(out: Path, bench: InversionBench) -> list[Outcome]:
    """The results of a folder in the order in which they were made."""
    paths = sorted((out / ITEMS).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    outcomes = []
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        made_with = content.pop("fingerprint")
        item, entry = made_with["item"], Entry(**made_with["entry"])
        if made_with == bench.fingerprint(item, entry):
            outcomes.append(Outcome(item["name"], item["subject"], item["yaw_deg"], entry, ItemResult(**content)))
    return outcomes


def _write_sheets(out: Path, outcomes: list[Outcome]) -> list[Path]:
    paths = []
    for item in dict.fromkeys(one.item for one in outcomes):
        of_item = [one for one in outcomes if one.item == item]
        if all(one.result.failure for one in of_item):
            continue
        path = out / SHEETS / f"{item}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with staging() as stage:
            stage(path, method_sheet(out, of_item).save)
        paths.append(path)
    return paths
