"""One card a technique: what it does, why, a picture, what it was measured to be worth, and how to use it.

Words and picture come from the technique's own notebook, figures from results/: nothing is written a second time.
"""
import html
import re
from pathlib import Path

import pandas as pd

from aebench.registry import METHODS, Method
from aebench.report.rows import length_text, lengths, missing, trained
from aebench.report.tables import MEASURES
from comparisons import all_parts, tests_of, title_of
from guide_pages import heading
from links import Links
from notebook_to_markdown import maths, outputs
from pages import Page, SiteError, html_table, index_page, lead, markdown_table

PARTS = ('Why', 'Suggested values', 'Goes with', 'Known failures', 'Source') # Each begins a paragraph, in bold and with a full stop

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
    "The anchor that Python-Markdown makes of a heading."
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', title.lower()).strip())

def parts_of(cells:list[dict]) -> dict[str, str]:
    "What follows each bold name of `PARTS`, to the next or to the paragraph's end."
    text = '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')
    found = {}
    name = rf'\*\*({"|".join(PARTS)})\.\*\*'
    for m in re.finditer(rf'{name}\s*(.*?)(?=\s*{name}|\n\n|\Z)', text, re.S): found.setdefault(m[1], m[2].strip())
    return found

def first_picture(cells:list[dict], page:Page, link) -> str: # '' where there is none
    code = [o for o in cells if o['cell_type'] == 'code']
    return next((o for cell in code for o in outputs(cell, page, link) if o.startswith('<img')), '')

# ---- what was measured

def _change(folder:Path, title:str, rows:pd.DataFrame, method:str, measure:str) -> str:
    "How `method` differs from the baseline; «(holds)» where a paired test finds it among all that are compared."
    m, means = MEASURES[measure], rows.groupby('method')[measure].mean()
    own, base = means[method], means['baseline']
    if missing(own) or missing(base): return 'n/a'
    text = f'{own/base - 1:+.0%}' if m.ratio else f'{100*(own - base):+.1f} points'
    found = next((d for d in tests_of(folder, title, measure) if {d.a, d.b} == {method, 'baseline'}), None)
    return text.replace('-', '−') + (' (holds)' if found and found.holds else '')

def _mean(rows:pd.DataFrame, measure:str) -> str:
    mean = rows[measure].mean()
    return 'n/a' if missing(mean) else MEASURES[measure].brief(mean)

def _measured_line(name:str, folder:Path, title:str, part:pd.DataFrame) -> dict: # {} where a comparison lacks the method or the baseline
    "A method beside the baseline in one comparison."
    rows = trained(part)
    own, base = rows[rows.method == name], rows[rows.method == 'baseline']
    if own.empty or base.empty: return {}
    shared = set(own.seed) & set(base.seed)
    if shared: rows, own, base = (o[o.seed.isin(shared)] for o in (rows, own, base))
    beside = name != 'baseline'
    def figure(measure): return dict(mean=_mean(own, measure), change=_change(folder, title, rows, name, measure) if beside else '')
    line = dict(folder=folder, settings=', '.join(filter(None, (title, length_text(lengths(own)[0])))), seeds=own.seed.nunique(),
                mse=figure('mse'), accuracy=figure('accuracy'))
    clock = 'cpu_seconds' if rows.device.eq('cpu').all() and rows.cpu_seconds.notna().all() else 'seconds'
    return line | (dict(time=f'×{own[clock].mean()/base[clock].mean():.2f}') if beside else {})

def measured(method:Method) -> list[dict]:
    "The method beside the baseline, a line for each comparison in results/."
    return [o for folder, title, part in all_parts() if (o := _measured_line(method.name, folder, title, part))]

def _measured_text(method:Method) -> str:
    lines = measured(method)
    if not lines: return 'Nothing yet.'
    def name(o):
        return (f'<a href="../benchmarks/{o["folder"].name}.html">{html.escape(title_of(o["folder"]))}</a><br>'
                f'<small>{html.escape(o["settings"])}</small>')
    def cell(o): return f'<td>{o["mean"]}<br><small>{o["change"]}</small></td>'
    def cells(o): return f'<td>{o["seeds"]}</td>{cell(o["mse"])}{cell(o["accuracy"])}' + (f'<td>{o["time"]}</td>' if 'time' in o else '')
    heads = ['Comparison', 'Seeds', *(heading(MEASURES[o].title) for o in ('mse', 'accuracy')),
             *(['Training time'] if 'time' in lines[0] else [])]
    return html_table('Measured', heads, [(name(o), cells(o)) for o in lines])

# ---- the card

BESIDE = ('Beside the baseline, over the seeds that both have. With several seeds «holds» marks what a paired test finds after correction '
          'for many comparisons; one seed can show nothing of the kind. Times are of one machine each, on a CPU as processor time.')

def card(
    method:Method,
    notebooks:dict, # Opened notebooks by their pages' names
    lessons:dict, # Lessons' titles by their pages' names
    links:Links
) -> Page:
    "The card of `method`. Raises `SiteError` where the method names no notebook, or its notebook lacks a part of the card."
    stem, _, heading = method.taught.partition('#')
    if stem not in notebooks or method.lesson and method.lesson not in lessons:
        raise SiteError(f"The registry doesn't say where {method.name} is taught: "
                        "give it taught='module#section', and as its lesson one that there is.")
    notebook = notebooks[stem]
    page = Page(method.card.replace('.html', '.md'), method.label, '',
                source=notebook['source'], description=html.escape(method.summary, quote=False))
    link = links.of(notebook['source'], page.path)
    cells = section_of(notebook['json'], heading)
    parts, picture = parts_of(cells), first_picture(cells, page, link)
    where = f'{notebook["source"]}, section «{heading or "all"}»: the card of {method.name}'
    if lost := [o for o in PARTS if o not in parts]: raise SiteError(f'{where} lacks «**{lost[0]}.**».')
    if not picture: raise SiteError(f'{where} has no picture.')
    beside = 'What the others are compared with.' if method.name == 'baseline' else BESIDE
    blocks = [f'# {method.label}', lead(html.escape(method.summary, quote=False)), f'`aebench run --methods {method.name}`']
    for part in PARTS:
        blocks += [f'## {part}', maths(link(parts[part]))]
        if part == 'Why':
            blocks += [picture, '## Measured', f'{beside} The first column leads to the whole comparison.', _measured_text(method)]
    taught = f'../{stem}.md' + (f'#{heading}' if heading else '')
    blocks.append(f'**How it is made:** [{notebook["title"]}]({taught}), with its code and its assertions.')
    if method.lesson: blocks[-1] += f' **Step by step:** [{lessons[method.lesson]}](../tutorials/{method.lesson}.md).'
    page.text = '\n\n'.join(blocks) + '\n'
    return page

def index(cards:list[Page]) -> Page:
    "All cards in one table."
    rows = [(f'[{o.title}]({o.file})', m.summary) for o, m in zip(cards, METHODS.values())]
    about = 'What each one changes, why, what it was measured to be worth, and how to use it.'
    more = ('Two or more at once are written with plus signs, `aebench run --methods pixel_shuffle+feature_loss`; '
            '`--design factorial` tries every combination. What trains no network is in [References](../codec/references.md).')
    return index_page('techniques/index.md', 'Techniques', about, markdown_table(('Technique', 'What it changes'), rows), more)
