"""Where the links of a notebook lead on the site: to other pages, copied pictures, or the repository."""
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

from aebench.report.notebooks import DOCS

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = 'https://github.com/aebench/aebench'
COLAB = 'https://colab.research.google.com/github/aebench/aebench/blob/main/'
PICTURES = ('.png', '.svg', '.jpg')

def result_folders() -> list[Path]: return sorted(o.parent for o in (ROOT/'results').glob('*/results.csv'))

@dataclass
class Links:
    "Rewrites the links of Markdown; collects in `troubles` those that lead nowhere."
    pages:dict # Source below the project's root → page below the site's root
    pictures:dict = field(default_factory=dict) # Path below the site's root → file
    troubles:list = field(default_factory=list)

    def of(self, source:str, page:str) -> Callable[[str], str]:
        "A function that rewrites the links of Markdown from `source`, which becomes `page`."
        def link(text:str) -> str:
            def one(m): return f'{m[1]}({self.target(m[2], source, page)}{m[3] or ""})'
            # whichever begins first: a link in code is none, and code in a link's text does not end it
            pattern = r'```.*?```|(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s]+)( "[^"]*")?\)|`[^`\n]*`'
            return re.sub(pattern, lambda m: one(m) if m[1] else m[0], text, flags=re.S)
        return link

    def target(self, href:str, source:str, page:str) -> str:
        "Where `href`, written in `source`, leads from `page`."
        here = str(PurePosixPath(page).parent)
        def with_anchor(path, anchor): return f'{path}#{anchor}' if anchor else path
        if href.startswith(DOCS):  # nbdev's links between symbols
            path, _, anchor = href.removeprefix(DOCS).partition('#')
            return with_anchor(relpath(path.replace('.html', '.md') or 'index.md', here), anchor)
        if re.match(r'[a-z][a-z+.-]*:|#', href): return href
        path, _, anchor = urllib.parse.unquote(href).partition('#')
        path = normpath(str(PurePosixPath(source).parent/path))
        if path in self.pages: return with_anchor(relpath(self.pages[path], here), anchor)
        if not (ROOT/path).exists():
            self.troubles.append(f'{source} links to {href}, and there is no {path}.')
            return href
        if path.endswith(PICTURES):
            name = 'pictures/' + path.replace('/', '-')
            self.pictures[name] = ROOT/path
            return relpath(name, here)
        return with_anchor(f'{REPOSITORY}/{"tree" if (ROOT/path).is_dir() else "blob"}/main/{path}', anchor)
