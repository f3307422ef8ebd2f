"""Writes the tables of docs/benchmarks.md, between its markers, and draws the plots, from what was measured.

`make bench-report`, or `python -m benchmarks.report [FILE ...]`: the files of `benchmarks.run --json` and of
`benchmarks.peers --json`, without any all of var/bench/. Of two files of one engine, the later one's figures count;
a MySQL that is set to `innodb_log_writer_threads=ON` is another engine than one that is not.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals import GOALS_HEADER, MARIADB, MYSQL, SQLITE, figures_table, goals_table
from benchmarks.plots import draw

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
ENGINES = (MARIADB, MYSQL, SQLITE)
Run = dict[str, Any]


def read(files: list[Path]) -> tuple[dict[str, Run], Run | None]:
    """The runs by heading, and that of the peers. Exits for a quick one: its figures mean nothing."""
    runs: dict[str, Run] = {}
    peers: Run | None = None
    for run in sorted((json.loads(file.read_text()) for file in files), key=lambda run: str(run["at"])):
        if run["quick"]:
            sys.exit("a file is of a --quick run: its figures mean nothing")
        if "peers" in run:
            peers = run
        else:
            name = heading(run["where"])
            before = runs.get(name, {"figures": {}})
            runs[name] = run | {"figures": before["figures"] | run["figures"]}
    return runs, peers


def heading(where: dict[str, str]) -> str:
    threads = "innodb_log_writer_threads"
    return f"{where['engine']}, {threads}=ON" if where.get(threads) == "ON" else where["engine"]


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_engine(run: Run) -> str:
    where = run["where"]
    settings = "".join(f", {name} {where[name]}" for name in where if name.startswith(("innodb", "log_bin", "sync")))
    return "\n\n".join(
        (
            f"### {heading(where)}",
            f"{where['version']}{settings}; {where['machine']}; {run['at']}.",
            as_markdown(GOALS_HEADER, goals_table(run["figures"], where["engine"])),
            "<details><summary>All figures</summary>",
            as_markdown(("figure", "median", "least", "most"), figures_table(run["figures"])),
            "</details>",
        )
    )


def of_peers(run: Run) -> str:
    tables = [as_markdown(table["columns"], table["rows"]) for table in run["tables"].values()]
    return "\n\n".join((f"{run['where']}; {run['at']}.", *tables))


def put(document: str, section: str, text: str) -> str:
    begin, end = f"<!-- {section}: written by make bench-report -->\n", f"<!-- end of {section} -->"
    before, _, rest = document.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{DOCUMENT.name} has no section {section!r}")
    return f"{before}{begin}{text}\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    files = parser.parse_args().files or sorted((ROOT / "var" / "bench").glob("*.json"))
    if not files:
        sys.exit("nothing in var/bench: run make bench first")
    runs, peers = read(files)
    document = DOCUMENT.read_text()
    if runs:
        ordered = sorted(runs, key=lambda name: (ENGINES.index(runs[name]["where"]["engine"]), name))
        figures = [of_engine(runs[name]) for name in ordered]
        document = put(document, "figures", "\n\n".join(figures))
        plots = draw(next(iter(runs.values()))["figures"] if len(runs) == 1 else runs["MariaDB"]["figures"])
        images = [f"![{path.stem.removeprefix('bench-')}](images/{path.name})" for path in plots]
        document = put(document, "plots", "\n\n".join(images))
    if peers:
        document = put(document, "peers", of_peers(peers))
    DOCUMENT.write_text(document)
    print(f"wrote {DOCUMENT.relative_to(ROOT)} and its plots from {', '.join(str(file) for file in files)}")


if __name__ == "__main__":
    main()
