"Harm done to what is kept: rows, models, caches; and what somebody's files could do to a reader."
import contextlib
import csv
import html.parser
import io
import itertools
import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aebench.callback.checkpoint import Checkpoint, write_state
from aebench.cli import main
from aebench.codec.archive import packed_names
from aebench.codec.coding import read_coder
from aebench.data import load_images
from aebench.core.errors import AebenchError, LeftOut, UsageError
from aebench.core.tensors import read_tensors, write_tensors
from aebench.core.files import write_json
from aebench.report.diff import compare_runs
from aebench.report.evidence import image_noise
from aebench.apply.tables import write_latents
from aebench.report.notebooks import row_notebook
from aebench.codec.references import principal_components
from aebench.settings import plan_runs
from aebench.report.page import make_report, policy
from aebench.report.rows import gather, read_rows
from aebench.bench.run import do_run, load_model
from aebench.weights import classifier_network, kept_classifier, read_weights
from made_up import made_up_original, made_up_run
from test_cli import make_folder
from test_docs import browser

ROOT = Path(__file__).resolve().parent.parent

def said(*words):
    "Exit code and what stood on stderr."
    err = io.StringIO()
    with contextlib.redirect_stderr(err): code = main([str(o) for o in words])
    return code, err.getvalue()

# Rows ----------------------------------------------------------------------------------------------------------------------

def some_runs(out):
    made_up_original(out)
    for method in ('baseline', 'resnet'):
        for seed in (1, 2): made_up_run(out, method, seed, pictures=False)
    return out/'results.csv'

def test_results_are_made_again_whatever_became_of_them(tmp_path):
    "Torn, NULs, doubled lines, of another's making, gone: the same bytes, put there by replacing."
    path = some_runs(tmp_path)
    gather(tmp_path)
    whole = path.read_bytes()
    lines = whole.splitlines(True)
    for harmed in (whole[:-30], whole[:100], bytes(len(whole)), whole.replace(b',', b'\0', 3), b''.join(lines + lines[1:]),
                   b''.join(lines[:2]), whole + lines[-1][:20], b'', b'\xff\xfe'*50):
        path.write_bytes(harmed)
        held = path.stat().st_ino
        gather(tmp_path)
        assert path.read_bytes() == whole and path.stat().st_ino != held
    path.unlink()
    gather(tmp_path)
    assert path.read_bytes() == whole and not list(tmp_path.glob('.*'))

def test_torn_and_copied_rows_are_left_out_by_name(tmp_path):
    "A row cut anywhere, overwritten with NULs, or a copied folder: the others are as they were."
    path = some_runs(tmp_path)
    gather(tmp_path)
    whole, added = path.read_bytes(), made_up_run(tmp_path, 'resnet', 3, pictures=False)
    row = (added/'row.json').read_bytes()
    for harmed in [*(row[:i] for i in range(0, len(row) - 2, 37)), bytes(len(row)), row[:50] + bytes(8) + row[58:],
                   b'[]', b'{"method": 3}']:
        (added/'row.json').write_bytes(harmed)
        with pytest.warns(LeftOut, match='resnet-seed3 is left out: its row.json is damaged'): gather(tmp_path)
        assert path.read_bytes() == whole
    code, err = said('report', tmp_path)
    assert code == 0 and err.count('resnet-seed3 is left out: its row.json is damaged. Remove the folder and run it again.\n') == 1, err
    shutil.rmtree(added)
    write_json(tmp_path/'baseline-seed1'/'row.json',
               json.loads((tmp_path/'baseline-seed1'/'row.json').read_text()) | dict(run='baseline-seed1'))
    shutil.copytree(tmp_path/'baseline-seed1', tmp_path/'baseline-seed1 (copy)')
    with pytest.warns(UserWarning, match='is a copy of baseline-seed1'): gather(tmp_path)
    assert path.read_bytes() == whole

def test_a_row_names_no_other_folder(tmp_path):
    "What it says of its own name is not followed."
    out = tmp_path/'out'
    made_up_run(out, 'baseline', pictures=False, run='../../elsewhere')
    (tmp_path/'elsewhere').mkdir()
    assert list(read_rows(out).run) == ['baseline-seed3333']
    make_report(out)
    assert sorted(o.name for o in tmp_path.iterdir()) == ['elsewhere', 'out'] and not list((tmp_path/'elsewhere').iterdir())

