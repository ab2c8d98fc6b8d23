"""A notebook that nbdev has processed, as a page of Markdown with its pictures beside it."""
import base64
import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import latex2mathml.converter

from links import COLAB, REPOSITORY, ROOT

@dataclass
class Page:
    "One page of the site, before the generator lays it out."
    path:str # Below the site's root, 'tutorials/first_autoencoder.md'
    title:str
    text:str # Markdown
    pictures:dict = field(default_factory=dict) # Path below the site's root → bytes
    source:str = '' # The notebook it was made from, below the project's root
    description:str = ''

class Trouble(Exception):
    "What would be wrong on the site: a picture without words, a link that leads nowhere."

def front_matter(notebook:dict) -> dict:
    "nbdev's title, description and output file."
    raw = next((''.join(c['source']) for c in notebook['cells'] if c['cell_type'] == 'raw'), '')
    joined = re.sub(r'\n +', ' ', raw)  # long values are folded
    return {k: v.strip(' \'"') for k, v in re.findall(r'^([\w-]+): (.*)$', joined, re.M)}

def table_of(heads:tuple, rows:list[tuple]) -> str:
    "A table in Markdown."
    return '\n'.join(f'| {" | ".join(o)} |' for o in [heads, ['---']*len(heads), *rows])

def index_page(path:str, title:str, lead:str, *parts:str) -> Page:
    "A page that leads to others."
    return Page(path, title, '\n\n'.join([f'# {title}', f'<p class="lead">{lead}</p>', *parts]) + '\n')

# ---- maths, without any script: browsers draw MathML themselves

def maths(text:str) -> str:
    "`$…$` and `$$…$$` outside code as MathML."
    def inline(m): return latex2mathml.converter.convert(m[1])
    def block(m): return latex2mathml.converter.convert(m[1].strip(), display='block')
    parts = re.split(r'(```.*?```|`[^`\n]*`)', text, flags=re.S)  # what is code stays as it is
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r'\$\$(.+?)\$\$', block, parts[i], flags=re.S)
        parts[i] = re.sub(r'(?<![\w\\$])\$(?! )([^$\n]+?)(?<! )\$(?![\w$])', inline, parts[i])
    return ''.join(parts)

# ---- cells

MARK = re.compile(r'^#\|\s*([\w-]+):?\s*(.*)$')

def marks(cell:dict) -> dict:
    "The `#|` lines of a cell."
    return {m[1]: m[2].strip(' "\'') for line in ''.join(cell['source']).splitlines() if (m := MARK.match(line))}

def code(cell:dict) -> str:
    "A cell's code without its `#|` lines."
    lines = [line for line in ''.join(cell['source']).splitlines() if not MARK.match(line)]
    return '\n'.join(lines).strip('\n')

def short_types(signature:str) -> str:
    "`torch.nn.modules.module.Module` is read as `Module`."
    return '\n'.join(re.sub(r'\b(?:[a-z_]\w*\.)+([A-Z]\w*)', r'\1', head) + sep + comment
                     for head, sep, comment in (line.partition(' # ') for line in signature.splitlines()))

def symbol(text:str) -> str:
    "What `show_doc` wrote: its heading gets the anchor that links between symbols use, its source link a class."
    text = re.sub(r'^---\n+', '', text)
    source = re.search(r'\[source\]\((\S+?)\)\{.*?\}\n*', text)
    if source: text = text.replace(source[0], '')
    link = f'[source]({source[1]}){{ .source }}\n\n' if source else ''  # apart from the heading, whose text search shows
    def heading(m): return f'{link}{m[1]} `{m[2]}` {{ #{m[2].lower()} data-toc-label="{m[2]}" }}'
    text = re.sub(r'^(#+) (\S+)$', heading, text, count=1, flags=re.M)
    return re.sub(r'(?<=```python\n)(.*?)(?=\n```)', lambda m: short_types(m[1]), text, count=1, flags=re.S)

def table(text:str) -> str:
    "A DataFrame's HTML without its inline style, in a box that scrolls sideways."
    text = re.sub(r'<style.*?</style>', '', text, flags=re.S)
    found = re.search(r'<table.*?</table>', text, re.S)
    if not found: return text
    clean = re.sub(r' (?:border|class|style)="[^"]*"', '', found[0])
    clean = re.sub(r'<th></th>', '<td></td>', clean)  # an empty header says nothing to a screen reader
    clean = re.sub(r'\n\s*', '', clean)
    clean = re.sub(r'<tr>(?:<td></td>)+((?:<th>[^<]*</th>)+)</tr><tr>((?:<th>[^<]*</th>)+)(?:<td></td>)+</tr></thead>', r'<tr>\2\1</tr></thead>', clean)  # the index's names stood in a row of their own
    more = re.search(r'<p>(\d+ rows × \d+ columns)</p>', text)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{clean}</div>' + (f'\n<p class="soft">{more[1]}</p>' if more else '')

