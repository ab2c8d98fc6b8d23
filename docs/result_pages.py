"""A page for each folder in results/: what came out, pictures, a table of six columns, and the rest behind a click."""
import html
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import pandas as pd

import aebench.report.page as report_page
import gallery
from aebench.core.text import plural
from aebench.registry import DATA, is_reference
from aebench.report.columns import MEASURES
from aebench.report.facts import disturbed_fact, setup_line
from aebench.report.findings import sentences
from aebench.report.notebooks import first_commands, notebook_name
from aebench.report.page import EFFECT_COLUMNS, SHEETS, effect_lines, latent_table
from aebench.report.rows import distinct, is_failed, references, sweeps, trained
from aebench.report.tables import best, best_value, brief_cells, cells, method_label
from aebench.report.verdicts import sweep_facts
from aebench.run_folder import MODEL, REPORT_HTML, RESULTS_CSV
from comparisons import commands_again, name_html, numbers_of, parts_of, rows_of, seeds_of, title_of, wrapped
from guide_pages import heading
from links import COLAB, REPOSITORY
from pages import Page, figure, fold, html_table, index_page, items, lead, table_of_pages, text_table

CHART = 'tradeoff' # The one that stands open
SAID = 3 # Sentences below a table; the rest is behind a click

# ---- tables

def cell_html(cell, whole:bool=True) -> str: # A `tables.Cell`
    "The figure, bold where it is the best, with its spread; `whole`: with its interval as well."
    text = html.escape(cell.text)
    if cell.best: text = f'<strong>{text}</strong>'
    doubt = [f'± {cell.spread}' if cell.spread else '', cell.bounds if whole else '']
    return f'<td>{text}{"".join(f"<br><small>{html.escape(o)}</small>" for o in doubt if o)}</td>'

def main_table(rows:pd.DataFrame, found:dict, methods:list, label:str) -> str:
    "The table of the columns that matter most; `found` is what `brief_cells` gives."
    lines = [(name_html(rows, m), ''.join(cell_html(o, whole=False) for o in found[m].values())) for m in methods]
    return html_table(label, ['Method', *map(heading, found[methods[0]])], lines)

def again(rows:pd.DataFrame, folder:str, method:str, of:dict) -> str:
    "A cell that leads to a notebook with the settings of a method's first run."
    if method not in of: return '<td></td>'
    in_colab = of[method]['data'] in DATA  # Colab can fetch only known data sets
    link, text = (COLAB, 'Colab') if in_colab else (f'{REPOSITORY}/blob/main/', 'notebook')
    path = f'results/{folder}/report/notebooks/{notebook_name(of[method]["run"])}'
    return f'<td><a href="{link}{path}" aria-label="{html.escape(method_label(rows, method))}, again: {text}">{text}</a></td>'

def whole_table(rows:pd.DataFrame, found:dict, folder:str) -> str:
    commands = first_commands(rows)
    lines = [(name_html(rows, m), ''.join(map(cell_html, of.values())) + again(rows, folder, m, commands)) for m, of in found.items()]
    return html_table('All columns', ['Method', *map(heading, next(iter(found.values()))), 'Again'], lines)

# ---- the page

def copied_report(folder:Path) -> tuple[dict[str, bytes], dict]: # Path below the site's root → content; runs → what is said of them
    "The report of `folder` as `aebench report` writes it, made from a copy, and its sentences, which take as long as its pictures."
    said = {}
    def heard(rows, *_, **__):
        said[tuple(rows.run)] = found = sentences(rows, folder)  # the commands in it name the folder, not its copy
        return found
    with tempfile.TemporaryDirectory() as tmp, patch.object(report_page, 'sentences', heard):
        copy = Path(tmp)/folder.name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(MODEL))
        report_page.make_report(copy)
        paths = [copy/REPORT_HTML, copy/RESULTS_CSV, *sorted((copy/'report').rglob('*.*'))]
        return {f'benchmarks/{folder.name}/{o.relative_to(copy)}': o.read_bytes() for o in paths}, said

