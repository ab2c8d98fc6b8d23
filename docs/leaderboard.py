"""Who leads, over all of results/: for each data set and as many numbers, and for as many bytes."""
import html
import math
from functools import cache

import numpy as np
import pandas as pd

from aebench.core.text import plural
from aebench.report.columns import MEASURES
from aebench.report.rows import distinct, is_failed, length_text, lengths, missing, trained
from aebench.run_folder import RATES_CSV
from comparisons import all_parts, data_title, name_html, numbers_of, rows_of, title_of
from links import ROOT, result_folders
from pages import Page, html_table, index_page

PATH = 'benchmarks/leaderboard.md'
NUMBERS = '<abbr title="Numbers in the latent">Numbers</abbr>'
BYTES = (50, 100, 150, 200) # An image

def fingerprint(rows:pd.DataFrame) -> str: return next(iter(distinct(rows, 'data_fingerprint')), '')

def page() -> Page:
    lead = ('The lowest errors of all comparisons in <code>results/</code>: with as many numbers in the latent, and with as many bytes. '
            'Beside them stand principal components (PCA) and WebP, which train nothing.')
    parts = ['## With as many numbers', by_numbers(),
             'Bold is the lowest error of a line. Trainings differ in length, and with one seed a difference may be chance. '
             'Each name leads to the card of the method, the data to the comparison.']
    if table := by_bytes():
        parts += ['## With at most as many bytes', table,
                  'PSNR in decibels, higher is better, read off each rate curve between its measured points; '
                  'n/a where no file is so small. Latents are rounded and coded; WebP is counted without the headers of its file. '
                  'What was measured with an earlier coder takes more bytes than it would today.']
    return index_page(PATH, 'Leaderboard', lead, *parts, wide=True)

# ---- numbers

def _by_data() -> dict[tuple, list]: # Title, fingerprint, numbers → folder and rows of each comparison
    found = {}
    for folder, _, part in all_parts():
        if numbers := numbers_of(part): found.setdefault((data_title(folder), fingerprint(part), numbers), []).append((folder, part))
    return found

def _entries(parts:list) -> list[dict]:
    "Each method of each comparison with its means, the lowest error first."
    found = []
    for folder, part in parts:
        for method, of in trained(part).groupby('method', sort=False):
            found.append(dict(folder=folder, method=method, rows=part, mse=of.mse.mean(), accuracy=of.accuracy.mean(),
                              seeds=of.seed.nunique(), length=' or '.join(map(length_text, lengths(of)))))
    return sorted((o for o in found if not missing(o['mse'])), key=lambda o: o['mse'])

def _cell(entry:dict|None, leads:bool=False, measure:str='mse') -> str:
    if entry is None: return '<td>n/a</td>'
    figure = MEASURES[measure].brief(entry[measure])
    said = f'{entry["length"].rpartition("= ")[2]} · {plural(entry["seeds"], "seed")}'
    if leads: figure = f'<strong>{figure}</strong>'
    return f'<td class="entry">{name_html(entry["rows"], entry["method"])}<br>{figure}<br><small>{html.escape(said)}</small></td>'

def _components(data:str, numbers:int) -> float:
    "The error of as many principal components on the same images; NaN where it was not measured."
    def of(rows): return rows.mse[(rows.data_fingerprint == data) & (rows.method == f'pca-{numbers}') & ~is_failed(rows)]
    return pd.concat([of(rows_of(o)) for o in result_folders()]).mean()

def by_numbers() -> str:
    lines, titles = [], [title for title, _ in dict.fromkeys(o[:2] for o in _by_data())]
    for (title, data, numbers), parts in sorted(_by_data().items()):
        entries, pca = _entries(parts), _components(data, numbers)
        if not entries: continue
        first, others = entries[0], [o for o in entries if o['method'] != entries[0]['method']]
        readable = max((o for o in entries if not missing(o['accuracy'])), key=lambda o: o['accuracy'], default=None)
        ahead = missing(pca) or first['mse'] < pca
        text = 'n/a' if missing(pca) else MEASURES['mse'].brief(pca)
        name = title if titles.count(title) == 1 else title_of(first['folder'])
        link = f'<a href="{first["folder"].name}.html">{html.escape(name)}</a>'
        lines.append((link, f'<td>{numbers:,}</td>{_cell(first, ahead)}{_cell(next(iter(others), None))}'
                            f'<td>{text if ahead else f"<strong>{text}</strong>"}</td>{_cell(readable, measure="accuracy")}'))
    heads = 'Data', NUMBERS, 'Best by MSE', 'Second', '<abbr title="As many principal components">PCA</abbr>', 'Best by accuracy'
    return html_table('Lowest errors with as many numbers', heads, lines)

