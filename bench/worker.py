"""One contestant in a process of its own: requests as lines of JSON on stdin, replies on stdout.

python worker.py CONTESTANT CASES THREADS
    -> {"version": …} | {"missing": …}
    {"case": i} -> {"supported": …}     {"save": path} -> {}     {"roof": [kind, of]} -> {"roof": …}
    {"case": i, "normal": true}: the same on standard normal data
    {"seconds": s} -> {"best": the shortest single call, "calls": n}
Any request may be answered {"error": …}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator

contestant, cases, threads = sys.argv[1:]
for variable in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"):  # read when a library is loaded
    os.environ[f"{variable}_NUM_THREADS"] = threads

import numpy as np  # noqa: E402
from cases import CASES, data_of, normal_data_of, op_of  # noqa: E402

LEAST_CALLS, PATIENCE = 5, 1.0  # that many calls, unless they take longer than so many seconds


def turn(call, seconds: float) -> dict:
    best, calls, begin = float("inf"), 0, time.perf_counter()
    elapsed = 0.0
    while elapsed < seconds or (calls < LEAST_CALLS and elapsed < PATIENCE):
        start = time.perf_counter()
        result = call()
        end = time.perf_counter()
        best, elapsed = min(best, end - start), end - begin
        del result  # outside the clock: each library frees its memory in its own way
        calls += 1
    return {"best": best, "calls": calls}


def replies() -> Iterator[dict]:
    package, _, variant = contestant.partition("-")
    try:
        module = importlib.import_module(f"peers.{package}_")
    except ImportError as error:
        yield {"missing": str(error)}
        return
    yield {"version": module.version()}
    case = call = canonical = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "case" in request:
                case = CASES[cases][request["case"]]
                data = (normal_data_of if request.get("normal") else data_of)(case)
                prepared = getattr(module, op_of(cases))(case, data, variant)
                call, canonical = prepared or (None, None)
                yield {"supported": prepared is not None}
            elif "save" in request:
                np.save(request["save"], canonical(call()))
                yield {}
            elif "roof" in request:
                yield {"roof": module.roof(*request["roof"])}
            else:
                yield turn(call, request["seconds"])
        except Exception as error:  # a contestant that fails must not end the race
            yield {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    # What a library prints goes to stderr; the replies have stdout for themselves.
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        for reply in replies():
            print(json.dumps(reply), file=pipe, flush=True)


if __name__ == "__main__":
    main()
