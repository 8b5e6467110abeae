"""Race lanewise against its peers: python bench/run.py LIST of cases.py.

The method, and how to read the table, are in README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from cases import CASES, Case, data_of, op_of
from peers import CONTESTANTS, PACKAGES, inexact
from summary import summary
from table import aligned

HERE = Path(__file__).parent
TURN_SECONDS = 0.02
# Of a case, for the record.
FACTS = ("name", "why", "what", "kind", "dtype", "flops", "size", "stored")
# The lines of the picture.
ENVELOPE = {
    "fma": ("fma", "float32"),
    "cache": ("bandwidth", 3 << 18),
    "memory": ("bandwidth", 3 << 26),
}
REST_SECONDS = 0.02  # an OpenMP team that has finished spins for some ms before it sleeps


class Worker:
    """A contestant's process, and the conversation with it."""

    def __init__(self, name: str, cases: str, threads: int) -> None:
        self.name = name
        command = [sys.executable, str(HERE / "worker.py"), name, cases, str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hello: dict = {}

    def receive(self) -> dict:
        """The next reply; an error where the process has died."""
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"error": f"exit code {self._process.wait()}"}

    def ask(self, **request: object) -> dict:
        """Send a request and wait for its reply."""
        with contextlib.suppress(BrokenPipeError):  # receive() tells
            print(json.dumps(request), file=self._process.stdin, flush=True)
        return self.receive()

    def close(self) -> None:
        """End of input ends the worker."""
        self._process.communicate()


def agreement(
    case: Case, data: dict, actual: np.ndarray, lanewise: np.ndarray
) -> tuple[bool, float]:
    """Whether two results are within the case's bounds, and by how much they differ at most."""
    if actual.shape != lanewise.shape:
        return False, float("inf")
    difference = np.abs(case.compare(actual) - case.compare(lanewise))
    relative, absolute = case.tolerance(data)
    bound = relative * np.abs(case.compare(lanewise)) + absolute + np.finfo(case.dtype).tiny
    return bool((difference <= bound).all()), float(difference.max(initial=0))


Limit = tuple[str, str | int]


def limits(case: Case) -> list[Limit]:
    """Which roofs, the first that of the share.

    The peak of a dtype is one number, a bandwidth depends on the size.
    """
    found: list[Limit] = [(case.roof, case.dtype if case.roof == "fma" else case.size)]
    return [*found, ("store", case.stored)] if case.stored else found


def race(
    cases: str, index: int, workers: list[Worker], turns: int, folder: Path
) -> tuple[dict[str, dict], dict[Limit, float]]:
    """What became of each contestant (reply, agreement, best time of each turn), and the roofs.

    Contestants that the case calls slow are not asked.
    """
    case, found, lanewise = CASES[cases][index], {}, None
    roofs = dict.fromkeys(limits(case), 1.0)
    data = data_of(case)
    for worker in workers:
        if worker.name in case.slow:
            found[worker.name] = {"supported": True, "slow": True}
            continue
        found[worker.name] = state = worker.ask(case=index)
        if not state.get("supported"):
            continue
        path = folder / "result.npy"
        state.update(worker.ask(save=str(path)))
        if "error" in state:
            continue
        result = np.load(path)
        lanewise = result if lanewise is None else lanewise
        state["agrees"], state["difference"] = agreement(case, data, result, lanewise)
        state["inexact"] = inexact(op_of(cases), worker.name, case, data)
        state["turns"] = []
    runners = [worker for worker in workers if found[worker.name].get("agrees")]
    for _ in range(turns):
        for of in roofs:
            roofs[of] = max(roofs[of], workers[0].ask(roof=of).get("roof", 0.0))
        for worker in runners:
            time.sleep(REST_SECONDS)
            state, reply = found[worker.name], worker.ask(seconds=TURN_SECONDS)
            if "error" in reply:
                state.update(reply)
            else:
                state["turns"].append(reply["best"])
    for state in found.values():
        if state.get("turns") and "error" not in state:
            state["best"] = min(state["turns"])
    return found, roofs


def cell(state: dict, lanewise: dict) -> str:
    """A peer's time in units of lanewise's, or why there is none."""
    if "error" in state:
        return "error"
    if "slow" in state:
        return "slow"
    if not state["supported"]:
        return "-"
    if not state["agrees"]:
        return "differs"
    mark = "~" if state["inexact"] else ""
    return f"{mark}{state['best'] / lanewise['best']:.2f}" if "best" in lanewise else "-"


def table_row(case: Case, found: dict[str, dict], shares: list[float], widths: list[int]) -> str:
    """Case, lanewise's time, share of each roof, ratios, reason."""
    lanewise = found["lanewise"]
    parts = [f"{share:.0%}" for share in shares]
    ms = f"{lanewise['best'] * 1e3:.4g} ms" if "best" in lanewise else "error"
    cells = [cell(state, lanewise) for name, state in found.items() if name != "lanewise"]
    return aligned([case.name, ms, *parts, *cells, case.why], widths)


def footnotes(rows: list[dict]) -> dict[str, str]:
    """Why contestants are marked as inexact."""
    states = (item for row in rows for item in row["contestants"].items())
    return {name: state["inexact"] for name, state in states if state.get("inexact")}