# ---- bytes

@cache
def _files() -> pd.DataFrame: # Of principal components, JPEG and WebP: format, bytes, psnr, data_fingerprint
    found = [pd.read_csv(o) for o in sorted((ROOT/'results'/'bytes').glob('*.csv'))]
    if not found: return pd.DataFrame(columns=['format', 'bytes', 'psnr', 'data_fingerprint'])
    table = pd.concat(found)
    return table.assign(bytes=table.payload.fillna(table.bytes_per_image))

def at(rate:pd.DataFrame, size:float) -> float: # NaN where no file is so small
    "The highest PSNR in at most `size` bytes, between the points of a rate curve."
    rate = rate.sort_values('bytes')
    if rate.empty or size < rate.bytes.iloc[0]: return math.nan
    return float(np.interp(math.log(size), np.log(rate.bytes), rate.psnr))

def _curves(data:str) -> list[tuple[dict, pd.DataFrame]]:
    "The rate curve of each run on these images."
    found = []
    for folder in result_folders():
        rows = rows_of(folder)
        for row in trained(rows[rows.data_fingerprint == data]).to_dict('records'):
            path = folder/row['run']/RATES_CSV
            if path.is_file():
                found.append((dict(row, folder=folder, rows=rows), pd.read_csv(path).rename(columns=dict(bytes_per_image='bytes'))))
    return found

def _best_at(curves:list, size:int) -> list[tuple[float, dict]]: # The best PSNR first
    "Means over seeds of each method and length of the latent."
    found = {}
    for row, rate in curves: found.setdefault((row['method'], row['latent'], row['folder']), []).append((at(rate, size), row))
    means = [(float(np.mean([o for o, _ in of])), of[0][1]) for of in found.values()]
    return sorted((o for o in means if not missing(o[0])), key=lambda o: -o[0])

def _reference(data:str, formats:str, size:int) -> float: # The best of those formats
    files = _files()
    files = files[files.data_fingerprint == data]
    values = [at(of, size) for name, of in files.groupby('format') if name.startswith(formats)]
    return max((o for o in values if not missing(o)), default=math.nan)

def by_bytes() -> str: # '' where nothing was measured
    lines, named = [], {fingerprint(rows_of(o)): data_title(o) for o in reversed(result_folders())}
    for data in dict.fromkeys(_files().data_fingerprint):
        curves = _curves(data)
        for size in BYTES:
            ranked = _best_at(curves, size)
            if not ranked: continue
            first = ranked[0]
            second = next((o for o in ranked if o[1]['method'] != first[1]['method']), None)
            values = [first[0], _reference(data, 'PCA', size), _reference(data, 'WebP', size)]
            top = np.nanmax(values)
            def text(value): return 'n/a' if missing(value) else f'<strong>{value:.1f}</strong>' if value == top else f'{value:.1f}'
            def cell(found):
                if found is None: return '<td>n/a</td>'
                value, row = found
                return (f'<td>{name_html(row["rows"], row["method"])}<br>{text(value)}<br>'
                        f'<small>{plural(int(row["latent"]), "number")}</small></td>')
            link = f'<a href="{first[1]["folder"].name}.html">{html.escape(named.get(data, data))}</a>'
            lines.append((link, f'<td>{size}</td>{cell(first)}{cell(second)}<td>{text(values[1])}</td><td>{text(values[2])}</td>'))
    heads = 'Data', '<abbr title="The most that an image may take">Bytes</abbr>', 'Best', 'Second', 'PCA', 'WebP'
    return html_table('Highest PSNR with as many bytes', heads, lines) if lines else ''
