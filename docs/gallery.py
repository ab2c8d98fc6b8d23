"""Test images as each method copies them: rows of small pictures, each of which opens beside its original, without a script."""
import html
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from aebench.core.pictures import png_bytes, psnr
from aebench.core.text import plural
from aebench.registry import is_reference
from aebench.report.columns import MEASURES
from aebench.report.panels import read_samples, samples_of, side_by_side
from aebench.report.rows import distinct, is_failed, lengths, missing
from aebench.report.tables import bytes_of, method_label
from comparisons import all_parts, data_title, name_html, title_of
from pages import Page, index_page

SHOWN = 6 # Images a method
PATH = 'benchmarks/gallery.md'

@cache
def _pairs(path:Path) -> list: return read_samples(path)[:SHOWN]

def samples(folder:Path, rows:pd.DataFrame) -> dict[str, list]: return samples_of(folder, rows, _pairs)

def closeness(pair:tuple) -> str:
    a, b = (np.asarray(o, dtype=float)/255 for o in pair)
    error = ((a - b)**2).mean()
    return f'PSNR {psnr(error):.1f} dB' if error > 1e-12 else 'the same in every pixel'

def figures(rows:pd.DataFrame, method:str) -> str:
    "Error, share that is still recognised, bytes: what stands below a method's name."
    of = rows[(rows.method == method) & ~is_failed(rows)]
    mse, accuracy, size = of.mse.mean(), of.accuracy.mean(), bytes_of(of).mean()
    found = [] if method == 'original' or missing(mse) else [f'MSE {MEASURES["mse"].brief(mse)}']
    if not missing(accuracy): found.append(f'{accuracy:.0%} recognised')
    if not missing(size): found.append(plural(round(size), 'byte'))
    return ' · '.join(found)

def grid(
    folder:Path,
    shown:list[tuple[str, str, str, list]], # Method's name as HTML, what stands below it, its label, its pairs
    key:str, # Begins the ids: one a page
    files:dict # Receives the pictures: path below the site's root → bytes
) -> str:
    "A row a method, the originals first; each picture is a button that opens it large."
    if not shown: return ''
    rows, large = [], []
    def put(name, image):
        path = f'gallery/{folder.name}/{name}.png'
        files.setdefault(path, png_bytes(image))
        return f'../{path}'
    originals = [put(f'original-{i}', pair[0]) for i, pair in enumerate(shown[0][3], 1)]
    def one(src, alt): return f'<img src="{src}" alt="{html.escape(alt)}" loading="lazy">'
    cells = ''.join(one(src, f'Test image {i}') for i, src in enumerate(originals, 1))
    rows.append(f'<div class="row"><div class="name"><b>Original</b></div><div class="cells">{cells}</div></div>')
    for n, (name, said, label, pairs) in enumerate(shown):
        buttons = []
        for i, pair in enumerate(pairs, 1):
            ident, copy = f'{key}-{n}-{i}', put(f'{slug(label, said)}-{i}', pair[1])
            buttons.append(f'<button type="button" popovertarget="{ident}">{one(copy, f"{label}, image {i}")}</button>')
            pictures = one(put(f'original-{i}', pair[0]), f'Test image {i}') + one(copy, f'Its copy by {label}')
            large.append(f'<div popover id="{ident}" class="large"><div class="both">{pictures}</div>'
                         f'<p>Original and {html.escape(label)}: {closeness(pair)}.</p>'
                         f'<button type="button" popovertarget="{ident}" popovertargetaction="hide">Close</button></div>')
        heading = f'<div class="name">{name}<small>{html.escape(said)}</small></div>'
        rows.append(f'<div class="row">{heading}<div class="cells">{"".join(buttons)}</div></div>')
    return f'<div class="gallery">{"".join(rows)}</div><div class="opened" data-search-exclude>{"".join(large)}</div>'

def slug(label:str, said:str) -> str:
    "A file's name for a method with its figures: a folder may have several runs of one method."
    return ''.join(c if c.isalnum() else '-' for c in f'{label} {said.partition(" · ")[0]}'.lower()).strip('-')

def of_part(folder:Path, rows:pd.DataFrame, key:str, files:dict, references:bool=True) -> str:
    "The grid of one comparison."
    found = {m: pairs for m, pairs in samples(folder, rows).items() if m != 'original' and (references or not is_reference(m))}
    return grid(folder, [(name_html(rows, m), figures(rows, m), method_label(rows, m), pairs) for m, pairs in found.items()], key, files)

def thumbnail(folder:Path, rows:pd.DataFrame, method:str) -> bytes: # b'' where there are no samples
    "Four test images above the copies by `method`."
    pairs = samples(folder, rows).get(method, [])[:4]
    if not pairs: return b''
    both = [side_by_side([o[i] for o in pairs]) for i in range(2)]
    whole = np.concatenate([np.asarray(both[0]), np.full((1, both[0].width, 3), 255, np.uint8), np.asarray(both[1])])
    scale = max(1, 512//whole.shape[1])
    image = Image.fromarray(whole)
    return png_bytes(image.resize((image.width*scale, image.height*scale), Image.Resampling.NEAREST))

# ---- the page

def _entries() -> dict[tuple, list]: # Data → folder, rows of one method
    "The longest training of each data set and method, and of those the longest latent."
    found = {}
    for folder, _, part in all_parts():
        key = data_title(folder), next(iter(distinct(part, 'data_fingerprint')), '')
        for method in samples(folder, part):
            if method == 'original': continue
            of = part[(part.method == method) & ~is_failed(part)]
            length = max((sum(epochs) for epochs, _ in lengths(of)), default=0), of.latent.fillna(0).max()
            best = found.setdefault(key, {}).get(method)
            if best is None or length > best[0]: found[key][method] = length, folder, part
    return found

def page(files:dict) -> Page:
    "The gallery of all data sets."
    entries, parts = _entries(), []
    titles = [title for title, _ in entries]
    for n, ((title, _), methods) in enumerate(entries.items(), 1):
        shown = []
        order = sorted(methods, key=is_reference)
        for method in order:
            _, folder, rows = methods[method]
            latent = rows[rows.method == method].latent.dropna()
            numbers = f'{plural(int(latent.iloc[0]), "number")} · ' if len(latent) and not is_reference(method) else ''
            shown.append((name_html(rows, method), numbers + figures(rows, method),
                          method_label(rows, method), samples(folder, rows)[method]))
        folder = methods[order[0]][1]
        parts += [f'## {title if titles.count(title) == 1 else title_of(folder)}', grid(folder, shown, f'g{n}', files)]
    lead = ('The first test images of each data set, as each method copies them. A click or Enter opens a copy beside its original, '
            'Escape closes it. Of several trainings of a method the longest is shown, and of its seeds '
            'the first; figures are means over seeds.')
    return index_page(PATH, 'Gallery', lead, *parts, wide=True)
