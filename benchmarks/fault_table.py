"""The table of docs/trust.md from what `faults.py` wrote.

python benchmarks/fault_table.py faults.json
"""

import json
import re
import sys
from pathlib import Path

KINDS = (  # how a fault's name begins or ends, and what it is called together with others of its kind
    (r"(Ctrl-C|batch system|limit on CPU|closed terminal)", "Ctrl-C, SIGTERM, SIGUSR1, SIGXCPU, closed terminal"),
    (r"memory limited", "memory limited to 5, 15, 30, 50 and 80 % of what it takes"),
    (r"(--out \.|a file of the user's)", "files of the user's among the results, before, during and after a kill; `--out .`"),
    (r"read-only", "read-only run folder or inputs"), (r"48 open", "few open files"),
    (r"(two runs|lock of)", "two runs in one folder, lock of another computer"),
    (r"(input |another \.dbf)", "input vanishes, is replaced, or changes in a side file"), (r"flipped bit", "flipped bit in a result"),
    (r".* cut short", "result cut short"), (r"(garbage|other JSON)", "garbage in the program's own notes or checkpoint"),
    (r"clock", "clock set back"), (r"(LC_ALL|German|Turkish)", "languages, time zones, ASCII only"),
    (r"(nobody reads|standard streams)", "nobody reads the output, streams closed"),
)  # fmt: skip


def table(cases: list[dict[str, object]]) -> str:
    """Faults by kind as Markdown."""
    groups: dict[str, list[dict[str, object]]] = {}
    for case in cases:
        name = str(case["fault"])
        groups.setdefault(next((words for start, words in KINDS if re.match(start, name)), name), []).append(case)
    lines = ["| fault | stages | injected | survived | bytes lost |", "|---|---|---|---|---|"]
    for name, rows in [*groups.items(), ("all", cases)]:
        stages = "" if name == "all" else ", ".join(dict.fromkeys(str(row["stage"]) for row in rows))
        survived, lost = sum(row["survived"] is True for row in rows), sum(int(str(row["bytes_lost"])) for row in rows)
        lines.append(f"| {name} | {stages} | {len(rows)} | {survived} | {lost} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cases"]))
