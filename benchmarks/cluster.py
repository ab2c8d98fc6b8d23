"""What big jobs cost: python benchmarks/cluster.py --help

Whole commands are timed, each in a process of its own; a row holds the median, the lowest and the highest of its turns.
Meant for a machine that does nothing else; how busy it was stands in each row as `load`.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pandas as pd

HERE = Path(__file__).resolve().parent
PARTS = ('runs', 'overhead', 'together', 'distance', 'gather')
# What starts two processes that train together; the tests take it from here
JOINED = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']

def seconds_of(words:list, cpus:set|None=None, before=(), threads:int=1) -> float:
    "How long `aebench run WORDS` takes, on the processors `cpus` alone."
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads)}
    limit = (lambda: os.sched_setaffinity(0, cpus)) if cpus else None
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *before, '-m', 'aebench.cli', 'run', '-q', *map(str, words)],
                          env=env, capture_output=True, text=True, preexec_fn=limit)
    if done.returncode: sys.exit(done.stderr)
    return time.perf_counter() - began

def times_of(words:list, turns:int, *args) -> list[float]:
    "One value a turn, each into a folder of its own."
    found = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as out: found.append(seconds_of([*words, '--out', out], *args))
    return found

def many_rows(run:Path, out:Path, n:int):
    "`n` finished runs like the one in `run`: two methods in many seeds, figures a little apart; files are shared where they can be."
    row = json.loads((run/'row.json').read_text())
    for i in range(n):
        method = ('baseline', 'pixel_shuffle')[i % 2]
        folder = out/f'{method}-seed{i//2}'
        folder.mkdir(parents=True)
        for path in run.iterdir():
            if path.is_file() and path.name not in ('row.json', 'model.safetensors'): os.link(path, folder/path.name)
        shift = 1 + .01*((i*7919 % 1000)/1000 - .5)
        values = {k: v*shift for k, v in row.items() if isinstance(v, float)}
        (folder/'row.json').write_text(json.dumps({**row, **values, 'run': folder.name, 'method': method,
                                                   'label': method.replace('_', ' ').title(), 'seed': i//2}))

def rows_of(part:str, turns:int, n:int): # (what, detail, how many, values)
    "Measure one part: in seconds, except the distance between losses, which is a share of them, a value an epoch."
    two = ['--data', 'digits', '--methods', 'baseline', '--seeds', 2]
    if part == 'runs':  # long enough for the start of Ray not to decide
        two += ['--epochs', 10, 20]
        yield 'two runs', 'one after the other', 2, times_of(two, turns)
        yield 'two runs', 'beside each other', 2, times_of([*two, '--ray', 'local'], turns)
    if part == 'overhead':
        for count in (2, 12):
            words = ['--data', 'digits', '--methods', 'baseline', '--seeds', count, '--epochs', 1, 0]
            yield 'short runs', 'one after the other', count, times_of(words, turns, {0})
            yield 'short runs', 'by Ray, on one processor', count, times_of([*words, '--ray', 'local'], turns, {0})
    if part == 'together':
        two[-1] = 1
        yield 'one run', 'one process', 1, times_of(two, turns)
        yield 'one run', 'two processes', 1, times_of(two, turns, None, JOINED)
    if part == 'distance':
        methods = 'baseline,pixel_shuffle,progressive_resizing'
        words = ['--data', 'digits', '--methods', methods, '--epochs', 1, 1, '--batch-size', 64,
                 '--protocol', 'report', '--precision', 'fp32', '--out']
        with tempfile.TemporaryDirectory() as d:
            for out, more in dict(one={}, threads=dict(threads=2), processes=dict(before=JOINED)).items():
                seconds_of([*words, f'{d}/{out}'], **more)
            for path in sorted(Path(d).glob('one/*/history.csv')):
                for other in ('threads', 'processes'):
                    a, b = (pd.read_csv(o)[['train_loss', 'valid_loss']] for o in (path, Path(d)/other/path.relative_to(Path(d)/'one')))
                    yield 'distance', f'{path.parent.name.partition("-")[0]}, two {other}', 2, ((a - b).abs()/a).max(axis=1).tolist()
    if part == 'gather':
        from aebench.report.page import make_report
        from aebench.report.rows import gather
        with tempfile.TemporaryDirectory() as d:
            seconds_of(['--data', 'digits', '--methods', 'baseline', '--epochs', 1, 1, '--out', f'{d}/one'])
            many_rows(next(Path(d).glob('one/baseline-*')), Path(d)/'many', n)
            for what, f in dict(gather=gather, report=make_report).items():
                began = time.perf_counter()
                f(Path(d)/'many')
                yield 'many rows', what, n, [time.perf_counter() - began]

def main():
    p = argparse.ArgumentParser(description='Time big jobs.')
    p.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS, metavar='PART', help=f'of {", ".join(PARTS)} (default: all)')
    p.add_argument('--turns', type=int, default=3, help='how often each command is timed (default: 3)')
    p.add_argument('--rows', type=int, default=10_000, help='rows to gather and to report (default: 10000)')
    p.add_argument('--out', type=Path, default=HERE/'results'/'cluster.csv')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as d:  # data and classifier are there from now on
        seconds_of(['--data', 'digits', '--methods', 'mean_image', '--out', d])
    rows = []
    for part in args.parts:
        load = os.getloadavg()[0]
        for what, detail, count, values in rows_of(part, args.turns, args.rows):
            rows.append(dict(part=part, what=what, detail=detail, count=count, unit='share of the loss' if what == 'distance' else 's',
                             median=median(values), low=min(values), high=max(values), turns=len(values), load=round(load, 1)))
            print(rows[-1], flush=True)
    from aebench.bench.devices import environment
    environment = {k: v for k, v in environment().items() if k not in ('device', 'threads', 'deterministic')}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    found = pd.DataFrame([row | dict(processors=os.cpu_count()) | environment for row in rows])
    if args.out.exists():  # what was not measured now stays
        before = pd.read_csv(args.out)
        found = pd.concat([before[~before.part.isin(found.part)], found])
    found.sort_values('part', key=lambda o: o.map(PARTS.index), kind='stable').to_csv(args.out, index=False)

if __name__ == '__main__': main()