def sheet(folder:Path, name:str, i:int, copied:dict) -> str: # Of the `i`-th group; '' where the report has none
    path = f'{folder.name}/report/{name if i == 1 else f"{name}-{i}"}.png'
    png = copied.get(f'benchmarks/{path}')
    return figure(path, SHEETS[name], png) if png and name in SHEETS else ''

def sweep_parts(folder:Path, rows:pd.DataFrame, copied:dict) -> list[str]:
    parts = []
    for i, (title, part) in enumerate(sweeps(rows), 1):
        parts += [f'## What fewer numbers cost{": " + title if title else ""}', items(sweep_facts(part)),
                  sheet(folder, 'latent', i, copied)]
    return parts

# `said` as `sentences` gives it
def group_parts(folder:Path, i:int, title:str, rows:pd.DataFrame, said, copied:dict, files:dict) -> list[str]:
    "One comparison of a folder: what came out, its pictures, its table; behind clicks whatever else was measured."
    found, short = cells(rows, best(rows)), brief_cells(rows, best(rows))
    networks = [m for m in found if not is_reference(m) or m in ('original', f'pca-{numbers_of(rows)}')]
    others = [m for m in found if m not in networks]
    apart = len(others) > 3 and (len(networks) > 4 or bool(title))
    told = [*said.failures, *filter(None, [disturbed_fact(trained(rows))]), *said.verdicts]
    parts = [f'## {title[0].upper()}{title[1:]}'] if title else []
    pictures = gallery.of_part(folder, rows, f's{i}', files, references=not apart)
    parts += [lead(html.escape(said.headline, quote=False)), f'<p class="soft">{html.escape(setup_line(rows))}</p>']
    if not title: parts.append(pictures)
    parts += [main_table(rows, short, networks if apart else list(found), 'Results'), items(told[:SAID])]
    if apart: parts.append(fold('What trains no network', main_table(rows, short, others, 'References')))
    if title and pictures: parts.append(fold('Pictures', pictures))
    if said.effects:
        effects = text_table('Effects', ('Effect', *map(heading, EFFECT_COLUMNS)),
                             [(o['term'], o['cells']) for o in effect_lines(said.effects)])
        parts.append(fold('What each technique is worth', effects, sheet(folder, 'effects', i, copied), items(said.effect_words)))
    parts.append(sheet(folder, CHART, i, copied) if not title else '')
    shown = {*told[:SAID], *(said.effect_words if said.effects else ())}
    rest = {'All columns': [whole_table(rows, found, folder.name)],
            **drawn_parts(folder, i, bool(title), copied), 'The latent': latent_parts(rows),
            'How it was measured': [items(o for o in said if o not in shown)]}
    rest = {name: of for name, of in rest.items() if of}
    if title: return parts + [fold('All columns, curves, and how it was measured',
                                   *(o for name, of in rest.items() for o in (f'**{name}**', *of)))]
    return parts + [fold(name, *of) for name, of in rest.items()]

def drawn_parts(folder:Path, i:int, all_of_them:bool, copied:dict) -> dict[str, list]: # `all_of_them`: also what otherwise stands above
    def sheets(*names): return [o for name in names if (o := sheet(folder, name, i, copied))]
    curves = ('curves', 'lr_find')
    above = ('latent', 'samples', 'effects', *(() if all_of_them else (CHART,)))
    return {'Training curves': sheets(*curves), 'Bytes, sizes, parameters': sheets(*(o for o in SHEETS if o not in (*curves, *above)))}

def latent_parts(rows:pd.DataFrame) -> list[str]:
    latent = latent_table(rows)
    if not latent: return []
    return [text_table('The latent', ('Method', *map(heading, latent['columns'])), [(o['label'], o['cells']) for o in latent['lines']])]