GATHER = 'import sys\nfrom aebench.report.rows import gather\nfor _ in range(25): gather(sys.argv[1])'

def test_two_gatherers_and_a_reader(tmp_path):
    "At once: whoever looks meanwhile sees the whole table, and it ends as one gatherer makes it."
    path = some_runs(tmp_path)
    gather(tmp_path)
    whole, seen = path.read_bytes(), []
    both = [subprocess.Popen([sys.executable, '-c', GATHER, tmp_path]) for _ in range(2)]
    while any(p.poll() is None for p in both): seen.append(path.read_bytes() == whole)
    assert [p.returncode for p in both] == [0, 0] and all(seen) and len(seen) > 20
    assert path.read_bytes() == whole and not [o for o in tmp_path.rglob('*.tmp')]

# Loading -------------------------------------------------------------------------------------------------------------------

def put(path, data):
    "Another file in its place: one that is mapped into memory must not shrink under its reader."
    path.unlink(missing_ok=True)
    path.write_bytes(data)

@pytest.fixture(scope='module')
def runs(home, tmp_path_factory):
    "A trained network and fitted components, as runs leave them."
    out = tmp_path_factory.mktemp('runs')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('AEBENCH_HOME', str(home))
        for run in plan_runs('pca-16,baseline', 'digits', epochs=(1, 0), batch_size=256, latent=16):
            do_run(run, load_images('digits'), [], out/run.method)
    return out

def edges(whole:bytes) -> list[int]:
    "Where the parts of a safetensors file end: the length, the header, each tensor."
    n = int.from_bytes(whole[:8], 'little')
    ends = [v['data_offsets'][1] for k, v in json.loads(whole[8:8+n]).items() if k != '__metadata__']
    return sorted({0, 8, 8 + n, *(8 + n + o for o in ends)})

