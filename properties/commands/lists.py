"""``attn-verify laws`` and ``attn-verify backends``: lists of all laws, implementations and planted faults."""

from __future__ import annotations

import json as json_lib
from dataclasses import asdict
from typing import Any

from rich.console import Console

from properties.commands.console import open_console
from properties.laws import LAWS
from properties.laws.law import Law
from verification.catalogue import cannot_run, implementations, installed
from verification.faults import FAULTS
from verification.isolation.isolated import end_process, find_devices, open_backend
from verification.reporting.tables import folding

# Seconds without an answer that count as a crash: installed adapters are opened in a process of their own.
_PATIENCE = 30.0


def list_laws(json: bool) -> int:
    """Print every law with its needs: it has no cell for a backend that lacks one of them. Return 0."""
    if json:
        return _print_json([_describe_law(law) for law in LAWS])
    table = folding("law", "what must hold", show_lines=True)
    for law in LAWS:
        needs = [f"needs: {'; '.join(law.requirements())}"] if law.requirements() else []
        table.add_row(law.name, "\n".join([law.statement, *needs]))
    open_console().print(table, markup=False)
    return 0


def _describe_law(law: Law) -> dict[str, Any]:
    """Return a law as data for JSON."""
    names = ("name", "statement", "phases", "devices", "plain", "bad_input", "to_the_bit", "scoring")
    return {name: getattr(law, name) for name in names} | {"needs": law.requirements()}


def list_backends(faults: bool, json: bool) -> int:
    """Print every implementation with its contract, and the planted faults where ``faults``. Return 0.

    Raises UnknownBackend for an installed adapter that cannot be opened.
    """
    found = implementations() | {name: find_devices(name, _PATIENCE) for name in installed()}
    rows = [_describe_backend(name, device) for name, devices in found.items() for device in devices]
    planted = [
        {"name": fault.id, "what is wrong": " ".join(fault.sentence.split()), "from": fault.citation}
        for fault in FAULTS.values()
    ]
    if json:
        return _print_json({"implementations": rows, "faults": planted} if faults else {"implementations": rows})
    table = folding("implementation", "what its contract has", show_lines=True)
    for row in rows:
        here = row["cannot_run"] or "runs here"
        table.add_row(f"{row['name']}\n{row['device']}: {here}", _list_promises(row["contract"]))
    console = open_console()
    console.print(table, markup=False)
    if faults:
        for fault in planted:
            console.print(f"{fault['name']}: {fault['what is wrong']}", markup=False, highlight=False)
    return 0


def _list_promises(contract: dict[str, Any]) -> str:
    """Return in two lines what a backend takes, and what it promises."""
    promises = [name for name in ("range_events", "nonfinite") if contract[name]]
    if refused := contract["refuses"]:
        promises.insert(0, "refuses" if refused is True else f"refuses {', '.join(refused)}")
    promises += [f"others in {phase}" for phase in contract["by_phase"]]
    promises += [f"{len(contract['bitwise'])} laws to the bit"] if contract["bitwise"] else []
    dims = ", ".join(map(str, contract["head_dims"])) or "any"
    return f"{', '.join(contract['dtypes'])}; head_dim {dims}\n{', '.join(promises) or 'nothing else'}"


def _describe_backend(name: str, device: str) -> dict[str, Any]:
    """Return a backend as data for JSON."""
    backend = open_backend(name, device, _PATIENCE)
    end_process(backend)
    contract = {field: _make_plain(value) for field, value in vars(backend.contract).items()}
    contract["by_phase"] = {
        phase: {field: _make_plain(value) for field, value in own} for phase, own in backend.contract.by_phase
    }
    return {
        "name": name,
        "device": device,
        "cannot_run": cannot_run(device),
        "contract": contract,
        "precision": asdict(backend.precision),
    }


def _make_plain(value: Any) -> Any:
    """Return a list for a set, which JSON does not know."""
    return sorted(value) if isinstance(value, frozenset) else value


def _print_json(data: Any) -> int:
    Console().out(json_lib.dumps(data, indent=1))
    return 0
