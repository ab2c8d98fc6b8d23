"""A notebook that nbdev has processed, as a page of Markdown with its pictures beside it."""
import base64
import html
import json
import re
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import latex2mathml.converter
import yaml

from links import COLAB, REPOSITORY, ROOT
from pages import Page, SiteError, fold, img, inline, lead

def front_matter(notebook:dict) -> dict:
    "nbdev's title, description and output file; {} where there is none."
    raw = next((''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'raw'), '')
    return yaml.safe_load(raw.strip().strip('-')) or {}

# ---- maths, without any script: browsers draw MathML themselves

def maths(text:str) -> str:
    "`$…$` and `$$…$$` outside code as MathML."
    def inline(m): return latex2mathml.converter.convert(m[1])
    # With tabindex it scrolls by keys
    def block(m): return latex2mathml.converter.convert(m[1].strip(), display='block').replace('<math ', '<math tabindex="0" ', 1)
    parts = re.split(r'(```.*?```|`[^`\n]*`)', text, flags=re.S)  # what is code stays as it is
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'\$\$(.+?)\$\$', block, parts[i], flags=re.S)
        parts[i] = re.sub(r'(?<![\w\\$])\$(?! )([^$\n]+?)(?<! )\$(?![\w$])', inline, parts[i])
    return ''.join(parts)

# ---- cells

DIRECTIVE = re.compile(r'^#\|\s*([\w-]+):?\s*(.*)$')

def directives(cell:dict) -> dict:
    "The `#|` lines of a cell: {'echo': 'false'}."
    return {m[1]: m[2].strip(' "\'') for line in ''.join(cell['source']).splitlines() if (m := DIRECTIVE.match(line))}

def code(cell:dict) -> str:
    "A cell's code without its `#|` lines."
    lines = [line for line in ''.join(cell['source']).splitlines() if not DIRECTIVE.match(line)]
    return '\n'.join(lines).strip('\n')

EVENTS = 'after_create:NoneType=None' # fastai gives each callback without its own `__init__` a signature of its 30 events

def short_types(signature:str) -> str:
    "The signature with `Module` in place of `torch.nn.modules.module.Module`, and without the type of what is None by default."
    if EVENTS not in signature: signature = signature.replace(':NoneType=None', '=None')
    return '\n'.join(re.sub(r'\b(?:[a-z_]\w*\.)+([A-Z]\w*)', r'\1', head) + sep + comment
                     for head, sep, comment in (line.partition(' # ') for line in signature.splitlines()))

def symbol(text:str) -> str:
    "What `show_doc` wrote; its heading gets the anchor that links between symbols lead to, its source link a class."
    text = re.sub(r'^---\n+', '', text)
    source = re.search(r'\[source\]\((\S+?)\)\{.*?\}\n*', text)
    if source: text = text.replace(source[0], '')
    link = f'[source]({source[1]}){{ .source }}\n\n' if source else ''  # apart from the heading, whose text search shows
    def heading(m): return f'{link}{m[1]} `{m[2]}` {{ #{m[2].lower()} data-toc-label="{m[2]}" }}'
    text = re.sub(r'^(#+) (\S+)$', heading, text, count=1, flags=re.M)
    text = re.sub(r'(?<=```python\n)(.*?)(?=\n```)', lambda m: short_types(m[1]), text, count=1, flags=re.S)
    return re.sub(r'```python\n.*?\n```\n*', '', text, count=1, flags=re.S) if EVENTS in text else text

def table(text:str) -> str:
    "A DataFrame's HTML without its inline style, in a box that scrolls sideways."
    text = re.sub(r'<style.*?</style>', '', text, flags=re.S)
    found = re.search(r'<table.*?</table>', text, re.S)
    if not found: return text
    clean = re.sub(r' (?:border|class|style)="[^"]*"', '', found[0])
    clean = re.sub(r'<th></th>', '<td></td>', clean)  # an empty header says nothing to a screen reader
    clean = re.sub(r'\n\s*', '', clean)
    index_row = r'<tr>(?:<td></td>)+((?:<th>[^<]*</th>)+)</tr><tr>((?:<th>[^<]*</th>)+)(?:<td></td>)+</tr></thead>'
    clean = re.sub(index_row, r'<tr>\2\1</tr></thead>', clean)  # the index's names stand in a row of their own: two rows become one
    more = re.search(r'<p>(\d+ rows × \d+ columns)</p>', text)
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{clean}</div>'
    return f'{box}\n<p class="soft">{more[1]}</p>' if more else box

def block(text:str, kind:str='text') -> str:
    "A fenced block whose fence is longer than any inside."
    fence = '`'*max(3, 1 + max((len(o) for o in re.findall(r'`+', text)), default=0))
    return f'{fence}{kind}\n{text}\n{fence}'

def outputs(cell:dict, page:Page, link:Callable) -> list[str]:
    "The outputs of a cell as Markdown; its pictures are added to `page`. Raises `SiteError` for a picture without a description."
    found = []
    for output in cell.get('outputs', []):
        data = {k: ''.join(v) if isinstance(v, list) else v for k, v in output.get('data', {}).items() if v}
        if 'image/png' in data: found.append(add_picture(data['image/png'], cell, page))
        elif 'text/markdown' in data:
            text = data['text/markdown']
            found.append(link(symbol(text) if '[source](' in text or text.startswith('---\n') else text))
        elif 'text/html' in data: found.append(table(data['text/html']))
        else: found.append(plain_text(data.get('text/plain') or ''.join(output.get('text', '')), cell))
    return [o for o in found if o]