def harms(whole:bytes, flips:int=60):
    "What can become of a file: cut at and beside each edge, bits flipped all over, nulled, a pickle or nothing sensible in its place."
    cuts = sorted({o for edge in edges(whole) for o in (edge - 1, edge, edge + 1) if 0 <= o < len(whole)})
    yield from (whole[:o] for o in cuts)
    places = np.random.default_rng(0).integers(0, len(whole), flips).tolist() + [o for o in edges(whole) if o < len(whole)]
    yield from (whole[:o] + bytes([whole[o] ^ 1 << i % 8]) + whole[o+1:] for i, o in enumerate(places))
    yield from (bytes(len(whole)), whole[:len(whole)//2] + bytes(512) + whole[len(whole)//2 + 512:], whole + b'\0', whole + whole,
                b'', b'{}', pickle.dumps(dict(a=1)), pickle.dumps(Loud()))

class Loud:
    "A pickle that would tell if anybody opened it."
    def __reduce__(self): return opened, ()

def opened(): os.environ['AEBENCH_TEST_PICKLE'] = 'opened'

def settings_of_others(about:dict) -> list[dict]:
    "Headers of other networks, and of none."
    build = json.loads(about['autoencoder'])
    changes = [dict(size=32), dict(latent=17), dict(channels=3), dict(size=10**9), dict(latent=-1), dict(size='16'), dict(size=None),
               dict(more=1), dict(size=2**70), dict(channels=0)]
    if 'encoder' in build:
        changes += [dict(upsample='pixel_shuffle'), dict(encoder='conv_map'), dict(encoder='resnet34'),
                    dict(encoder='os.system'), dict(upsample=[])]
    return ([dict(autoencoder=json.dumps(build | o)) for o in changes]
            + [{}, dict(autoencoder='['), dict(autoencoder='3'), dict(autoencoder='{}')])

COUNT = {}

@pytest.fixture(autouse=True)
def counted(tally):
    before = sum(COUNT.values())
    yield
    tally('damaged files refused or made anew', sum(COUNT.values()) - before)
    assert 'AEBENCH_TEST_PICKLE' not in os.environ

def count(what): COUNT[what] = COUNT.get(what, 0) + 1

@pytest.mark.parametrize('method', ['baseline', 'pca-16'])
def test_models_are_refused_by_name(method, runs, tmp_path):
    "Cut at each edge, flipped, nulled, pickled, or with the header of another: never another network, never half of one."
    folder = Path(shutil.copytree(runs/method, tmp_path/method))
    path, x = folder/'model.safetensors', torch.rand(2, 1, 16, 16)
    whole, (tensors, about) = path.read_bytes(), read_tensors(path)
    with torch.no_grad(): expected = load_model(folder)(x)
    def refused():
        with pytest.raises(UsageError, match=re.escape(f'{folder} holds no valid model')): load_model(folder)
        count('models')
    for i, harmed in enumerate(harms(whole)):
        put(path, harmed)
        refused()
        if i % 40 == 0:
            code, err = said('encode', runs, '--run', folder, '--device', 'cpu')
            assert code == 2 and str(folder) in err and 'Traceback' not in err
    for other in settings_of_others(about):
        write_tensors(path, tensors, other)
        refused()
    path.unlink()
    refused()
    put(path, whole)
    with torch.no_grad(): assert torch.equal(load_model(folder)(x), expected)

def test_files_without_a_checksum_are_read(runs, tmp_path):
    "As earlier versions wrote them."
    from safetensors.numpy import save_file
    tensors, about = read_tensors(runs/'baseline'/'model.safetensors', 'np')
    save_file(tensors, tmp_path/'model.safetensors', about)
    x = torch.rand(2, 1, 16, 16)
    with torch.no_grad(): assert torch.equal(load_model(tmp_path)(x), load_model(runs/'baseline')(x))
    (tmp_path/'model.safetensors').write_bytes((tmp_path/'model.safetensors').read_bytes()[:-1])
    with pytest.raises(UsageError, match='holds no valid model'): load_model(tmp_path)

def test_coders_and_values_are_refused_by_name(runs, tmp_path):
    folder = Path(shutil.copytree(runs/'pca-16', tmp_path/'pca-16'))
    path, make_in = folder/'coder.safetensors', make_folder(tmp_path/'in')
    for harmed in harms(path.read_bytes()):
        put(path, harmed)
        with pytest.raises(UsageError, match=re.escape(f'{path} is no valid coder')): read_coder(path)
        count('coders')
    tensors, _ = read_tensors(runs/'pca-16'/'coder.safetensors', 'np')
    write_tensors(path, {k: v[:9] if k in ('mean', 'sensitivity', 'index') else v for k, v in tensors.items()})  # another latent's
    code, err = said('compress', make_in, '--run', folder, '--device', 'cpu', '--out', tmp_path/'x.ae')
    assert code == 2 and 'codes 9 numbers and the model beside it has 16' in err and not (tmp_path/'x.ae').exists()
    for change in (dict(tables=tensors['tables'] + 1), dict(tables=tensors['tables'].astype(np.float32)),
                   dict(ratios=tensors['ratios'][::-1]), dict(mean=tensors['mean']*np.nan),
                   dict(index=tensors['index'] + 2**20), dict(weights=-tensors['weights'] - 1), dict(centres=tensors['centres'][:5]),
                   dict(notch=np.array([9000], np.int32)), dict(more=tensors['mean'])):
        write_tensors(path, tensors | change)
        with pytest.raises(UsageError, match=re.escape(f'{path} is no valid coder')): read_coder(path)
    write_tensors(path, dict(bits=np.array([6], np.int32), low=tensors['mean'], step=tensors['mean'],
                             levels=tensors['index'], counts=tensors['tables']))
    code, err = said('compress', make_in, '--run', folder, '--device', 'cpu', '--out', tmp_path/'x.ae')
    assert code == 2 and f'{path} is a coder of format 1' in err and 'this aebench reads format 2' in err
    values = folder/'per_image.safetensors'
    for harmed in harms(values.read_bytes(), 20):
        put(values, harmed)
        with pytest.raises(UsageError, match=re.escape(f'{values} is damaged')): compare_runs(folder, runs/'pca-16')
        count('values of images')
    shutil.copytree(runs/'baseline', tmp_path/'out'/'baseline')
    (tmp_path/'out'/'baseline'/'per_image.safetensors').write_bytes(b'cut')
    made_up_run(tmp_path/'out', 'resnet', pictures=False, mse=.9)
    assert 'per_image.safetensors is damaged' in ' '.join(image_noise(tmp_path/'out', read_rows(tmp_path/'out')))

def test_a_folder_of_runs_is_not_a_run(runs, tmp_path):
    "Where one run is meant, the message names those in it; --run takes the best, and says which."
    code, err = said('diff', runs, runs/'baseline')
    assert code == 2 and 'It is a folder of runs: give one of them, baseline and pca-16.' in err, err
    code, err = said('compress', make_folder(tmp_path/'in'), '--run', runs, '--out', tmp_path/'all.ae')
    assert code == 0 and f'The model: Baseline, seed 3333: {runs/"baseline"}' in err, err

def test_caches_are_made_anew(tmp_path, monkeypatch):
    "Images and components: harmed in whatever way, the next reader finds them whole again."
    home = tmp_path/'home'  # with these alone
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    data = load_images('digits', 8)
    first = principal_components(data)
    for kind, read in (('images', lambda: load_images('digits', 8)), ('components', lambda: principal_components(data))):
        path, = (home/kind).glob('digits-8-*')
        whole = path.read_bytes()
        for harmed in harms(whole, 20):
            put(path, harmed)
            found = read()
            assert (torch.equal(found.train_x, data.train_x) if kind == 'images'
                    else torch.equal(found.directions, first.directions) and found.exact)
            assert path.read_bytes() == whole
            count(kind)

def test_classifiers_are_trained_anew(tmp_path, monkeypatch):
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path))
    data, made = load_images('digits', 8), []
    net = classifier_network('resnet34', 10).eval()
    def make(checkpoint):
        made.append(1)
        return net
    def get(): return kept_classifier(data, 'resnet34', 'a test', make, 'cpu')
    accuracy = get().accuracy
    path, = (tmp_path/'classifiers').glob('digits-8-*')
    whole = path.read_bytes()
    for harmed in itertools.islice(harms(whole, 4), 0, None, 180):  # of 45 MB each, so not all of them
        put(path, harmed)
        assert get().accuracy == accuracy and path.read_bytes() == whole
        count('classifiers')
    assert len(made) == 1 + COUNT['classifiers']
    judge = get()
    put(path, whole[:-1])  # between its being found and its first use
    with pytest.raises(AebenchError, match=re.escape(f'The classifier {path} is damaged')): judge.net

