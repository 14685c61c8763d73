"""`python -m benchmarks.peers`: ours, the limit and the peers in turns; prints a table and writes the results.

Rows that are compared take turns, in groups so that slow peers of one do not make the rounds of another long. Each row
has a process of its own, for some packages change torch for everybody when they are imported (storchastic
replaces `Tensor.to`, `le` and `gt`). One that cannot be imported or built stays in the table with its error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peers.catalogue import PEERS, title
from benchmarks.peers.worker import workers
from benchmarks.results import provenance, write
from benchmarks.sizes import SECONDS, SETTINGS, Setting, set_threads
from benchmarks.timing import Row, in_turns, ratio, time_rows

SUITE = "peers"
Table = dict[str, list[float] | str]
"""Seconds of the rounds by row, or why there are none."""


def measure(names: Sequence[str], setting: Setting, budget: float) -> Table:
    """All rows, in turns."""
    with workers(names, setting) as started:
        running = {name: worker for name, worker in started.items() if worker.problem is None}
        seconds = in_turns(running, budget)
        return {name: seconds[name] if name in seconds else str(started[name].problem) for name in names}


def rows_of(case: Row, table: Mapping[str, list[float] | str]) -> list[Row]:
    """Times, ratios to the limit with as many points and to ours; or the error."""
    rows: list[Row] = []
    for name, seconds in table.items():
        peer, own = PEERS[name], {**case, "S": PEERS[name].points}
        if isinstance(seconds, str):
            rows.append({**own, "implementation": title(name), "metric": f"not run: {seconds}"})
            continue
        rows += time_rows(own, {title(name): seconds})
        below = {"limit": f"limit, {_points(peer.points)}", "ours": peer.ours}
        for what, base in below.items():
            compared = table.get(base)
            if base != name and isinstance(compared, list):
                of_base = {**ratio(seconds, compared)._asdict(), "unit": "1", "rounds": len(seconds)}
                rows.append({**own, "implementation": title(name), "metric": f"time / {what}", **of_base})
    return rows


def show(heading: str, rows: Sequence[Row]) -> None:
    """Print the rows of one setting."""
    print(f"\n{heading}\n{'':44}{'ms':>9}  {'/ limit':>14}  {'/ ours':>14}")
    for name in dict.fromkeys(row["implementation"] for row in rows):
        cells = {row["metric"]: row for row in rows if row["implementation"] == name}
        if "time" not in cells:
            print(f"{name:44}  {next(iter(cells))}")
            continue
        ratios = "".join(
            f"  {cells[key]['value']:7.2f} +-{cells[key]['error']:5.2f}" if key in cells else f"  {'':14}"
            for key in ("time / limit", "time / ours")
        )
        print(f"{name:44}{1e3 * cells['time']['value']:9.2f}{ratios}".rstrip())


def group(own: str) -> list[str]:
    """The rows that take turns: the limit, one of ours, and the peers that are compared with it."""
    return [f"limit, {_points(PEERS[own].points)}", *(name for name, peer in PEERS.items() if peer.ours == own)]


def main() -> None:
    """See the module."""
    set_threads()
    where = provenance()
    rows = []
    for name, setting in SETTINGS.items():
        for own in dict.fromkeys(peer.ours for peer in PEERS.values() if peer.ours):
            if setting.latent == "categorical":
                names = group(own)
                table = measure(names, setting, 2 * SECONDS * len(names))
                measured = rows_of({"suite": SUITE, "case": f"{name}, {own}", **setting.columns}, table)
                show(f"a step, C={setting.categories}, V={setting.variables}, B={setting.batch}", measured)
                rows += measured
    print()
    for path in write([{**where, **row} for row in rows]):
        print(path)


def _points(count: int) -> str:
    return f"{count} point{'s' if count > 1 else ''}"


if __name__ == "__main__":
    main()
