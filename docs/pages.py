"""What every maker of pages shares: a page, tables, folds, pictures, and the error that names what would be wrong on the site."""
import html
import io
import json
import posixpath
import re
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

class SiteError(Exception):
    "Something on the site would be wrong: a picture without a description, a link that leads nowhere."

@dataclass
class Page:
    "One page of the site, before the generator lays it out."
    path:str # Below the site's root, 'tutorials/first_autoencoder.md'
    title:str
    text:str # Markdown
    pictures:dict = field(default_factory=dict) # Path below the site's root → bytes
    source:str = '' # The notebook or file it was made from, below the project's root
    description:str = '' # As HTML, in one paragraph
    wide:bool = False # Without the column of contents?
    face:str = '' # Path below the site's root of the picture that stands for the page elsewhere; '': its first

    @property
    def folder(self) -> str: return self.path.rpartition('/')[0]

    @property
    def file(self) -> str: return self.path.rpartition('/')[2]

    def first_picture(self) -> str: # Path below the site's root; '' where there is none
        text = re.sub(r'```.*?```|`[^`\n]*`', '', self.text, flags=re.S)  # what is code shows nothing
        found = re.search(r'<img[^>]*? src="([^"]+\.png)"|!\[[^\]]*\]\(([^)\s]+\.png)', text)
        return posixpath.normpath(posixpath.join(self.folder, found[1] or found[2])) if found else ''

    def with_settings(self) -> str:
        "The page as the generator takes it: its description and its picture, for whoever shares it, before its text."
        about = dict(description=as_text(self.description) or self.title, image=self.face or self.first_picture())
        if self.wide: about['hide'] = ['toc']
        return '---\n' + ''.join(f'{k}: {json.dumps(v)}\n' for k, v in about.items() if v) + f'---\n\n{align_numbers(self.text)}'

# ---- words

def inline(text:str) -> str:
    "Text as HTML, what stands between backticks as code."
    return re.sub(r'`([^`]+)`', r'<code>\1</code>', html.escape(text, quote=False))

def as_text(text:str) -> str:
    "HTML as text, cut after the sentence that goes beyond 160 characters."
    text = re.sub(r'\s+', ' ', html.unescape(re.sub(r'<[^>]+>', '', text))).strip()
    found = re.match(r'.{160,}?[.;:](?= )', text)
    return found[0] if found else text

def lead(text:str) -> str: return f'<p class="lead">{text}</p>' # HTML

def fold(title:str, *parts:str) -> str:
    "`parts` of Markdown behind one click."
    return '\n\n'.join([f'<details markdown="1"><summary>{title}</summary>', *parts, '</details>'])

def items(sentences) -> str:
    "Sentences as a list; a command at a sentence's end is set as code."
    return '\n'.join('- ' + re.sub(r'aebench run --.*$', r'`\g<0>`', html.escape(o, quote=False)) for o in sentences)

# ---- tables

FIGURE = re.compile(r'\W*(?:(?:PCA-|[+−×])?[\d.]+[\d.,]*.{0,14}|n/a|)\W*') # Of a table; may be bold, and have a unit or a spread

def align_numbers(text:str) -> str:
    "Markdown whose tables have columns of figures on the right; what is code stays."
    def cells(line): return [o.strip() for o in re.split(r'(?<!\\)\|', line.strip().strip('|'))]
    def one(m):
        head, rule, *lines = m[0].rstrip('\n').split('\n')
        columns = list(zip(*map(cells, lines)))
        def holds_figures(column): return any(column) and all(FIGURE.fullmatch(o) for o in column)
        figures = [i < len(columns) and holds_figures(columns[i]) for i in range(len(cells(head)))]
        ruled = [('---:' if figure and o == '---' else o) for figure, o in zip(figures, cells(rule))]
        return '\n'.join([head, f'| {" | ".join(ruled)} |', *lines]) + '\n'
    parts = re.split(r'(```.*?\n```)', text, flags=re.S)
    for i in range(0, len(parts), 2): parts[i] = re.sub(r'^\|.*\n\|(?: *:?-+:? *\|)+\n(?:\|.*\n)+', one, parts[i] + '\n', flags=re.M)[:-1]
    return ''.join(parts)

def markdown_table(heads:tuple, rows:list[tuple]) -> str:
    return '\n'.join(f'| {" | ".join(o)} |' for o in [heads, ['---']*len(heads), *rows])

def html_table(label:str, heads, lines, kind:str='scroll') -> str:
    "A table that scrolls sideways by itself; heads, and a line's heading and cells, are HTML."
    head = ''.join(f'<th scope="col">{o}</th>' for o in heads)
    body = ''.join(f'<tr><th scope="row">{heading}</th>{of}</tr>' for heading, of in lines)
    table = f'<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="{kind}" tabindex="0" role="region" aria-label="{label}">{table}</div>'

def text_table(label:str, heads, lines) -> str:
    "The same for heads that are HTML, and a heading and cells that are text."
    return html_table(label, heads, [(html.escape(heading), ''.join(f'<td>{html.escape(o)}</td>' for o in of)) for heading, of in lines])

def index_page(path:str, title:str, lead_text:str, *parts:str, **options) -> Page:
    "A page that leads to others: `parts` of Markdown below a heading and a sentence."
    return Page(path, title, '\n\n'.join([f'# {title}', lead(lead_text), *parts]) + '\n', description=lead_text, **options)

def table_of_pages(heads:tuple, pages:list[Page]) -> str:
    "A line a page of the same folder: its title as a link, and its description."
    return markdown_table(heads, [(f'[{o.title}]({o.file})', o.description.replace('|', '&#124;')) for o in pages])

# ---- pictures

def is_plot(png:bytes) -> bool:
    "Is it a drawing on white, which may be turned dark? Grids of images may not: they would be negatives."
    image = Image.open(io.BytesIO(png)).convert('RGB')
    image.thumbnail((400, 400), Image.Resampling.NEAREST)
    return (np.asarray(image) > 250).all(2).mean() > .58  # of the pixels

def img(src:str, alt:str, png:bytes) -> str:
    "The tag of a picture."
    width, height = Image.open(io.BytesIO(png)).size
    kind = ' class="plot"' if is_plot(png) else ''
    return f'<img{kind} src="{src}" alt="{html.escape(alt)}" width="{width}" height="{height}" loading="lazy">'

def figure(src:str, alt:str, png:bytes) -> str:
    return f'<figure markdown="0">{img(src, alt, png)}<figcaption>{alt}</figcaption></figure>'