def test_states_are_refused_or_begun_anew(tmp_path):
    "The state of a training, its optimiser in it: whatever is altered, it is not gone on from, and a sentence says so."
    path, state = tmp_path/'state.safetensors', dict.fromkeys(Checkpoint.items, None) | dict(
        about=dict(seed=0), notes={}, model=dict(w=torch.rand(4, 3)),
        optimiser=dict(state=[dict(grad_avg=torch.rand(4, 3))], hypers=[dict(lr=.1)]))
    whole = write_state(path, state).read_bytes()
    def found():
        told = []
        return Checkpoint(path, dict(seed=0), log=told.append).found, told
    assert torch.equal(found()[0]['optimiser']['state'][0]['grad_avg'], state['optimiser']['state'][0]['grad_avg']) and not found()[1]
    for harmed in harms(whole, 20):
        put(path, harmed)
        state_found, told = found()
        assert (state_found is None and len(told) == 1 and told[0].startswith(str(path))
                and told[0].lower().endswith('the training begins anew.')), told
        count('states')
    put(path, whole)
    told = []
    assert Checkpoint(path, dict(seed=1), log=told.append).found is None and 'made with another seed' in told[0]

def test_weights_from_a_file_are_refused_by_name(tmp_path):
    "Both kinds of file; nothing is unpickled."
    net = torch.nn.Linear(3, 2)
    write_tensors(tmp_path/'w.safetensors', {k: v.detach() for k, v in net.state_dict().items()})
    torch.save(net.state_dict(), tmp_path/'w.pth')
    for name in ('w.safetensors', 'w.pth'):
        path = tmp_path/name
        whole = path.read_bytes()
        assert torch.equal(read_weights(path)['weight'], net.weight)
        some = harms(whole, 20) if name == 'w.safetensors' else [
            *(whole[:o] for o in range(0, len(whole) - 1, 97)), bytes(len(whole)), b'',
            pickle.dumps(Loud()), pickle.dumps(dict(a=1)), pickle.dumps([])]
        for harmed in some:
            put(path, harmed)
            with pytest.raises(UsageError, match=re.escape(str(path))): read_weights(path)
            count('weights')

