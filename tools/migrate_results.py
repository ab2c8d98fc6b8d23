"""Rows of format 1, whose settings were flat texts, as rows of format 2, whose settings are values.

A row.json is rewritten where it stands; run.json, which always held the settings as values, is where they are taken from.
results.csv is made anew."""
import argparse
import re
import warnings
from pathlib import Path

from aebench.core.files import read_json, write_json
from aebench.registry import is_reference
from aebench.report.rows import gather
from aebench.settings import SCHEMA, Run, row_settings

FLAT = 'seed size latent epochs batch_size protocol augmentation weights precision feature_input'.split() # What format 1 said of settings

def epochs_of(text:str) -> dict:
    "'5 10', or 'phases of 5:10 in 60 s of training', as settings."
    if clock := re.fullmatch(r'phases of ([\d:]+) in ([\d.]+) s of training', text):
        return dict(epochs=tuple(map(int, clock[1].split(':'))), seconds=float(clock[2]))
    return dict(epochs=tuple(map(int, text.split()))) if text else {}

def run_of(row:dict, about:dict) -> Run:
    "The run of a row, from its run.json, or where it has none (the original images) from the row itself."
    if settings := about.get('settings'): values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    else:
        values = ({k: row[k] for k in FLAT if row.get(k) not in (None, '') and k not in ('epochs', 'latent')}
                  | epochs_of(row.get('epochs') or ''))
        if judges := re.findall(r'(?:^|; )(\w+), ', row.get('classifier') or ''): values['judges'] = tuple(judges)
    return Run(**values | dict(method=row['method'], data=row['data']))

def rates_of(text) -> float|list|None:
    "'0.001' or 'slice(1e-06, 0.01)' as numbers."
    found = [float(o) for o in re.findall(r'\d+\.?\d*(?:e[+-]?\d+)?', str(text or ''))]
    return found[0] if len(found) == 1 else found or None

def migrated(row:dict, about:dict) -> dict:
    "A row of format 1 as one of format 2, in the order in which a run writes it."
    run = run_of(row, about)
    latent = {} if is_reference(run.method) and row.get('latent') is None else dict(latent=row.get('latent'))
    kept = {k: v for k, v in row.items() if k not in (*FLAT, 'schema_version', 'lr', 'threads')}
    first = {k: kept.pop(k) for k in ('run', 'method', 'label', 'data', 'data_label', 'status', 'reason') if k in kept}
    threads = row.get('threads')
    if isinstance(threads, str): threads = [int(o) for o in threads.split('+')]
    found = dict(schema_version=SCHEMA, **first, settings=row_settings(run), **kept, **latent)
    if threads is not None: found['threads'] = threads
    if row.get('lr'): found['lr'] = rates_of(row['lr'])
    if row.get('command'): found['command'] = run.command
    return found

def main(folders):
    for folder in map(Path, folders):
        paths = [o for o in sorted(folder.glob('*/row.json')) if (read_json(o) or {}).get('schema_version') == 1]
        for path in paths: write_json(path, migrated(read_json(path), read_json(path.with_name('run.json')) or {}))
        with warnings.catch_warnings(action='error'): gather(folder)
        print(f'{folder}: {len(paths)} rows')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folders', nargs='+', help='of runs, each with a row.json')
    main(parser.parse_args().folders)
