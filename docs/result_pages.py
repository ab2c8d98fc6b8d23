"""A page for each folder in results/: its table, what may be said of it, its pictures, and how to make each line again."""
import html
import re
import shutil
import tempfile
from pathlib import Path

import pandas as pd

from aebench.report.findings import sentences
from aebench.report.verdicts import sweep_facts
from aebench.report.notebooks import first_commands, notebook_name
from aebench.registry import DATA, find_method
from aebench.report.page import EFFECT_COLUMNS, SHEETS, effect_lines, latent_table, make_report
from aebench.report.rows import data_label, distinct, groups, lengths, read_rows, sweeps
from aebench.report.tables import best, cells, method_label, published_as
from links import COLAB, REPOSITORY
from pages import Page, index_page, table_of_pages

def figure(src:str, alt:str) -> str:
    return f'<figure markdown="0"><img src="{src}" alt="{alt}" loading="lazy"><figcaption>{alt}</figcaption></figure>'

def items(sentences:list[str]) -> str:
    "Sentences as a list; a command at a sentence's end is set as code."
    return '\n'.join('- ' + re.sub(r'aebench run --.*$', r'`\g<0>`', html.escape(o, quote=False)) for o in sentences)

def title_of(rows:pd.DataFrame) -> str:
    "Data and epochs; a folder of images that copies a known data set is called after that."
    data = next(iter(distinct(rows, 'data')))
    copied = published_as(data) if data not in DATA else ''
    if copied:
        name = Path(str(data)).name
        label = f'{DATA[copied].label} from image files' + ('' if name == copied else f' ({name})')
    else: label = data_label(rows)
    epochs = sorted({sum(epochs) for epochs, seconds in lengths(rows) if not seconds})
    if not epochs: return f'{label}, references alone, {" and ".join(f"{o}×{o}" for o in distinct(rows, "size"))} pixels'
    parts = [label, f'{" and ".join(map(str, epochs))} epochs']
    latents = {int(o) for o in rows.latent[rows.seed.notna()].dropna()}
    if len(latents) > 2: parts.append(f'{len(latents)} latent sizes')
    if any('+' in o for o in rows.method): parts.append('techniques crossed')
    return ', '.join(parts)

# ---- tables

def html_table(label:str, columns, lines) -> str:
    "A table that scrolls sideways by itself; a line is its heading and its cells, in HTML."
    head = ''.join(f'<th scope="col">{html.escape(c)}</th>' for c in columns)
    body = ''.join(f'<tr><th scope="row">{heading}</th>{of}</tr>' for heading, of in lines)
    table = f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">{table}</div>'

def text_table(label:str, columns, lines) -> str:
    "The same for a heading and cells that are text."
    return html_table(label, columns, [(html.escape(heading), ''.join(f'<td>{html.escape(o)}</td>' for o in of)) for heading, of in lines])

def cell_html(cell) -> str: # A `tables.Cell`
    "The figure, bold where it is the best, with its spread and interval below it."
    text = html.escape(cell.text)
    if cell.best: text = f'<strong>{text}</strong>'
    doubt = [f'± {cell.spread}' if cell.spread else '', cell.bounds]
    return f'<td>{text}{"".join(f"<br><small>{html.escape(o)}</small>" for o in doubt if o)}</td>'

def comparison_table(rows:pd.DataFrame, folder:str) -> str:
    "The comparison: a method's name leads to its card, the last column to a notebook with that row's settings."
    found, again = cells(rows, best(rows)), first_commands(rows)
    def name(method):
        known, label = find_method(method), html.escape(method_label(rows, method))
        return f'<a href="../{known.card}">{label}</a>' if known and known.card else label
    def notebook(method):
        if method not in again: return '<td></td>'
        in_colab = again[method]['data'] in DATA  # Colab can fetch known data sets alone
        link, text = (COLAB, 'Colab') if in_colab else (f'{REPOSITORY}/blob/main/', 'notebook')
        path = f'results/{folder}/report/notebooks/{notebook_name(again[method]["run"])}'
        return f'<td><a href="{link}{path}" aria-label="{html.escape(method_label(rows, method))}, again: {text}">{text}</a></td>'
    lines = [(name(method), ''.join(map(cell_html, of.values())) + notebook(method)) for method, of in found.items()]
    return html_table('Results', ['Method', *next(iter(found.values())), 'Again'], lines)

