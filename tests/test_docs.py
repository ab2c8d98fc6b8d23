"The site is built, served on this machine and opened in a real browser."
import ast
import builtins
import functools
import html
import http.server
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from aebench.cli import make_parser
from aebench.registry import METHODS, REFERENCES, Method
from aebench.report.columns import LATENT_MEASURES, MEASURES

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT/'_docs'
BROWSER = next((found for o in ('chromium', 'chromium-browser', 'google-chrome', 'chrome') if (found := shutil.which(o))), None)
PATIENCE = 120_000 # Milliseconds for what takes one, on a machine that does other work

@pytest.fixture(scope='module')
def site():
    done = subprocess.run([sys.executable, ROOT/'docs'/'build_site.py'], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return SITE

@pytest.fixture(scope='module')
def address(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()

@pytest.fixture(scope='module')
def browser():
    if BROWSER is None:
        if os.environ.get('AEBENCH_BROWSER') == 'required': pytest.fail('No Chromium is installed, and this run may not do without.')
        pytest.skip('No Chromium is installed: apt-get install chromium, or any Chrome on the PATH.')
    from playwright import sync_api as playwright
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=['--no-sandbox'])
        yield browser
        browser.close()

def pages(site): return sorted(o.relative_to(site).as_posix() for o in site.rglob('*.html') if o.name != '404.html')

def test_every_page_loads_whole_and_alone(site, address, browser):
    "No error, no failed request, no other host, no empty picture, no picture without words, no sideways scrolling on a phone."
    found, page = [], browser.new_page(viewport=dict(width=360, height=740))
    page.set_default_timeout(PATIENCE)
    here = ['']
    page.on('console', lambda o: found.append(f'{here[0]}: {o.text}') if o.type == 'error' else None)
    page.on('pageerror', lambda o: found.append(f'{here[0]}: {o}'))
    # what the next page cuts short has not failed
    page.on('requestfailed', lambda o: found.append(f'{here[0]}: failed: {o.url}') if o.failure != 'net::ERR_ABORTED' else None)
    page.on('request', lambda o: found.append(f'{here[0]}: another host: {o.url}')
            if not o.url.startswith((address, 'data:', 'blob:')) else None)
    page.on('response', lambda o: found.append(f'{here[0]}: {o.status} {o.url}') if o.status >= 400 else None)
    names = pages(site)
    assert len(names) > 40
    for here[0] in names:
        page.goto(address + here[0], wait_until='load')
        page.evaluate("() => Promise.all([...document.images].map(o => { o.loading = 'eager'; return o.decode().catch(() => null) }))")
        found += [f'{here[0]}: empty picture {o}'
                  for o in page.evaluate('() => [...document.images].filter(o => !o.naturalWidth).map(o => o.src)')]
        found += [f'{here[0]}: no words for {o}' for o in page.evaluate("() => [...document.images].filter(o => !o.alt).map(o => o.src)")]
        wide = page.evaluate('() => document.scrollingElement.scrollWidth')
        if wide > 360: found.append(f'{here[0]}: {wide} pixels wide')
    assert not found, '\n'.join(found)

def test_search_and_theme(address, browser):
    from playwright.sync_api import TimeoutError as playwright_timeout
    page = browser.new_page(viewport=dict(width=1280, height=800))
    page.set_default_timeout(PATIENCE)
    page.goto(address + 'index.html', wait_until='networkidle')
    before = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    scheme = page.evaluate("() => document.body.dataset.mdColorScheme")
    for _ in range(3):
        page.locator('label[for^=__palette]:visible').first.click()
        if page.evaluate("() => document.body.dataset.mdColorScheme") != scheme: break
    page.wait_for_timeout(500)
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") != before
    page.keyboard.press('Control+k')
    for wait in (500, 3000, 10_000):  # what is typed before the search has come is lost
        page.wait_for_timeout(wait)
        page.keyboard.press('Control+a')
        page.keyboard.type('FeatureLoss', delay=20)
        try: return page.locator('a[href*="losses.html"]', has_text='FeatureLoss').first.wait_for(timeout=4*wait)
        except playwright_timeout: pass
    pytest.fail('The search does not find FeatureLoss.')

@pytest.mark.parametrize('name', ['index.html', 'techniques/feature_loss.html', 'losses.html', 'core/files.html', 'library/index.html',
                                  'guide/commands.html', 'guide/reading.html', 'benchmarks/digits.html',
                                  'benchmarks/digits/report.html', 'benchmarks/index.html', 'benchmarks/leaderboard.html',
                                  'benchmarks/gallery.html', 'benchmarks/recipe.html', 'tutorials/beating_pca.html'])
@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_accessible(address, browser, name, scheme):
    from axe_playwright_python import sync_playwright as axe
    page = browser.new_page(color_scheme=scheme, viewport=dict(width=1280, height=800))
    page.set_default_timeout(PATIENCE)
    page.goto(address + name, wait_until='networkidle')
    grave = [o for o in axe.Axe().run(page).response['violations'] if o['impact'] in ('serious', 'critical')]
    assert not grave, '\n'.join(f'{o["id"]}: {o["help"]}: {[n["html"][:160] for n in o["nodes"][:4]]}' for o in grave)

def test_site_says_what_the_registry_says(site):
    listed = subprocess.run([sys.executable, '-m', 'aebench.cli', 'methods'], capture_output=True, text=True).stdout
    index = (site/'techniques'/'index.html.md').read_text(encoding='utf-8')
    for m in METHODS.values():
        card = (site/f'{m.card}.md').read_text(encoding='utf-8')
        assert m.name in listed and m.summary in listed, m.name
        assert m.summary in index and card.startswith(f'# {m.label}\n') and m.summary in card, m.name
        assert (site/'tutorials'/f'{m.lesson}.html').is_file(), m.name
    for o in REFERENCES.values(): assert (o.summary in listed) == (o.name != 'original'), o.name  # which stands in every table

def test_the_command_line_is_the_parser(site):
    "Each command with its flags, each flag once."
    page = (site/'guide'/'commands.html.md').read_text(encoding='utf-8')
    commands = next(o.choices for o in make_parser()._actions if o.choices and 'run' in o.choices)
    for name, parser in commands.items():
        part = page.partition(f'## aebench {name} {{')[2].partition('\n## ')[0]
        assert part and 'aebench ' + name in part, name
        for flag in (o for action in parser._actions for o in action.option_strings if o not in ('-h', '--help')):
            assert len(re.findall(rf'(?:<code>|, ){re.escape(flag)}(?:</code>|, )', part)) == 1, (name, flag)

def test_columns_are_explained(site):
    "Each heading of the tables has its entry, and leads to it."
    page = (site/'guide'/'reading.html.md').read_text(encoding='utf-8')
    for o in (*MEASURES.values(), *LATENT_MEASURES.values()):
        assert re.search(rf'^### {re.escape(o.title)} {{ #{o.name.replace("_", "-")} }}\n\n\w', page, re.M), o.name
    assert re.search(r'<th scope="col"><a href="../guide/reading.html#mse" title="[^"]{20,}">MSE</a></th>',
                     (site/'benchmarks'/'digits.html.md').read_text(encoding='utf-8'))

def test_each_page_says_what_it_is(site):
    "To search engines and to who shares it: a description of its own, a picture that is there; subtitles without raw marks."
    described = {}
    for name in pages(site):
        if name.endswith('report.html'): continue  # the report's own page
        head = (site/name).read_text(encoding='utf-8').partition('</head>')[0]
        found = dict(re.findall(r'<meta (?:name|property)="?([\w:]+)"? content="([^"]*)"', head))
        described.setdefault(found['description'], []).append(name)
        assert '`' not in found['description'] and found['og:description'] == found['description'], name
        assert (site/found['og:image'].removeprefix('https://aebench.github.io/aebench/')).is_file(), name
    assert not (alike := [o for o in described.values() if len(o) > 1]), alike
    for path in site.rglob('*.html.md'):
        for lead in re.findall(r'<p class="lead">(.*?)</p>', path.read_text(encoding='utf-8')):
            assert "''" not in lead and '`' not in lead, path

def test_modules_are_easy_on_the_eye(site):
    "No signature lists a callback's events, and what only asserts is folded."
    for path in site.rglob('*.html.md'): assert 'NoneType=None' not in path.read_text(encoding='utf-8'), path
    losses = (site/'losses.html.md').read_text(encoding='utf-8')
    folded = re.findall(r'<details markdown="1"><summary>Test</summary>(.*?)</details>', losses, re.S)
    assert folded and all(re.search(r'assert |test_\w+\(', o) for o in folded)
    menu = re.sub(r'\s+', ' ', (site/'losses.html').read_text(encoding='utf-8'))
    places = [menu.find(f'> {o} <') for o in ('Use', 'Train', 'Measure', 'Internals')]
    assert places == sorted(places) and -1 not in places

@pytest.mark.parametrize('width', [1280, 390])
def test_tables_fit_or_scroll(address, browser, width):
    "At a desk the tables that are open fit; on a phone a wide one is in a box that scrolls. Figures stand on the right."
    page = browser.new_page(viewport=dict(width=width, height=900))
    page.set_default_timeout(PATIENCE)
    for name in ('benchmarks/cifar10-jpeg', 'benchmarks/cifar10-lossless-modern', 'benchmarks/index', 'benchmarks/leaderboard',
                 'guide/commands'):
        page.goto(f'{address}{name}.html', wait_until='load')
        wide = page.evaluate("() => [...document.querySelectorAll('.scroll, .flags')]"
                             """.filter(o => !o.closest('details:not([open])') && o.scrollWidth > o.clientWidth + 1)
            .map(o => [o.getAttribute('aria-label'), getComputedStyle(o).overflowX])""")
        if width == 1280: assert not wide, (name, wide)
        else: assert all(o == 'auto' for _, o in wide), (name, wide)
        if name == 'benchmarks/cifar10-jpeg':
            assert page.locator('.scroll td').first.evaluate('o => getComputedStyle(o).textAlign') == 'right'

def test_the_gallery_opens_by_keys(address, browser):
    page = browser.new_page(viewport=dict(width=1280, height=900))
    page.set_default_timeout(PATIENCE)
    page.goto(address + 'benchmarks/gallery.html', wait_until='load')
    button = page.locator('.gallery button').first
    large = page.locator(f'[id="{button.get_attribute("popovertarget")}"]')
    assert not large.is_visible()
    button.focus()
    page.keyboard.press('Enter')
    large.wait_for(state='visible')
    assert large.locator('img').count() == 2 and 'PSNR' in large.inner_text()
    page.keyboard.press('Escape')
    large.wait_for(state='hidden')

def test_links_within_lead_somewhere(site):
    "In every page, the copied reports too; what leads into the repository stands there."
    tracked = set(subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True).stdout.splitlines())
    anchors, lost = {}, []
    def ids(path):
        if path not in anchors: anchors[path] = set(re.findall(r'\bid="?([^"\s>]+)', path.read_text(encoding='utf-8')))
        return anchors[path]
    for page in site.rglob('*.html'):
        if page.name == '404.html': continue  # its links are absolute
        for href in set(re.findall(r'<a\b[^>]*?\bhref="?([^"\s>]+)', page.read_text(encoding='utf-8'))):
            href = html.unescape(href)
            inside = re.match(r'https://(?:colab\.research\.google\.com/github|github\.com)/aebench/aebench/'
                              r'(?:blob|tree)/main/([^#]*)', href)
            if (inside and (path := unquote(inside[1])) not in tracked
                    and not any(o.startswith(path.rstrip('/') + '/') for o in tracked)):
                lost.append(f'{page.relative_to(site)}: {href}')
            if href.startswith('https://aebench.github.io/aebench/'):
                href, page_here = href.removeprefix('https://aebench.github.io/aebench/') or 'index.html', site/'index.html'
            elif re.match(r'[a-z]+:|//', href): continue
            else: page_here = page
            path, _, anchor = href.partition('#')
            target = (page_here.parent/unquote(path)).resolve() if path else page_here
            if target.is_dir(): target = target/'index.html'
            if not target.exists() and path != 'report/': lost.append(f'{page.relative_to(site)}: {href}')
            elif anchor and not anchor.startswith('__') and target.suffix == '.html' and unquote(anchor) not in ids(target):
                lost.append(f'{page.relative_to(site)}: {href}')
    assert not lost, '\n'.join(lost)