def processor() -> str:
    """The CPU's name."""
    info = Path("/proc/cpuinfo")
    names = (line for line in info.read_text().splitlines() if line.startswith("model name"))
    return next(names, ":" + platform.processor()).partition(":")[2].strip()


def known_peers(parser: argparse.ArgumentParser, text: str) -> list[str]:
    """What --peers names."""
    peers = text.split(",")
    if unknown := set(peers) - set(PACKAGES):
        parser.error(f"--peers: unknown {', '.join(sorted(unknown))}; known: {', '.join(PACKAGES)}")
    return peers


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", choices=CASES)
    parser.add_argument("--peers", default=",".join(PACKAGES), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--turns", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: bench/results/…")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline picture, too")
    args = parser.parse_args()
    args.peers = known_peers(parser, args.peers)
    args.chosen = [i for i, case in enumerate(CASES[args.cases]) if args.only in case.name]
    if not args.chosen:
        parser.error(f"--only: no case of {args.cases} has {args.only!r} in its name")
    if args.json is None:
        args.json = HERE / "results" / f"{args.cases}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    return args


def contestants(cases: str, peers: list[str], threads: int) -> list[str]:
    """Those of lanewise and of the packages that are wanted."""
    packages = ("lanewise", *peers)
    names = [name for name in CONTESTANTS[cases] if name.partition("-")[0] in packages]
    return [name for name in names if threads > 1 or name != "lanewise-1thread"]


def start(names: list[str], cases: str, threads: int) -> list[Worker]:
    """The workers whose packages are there, lanewise's first."""
    alone = {"lanewise-1thread": 1}
    workers = [Worker(name, cases, alone.get(name, threads)) for name in names]
    for worker in workers:
        worker.hello = worker.receive()
        if "version" not in worker.hello:
            reason = worker.hello.get("missing") or worker.hello.get("error")
            print(f"{worker.name} skipped: {reason}", file=sys.stderr)
    workers = [worker for worker in workers if "version" in worker.hello]
    if not workers or workers[0].name != "lanewise":
        sys.exit("bench: there is no race without lanewise")
    return workers


def race_all(args: argparse.Namespace, workers: list[Worker]) -> tuple[list[dict], dict]:
    """Print the table; the facts of each case, and the roofs by what they are of."""
    cases = [CASES[args.cases][i] for i in args.chosen]
    names = [worker.name for worker in workers[1:]]
    shares = ["share", *(["stores"] if cases[0].stored else [])]
    header = ["lanewise", *shares, *names]
    widths = [max(len(case.name) for case in cases), 10, *(max(len(n), 5) for n in header[1:])]
    print(aligned(["case", *header, "why"], widths))
    rows, roofs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for i, case in zip(args.chosen, cases, strict=True):
            found, seen = race(args.cases, i, workers, args.turns, Path(folder))
            roofs |= {of: max(roof, roofs.get(of, 0.0)) for of, roof in seen.items()}
            best = found["lanewise"].get("best", float("nan"))
            work = zip((case.work, case.stored), limits(case))
            shares = [amount / best / roofs[of] for amount, of in work]
            print(table_row(case, found, shares, widths), flush=True)
            for name, state in found.items():
                if "error" in state:
                    print(f"    {name}: {state['error']}", file=sys.stderr)
            facts = {key: getattr(case, key) for key in FACTS}
            of_roofs = {"roof_kind": case.roof, "roof": roofs[limits(case)[0]], "share": shares[0]}
            if case.stored:
                of_roofs |= {"store_roof": roofs["store", case.stored], "store_share": shares[1]}
            rows.append({**facts, **of_roofs, "contestants": found})
    for of in ENVELOPE.values():
        seen = [workers[0].ask(roof=of).get("roof", 0.0) for _ in range(3)]
        roofs[of] = max(*seen, roofs.get(of, 0.0))
    return rows, roofs


def main() -> None:
    args = parse()
    names = contestants(args.cases, args.peers, args.threads)
    workers = start(names, args.cases, args.threads)
    versions = {worker.name: worker.hello["version"] for worker in workers}
    print(f"{args.cases}, {processor()}, {args.threads} threads, best of {args.turns} turns")
    print(", ".join(f"{name} {text}" for name, text in versions.items() if "-" not in name))
    print("ratios: the peer's time / lanewise's; share: of the roof, as README.md explains\n")
    rows, roofs = race_all(args, workers)
    for worker in workers:
        worker.close()
    for name, why in footnotes(rows).items():
        print(f"~ {name}: {why}")
    if any("slow" in state for row in rows for state in row["contestants"].values()):
        print("slow: left out, since a call takes more than 10 s")

    args.json.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "op": args.cases,
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": processor(),
        "threads": args.threads,
        "turns": args.turns,
        "versions": versions,
        "envelope": {name: roofs[of] for name, of in ENVELOPE.items()},
        "cases": rows,
    }
    if text := summary(record):
        print(f"\n{text}")
    args.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    print(f"\n{args.json}")
    if args.plot:
        from plot import draw  # the only part that needs matplotlib

        draw(record, args.plot)
        print(args.plot)


if __name__ == "__main__":
    main()
