"""One card a technique: what it does, why, a picture, what it was measured to be worth, and how to use it.

The words and the picture are taken from the technique's own notebook, the figures from results/; nothing is written here a second time.
"""
import html
import re

import pandas as pd

from aebench.registry import METHODS, Method
from aebench.report.rows import data_label, groups, length_text, lengths, missing, read_rows, trained
from aebench.report.statistics import differences
from aebench.report.tables import MEASURES
from links import result_folders
from notebook_to_markdown import maths, outputs
from pages import Page, SiteError, index_page, markdown_table

PARTS = ('Why', 'Suggested values', 'Goes with', 'Known failures', 'Source') # Each in bold, with a full stop, at the beginning of a paragraph

def section_of(notebook:dict, heading:str) -> list[dict]:
    "The cells of `notebook` from its heading whose anchor is `heading` to the next of that level; all of them for ''."
    if not heading: return notebook['cells']
    found, inside = [], False
    for cell in notebook['cells']:
        text = ''.join(cell['source'])
        titles = re.findall(r'^## +(.+)$', text, re.M) if cell['cell_type'] == 'markdown' else []
        if titles: inside = any(anchor_of(t) == heading for t in titles)
        if inside: found.append(cell)
    return found

def anchor_of(title:str) -> str:
    "As Python-Markdown makes it of a heading."
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', title.lower()).strip())

def parts_of(cells:list[dict]) -> dict[str, str]:
    "The paragraphs' parts that begin with a bold name of `PARTS`."
    text = '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    found = {}
    for m in re.finditer(r'\*\*(' + '|'.join(PARTS) + r')\.\*\*\s*(.*?)(?=\s*\*\*(?:' + '|'.join(PARTS) + r')\.\*\*|\n\n|\Z)', text, re.S):
        found.setdefault(m[1], m[2].strip())
    return found

def first_picture(cells:list[dict], page:Page, link) -> str: # '' where there is none
    code = [o for o in cells if o['cell_type'] == 'code']
    return next((o for cell in code for o in outputs(cell, page, link) if o.startswith('<img')), '')

# ---- what was measured

def _change(rows:pd.DataFrame, method:str, measure:str) -> str:
    "How `method` differs from the baseline, and whether that holds among all comparisons of `rows`."
    m = MEASURES[measure]
    means = rows.groupby('method')[measure].mean()
    if missing(means[method]) or missing(means['baseline']): return 'n/a'
    text = f'{means[method]/means["baseline"] - 1:+.0%}' if m.ratio else f'{100*(means[method] - means["baseline"]):+.1f} points'
    found = next((d for d in differences(rows, measure, m.ratio) if {d.a, d.b} == {method, 'baseline'}), None)
    return text.replace('-', '−') + (' (holds)' if found is not None and found.holds else '')

def _shown(rows:pd.DataFrame, measure:str) -> str: return 'n/a' if missing(rows[measure].mean()) else MEASURES[measure].show(rows[measure].mean())

def measured(method:Method) -> pd.DataFrame: # Indexed by the folder's name
    "The method beside the baseline, a line for each comparison in results/."
    lines = []
    for folder in result_folders():
        for title, part in groups(read_rows(folder)):
            rows = trained(part)
            own, base = rows[rows.method == method.name], rows[rows.method == 'baseline']
            if own.empty or base.empty: continue
            line = dict(Comparison=folder.name, Data=data_label(part), Training=length_text(lengths(own)[0]), Settings=title, Seeds=own.seed.nunique(), MSE=_shown(own, 'mse'), Accuracy=_shown(own, 'accuracy'))
            if method.name != 'baseline': line |= {'MSE, change': _change(rows, method.name, 'mse'), 'Accuracy, change': _change(rows, method.name, 'accuracy'), 'Training time': f'×{own.seconds.mean()/base.seconds.mean():.2f}'}
            lines.append(line)
    table = pd.DataFrame(lines)
    return table if table.empty else table.set_index('Comparison').drop(columns=[] if table.Settings.any() else 'Settings')

def card(method:Method, notebooks:dict, lessons:dict, links) -> Page: # Opened notebooks and lessons' titles, by their pages' names
    "The card of `method`. Raises `SiteError` for a method that names no notebook or an unknown lesson, and for a notebook that lacks a part of the card."
    stem, _, heading = method.taught.partition('#')
    if stem not in notebooks or method.lesson not in ('', *lessons):
        raise SiteError(f"The registry doesn't say where {method.name} is taught: give it taught='module#section', and lesson='name' if a tutorial is on it.")
    notebook, title = notebooks[stem], notebooks[stem]['title']
    page = Page(method.card.replace('.html', '.md'), method.label, '', source=notebook['source'])
    link = links.of(notebook['source'], page.path)
    cells = section_of(notebook['json'], heading)
    found = parts_of(cells)
    if lost := [o for o in PARTS if o not in found]: raise SiteError(f'{notebook["source"]}, section «{heading or "all"}»: the card of {method.name} lacks «**{lost[0]}.**».')
    picture = first_picture(cells, page, link)
    if not picture: raise SiteError(f'{notebook["source"]}, section «{heading or "all"}»: the card of {method.name} has no picture.')
    def text(part): return maths(link(found[part]))
    step_by_step = f' **Step by step:** [{lessons[method.lesson]}](../tutorials/{method.lesson}.md).' if method.lesson else ''
    table = measured(method)
    rows = [f'| [{label}](../benchmarks/{label}.md) | ' + ' | '.join(str(o) for o in line) + ' |' for label, line in zip(table.index, table.itertuples(index=False))]
    lines = [f'# {method.label}', f'<p class="lead">{html.escape(method.summary, quote=False)}</p>',
             f'`aebench run --methods {method.name}`', '## Why', text('Why'), picture,
             '## Measured', ('Beside the baseline, in the same run. With several seeds «holds» marks what a paired test finds after correction for many comparisons; one seed can show nothing of the kind. '
              'Times are of one machine each.' if method.name != 'baseline' else 'What the others are compared with.') + ' The first column leads to the whole comparison.',
             '\n'.join(['| Comparison | ' + ' | '.join(table.columns) + ' |', '|' + ' --- |'*(len(table.columns)+1), *rows]) if rows else 'Nothing yet.',
             '## Suggested values', text('Suggested values'), '## Goes with', text('Goes with'), '## Known failures', text('Known failures'), '## Source', text('Source'),
             f'**How it is made:** [{title}](../{stem}.md{"#" + heading if heading else ""}), with its code and its assertions.{step_by_step}']
    page.text = '\n\n'.join(lines) + '\n'
    return page

def index(cards:list[Page]) -> Page:
    "All cards in one table."
    rows = [(f'[{o.title}]({o.path.rpartition("/")[2]})', m.summary) for o, m in zip(cards, METHODS.values())]
    return index_page('techniques/index.md', 'Techniques', 'What each one changes, why, what it was measured to be worth, and how to use it.', markdown_table(('Technique', 'What it changes'), rows),
                      'Two or more at once are written with plus signs, `aebench run --methods pixel_shuffle+feature_loss`; `--design factorial` tries every combination. What trains no network is in [References](../codec/references.md).')