def page_of(folder:Path) -> tuple[Page, dict]: # With what is copied beside it: path below the site's root → file or bytes
    "The page of one folder of results."
    rows, name = rows_of(folder), folder.name
    page = Page(f'benchmarks/{name}.md', title_of(folder), '', source=f'results/{name}', wide=True)
    copied, said = copied_report(folder)
    files = dict(copied)
    compared = [(i, title, part, said[tuple(part.run)]) for i, (title, part) in enumerate(parts_of(folder), 1)]
    compared.sort(key=lambda o: numbers_of(o[2]))
    page.description = html.escape(compared[0][3].headline, quote=False)
    parts = [f'# {page.title}', *sweep_parts(folder, rows, copied)]
    for i, title, part, said in compared: parts += group_parts(folder, i, title, part, said, copied, files)
    commands = commands_again(rows)
    needs = '' if next(iter(distinct(rows, 'data'))) in DATA else ' `FOLDER` is a folder with these images.'
    made = plural(len(rows) - int((rows.method == 'original').sum()), 'run')
    parts += ['## Make it again',
              f'{"This command makes" if len(commands) == 1 else "These commands make"} {made} and the report; '
              f'runs that are there are not made again.{needs}',
              *(f'```bash\n{wrapped(o)}\n```' for o in commands),
              f'[The whole report]({name}/report.html), as `aebench report` writes it · [all columns]({name}/results.csv) as CSV · '
              f'[results/{name}]({REPOSITORY}/tree/main/results/{name}), each run with its own command, settings, versions and curves.']
    page.text = '\n\n'.join(filter(None, parts)) + '\n'
    return page, files

# ---- the index

def best_text(rows:pd.DataFrame, measure:str) -> str:
    "The best network by a measure with its figure; ties are named together."
    found = best_value(rows).get(measure) or (distinct(trained(rows), 'method') if trained(rows).method.nunique() == 1 else [])
    values = rows[rows.method.isin(found)][measure].dropna()
    if not found or values.empty: return 'n/a'
    return f'{html.escape(", ".join(method_label(rows, o) for o in found))}<br><small>{MEASURES[measure].brief(values.mean())}</small>'

def index_line(page:Page, folder:Path, files:dict) -> tuple[str, str]:
    parts = [part for _, part in parts_of(folder)]
    rows = max(parts, key=lambda o: (numbers_of(o), -trained(o).mse.min()))
    shown = (best_value(rows).get('mse') or distinct(trained(rows), 'method')
             or distinct(rows[references(rows) & ~is_failed(rows)], 'method')[-1:])[:1]
    png = next((o for m in shown if (o := gallery.thumbnail(folder, rows, m))), b'')
    path = f'pictures/benchmarks-{folder.name}.png'
    if png: files[path], page.face = png, path
    alt = f'Test images above, copies by {html.escape(method_label(rows, shown[0]))} below'
    image = f'<img class="thumb" src="../{path}" alt="{alt}" loading="lazy">' if png else ''
    sizes = sorted({numbers_of(o) for o in parts} - {0})
    numbers = f'{sizes[0]:,}' if len(sizes) == 1 else f'{sizes[0]:,} to {sizes[-1]:,}' if sizes else 'n/a'
    by = ''.join(f'<td>{best_text(rows, o)}</td>' for o in ('mse', 'accuracy'))
    link = f'<a href="{page.file.replace(".md", ".html")}">{html.escape(page.title)}</a>'
    return link, f'<td>{image}</td><td>{seeds_of(rows) or "n/a"}</td><td>{numbers}</td>{by}'

def index(pages:list[Page], others:list[Page], folders:list[Path], files:dict) -> Page:
    "The comparisons in one table, and the pages of measurements."
    about = 'Every figure here was computed from the runs in <code>results/</code>; none was typed.'
    lines = [index_line(o, folder, files) for o, folder in zip(pages, folders)]
    heads = 'Comparison', 'Copies', 'Seeds', '<abbr title="Numbers in the latent">Numbers</abbr>', 'Best by MSE', 'Best by accuracy'
    table = html_table('Comparisons', heads, lines, 'scroll comparisons')
    note = ('Of several lengths of the latent the longest is shown, of several trainings the one with the lowest error. '
            'With one seed a difference may be chance: [how to read the figures](../guide/reading.md).')
    doors = '[Leaderboard](leaderboard.md){ .md-button } [Gallery](gallery.md){ .md-button }'
    measured = table_of_pages(('Page', 'What it measures'), others)
    return index_page('benchmarks/index.md', 'Benchmarks', about, doors,
                      '## Comparisons', table, note, '## Measured beside them', measured, wide=True)