# ---- the page

def copied_report(folder:Path) -> dict[str, bytes]: # Path below the site's root → content
    "The report of `folder` as `aebench report` writes it, made from a copy."
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns('model.safetensors'))
        make_report(copy)
        paths = [copy/'report.html', copy/'results.csv', *sorted((copy/'report').rglob('*.*'))]
        return {f'benchmarks/{folder.name}/{o.relative_to(copy)}': o.read_bytes() for o in paths}

def sheet_path(folder:Path, name:str, i:int) -> str: # Of the `i`-th group, from the page
    return f'{folder.name}/report/{name if i == 1 else f"{name}-{i}"}.png'

def sweep_parts(folder:Path, rows:pd.DataFrame) -> list[str]:
    parts = []
    for i, (title, part) in enumerate(sweeps(rows), 1):
        heading = f'## What fewer numbers cost{": " + title if title else ""}'
        parts += [heading, items(sweep_facts(part)), figure(sheet_path(folder, 'latent', i), SHEETS['latent'])]
    return parts

def group_parts(folder:Path, i:int, title:str, rows:pd.DataFrame, said, copied) -> list[str]: # `said` as `sentences` gives it
    "One comparison of a folder: its table, what may be said of it, its pictures."
    parts = [f'## {title}'] if title else []
    parts += [f'<p class="lead">{html.escape(said.headline, quote=False)}</p>', comparison_table(rows, folder.name), items(said)]
    if said.effects:
        parts.append(text_table('Effects', ('Effect', *EFFECT_COLUMNS), [(o['term'], o['cells']) for o in effect_lines(said.effects)]))
    if latent := latent_table(rows):
        parts += ['What the latents are good for, and what they take when they are rounded and coded:',
                  text_table('The latent', ('Method', *latent['columns']), [(o['label'], o['cells']) for o in latent['lines']])]
    shown = {name: sheet_path(folder, name, i) for name in SHEETS if name != 'latent'}
    return parts + [figure(path, SHEETS[name]) for name, path in shown.items() if f'benchmarks/{path}' in copied]

def page_of(
    folder:Path,
    files:dict # Receives what is copied: path below the site's root → file or bytes
) -> Page:
    "The page of one folder of results."
    rows, name = read_rows(folder), folder.name
    page = Page(f'benchmarks/{name}.md', title_of(rows), '', source=f'results/{name}')
    copied = copied_report(folder)
    files |= copied
    compared = [(title, part, sentences(part, folder)) for title, part in groups(rows)]
    leads = [html.escape(f'{title}: {said.headline}' if title else said.headline, quote=False) for title, _, said in compared]
    page.description = ' '.join(leads)
    parts = [f'# {page.title}', *sweep_parts(folder, rows)]
    for i, (title, part, said) in enumerate(compared, 1): parts += group_parts(folder, i, title, part, said, copied)
    parts += ['## Make it again',
              f'[The whole report]({name}/report.html), as `aebench report` writes it; [all columns]({name}/results.csv) as CSV. '
              f'Each run stands in [results/{name}]({REPOSITORY}/tree/main/results/{name}) with its settings, versions and curves.',
              '```bash\n' + '\n'.join(distinct(rows, 'command')) + '\n```']
    page.text = '\n\n'.join(parts) + '\n'
    return page

def index(pages:list[Page], others:list[Page]) -> Page:
    "Pages of measurements, and the comparisons in one table."
    lead = 'Every figure here was computed from the runs in <code>results/</code>; none was typed.'
    listed = '\n'.join(f'- [{o.title}]({o.file}): {o.description}' for o in others)
    return index_page('benchmarks/index.md', 'Benchmarks', lead, listed, '## Comparisons', table_of_pages(('Comparison', 'What came out'), pages))