# What a reader could be led to ----------------------------------------------------------------------------------------------

NASTY = ('<script>alert(1)</script><img src=x onerror=alert(2)>"\'`</td></table></style><!--{{7*7}}\n'
         '=cmd|\' /C calc\'!A0 https://elsewhere.example/')

class Page(html.parser.HTMLParser):
    "Every tag with its attributes."
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.tags.append((tag, dict(attrs)))

@pytest.fixture(scope='module')
def nasty(tmp_path_factory):
    "A report of rows in which every word is hostile."
    out = tmp_path_factory.mktemp('nasty')
    words = dict(data_label=NASTY, data=f'/home/{NASTY}', classifier=NASTY, device_name=NASTY, device=NASTY, weights=NASTY,
                 git_revision=NASTY, command=f'aebench run; {NASTY}', python=NASTY, data_fingerprint=NASTY)
    made_up_original(out, **words)
    made_up_run(out, 'baseline', **words)
    made_up_run(out, 'resnet', pictures=False, **words, status='failed', reason=NASTY)
    own = made_up_run(out, 'feature_loss', pictures=False, **words)
    row = json.loads((own/'row.json').read_text()) | dict(method=NASTY, label=NASTY) | {NASTY: NASTY}
    folder = out/NASTY.replace('/', '∕')[:80]
    write_json(folder/'row.json', row)
    write_json(folder/'run.json', dict(environment={NASTY: NASTY}, settings={}))
    return make_report(out)

def test_report_escapes(nasty):
    "No tag, attribute or address comes from the rows; the policy allows no script and no network and is the first thing said."
    text = nasty.read_text(encoding='utf-8')
    tags = Page(text).tags
    assert {tag for tag, _ in tags} <= set(
        'html head meta title style body main section h1 h2 h3 h4 p ul li div table thead tbody tr th td abbr span a strong small br '
        'img figure figcaption details summary dl dt dd pre code footer'.split())
    assert not [(tag, k) for tag, attrs in tags for k in attrs if k.startswith('on')]
    assert all(o['src'].startswith('data:image/png;base64,') for tag, o in tags if tag == 'img')
    links = [o['href'] for tag, o in tags if tag == 'a']
    assert links and all(o in ('results.csv', 'report/') or o.startswith('https://aebench.github.io/aebench/')
                         or re.fullmatch(r'report/notebooks/[\w.+%-]+\.ipynb', o) for o in links), links
    css, = re.findall(r'<style>(.*?)</style>', text, re.S)
    metas = [o for tag, o in tags if tag == 'meta']
    assert (metas[1] == {'http-equiv': 'Content-Security-Policy', 'content': policy(css)}
            and "default-src 'none'" in policy(css) and 'script' not in policy(css))
    assert '&lt;script&gt;alert(1)' in text and '&lt;!--{{7*7}}' in text
    assert len(re.findall(re.escape('&lt;script&gt;'), text)) > 10

def test_report_does_nothing_in_a_browser(nasty, browser):
    "No dialog, no error, no request but for the page itself."
    page, found = browser.new_page(), []
    page.on('dialog', lambda o: (found.append(f'dialog: {o.message}'), o.dismiss()))
    page.on('console', lambda o: found.append(o.text) if o.type in ('error', 'warning') else None)
    page.on('pageerror', lambda o: found.append(str(o)))
    page.on('request', lambda o: found.append(o.url) if not o.url.startswith((nasty.as_uri(), 'data:')) else None)
    page.goto(nasty.as_uri(), wait_until='load')
    assert 'alert(1)' in page.inner_text('body') and page.evaluate('() => document.scripts.length') == 0
    page.close()
    assert not found, found

def test_tables_escape(nasty):
    "No cell of results.csv is a formula to a spreadsheet; rows and columns stay what they are."
    with open(nasty.parent/'results.csv', newline='', encoding='utf-8') as f: cells = list(csv.reader(f))
    assert len(cells) == 6 and len({len(o) for o in cells}) == 1
    def number(o):
        try: return float(o) == float(o)
        except ValueError: return False
    assert not [o for row in cells for o in row if o.startswith(('=', '+', '-', '@', '\t', '\r')) and not number(o)]