def test_a_method_without_a_card_is_named(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'docs')
    import technique_cards
    from pages import SiteError
    with pytest.raises(SiteError, match='where new is taught'): technique_cards.card(Method('new', 'New', ''), {}, {}, None)

# ---- lessons, as they are read

LESSONS = sorted((ROOT/'nbs'/'tutorials').glob('[0-9]*.ipynb'))
IPYTHON = {'display', 'get_ipython', '_', '__name__', '__file__'} # Names that every notebook has

def bound_names(tree:ast.AST) -> set[str]:
    "The names that code binds, anywhere in it."
    found = set()
    for o in ast.walk(tree):
        if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Store): found.add(o.id)
        elif isinstance(o, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): found.add(o.name)
        elif isinstance(o, ast.arg): found.add(o.arg)
        elif isinstance(o, ast.ExceptHandler) and o.name: found.add(o.name)
        elif isinstance(o, ast.ImportFrom) and o.names[0].name == '*':
            module = importlib.import_module(o.module)
            found |= set(getattr(module, '__all__', [k for k in vars(module) if not k.startswith('_')]))
        elif isinstance(o, (ast.Import, ast.ImportFrom)): found |= {(a.asname or a.name).partition('.')[0] for a in o.names}
    return found

def unknown_names(cells:list[str]) -> list[tuple[int, str]]: # Number of the cell, name
    "The names that cells use and that neither they nor those before have bound."
    known, found = set(vars(builtins)) | IPYTHON, []
    for i, text in enumerate(cells, 1):
        tree = ast.parse(re.sub(r'^( *)[%!].*$', r'\1pass', text, flags=re.M))
        known |= bound_names(tree)
        found += [(i, o) for o in sorted({o.id for o in ast.walk(tree) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Load)} - known)]
    return found

def test_unknown_names_are_found():
    assert unknown_names(['import a.b\nx = a.b', '%time x', 'def f(y): return y + z', 'z = [o for o in x if o]\nprint(z)']) == [(3, 'z')]
    assert unknown_names(['from math import *\npi', 'tau, nothing']) == [(2, 'nothing')]

@pytest.mark.parametrize('path', LESSONS, ids=lambda o: o.stem)
def test_lessons_import_what_they_show(path, monkeypatch):
    "Copied from the site, cell by cell, a lesson knows every name that it uses."
    monkeypatch.syspath_prepend(ROOT/'docs')
    from notebook_to_markdown import code, is_shown
    cells = [o for o in json.loads(path.read_text(encoding='utf-8'))['cells'] if o['cell_type'] == 'code' and is_shown(o)]
    assert cells
    lost = unknown_names([code(o) for o in cells])
    assert not lost, '\n'.join(f'{cells[i-1]["id"]}: {name}' for i, name in lost)