def add_picture(png:str, cell:dict, page:Page) -> str:
    "Add the picture, base64, to `page`; return the tag that shows it."
    alt = directives(cell).get('fig-alt')
    if alt is None:
        raise SiteError(f'{page.source}: the picture of cell {cell.get("id")} has no description: '
                        'begin the cell with «#| fig-alt: what it shows».')
    name = f'pictures/{page.path.removesuffix(".md").replace("/", "-")}-{len(page.pictures)+1}.png'
    page.pictures[name] = base64.b64decode(png)
    return img('../'*page.path.count('/') + name, alt, page.pictures[name])

def plain_text(text:str, cell:dict) -> str:
    "An output block; a single sentence of a cell whose code is not shown is prose; '' for a figure's name."
    text = text.rstrip()
    if not text or re.fullmatch(r'<Figure size .*>|<Axes.*>', text): return ''
    if directives(cell).get('echo') == 'false' and '\n' not in text: return html.escape(text, quote=False)
    return block(text, '{ .text .output }')

def in_order(cells:list[dict], source:str) -> list[dict]:
    "The cells; symbols of one cell, which nbdev documents from the last to the first, in the order of the source."
    notebook = json.loads((ROOT/source).read_text(encoding='utf-8'))
    text = '\n'.join(''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'code')
    def documented(cell): return (m := re.search(r'^show_doc\((?:\w+\.)*(\w+)\)', ''.join(cell['source']), re.M)) and m[1]
    def place(cell): return (m := re.search(rf'^(?:def|class) {documented(cell)}\b', text, re.M)) and m.start() or 0
    grouped = groupby(cells, lambda o: bool(documented(o)))
    return [cell for documents, group in grouped for cell in (sorted(group, key=place) if documents else group)]

def page_of(
    path:Path, # The processed notebook
    page_path:str, # Where it goes
    source:str, # Where it came from
    link:Callable # Rewrites the links of a piece of Markdown
) -> Page:
    "The page of one processed notebook."
    notebook = json.loads(path.read_text(encoding='utf-8'))
    front = front_matter(notebook)
    page = Page(page_path, front.get('title', path.stem), '', source=source, description=inline(front.get('description', '')))
    page.wide = source.startswith('nbs/benchmarks/')
    parts = [f'# {page.title}']
    if page.description: parts.append(lead(page.description))
    if source.startswith('nbs/tutorials/'): parts.append(colab_button(source))
    if source == 'index.ipynb': parts.append(home_buttons())
    for cell in in_order(notebook['cells'], source):
        if cell['cell_type'] == 'markdown': parts.append(prose(cell, link))
        elif cell['cell_type'] == 'code': parts += code_and_outputs(cell, page, link)
    page.text = '\n\n'.join(o.strip() for o in parts if o.strip()) + '\n'
    return page

def prose(cell:dict, link:Callable) -> str:
    text = ''.join(cell['source'])
    return '' if 'AUTOGENERATED! DO NOT EDIT!' in text or is_badges(text) else maths(link(text))

def code_and_outputs(cell:dict, page:Page, link:Callable) -> list[str]:
    "What a reader sees of a code cell, as its directives say."
    options, parts = directives(cell), []
    if options.get('include') == 'false' or 'hide' in options: return parts
    if is_shown(cell): parts.append(block(code(cell), 'python'))
    if options.get('output') != 'false': parts += outputs(cell, page, link)
    return [fold(TEST, *parts)] if is_test(cell, parts, page) else parts

def is_shown(cell:dict) -> bool:
    "Does a reader see the code of this cell?"
    options = directives(cell)
    return 'hide' not in options and 'false' not in (options.get('include'), options.get('echo')) and bool(code(cell))

TEST = 'Test' # What a folded test is called

def is_test(cell:dict, parts:list[str], page:Page) -> bool:
    "Is it code of a module's page that asserts, and draws nothing?"
    in_module = page.source.startswith('nbs/') and page.folder not in ('tutorials', 'benchmarks')
    asserts = re.search(r'^ *(?:assert |test_\w+\(|with (?:ExceptionExpected|expect_fail))', code(cell), re.M)
    return bool(in_module and asserts and is_shown(cell) and not any(o.startswith('<img') for o in parts))

def is_badges(text:str) -> bool:
    "Does the cell hold nothing but badges? They are pictures from other hosts, which the site does without."
    badge = r'\[!\[[^\]]*\]\(https?://[^)]*\)\]\([^)]*\)'
    return bool(text.strip()) and all(re.fullmatch(badge, line.strip()) for line in text.strip().splitlines())

def home_buttons() -> str:
    "Links from the first page to the first lesson in Colab and to the repository."
    first = next(iter(sorted((ROOT/'nbs'/'tutorials').glob('[0-9]*.ipynb')))).relative_to(ROOT).as_posix()
    return f'[First lesson in Colab]({COLAB}{first}){{ .md-button }} [Repository]({REPOSITORY}){{ .md-button }}'

def colab_button(source:str) -> str:
    "Links to a notebook in Colab and in the repository."
    return f'[Open in Colab]({COLAB}{source}){{ .md-button }} [Notebook]({REPOSITORY}/blob/main/{source}){{ .md-button }}'
