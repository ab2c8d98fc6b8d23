"The site is built, served on this machine and opened in a real browser."
import functools
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote

import pytest

from aebench.registry import METHODS, REFERENCES, Method

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
    page.on('requestfailed', lambda o: found.append(f'{here[0]}: failed: {o.url}') if o.failure != 'net::ERR_ABORTED' else None)  # what the next page cuts short has not failed
    page.on('request', lambda o: found.append(f'{here[0]}: another host: {o.url}') if not o.url.startswith((address, 'data:', 'blob:')) else None)
    page.on('response', lambda o: found.append(f'{here[0]}: {o.status} {o.url}') if o.status >= 400 else None)
    names = pages(site)
    assert len(names) > 40
    for here[0] in names:
        page.goto(address + here[0], wait_until='load')
        page.evaluate("() => Promise.all([...document.images].map(o => { o.loading = 'eager'; return o.decode().catch(() => null) }))")
        found += [f'{here[0]}: empty picture {o}' for o in page.evaluate('() => [...document.images].filter(o => !o.naturalWidth).map(o => o.src)')]
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

@pytest.mark.parametrize('name', ['index.html', 'techniques/feature_loss.html', 'losses.html', 'core/files.html', 'library/index.html', 'benchmarks/digits.html'])
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
    helped = subprocess.run([sys.executable, '-m', 'aebench.cli', '--help'], capture_output=True, text=True).stdout
    commands = re.findall(r'^    (\w+)(?:  +\S.*)?$', helped, re.M)
    home = (site/'index.html.md').read_text(encoding='utf-8')
    assert len(commands) > 10 and not [o for o in commands if not re.search(rf'^    {o}(?:  |$)', home, re.M)]

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
            inside = re.match(r'https://(?:colab\.research\.google\.com/github|github\.com)/aebench/aebench/(?:blob|tree)/main/([^#]*)', href)
            if inside and (path := unquote(inside[1])) not in tracked and not any(o.startswith(path.rstrip('/') + '/') for o in tracked): lost.append(f'{page.relative_to(site)}: {href}')
            if href.startswith('https://aebench.github.io/aebench/'): href, page_here = href.removeprefix('https://aebench.github.io/aebench/') or 'index.html', site/'index.html'
            elif re.match(r'[a-z]+:|//', href): continue
            else: page_here = page
            path, _, anchor = href.partition('#')
            target = (page_here.parent/unquote(path)).resolve() if path else page_here
            if target.is_dir(): target = target/'index.html'
            if not target.exists() and path != 'report/': lost.append(f'{page.relative_to(site)}: {href}')
            elif anchor and not anchor.startswith('__') and target.suffix == '.html' and unquote(anchor) not in ids(target): lost.append(f'{page.relative_to(site)}: {href}')
    assert not lost, '\n'.join(lost)

def test_a_method_without_a_card_is_named(monkeypatch):
    monkeypatch.syspath_prepend(ROOT/'docs')
    import technique_cards
    from pages import SiteError
    with pytest.raises(SiteError, match='where new is taught'): technique_cards.card(Method('new', 'New', ''), {}, {}, None)