@pytest.mark.parametrize('start', '=+-@\t\r')
def test_formulas_are_quoted(start, tmp_path):
    made_up_run(tmp_path, 'baseline', pictures=False, data_label=f'{start}1+1', **{f'{start}x': f'{start}y'})
    gather(tmp_path)
    with open(tmp_path/'results.csv', newline='', encoding='utf-8') as f: head, row = csv.reader(f)
    assert len(head) == len(row)
    shown = start.replace('\r', '\n')  # a lone return would end the line for some readers
    assert f"'{shown}1+1" in row and f"'{shown}x" in head and f"'{shown}y" in row
    write_latents(tmp_path/'z.csv', [f'{start}1.png'], np.zeros((1, 2), np.float32), np.zeros(1), 'm')
    assert not re.search(rf'^{re.escape(start)}', (tmp_path/'z.csv').read_text(), re.M)

def test_notebooks_run_only_aebench(nasty):
    "A notebook's command is made from the row's settings, quoted word by word; what a row calls its command is not run."
    made = list((nasty.parent/'report'/'notebooks').glob('*.ipynb'))
    assert made and all(o.resolve().parent == nasty.parent/'report'/'notebooks' for o in made)
    def code(**row):
        nb = json.loads(row_notebook(dict(method='baseline', data='digits', label='x') | row))
        return [''.join(c['source']) for c in nb['cells'] if c['cell_type'] == 'code' and ''.join(c['source']).startswith('%%bash')]
    for evil in ('my runs', '`reboot` $(x) ;\nreboot', "a'b", '{1+1}'):
        cell, = code(data=evil, weights=evil)
        words = shlex.split(cell.removeprefix('%%bash\n'))
        assert words[:6] == ['aebench', 'run', '--methods', 'baseline', '--data', evil] and words[words.index('--weights') + 1] == evil
    assert code(command='rm -rf /') == code(command='aebench run') and 'rm' not in code(command='rm -rf /')[0]
    assert code(method='baseline; reboot') == code(epochs='1; reboot') == []
    for path in made:
        for c in json.loads(path.read_text())['cells']:
            if c['cell_type'] == 'code' and 'Run(' in ''.join(c['source']): compile(''.join(c['source']), str(path), 'exec')

def test_site_escapes(nasty, monkeypatch):
    "The page of a folder of results, as the docs site shows it."
    monkeypatch.syspath_prepend(ROOT/'docs')
    import result_pages
    from aebench.report.tables import brief_cells, cells
    rows = read_rows(nasty.parent)
    tables = (result_pages.main_table(rows, brief_cells(rows), list(brief_cells(rows)), 'Results'),
              result_pages.whole_table(rows, cells(rows), 'digits'))
    for made in tables:
        tags = {tag for tag, _ in Page(made).tags}
        assert 'td' in tags and not tags & {'script', 'img', 'style'}

@pytest.mark.parametrize('name', [
    '../out.png', '/tmp/aebench-out.png', 'a/../../out.png', '..', 'link/out.png', 'link/', 'link/.', 'a/\0.png'])
def test_archives_stay_in_their_folder(name, runs, tmp_path):
    "Absolute names, names with .., names that a link leads away: neither file writes outside, nor anything at all."
    from aebench import load
    from aebench.codec.archive import compress
    from aebench.codec.coding import encode_images
    run = load(runs/'pca-16', device='cpu')
    z, coder = encode_images(run.codec, load_images('digits', 16).test_x[:2]), read_coder(runs/'pca-16'/'coder.safetensors')
    (tmp_path/'x.ae').write_bytes(compress(coder.quantise(z), coder, ['fine.png', name], 16, run.model))
    write_latents(tmp_path/'z.csv', ['fine.png', name], z, np.zeros(2), run.model)
    (tmp_path/'back').mkdir()
    (tmp_path/'elsewhere').mkdir()
    (tmp_path/'back'/'link').symlink_to(tmp_path/'elsewhere')
    for command, file in (('decompress', 'x.ae'), ('decode', 'z.csv')):
        code, err = said(command, tmp_path/file, '--run', runs/'pca-16', '--out', tmp_path/'back', '--device', 'cpu')
        assert code == 2 and 'points outside' in err and 'refusing to use it' in err, err
    assert not list(tmp_path.rglob('*.png')) and not Path('/tmp/aebench-out.png').exists()

