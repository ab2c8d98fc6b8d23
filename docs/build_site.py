"""Build the docs site in _docs from the notebooks, the guide, the registry, the command line's parser and results/.

notebooks → nbdev → pages of Markdown → Zensical. Warnings are errors.
"""
import argparse
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from links import ROOT, Links, result_folders

sys.path.append(str(ROOT/'tools'))
import gallery
import guide_pages
import leaderboard
import result_pages
import technique_cards
from aebench.registry import METHODS
from notebook_to_markdown import page_of
from pages import Page, SiteError, index_page, table_of_pages
from rooms import listed as listed_rooms
from rooms import table as rooms_table

PROCESSED, WORK, SITE = ROOT/'_proc', ROOT/'_proc'/'site', ROOT/'_docs'
TABS = dict(tutorials='Tutorials', guide='Guide', techniques='Techniques', benchmarks='Benchmarks') # Folder: the tab of its pages
LIBRARY_MENU = dict( # Section: rooms; all others are internals
    Use=('python', 'apply', 'data', 'cli'), Train=('techniques', 'modern', 'callback'), Measure=('judges', 'codec', 'report'))
PROSE = {'CONTRIBUTING.md': 'contributing.md', 'CHANGELOG.md': 'changelog.md'} # Files of the repository that are pages as they stand
LIBRARY = 'library/index.md'
ROOM_TITLES = dict( # In the menu, where a room is not called after its folder
    python='In Python', apply='A trained model', judges='Classifiers and metrics', codec='Codecs and bytes', modern='The recipe',
    bench='Running a plan', callback='Callbacks')

# ---- the pages

def process_notebooks():
    "Let nbdev run the directives, `show_doc` and the links between symbols."
    from nbdev.serve import proc_nbs
    warnings.filterwarnings('ignore', 'Found cells containing imports and other code')  # made-up runs need a path first
    for path in PROCESSED.rglob('*.ipynb'): path.unlink()
    proc_nbs(n_workers=0, force=True)

def sources() -> dict[Path, tuple[str, str]]:
    "Each processed notebook, with the notebook it came from and the page it becomes."
    found = {}
    for path in sorted(PROCESSED.rglob('*.ipynb')):
        inner = path.relative_to(PROCESSED)
        page = inner.with_name(re.sub(r'^\d+[a-z]?_', '', inner.stem) + '.md').as_posix()
        found[path] = ('index.ipynb' if inner.name == 'index.ipynb' else f'nbs/{inner.as_posix()}', page)
    return found

def all_pages(links:Links, files:dict) -> list[Page]:
    "The pages of the site; `files` receives what is copied beside them."
    notebooks = sources()
    made = [page_of(path, page, source, links.of(source, page)) for path, (source, page) in notebooks.items()]
    opened = {o.path.removesuffix('.md'): dict(source=o.source, title=o.title, json=json.loads(path.read_text(encoding='utf-8')))
              for path, o in zip(notebooks, made)}
    lessons = [o for o in made if o.folder == 'tutorials']
    titles = {o.file.removesuffix('.md'): o.title for o in lessons}
    cards = [technique_cards.card(m, opened, titles, links) for m in METHODS.values()]
    compared = []
    with ProcessPoolExecutor() as pool:
        for page, copied in pool.map(result_pages.page_of, result_folders()):
            compared.append(page), files.update(copied)
    measured = [o for o in made if o.folder == 'benchmarks']
    files['pictures/results-digits-report-samples.png'] = ROOT/'results'/'digits'/'report'/'samples.png'  # of pages without a picture
    return [*made, *guide_pages.pages(links), *prose_pages(links), library_index(links), *room_indexes(made), tutorials_index(lessons),
            technique_cards.index(cards), *cards,
            result_pages.index(compared, measured, result_folders(), files), leaderboard.page(), gallery.page(files), *compared]

def prose_pages(links:Links) -> list[Page]:
    def text(name, page): return links.of(name, page)((ROOT/name).read_text(encoding='utf-8'))
    return [Page(page, page.removesuffix('.md').title(), text(name, page)) for name, page in PROSE.items()]

def tutorials_index(lessons:list[Page]) -> Page:
    lead = 'Each takes up to three minutes on two processor cores, and opens in Colab.'
    return index_page('tutorials/index.md', 'Tutorials', lead, table_of_pages(('Lesson', 'What it shows'), lessons))