def block(text:str, kind:str='text') -> str:
    "A fenced block whose fence is longer than any inside."
    fence = '`'*max(3, 1 + max((len(o) for o in re.findall(r'`+', text)), default=0))
    return f'{fence}{kind}\n{text}\n{fence}'

def picture(path:str, alt:str, root:str) -> str:
    return f'<img src="{root}{path}" alt="{html.escape(alt, quote=True)}" loading="lazy">'

def outputs(cell:dict, page:Page, link:Callable) -> list[str]:
    "What a cell gave, as Markdown; pictures go to `page`."
    found, told = [], marks(cell)
    for o in cell.get('outputs', []):
        data = {k: ''.join(v) if isinstance(v, list) else v for k, v in o.get('data', {}).items() if v}
        if 'image/png' in data:
            if 'fig-alt' not in told: raise Trouble(f'{page.source}: the picture of cell {cell.get("id")} has no words: begin the cell with «#| fig-alt: what is to be seen».')
            name = f'pictures/{Path(page.path).stem}-{len(page.pictures)+1}.png'
            page.pictures[name] = base64.b64decode(data['image/png'])
            found.append(picture(name, told['fig-alt'], '../'*page.path.count('/')))
        elif 'text/markdown' in data:
            text = data['text/markdown']
            found.append(link(symbol(text) if '[source](' in text or text.startswith('---\n') else text))
        elif 'text/html' in data: found.append(table(data['text/html']))
        else:
            text = (data.get('text/plain') or ''.join(o.get('text', ''))).rstrip()
            if not text or re.fullmatch(r'<Figure size .*>|<Axes.*>', text): continue
            found.append(html.escape(text, quote=False) if told.get('echo') == 'false' and '\n' not in text else block(text, '{ .text .output }'))  # a sentence without its code is prose
    return found

def in_order(cells:list[dict], source:str) -> list[dict]:
    "nbdev documents what one cell defines from the last to the first: here in the order of the source."
    text = '\n'.join(''.join(c['source']) for c in json.loads((ROOT/source).read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code')
    def documented(cell): return (m := re.search(r'^show_doc\((?:\w+\.)*(\w+)\)', ''.join(cell['source']), re.M)) and m[1]
    def place(cell): return (m := re.search(rf'^(?:def|class) {documented(cell)}\b', text, re.M)) and m.start() or 0
    return [cell for documents, group in groupby(cells, lambda o: bool(documented(o))) for cell in (sorted(group, key=place) if documents else group)]

def page_of(
    path:Path, # The processed notebook
    page_path:str, # Where it goes
    source:str, # Where it came from
    link:Callable # Rewrites the links of a piece of Markdown
) -> Page:
    "The page of one processed notebook."
    notebook = json.loads(path.read_text(encoding='utf-8'))
    front = front_matter(notebook)
    page = Page(page_path, front.get('title', path.stem), '', source=source, description=html.escape(front.get('description', ''), quote=False))
    parts = [f'# {page.title}', f'<p class="lead">{page.description}</p>'*bool(page.description)]
    if source.startswith('nbs/tutorials/'): parts.append(colab_button(source))
    for cell in in_order(notebook['cells'], source):
        text = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown':
            if 'AUTOGENERATED! DO NOT EDIT!' not in text and not is_badges(text): parts.append(maths(link(text)))
        elif cell['cell_type'] == 'code':
            told = marks(cell)
            if told.get('include') == 'false' or 'hide' in told: continue
            if told.get('echo') != 'false' and (shown := code(cell)): parts.append(block(shown, 'python'))
            if told.get('output') != 'false': parts += outputs(cell, page, link)
    page.text = '\n\n'.join(o.strip() for o in parts if o.strip()) + '\n'
    return page

def is_badges(text:str) -> bool:
    "A cell of nothing but badges: pictures from other hosts, which the site does without."
    return bool(text.strip()) and all(re.fullmatch(r'\[!\[[^\]]*\]\(https?://[^)]*\)\]\([^)]*\)', line.strip()) for line in text.strip().splitlines())

def colab_button(source:str) -> str:
    "Links to a notebook in Colab and in the repository."
    return f'[Open in Colab]({COLAB}{source}){{ .md-button }} [Notebook]({REPOSITORY}/blob/main/{source}){{ .md-button }}'
