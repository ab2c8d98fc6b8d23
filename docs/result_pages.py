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
from pages import Page, index_page, markdown_table, table_of_pages

def figure(src:str, alt:str) -> str: return f'<figure markdown="0"><img src="{src}" alt="{alt}" loading="lazy"><figcaption>{alt}</figcaption></figure>'

def items(sentences:list[str]) -> str:
    "Sentences as a list; a command at a sentence's end is set as one."
    return '\n'.join('- ' + re.sub(r'aebench run --.*$', r'`\g<0>`', html.escape(o, quote=False)) for o in sentences)

def title_of(rows:pd.DataFrame) -> str:
    "Data and epochs; a folder that copies a known data set is called after that."
    data = next(iter(distinct(rows, 'data')))
    copied = published_as(data) if data not in DATA else ''
    name = Path(str(data)).name
    label = f'{DATA[copied].label} from image files' + f' ({name})'*(name != copied) if copied else data_label(rows)
    epochs = sorted({sum(epochs) for epochs, seconds in lengths(rows) if not seconds})
    latents = {int(o) for o in rows.latent[rows.seed.notna()].dropna()}
    if not epochs: return f'{label}, references alone, {" and ".join(f"{o}×{o}" for o in distinct(rows, "size"))} pixels'
    return f'{label}, {" and ".join(map(str, epochs))} epochs' + (f', {len(latents)} latent sizes' if len(latents) > 2 else '') + (', techniques crossed' if any('+' in o for o in rows.method) else '')

def table(rows:pd.DataFrame, folder:str) -> str:
    "The comparison as HTML: each method's name leads to its card, the last column to a notebook with that row's settings."
    found = cells(rows, best(rows))
    def cell(o): return f'<td>{"<strong>"*o.best}{html.escape(o.text)}{"</strong>"*o.best}' + ''.join(f'<br><small>{html.escape(text)}</small>' for text in (f'± {o.spread}'*bool(o.spread), o.bounds) if text) + '</td>'
    def name(method):
        known = find_method(method)
        label = html.escape(method_label(rows, method))
        return f'<a href="../{known.card}">{label}</a>' if known and known.card else label
    again = first_commands(rows)
    def notebook(method):
        if method not in again: return '<td></td>'
        here = again[method]['data'] in DATA  # what Colab can fetch
        link, what = (COLAB, 'Colab') if here else (f'{REPOSITORY}/blob/main/', 'notebook')
        return f'<td><a href="{link}results/{folder}/report/notebooks/{notebook_name(again[method]["run"])}" aria-label="{html.escape(method_label(rows, method))}, again: {what}">{what}</a></td>'
    return _scrolling('Results', ['Method', *next(iter(found.values())), 'Again'], [(name(method), "".join(map(cell, of.values())) + notebook(method)) for method, of in found.items()])

def _scrolling(label:str, columns, lines) -> str: # Lines are a heading and cells, in HTML
    head, body = ''.join(f'<th scope="col">{html.escape(c)}</th>' for c in columns), ''.join(f'<tr><th scope="row">{name}</th>{of}</tr>' for name, of in lines)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

def _canonical(label:str, columns, lines) -> str: # Lines are a heading and cells, as text
    return _scrolling(label, columns, [(html.escape(name), ''.join(f'<td>{html.escape(o)}</td>' for o in of)) for name, of in lines])

def page_of(folder:Path, files:dict) -> Page: # `files` gets what is copied: path below the site's root → file or bytes
    "The page of one folder of results, with its report as `aebench report` writes it."
    rows = read_rows(folder)
    page = Page(f'benchmarks/{folder.name}.md', title_of(rows), '', source=f'results/{folder.name}')
    with tempfile.TemporaryDirectory() as tmp:
        copy = Path(tmp)/folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns('model.safetensors'))
        make_report(copy)
        for path in [copy/'report.html', copy/'results.csv', *sorted((copy/'report').rglob('*.*'))]: files[f'benchmarks/{folder.name}/{path.relative_to(copy)}'] = path.read_bytes()
    parts = [f'# {page.title}']
    for i, (title, part) in enumerate(sweeps(rows), 1):
        name = f'{folder.name}/report/{"latent" if i == 1 else f"latent-{i}"}.png'
        parts += [f'## What fewer numbers cost{": " + title if title else ""}', items(sweep_facts(part)), figure(name, SHEETS['latent'])]
    parted = [(title, part, sentences(part, folder)) for title, part in groups(rows)]
    leads = [html.escape(said.headline, quote=False) for *_, said in parted]
    page.description = ' '.join(f'{html.escape(title, quote=False)}: {lead}' if title else lead for (title, *_), lead in zip(parted, leads))
    for i, ((title, part, said), lead) in enumerate(zip(parted, leads), 1):
        if title: parts.append(f'## {title}')
        parts += [f'<p class="lead">{lead}</p>', table(part, folder.name), items(said)]
        if said.effects: parts.append(_canonical('Effects', ('Effect', *EFFECT_COLUMNS), [(o['term'], o['cells']) for o in effect_lines(said.effects)]))
        if latent := latent_table(part): parts += ['What the latents are good for, and what they take when they are rounded and coded:', _canonical('The latent', ('Method', *latent['columns']), [(o['label'], o['cells']) for o in latent['lines']])]
        for name, alt in SHEETS.items():
            path = f'{folder.name}/report/{name if i == 1 else f"{name}-{i}"}.png'
            if name != 'latent' and f'benchmarks/{path}' in files: parts.append(figure(path, alt))
    commands = distinct(rows, 'command')
    parts += ['## Make it again', f'[The whole report]({folder.name}/report.html), as `aebench report` writes it; [all columns]({folder.name}/results.csv) as CSV. Each run stands in [results/{folder.name}]({REPOSITORY}/tree/main/results/{folder.name}) with its settings, versions and curves.',
              '```bash\n' + '\n'.join(commands) + '\n```']
    page.text = '\n\n'.join(parts) + '\n'
    return page

def index(pages:list[Page], others:list[Page]) -> Page:
    def link(o): return f'[{o.title}]({Path(o.path).name})'
    return index_page('benchmarks/index.md', 'Benchmarks', 'Every figure here was computed from the runs in <code>results/</code>; none was typed.', '\n'.join(f'- {link(o)}: {o.description}' for o in others),
                      '## Comparisons', markdown_table(('Comparison', 'What came out'), [(link(o), o.description) for o in pages]))