def test_what_steps_promise(runs, tmp_path):
    "--bytes and --quality hold for the whole archive, numbers can be left out, and what is out of reach or of format 1 is said."
    make_in, run = make_folder(tmp_path/'in'), ['--run', runs/'pca-16', '--device', 'cpu']
    def compressed(*words):
        code, err = said('compress', make_in, *run, '--out', tmp_path/'x.ae', *words)
        data = (tmp_path/'x.ae').read_bytes() if code == 0 else b''
        (tmp_path/'x.ae').unlink(missing_ok=True)
        return code, err, data
    names = packed_names(compressed()[2])
    sizes = {words: len(compressed(*words)[2])/len(names)
             for words in [('--bytes', '24'), ('--bytes', '16'), ('--quality', '11'), ('--quality', '10.6')]}
    assert (sizes['--bytes', '16'] <= 16 and 22 < sizes['--bytes', '24'] <= 24
            and 0 < sizes['--quality', '10.6'] < sizes['--quality', '11']), sizes
    for words, why in ((('--bytes', '2'), 'bytes each even in the coarsest steps'), (('--quality', '90'), 'dB at best'),
                       (('--numbers', '17'), 'give 1 to 16'), (('--numbers', '0'), 'give 1 to 16'),
                       (('--bytes', '9', '--quality', '20'), 'both choose the step')):
        code, err, _ = compressed(*words)
        assert code == 2 and why in err, err
    for k in (1, 7, 16):
        data = compressed('--numbers', k)[2]
        (tmp_path/f'{k}.ae').write_bytes(data)
        assert said('decompress', tmp_path/f'{k}.ae', *run, '--out', tmp_path/f'archive-{k}')[0] == 0
        assert said('encode', make_in, *run, '--out', tmp_path/f'{k}.csv', '--numbers', k)[0] == 0
        assert (tmp_path/f'{k}.csv').read_text().split('\n')[0].count(',z') == k
        assert said('decode', tmp_path/f'{k}.csv', *run, '--out', tmp_path/f'table-{k}')[0] == 0
        files = [sorted((tmp_path/f'{kind}-{k}').rglob('*.png')) for kind in ('archive', 'table')]
        assert len(files[0]) == len(files[1]) == len(names)
        a, b = (np.stack([np.asarray(Image.open(o)) for o in part]).astype(float) for part in files)
        assert np.abs(a - b).mean() < 8, k
    old = data[:7] + b'\x01' + data[8:]
    (tmp_path/'old.ae').write_bytes(old)
    code, err = said('decompress', tmp_path/'old.ae', *run, '--out', tmp_path/'none')
    assert code == 2 and 'is of format 1 and this aebench reads format 2' in err

def test_a_report_is_not_led_away(tmp_path):
    "A link in place of its folder of pictures."
    made_up_run(tmp_path/'out', 'baseline', pictures=False)
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'curves.png').write_bytes(b'mine')
    (tmp_path/'out'/'report').symlink_to(tmp_path/'mine')
    with pytest.raises(UsageError, match='report is a link'): make_report(tmp_path/'out')
    assert [o.name for o in (tmp_path/'mine').iterdir()] == ['curves.png']

def test_nothing_that_bandit_finds():
    "Its findings are settled in the code, or explained where they stand."
    done = subprocess.run([sys.executable, '-m', 'bandit', '-q', '-r', 'aebench', 'tools', 'docs', 'benchmarks', '-c', 'pyproject.toml'],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

MAKING = '''import os, sys
from aebench.core.locks import one_maker
for _ in range(60):
    with one_maker('made', on_wait=lambda o: None):
        os.close(os.open('inside', os.O_CREAT | os.O_EXCL))
        os.unlink('inside')'''

def test_one_process_makes_at_a_time(tmp_path):
    "Each removes its lock, and none of those that wait enters beside another."
    found = [subprocess.Popen([sys.executable, '-c', MAKING], cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [o.communicate()[1] for o in found] == ['']*4 and not list(tmp_path.iterdir())
