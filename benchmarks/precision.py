"""What bfloat16 changes in the results: each method is trained to the end in fp32 and in bf16, from the same seeds, at the paper's rates.

    python benchmarks/precision.py --data digits --seeds 3

Where the processor has no instructions for bf16 it is computed slowly, with the same results, so use small data only.
"""
import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from aebench.bench.loop import do_runs
from aebench.callback.progress import LineProgress
from aebench.report.rows import frame_rows
from aebench.settings import plan_runs, write_numbers
from aebench.bench.devices import environment
from speed import HERE, slug

def differences(rows:pd.DataFrame) -> pd.DataFrame:
    "bf16 less fp32, a line a method and seed: MSE in percent of fp32's, accuracy in points."
    pairs = rows.pivot(index=['method', 'seed'], columns='precision', values=['mse', 'accuracy'])
    return pd.DataFrame(dict(mse_percent=100*(pairs.mse.bf16/pairs.mse.fp32 - 1),
                             accuracy_points=100*(pairs.accuracy.bf16 - pairs.accuracy.fp32))).reset_index()

def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--data', default='digits')
    p.add_argument('--methods', default='all')
    p.add_argument('--seeds', type=int, default=3)
    p.add_argument('--epochs', type=int, nargs=2)
    p.add_argument('--device', default='cpu')
    p.add_argument('--out', type=Path, help='CSV to write (default: benchmarks/results/, named for the data and the machine)')
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        runs = plan_runs(args.methods, args.data, args.seeds, epochs=args.epochs,
                         weights='in-domain', protocol='report', device=args.device)
        rows = frame_rows(do_runs([replace(run, precision=o) for run in runs for o in ('fp32', 'bf16')], tmp, LineProgress()))
    where = environment(args.device)
    found = differences(rows).assign(data=args.data, epochs=write_numbers(rows.epochs[0]), **where)
    out = args.out or HERE/'results'/f'precision-{slug(args.data)}-{slug(where["device_name"])}.csv'
    out.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(out, index=False)
    table = found.groupby('method', sort=False)[['mse_percent', 'accuracy_points']].agg(['mean', 'min', 'max'])
    Console(width=120).print(table.to_string(float_format='{:+.2f}'.format))
    print(f'{len(found)} pairs of runs; rows in {out}')

if __name__ == '__main__': main()