def library_index(links:Links) -> Page:
    "The rooms of the package: their picture, as CONTRIBUTING.md has it, and a line each."
    link = links.of('CONTRIBUTING.md', LIBRARY)
    picture = next(o for o in (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8').splitlines() if o.startswith('!['))
    lead = 'Every module is a notebook: why it is so, what it does, and assertions that hold it to that.'
    return index_page(LIBRARY, 'Library', lead, link(rooms_table()), 'A room imports only from rooms below it:', link(picture))

def room_folders() -> list: return [o for o in listed_rooms() if not o.modules]

def room_indexes(made:list[Page]) -> list[Page]:
    "For each folder of modules a page that leads to them."
    def inside(room): return [o for o in made if o.folder == room.name]
    return [index_page(f'{o.name}/index.md', f'aebench.{o.name}', f'{o.purpose[0].upper()}{o.purpose[1:]}.',
                       table_of_pages(('Module', 'What it holds'), inside(o))) for o in room_folders()]

# ---- the menu

def entries(pages:list[Page]) -> list: # A folder's own page has no title in the menu: it is the folder's
    return [o.path for o in pages if o.file == 'index.md'] + [{o.title: o.path} for o in pages if o.file != 'index.md']

def library_menu(found:list[Page]) -> list:
    "What is used, what trains, what measures, and then the rest; in each a section a room, the modules in the notebooks' order."
    rooms = {o.name: o for o in listed_rooms()}
    named = {section: [rooms[o] for o in inside if o in rooms] for section, inside in LIBRARY_MENU.items()}
    named['Internals'] = [o for o in rooms.values() if not any(o in inside for inside in named.values())]
    return [LIBRARY, *({section: [room_menu(o, found) for o in inside]} for section, inside in named.items())]

def room_menu(room, found:list[Page]):
    "The entries of a room's modules; a room of one module is an entry itself."
    if room.modules: inside = [next(o for o in found if o.path == f'{module}.md') for module in room.modules]
    else: inside = [o for o in found if o.folder == room.name]
    return entries(inside)[0] if len(inside) == 1 else {ROOM_TITLES.get(room.name, room.name.capitalize()): entries(inside)}

def navigation(found:list[Page]) -> list:
    "The menu: a tab for each folder of `TABS`, the library, the project."
    def is_measurement(page): return page.source.startswith('nbs/benchmarks/')  # comparisons stand before them
    def inside(folder): return sorted((o for o in found if o.folder == folder), key=is_measurement)
    tabs = [{title: entries(inside(folder))} for folder, title in TABS.items()]
    project = [{o.title: o.path} for o in found if o.path in PROSE.values()]
    return [{'Home': 'index.md'}, *tabs, {'Library': library_menu(found)}, {'Project': project}]

# ---- the site

def write_input(found:list[Page], links:Links, files:dict):
    "The generator's input: pages, pictures, copied files, settings with the menu."
    shutil.rmtree(WORK, ignore_errors=True)
    def put(path, content):
        path = WORK/'pages'/path
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path): shutil.copyfile(content, path)
        else: path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for page in found:
        put(page.path, page.with_settings())
        for name, picture in page.pictures.items(): put(name, picture)
    for name, content in {**links.pictures, **files}.items(): put(name, content)
    put('theme/extra.css', ROOT/'docs'/'theme'/'extra.css')
    shutil.copytree(ROOT/'docs'/'theme'/'overrides', WORK/'overrides')
    settings = (ROOT/'docs'/'mkdocs.yml').read_text(encoding='utf-8')
    (WORK/'mkdocs.yml').write_text(settings + 'nav: ' + json.dumps(navigation(found)) + '\n', encoding='utf-8')

def generate(found:list[Page]):
    "Run the generator. Raises `SiteError` where it warns."
    shutil.rmtree(SITE, ignore_errors=True)
    command = [Path(sys.executable).with_name('zensical'), 'build', '--strict', '--clean', '-f', 'mkdocs.yml']
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True)
    if done.returncode or not (WORK/'site'/'index.html').is_file():
        raise SiteError(re.sub(r'\x1b\[[\d;]*m', '', done.stdout + done.stderr))  # without colours
    shutil.move(WORK/'site', SITE)
    for page in found:  # nbdev's modules name them: the pages as text
        (SITE/page.path).with_suffix('.html.md').write_text(page.text, encoding='utf-8')

def serve():
    "Show the site on this machine."
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ.get('PORT', 8000))), handler) as server:
        print(f'http://127.0.0.1:{server.server_port}/')
        server.serve_forever()

def build():
    process_notebooks()
    notebooks = {source: page for source, page in sources().values()}
    compared = {f'results/{o.name}': f'benchmarks/{o.name}.md' for o in result_folders()}
    folders = {f'nbs/{o.name}': f'{o.name}/index.md' for o in room_folders()}
    cards = {'docs/technique_cards.py': 'techniques/index.md'}
    links, files = Links({**notebooks, **PROSE, **guide_pages.sources(), **cards, **compared, **folders}), {}
    found = all_pages(links, files)
    if links.troubles: raise SiteError('\n'.join(links.troubles))
    write_input(found, links, files)
    generate(found)
    print(f'{len(found)} pages in {SITE}')

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--serve', action='store_true', help='show the site that was built')
    try: serve() if parser.parse_args().serve else build()
    except SiteError as e: sys.exit(f'The site was not made. {e}')
    except KeyboardInterrupt: pass
