"""What larger images cost: time and memory of each method's training, estimated from a few steps at full size on enlarged digits.

    python benchmarks/large.py --sizes 32 64 96 128
"""
import argparse
import multiprocessing
from itertools import product
from pathlib import Path

import pandas as pd
from rich.console import Console

from aebench.bench.estimate import expected_seconds
from aebench.bench.loop import configure_torch
from aebench.data import load_images
from aebench.bench.memory import PeakMemory
from aebench.registry import get_methods
from aebench.settings import plan_runs
from aebench.bench.devices import environment, resolve_precision
from speed import HERE, slug

def measured(size:int, method:str, batch_size:int, steps:int, device:str) -> dict:
    "A row: images a second, and the peak in MB of the process, which has measured nothing else."
    configure_torch()
    data = load_images('digits', size)
    run, = plan_runs(method, 'digits', size=size, batch_size=batch_size, epochs=(0, 1), weights='random', device=device,
                     precision=resolve_precision('auto', device))
    memory = PeakMemory(device)
    seconds = expected_seconds(run, data, steps, most_seconds=60.)
    return dict(method=run.method, size=size, batch_size=batch_size, precision=run.precision,
                images_per_second=len(data.dls(batch_size, device).train)*batch_size/seconds, peak_memory_mb=memory.megabytes, steps=steps)

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--sizes', type=int, nargs='+', default=[32, 64, 96, 128])
    p.add_argument('--methods', default='all')
    p.add_argument('--batch-size', type=int, default=32)
    p.add_argument('--steps', type=int, default=5)
    p.add_argument('--device', default='cpu')
    p.add_argument('--out', type=Path, help='CSV to write (default: benchmarks/results/, named for the machine)')
    args = p.parse_args()
    where = environment(args.device)
    asked = product(args.sizes, [o.name for o in get_methods(args.methods)], [args.batch_size], [args.steps], [args.device])
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as one:
        rows = pd.DataFrame(one.starmap(measured, asked, chunksize=1)).assign(**where)
    out = args.out or HERE/'results'/f'large-{slug(where["device_name"])}.csv'
    out.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out, index=False)
    for figure in ('images_per_second', 'peak_memory_mb'):
        Console(width=120).print(f'{figure.replace("_", " ")}\n'
                                 + rows.pivot_table(index='method', columns='size', values=figure, sort=False).to_string(
                                     float_format='{:,.0f}'.format))
    print(f'Rows in {out}')

if __name__ == '__main__': main()
