"""The saved comparisons in results/, each read once: their rows, what they are called, and one command that makes them again."""
import html
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pandas as pd

from aebench.registry import DATA, find_method, is_reference
from aebench.report.columns import MEASURES
from aebench.report.rows import distinct, groups, read_rows, trained
from aebench.report.statistics import Difference, differences
from aebench.report.tables import method_label, published_as
from aebench.settings import Run
from links import result_folders

@cache
def rows_of(folder:Path) -> pd.DataFrame: return read_rows(folder)

@cache
def parts_of(folder:Path) -> list[tuple[str, pd.DataFrame]]:
    "What may be compared in `folder`: titles ('' for a single one) and rows."
    return groups(rows_of(folder))

@cache
def tests_of(folder:Path, title:str, measure:str) -> list[Difference]:
    "The paired tests of one comparison, by a measure."
    return differences(trained(dict(parts_of(folder))[title]), measure, MEASURES[measure].ratio)

def all_parts() -> list[tuple[Path, str, pd.DataFrame]]:
    return [(folder, *part) for folder in result_folders() for part in parts_of(folder)]

def numbers_of(part:pd.DataFrame) -> int: # 0 where no network was trained
    "The commonest length of the networks' latents: some bring a length of their own."
    found = trained(part).latent.dropna()
    return int(found.mode().iloc[0]) if len(found) else 0

# ---- what a comparison is called

COPIES = dict(jpeg='JPEG copy', lossless='lossless tenth') # Of known data sets, by a word of the folder's name
STUDIES = dict(latents='latent sizes', factorial='techniques crossed', modern='Modern', references='references alone')

def data_title(folder:Path) -> str:
    "The data set, and which copy of it."
    data, words = next(iter(distinct(rows_of(folder), 'data'))), folder.name.split('-')
    known = DATA.get(data if data in DATA else published_as(data))
    copy = [COPIES[o] for o in words if o in COPIES]
    return (known.label if known else str(data)) + (f' ({", ".join(copy)})' if copy else '')

def title_of(folder:Path) -> str:
    "The data and what is studied, as short as still tells it from others."
    words = [STUDIES.get(o, f'{o}×{o} pixels' if o.isdigit() else o) for o in folder.name.split('-')[1:] if o not in COPIES]
    return data_title(folder) + (f': {", ".join(words)}' if words else '')

def seeds_of(rows:pd.DataFrame) -> int: return max(trained(rows).groupby('method').seed.nunique(), default=0)

def name_html(rows:pd.DataFrame, method:str) -> str:
    "A method's name, with a link to its card."
    known, label = find_method(method), html.escape(method_label(rows, method))
    return f'<a href="../{known.card}">{label}</a>' if known and known.card else label

# ---- how to make it again

def _words(command:str) -> dict[str, str]: # Flag → its values
    found = re.findall(r'(--[\w-]+)((?: (?!--)\S+)*)', ' '.join(map(shlex.quote, shlex.split(command))))
    return {flag: values.strip() for flag, values in found}

def _by_method(rows:pd.DataFrame) -> Iterator[tuple[list, set, set, dict]]: # Methods, seeds, latents, other flags
    found = {}
    for row in rows.dropna(subset=['command']).to_dict('records'):
        words = _words(row['command'])
        method, seed, latent = (words.pop(o, '') for o in ('--methods', '--seed', '--latent'))
        if not method: continue
        seeds = found.setdefault((method, *words.items()), (words, {}))[1]
        seeds.setdefault(latent, set()).add(seed)
    for (method, *_), (words, seeds) in found.items():
        for of in dict.fromkeys(map(frozenset, seeds.values())):
            yield [method], set(of), {latent for latent, o in seeds.items() if o == of}, words

def commands_again(rows:pd.DataFrame) -> list[str]:
    "As few commands as make all runs: methods that agree in all else share one, and references go with the first."
    found = []
    for methods, seeds, latents, words in _by_method(rows):
        def fits(o):
            if any(o[3].get(k, v) != v for k, v in words.items()): return False
            return is_reference(methods[0]) or (o[1], o[2]) == (seeds, latents)
        same = next(filter(fits, found), None)
        if same: same[0].extend(methods), same[3].update(words)
        else: found.append((methods, seeds, latents, words))
    return [_command(*o) for o in found]

def _command(methods:list, seeds:set, latents:set, words:dict) -> str:
    words = dict(words)
    data = words.pop('--data', '')
    parts = ['aebench run --data', data if data in DATA else 'FOLDER', '--methods', ','.join(methods)]
    if numbers := sorted(filter(None, latents), key=int): parts += ['--latent', ','.join(numbers)]
    if first := min(filter(None, seeds), key=int, default=''):
        if int(first) != Run.seed: parts += ['--seed', first]
        if len(seeds) > 1: parts += ['--seeds', str(len(seeds))]
    return ' '.join([*parts, *(f'{k} {v}'.strip() for k, v in words.items())])

def wrapped(command:str, width:int=76) -> str:
    "A command in lines that a shell takes as one; a long list of methods stays whole."
    lines = ['']
    for word in re.findall(r'(?:^| )(--\S+(?: (?!--)\S+)*|(?!--)\S+)', command):
        if lines[-1] and len(lines[-1]) + len(word) > width: lines.append('    ')
        lines[-1] += word if not lines[-1].strip() else f' {word}'
    return ' \\\n'.join(lines)
