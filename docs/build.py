"""The docs site, from the notebooks, the registry and results/.

notebooks → nbdev → pages of Markdown → a static site in _docs. Warnings are errors. Usage: python docs/build.py [--serve]
"""
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from functools import partial
from pathlib import Path

import cards
import comparisons
from aebench.registry import METHODS
from links import ROOT, Links, result_folders
from notebook import Page, Trouble, index_page, page_of, table_of

PROCESSED, WORK, SITE = ROOT/'_proc', ROOT/'_proc'/'site', ROOT/'_docs'
TABS = {'tutorials': 'Tutorials', 'techniques': 'Techniques', 'benchmarks': 'Benchmarks', '': 'Library'}
PROSE = {'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'}

def process():
    "Let nbdev run the directives, `show_doc` and the links between symbols."
    from nbdev.serve import proc_nbs
    warnings.filterwarnings('ignore', 'Found cells containing imports and other code')  # made-up runs need a path first
    for path in PROCESSED.rglob('*.ipynb'): path.unlink()
    proc_nbs(n_workers=0, force=True)

def sources() -> dict[Path, tuple[str, str]]:
    "Each processed notebook with where it came from and which page it becomes."
    found = {}
    for path in sorted(PROCESSED.rglob('*.ipynb')):
        inner = path.relative_to(PROCESSED)
        page = inner.with_name(re.sub(r'^\d+[a-z]?_', '', inner.stem) + '.md').as_posix()
        found[path] = ('index.ipynb' if inner.name == 'index.ipynb' else f'nbs/{inner.as_posix()}', page)
    return found

def pages(links:Links, files:dict) -> list[Page]:
    "All pages of the site."
    notebooks = sources()
    made = [page_of(path, page, source, links.of(source, page)) for path, (source, page) in notebooks.items()]
    opened = {o.path.removesuffix('.md'): dict(source=o.source, title=o.title, json=json.loads(path.read_text(encoding='utf-8'))) for path, o in zip(notebooks, made)}
    lessons = {k.removeprefix('tutorials/'): o['title'] for k, o in opened.items() if k.startswith('tutorials/')}
    techniques = [cards.card(m, opened, lessons, links) for m in METHODS.values()]
    compared = [comparisons.page_of(folder, files) for folder in result_folders()]
    written = [o for o in made if o.path.startswith('benchmarks/')]
    for name, page in PROSE.items(): made.append(Page(page, page.removesuffix('.md').title(), links.of(name, page)((ROOT/name).read_text(encoding='utf-8'))))
    return [*made, tutorials_index([o for o in made if o.path.startswith('tutorials/')]), cards.index(techniques), *techniques, comparisons.index(compared, written), *compared]

def tutorials_index(lessons:list[Page]) -> Page:
    "All lessons in one table."
    rows = [(f'[{o.title}]({Path(o.path).name})', o.description) for o in lessons]
    return index_page('tutorials/index.md', 'Tutorials', 'Each takes up to three minutes on two processor cores, and opens in Colab.', table_of(('Lesson', 'What it shows'), rows))

def navigation(found:list[Page]) -> list:
    "The menu: a tab for each folder, pages in their order; the modules in the notebooks' order."
    def entry(o): return {o.title: o.path}
    menu = [{'aebench': 'index.md'}]
    for folder, title in TABS.items():
        inside = [o for o in found if o.path.rpartition('/')[0] == folder and o.path != 'index.md' and o.path not in PROSE.values()]
        front = [o.path for o in inside if o.path.endswith('/index.md')]
        menu.append({title: front + [entry(o) for o in inside if not o.path.endswith('/index.md')]})
    return [*menu, {'Project': [entry(o) for o in found if o.path in PROSE.values()]}]

def write(found:list[Page], links:Links, files:dict):
    "The generator's input: pages, pictures, copied files, settings with the menu."
    shutil.rmtree(WORK, ignore_errors=True)
    def put(path, content):
        path = WORK/'pages'/path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path): shutil.copyfile(content, path)
        else: path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for page in found:
        put(page.path, page.text)
        for name, picture in page.pictures.items(): put(name, picture)
    for name, content in {**links.pictures, **files}.items(): put(name, content)
    for path in (ROOT/'docs'/'theme').iterdir(): put(f'theme/{path.name}', path)
    settings = (ROOT/'docs'/'mkdocs.yml').read_text(encoding='utf-8')
    (WORK/'mkdocs.yml').write_text(settings + 'nav: ' + json.dumps(navigation(found)) + '\n', encoding='utf-8')

def generate():
    "The site. Raises `Trouble` where the generator warns."
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run([Path(sys.executable).with_name('zensical'), 'build', '--strict', '--clean', '-f', 'mkdocs.yml'], cwd=WORK, capture_output=True, text=True)
    if done.returncode or not (WORK/'site'/'index.html').is_file(): raise Trouble(done.stdout + done.stderr)
    shutil.move(WORK/'site', SITE)
    for path in (WORK/'pages').rglob('*.md'):  # nbdev's modules name them: the pages as text
        shutil.copyfile(path, (SITE/path.relative_to(WORK/'pages')).with_suffix('.html.md'))

def serve():
    "Show the site on this machine."
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ.get('PORT', 8000))), handler) as server:
        print(f'http://127.0.0.1:{server.server_port}/')
        server.serve_forever()

def main():
    process()
    compared = {f'results/{o.name}': f'benchmarks/{o.name}.md' for o in result_folders()}
    links, files = Links({source: page for source, page in sources().values()} | PROSE | compared), {}
    found = pages(links, files)
    if links.troubles: raise Trouble('\n'.join(links.troubles))
    write(found, links, files)
    generate()
    print(f'{len(found)} pages in {SITE}')

if __name__ == '__main__':
    try: serve() if '--serve' in sys.argv else main()
    except Trouble as trouble: sys.exit(f'The site was not made. {trouble}')
    except KeyboardInterrupt: pass
