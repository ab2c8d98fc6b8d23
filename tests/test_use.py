"A trained model in use: images in whatever form, files for other programs, folders for other people, anomalies."
import importlib
import inspect
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from fastcore.docments import docments
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from PIL import Image

from aebench import load
from aebench.codec import Codec, bytes_per_image
from aebench.codec.archive import image_paths, write_images
from aebench.data.folders import read_folder
from aebench.codec.coding import decode_latents, encode_images, read_coder
from aebench.codec.latents import RawPixels
from aebench.codec.references import make_reference
from aebench.data import load_images
from aebench.core import files
from aebench.core.errors import UsageError
from aebench.apply import folders
from aebench.apply.tables import original_name
from aebench.apply.trained import find_run
from aebench.bench.loop import do_runs
from aebench.callback.progress import Progress
from aebench.registry import METHODS, REFERENCES
from aebench.settings import plan_runs
from aebench.bench.run import do_run, make_model
from aebench.apply.export import FORMATS, PARTS, run_onnx, run_torch
from aebench.apply.share import FILES

from test_cli import commands, make_folder

pytestmark = pytest.mark.usefixtures('at_home')

@pytest.fixture(scope='module')
def data(at_home): return load_images('digits')

@pytest.fixture(scope='module')
def run(data, tmp_path_factory):
    "The folder of a small network's run."
    folder = tmp_path_factory.mktemp('use')/'baseline'
    do_run(plan_runs('baseline', 'digits', epochs=(1, 2))[0], data, [], folder)
    return folder

@pytest.fixture(scope='module')
def ae(run): return load(run, device='cpu')

def bytes_of(folder): return {o.relative_to(folder): o.read_bytes() for o in folder.rglob('*') if o.is_file()}

@pytest.mark.parametrize('package, name', [('aebench', 'load'), ('aebench.apply', 'load'),
                                           ('aebench.codec', 'Codec'), ('aebench.data', 'load_images')])
def test_import_needs_no_torch(package, name):
    "A package fetches what it has when it is asked for."
    code = (f'import sys, {package} as p; assert "torch" not in sys.modules; from {package} import {name}; '
            f'assert "torch" in sys.modules and callable({name}); p.nothing')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert "no attribute 'nothing'" in done.stderr and 'AssertionError' not in done.stderr, done.stderr

def codecs(name:str, data):
    "What copies images by the method or the family of references `name`."
    if name in METHODS: return make_model(plan_runs(name, 'digits', weights='random')[0], data).eval()
    family = REFERENCES[name]
    return make_reference(family.at(8 if family.level else None), data)

@pytest.mark.parametrize('name', [*METHODS, *REFERENCES, 'raw pixels', 'a run'])
def test_everything_that_copies_images_is_a_codec(name, ae, data):
    codec = RawPixels(16, 1) if name == 'raw pixels' else ae if name == 'a run' else codecs(name, data)
    x = data.test_x[:4].float()/255
    with torch.no_grad():
        codes = codec.encode(x)
        copies = codec.decode(codes)
    assert isinstance(codec, Codec) and (codec.channels, codec.size, codec.size) == x.shape[1:]
    assert len(codes) == 4 and all(isinstance(o, bytes) for o in codes) if codec.latent is None else codes.shape == (4, codec.latent)
    assert copies.shape == x.shape and 0 <= copies.min() and copies.max() <= 1
    assert bytes_per_image(codec) >= 0

def test_each_family_of_references_has_its_builder(): assert set(REFERENCES.builders) == set(REFERENCES)

def test_same_error_as_measured(ae, data):
    row = json.loads((ae.folder/'row.json').read_text())
    arrays = data.test_x.permute(0, 2, 3, 1).numpy()
    for images in (arrays, arrays/255, data.test_x):
        copies = ae.reconstruct(images)
        inputs = images if isinstance(images, torch.Tensor) else torch.from_numpy(arrays)
        assert abs(float(np.square(np.asarray(copies) - inputs.numpy()/255).mean()) - row['mse']) < 1e-6
    assert repr(ae) == (f'Baseline: 16×16 pixels ↔ 32 numbers; Digits, MSE {row["mse"]:.6f}, '
                        f'coded in {row["coded_bytes"]:.0f} bytes an image; on cpu')

def test_files_of_any_size_are_scaled(ae, tmp_path):
    folder = make_folder(tmp_path/'photos', n=6)  # 20×28 pixels
    paths = sorted(folder.rglob('*.png'))
    pillow = [Image.open(o) for o in paths]
    expected = ae.encode(folder)
    arrays = np.stack([np.asarray(o) for o in pillow])
    for images in (paths, pillow, [str(o) for o in paths], (o for o in pillow), arrays, list(arrays),
                   [paths[0], *pillow[1:3], *arrays[3:]]):
        assert np.array_equal(ae.encode(images), expected)
    smooth = np.linspace(0, 1, 40*40, dtype=np.float32).reshape(40, 40, 1).repeat(3, -1)  # floats and tensors are scaled by torch
    for images in (smooth, torch.from_numpy(smooth).movedim(-1, 0)):
        assert np.abs(np.asarray(ae.encode(images)) - ae.encode((smooth*255).round().astype(np.uint8))).max() < .02
    assert ae.encode(paths[0]).shape == (32,) and ae.reconstruct(pillow[0]).shape == (16, 16, 1)

KINDS = ['uint8', 'float32', 'float64', 'float16', '>f4', 'int64', 'bool', 'complex64']

@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.sampled_from([0, 1, 2, 3, 4, 16, 17]), min_size=0, max_size=5).map(tuple),
       kind=st.sampled_from(KINDS), top=st.sampled_from([1, 255, -1, np.nan]), as_tensor=st.booleans())
def test_any_numbers_are_images_or_refused(ae, shape, kind, top, as_tensor):
    "What comes out has the shape that goes with what went in, and is in [0, 1]; all else is a sentence."
    with np.errstate(invalid='ignore'): x = np.full(shape, top).astype(kind)
    channels = -3 if as_tensor else -1
    right = len(shape) == 2 or len(shape) in (3, 4) and (shape[channels] in (1, 3) or not as_tensor and shape[-3] == 1)  # channels first
    right = right and 0 not in shape and (kind == 'uint8' or np.dtype(kind).kind == 'f' and top == 1)
    given = torch.from_numpy(x.astype(x.dtype.newbyteorder('='))) if as_tensor else x
    if not right:
        with pytest.raises(UsageError): ae.reconstruct(given)
        return
    y, z = ae.reconstruct(given), ae.encode(given)
    n = shape[:1] if len(shape) == 4 else ()
    assert type(y) is type(z) is type(given) and y.shape == n + ((1, 16, 16) if as_tensor else (16, 16, 1)) and z.shape == n + (32,)
    assert 0 <= y.min() and y.max() <= 1

@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=st.lists(st.sampled_from([0, 1, 3, 31, 32]), min_size=0, max_size=3).map(tuple),
       value=st.sampled_from([0, 1e3, np.inf, np.nan]))
def test_any_latents_are_decoded_or_refused(ae, shape, value):
    z = np.full(shape, value)
    if len(shape) in (1, 2) and shape[-1] == 32 and shape[0] and np.isfinite(value): assert ae.decode(z).shape == shape[:-1] + (16, 16, 1)
    else:
        with pytest.raises(UsageError): ae.decode(z)

ODD = ['a b.png', '=1+1.png', '$x$_{.png', 'ünï/çode.png', '..png', 'x/..png', '-rf.png',
       "it's.jpg.png", 'new\nline.png', os.fsdecode(b'\xff.png')]

@pytest.mark.skipif(sys.platform != 'linux', reason='other systems refuse such names')
def test_odd_names_stay_within(run, said, data, tmp_path):
    names = [o for o in ODD if not Path(o).name.startswith('.')]  # those are hidden, and left out
    write_images(data.test_x[:len(ODD)], ODD, tmp_path/'in')
    before = bytes_of(tmp_path/'in')
    code, out, err = said('reconstruct', tmp_path/'in', '--run', run, '--out', tmp_path/'out', '--device', 'cpu')
    assert code == 0 and out.startswith(f'{len(names)} images in'), err
    assert {str(o) for o in bytes_of(tmp_path/'out')} == set(names) and bytes_of(tmp_path/'in') == before
    code, out, err = said('anomaly', tmp_path/'in', '--run', run, '--out', tmp_path/'found.csv', '--device', 'cpu')
    assert code == 0 and sorted(map(original_name, pd.read_csv(tmp_path/'found.csv').path)) == sorted(names), err
    assert sorted(o.name for o in tmp_path.iterdir()) == ['found.csv', 'found.png', 'in', 'out']

def in_bytes(name:str, most:int=255) -> str:
    "The beginning of `name` that a file may have as its name."
    while len(os.fsencode(name)) > most: name = name[:-1]
    return name

SCRIPTS = 'aZ0 .~%', 'äÉß', 'e\u0301A\u030a', '\u0995\u0643\u6f22\u30ab\u3099', '\U0001f600\udcff', '\\\n\t"<>:|?*$#,;='
LETTERS = st.one_of(*(st.sampled_from(o) for o in SCRIPTS))
LONG = st.builds(lambda o, n: o*n, st.text(LETTERS, min_size=1, max_size=9), st.sampled_from([1, 28, 63, 127, 255]))
PART = st.one_of(st.text(LETTERS, min_size=1, max_size=9), LONG).map(lambda o: 'x' + o)
NAMES = st.lists(st.builds(lambda folders, name, end: '/'.join([*map(in_bytes, folders), in_bytes(name, 255 - len(end)) + end]),
                           st.lists(PART, max_size=2), PART, st.sampled_from(['.png', '.PNG', '.jpg', '.jpeg', '.tiff'])),
                 min_size=1, max_size=5)

def with_relatives(names):
    "Names that some disk takes for the same, and that get the same end, beside those that are given."
    more = [f(o) for o in names
            for f in (str.swapcase, lambda o: unicodedata.normalize('NFC', o), lambda o: unicodedata.normalize('NFD', o),
                      lambda o: f'{o}.png')]
    return sorted({o for o in [*names, *more]
                   if Path(o).suffix.lower() in ('.png', '.jpg', '.jpeg', '.tiff')
                   and all(len(os.fsencode(p)) <= 255 for p in o.split('/'))})

@pytest.mark.skipif(sys.platform != 'linux', reason='other systems refuse such names')
@settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=NAMES.map(with_relatives), deep=st.sampled_from([0, 0, 3700]))
def test_whatever_name_is_compressed_comes_back(ae, names, deep):
    "Each image, and under a name that begins and ends as its own, that fits any disk and that no disk takes for another's."
    with tempfile.TemporaryDirectory() as d, pytest.MonkeyPatch.context() as patch:
        made = set()
        for i, name in enumerate(names):
            path = Path(d)/'in'/name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists(): Image.new('RGB', (16, 16), (50*i % 256, 90*i % 256, i)).save(path, 'PNG'), made.add(name)
        patch.setattr(folders, '_others', lambda *args: {})  # as what files of other kinds they would be takes most of the time
        folders.compress_folder(f'{d}/in', ae, f'{d}/x.ae')
        back = Path(d, *['y'*100]*(deep//101), 'back')
        written = folders.decompress_file(f'{d}/x.ae', ae, back)
        read = read_folder(f'{d}/in', 16, ae.prep)
        names, images = read.names, read.images
        assert set(names) == made and len(written) == len(names) == sum(o.is_file() for o in back.rglob('*'))
        coder = read_coder(ae.folder/'coder.safetensors')
        copies = decode_latents(ae.codec, coder.restore(coder.quantise(encode_images(ae.codec, images))))
        assert len({unicodedata.normalize('NFC', str(o).casefold()) for o in written}) == len(names)
        for name, path, copy in zip(names, written, copies):
            assert np.array_equal(np.asarray(Image.open(path)), copy[0])
            own, found = f'{name.removesuffix(".png")}.png', path.relative_to(back)
            if str(found).startswith(own[:-4]): continue
            last, shown = (o.name.replace('.png', '') for o in (Path(own), found))
            assert all(len(os.fsencode(o)) <= 255 for o in found.parts) and shown.endswith(last[-9:])
            assert shown.startswith(last[:20]) or deep and str(found).startswith(own[:20].replace('/', '_')), (name, found)

def test_names_that_commands_choose(run, said, tmp_path, monkeypatch):
    "Of a folder whose name is as long as names can be; and some images, by name or pattern, without the rest."
    monkeypatch.chdir(tmp_path)
    name = 'ü'*127 + 'x'
    make_folder(tmp_path/name, n=4, classes='a')
    for command in ('reconstruct', 'compress', 'encode', 'anomaly'):
        code, _, err = said(command, name, '--run', run, '--device', 'cpu')
        assert code == 0, err
    made = [o for o in tmp_path.iterdir() if o.name != name]
    assert len(made) == 5 and all(o.name.startswith('üüü') and len(os.fsencode(o.name)) > 250 for o in made)
    file, = (o for o in made if o.suffix == '.ae')
    code, out, err = said('decompress', file, '--list')
    assert code == 0 and out.splitlines() == sorted(f'a/{o.name}' for o in (tmp_path/name/'a').iterdir()), err
    first, second, *_ = out.splitlines()
    assert (said('decompress', file, '--run', run, '--out', 'all', '--device', 'cpu')[0]
            == said('decompress', file, '--run', run, '--only', first, second[:-4] + '.*', '--out', 'two', '--device', 'cpu')[0] == 0)
    assert bytes_of(tmp_path/'two') == {Path(o): (tmp_path/'all'/o).read_bytes() for o in (first, second)}
    code, _, err = said('decompress', file, '--run', run, '--only', first[:-1], '--out', 'none')
    assert code == 2 and f'Did you mean {first}?' in err and not Path('none').exists()
    code, _, err = said('decompress', file)
    assert code == 2 and 'give --run DIR, or --list' in err

def test_links_lead_nowhere(run, said, tmp_path):
    make_folder(tmp_path/'in', n=4, classes='a')
    (tmp_path/'elsewhere').mkdir(), (tmp_path/'out').mkdir()
    (tmp_path/'out'/'a').symlink_to(tmp_path/'elsewhere')
    code, _, err = said('reconstruct', tmp_path/'in', '--run', run, '--out', tmp_path/'out')
    assert code == 2 and 'points outside' in err and not list((tmp_path/'elsewhere').iterdir())

def test_interrupted_copies_are_gone_on_with(run, said, tmp_path):
    "The same command again leaves what is there and writes what is missing; a file that is another one is refused, and nothing is written."
    make_folder(tmp_path/'in', n=6)
    words = 'reconstruct', tmp_path/'in', '--run', run, '--out', tmp_path/'out', '--device', 'cpu'
    assert said(*words)[0] == 0
    whole, lost = bytes_of(tmp_path/'out'), sorted((tmp_path/'out').rglob('*.png'))[3:]
    for path in lost: path.unlink()
    code, out, err = said(*words)
    assert code == 0 and out.startswith('6 images in') and bytes_of(tmp_path/'out') == whole, err
    lost[0].unlink(), lost[1].write_bytes(b'mine')
    code, _, err = said(*words)
    assert code == 2 and f'{lost[1]} is there already' in err and not lost[0].exists() and lost[1].read_bytes() == b'mine'

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='kills a fork')
def test_killed_between_pictures(tmp_path, monkeypatch):
    "Killed before every change on disk: what has its name is whole, the same call goes on, and the disk is not waited for file by file."
    monkeypatch.setattr(files, 'AT_ONCE', 3)
    images, names = torch.arange(5, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8), [f'{i % 2}/{i}.png' for i in range(5)]
    changes, syncs = [], []
    monkeypatch.setattr(files, 'on_disk_change', lambda *what: changes.append(what)), monkeypatch.setattr(os, 'fsync', syncs.append)
    write_images(images, names, tmp_path/'whole')
    whole = bytes_of(tmp_path/'whole')
    assert len(whole) == 5 and not syncs and len(changes) == 3 + 4*5
    for i in range(len(changes)):
        out, left = tmp_path/f'{i}', iter(range(i))
        def die(*what):
            if next(left, None) is None: os._exit(9)
        if not (child := os.fork()):
            files.on_disk_change = die
            write_images(images, names, out)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        found = bytes_of(out)
        assert (all(whole[k] == v for k, v in found.items() if k.suffix == '.png')
                and (changes[i][0] in ('make', 'open') or len(found) > sum(k.suffix == '.png' for k in found)))
        files._cleaned_dirs.clear()
        write_images(images, names, out)
        assert bytes_of(out) == whole

@pytest.mark.parametrize('to, read', [('onnx', run_onnx), ('torch', run_torch)])
@pytest.mark.parametrize('part', PARTS)
def test_exported_is_equal(ae, run, said, data, tmp_path, to, read, part):
    path = tmp_path/f'model{FORMATS[to][0]}'
    code, out, err = said('export', '--run', run, '--to', to, '--part', part, '--out', path)
    assert code == 0 and str(path) in out, err
    assert [o.name for o in tmp_path.iterdir()] == [path.name]  # all in one file
    for n in (1, 2, 7):
        images = data.test_x[:n].float()/255
        latents = ae.encode(images)
        expected = dict(whole=[latents, ae.reconstruct(images)], encoder=[latents], decoder=[ae.reconstruct(images)])[part]
        for a, b in zip(read(path.read_bytes(), latents if part == 'decoder' else images), expected, strict=True):
            assert np.abs(a - b.numpy()).max() <= 1e-5

def test_onnx_says_what_it_is(ae, run, said, tmp_path):
    import onnx
    assert said('export', '--run', run, '--out', tmp_path/'model.onnx')[0] == 0
    model = onnx.load(tmp_path/'model.onnx')
    onnx.checker.check_model(model)
    assert {o.key: o.value for o in model.metadata_props}['weights'] == ae.model
    assert [o.name for o in model.graph.input] == ['images'] and [o.name for o in model.graph.output] == ['latents', 'reconstructions']

def test_a_missing_extra_is_named(run, said, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    code, _, err = said('export', '--run', run, '--out', tmp_path/'x.onnx')
    assert code == 2 and 'pip install "aebench[onnx]"' in err
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    for words in (('export', '--run', run, '--to', 'folder', '--out', tmp_path/'x'), ('push', 'a/b', '--run', run),
                  ('pull', 'a/b', '--out', tmp_path/'x')):
        code, _, err = said(*words)
        assert code == 2 and 'pip install "aebench[hub]"' in err
    assert not list(tmp_path.iterdir())

def test_choices_are_all_there_are():
    choices = {o.dest: set(o.choices) for o in commands()['export']._actions if o.choices}
    assert choices == dict(to={*FORMATS, 'folder'}, part=set(PARTS))

class LocalHub:
    "The calls of `HfApi` that are used, on a folder; no network."
    def __init__(self, **kwargs): pass
    def create_repo(self, repo_id, private, exist_ok):
        self.log.append((repo_id, private))
        return f'https://hub.example/{repo_id}'
    def upload_folder(self, repo_id, folder_path, commit_message): shutil.copytree(folder_path, self.root/repo_id)
    def repo_info(self, repo_id): return SimpleNamespace(private=dict(self.log)[repo_id])
    def snapshot_download(self, repo_id, revision, allow_patterns):
        return str(shutil.copytree(self.root/repo_id, self.root/'cache'/repo_id, dirs_exist_ok=True,
                                   ignore=lambda _, names: set(names) - set(allow_patterns)))

def test_pushed_and_pulled(run, ae, said, data, tmp_path, monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub, 'HfApi', LocalHub)
    monkeypatch.setattr(LocalHub, 'root', tmp_path/'hub', raising=False)
    monkeypatch.setattr(LocalHub, 'log', [], raising=False)
    code, out, err = said('push', 'me/digits', '--run', run)
    assert code == 0 and out == 'https://hub.example/me/digits\n', err
    assert said('push', 'me/open', '--run', run, '--public')[0] == 0 and LocalHub.log == [('me/digits', True), ('me/open', False)]
    assert {o.name for o in (tmp_path/'hub'/'me'/'digits').iterdir()} == set(FILES)
    (tmp_path/'hub'/'me'/'digits'/'code.py').write_text('raise SystemExit')
    def refuse(*args, **kwargs): raise AssertionError('nothing is unpickled')
    monkeypatch.setattr(pickle, 'Unpickler', refuse), monkeypatch.setattr(torch, 'load', refuse)
    code, out, err = said('pull', 'me/digits', '--out', tmp_path/'got')
    assert code == 0 and repr(ae) in out, err
    assert {o.name for o in (tmp_path/'got').iterdir()} == set(FILES)
    got = load(tmp_path/'got', device='cpu')
    assert got.model == ae.model and np.array_equal(got.encode(data.test_x[:3]), ae.encode(data.test_x[:3]))
    (tmp_path/'got'/'README.md').unlink()
    # as after a kill: it goes on
    assert said('pull', 'me/digits', '--out', tmp_path/'got')[0] == 0 and (tmp_path/'got'/'README.md').exists()
    (tmp_path/'got'/'README.md').write_text('mine')
    code, _, err = said('pull', 'me/digits', '--out', tmp_path/'got')
    assert code == 2 and 'would be overwritten' in err and (tmp_path/'got'/'README.md').read_text() == 'mine'

def test_card_says_what_the_row_says(run, ae, said, tmp_path):
    assert said('export', '--run', run, '--to', 'folder', '--out', tmp_path/'model')[0] == 0
    _, front, card = (tmp_path/'model'/'README.md').read_text().split('---\n')
    about = yaml.safe_load(front)
    metrics = {o['type']: o['value'] for o in about['model-index'][0]['results'][0]['metrics']}
    assert about['library_name'] == 'aebench' and metrics == {k: ae.row[k] for k in ('mse', 'psnr', 'ssim')}
    for said_there in (ae.row['command'], f'{ae.row["mse"]:.6f}', 'Digits', '(samples.png)', 'pull('): assert said_there in card
    for command, out in (('compress', 'x.ae'), ('encode', 'x.csv'), ('anomaly', 'y.csv')):  # the folder does what the run does
        code, _, err = said(command, make_folder(tmp_path/'in', n=3), '--run', tmp_path/'model', '--out', tmp_path/out)
        assert code == 0, err

def test_own_folder_keeps_its_path_to_itself(home, said, tmp_path):
    folder = make_folder(tmp_path/'secret place'/'my photos', classes='')
    do_run(plan_runs('pca-8', str(folder), size=16)[0], load_images(folder, 16), [], tmp_path/'run')
    assert said('export', '--run', tmp_path/'run', '--to', 'folder', '--out', tmp_path/'model')[0] == 0
    assert str(tmp_path) not in (tmp_path/'model'/'README.md').read_text()
    for path, content in bytes_of(tmp_path/'model').items(): assert b'secret' not in content, path
    assert '--data \'my photos\'' in (tmp_path/'model'/'README.md').read_text()

# What each command does, for programs and notebooks
FUNCTIONS = dict(
    run='bench.loop.do_runs', train='bench.train.train_alone', report='report.page.make_report',
    check='data.folders.inspect_folder', methods='registry.get_methods', data='data.sets.load_images',
    diff='report.diff.compare_runs', sizes='bench.sizes.measure_sizes',
    compress='apply.folders.compress_folder', decompress='apply.folders.decompress_file',
    encode='apply.folders.encode_folder', decode='apply.folders.decode_table', reconstruct='apply.folders.reconstruct_folder',
    anomaly='apply.anomaly.write_anomalies', export='apply.export.export_model', push='apply.share.push', pull='apply.share.pull')

def test_each_command_is_a_function():
    "Whose docstring tells what it raises, and each of whose arguments and results is described."
    assert set(FUNCTIONS) == set(commands())
    for place in FUNCTIONS.values():
        module, _, name = place.rpartition('.')
        f = getattr(importlib.import_module(f'aebench.{module}'), name)
        told = docments(f, returns=False)
        assert name in importlib.import_module(f'aebench.{module}').__all__ and re.search('[Rr]aises (as )?`', f.__doc__), place
        assert all(told[o] or p.annotation is not p.empty or isinstance(p.default, bool) or p.kind is p.VAR_KEYWORD
                   for o, p in inspect.signature(f).parameters.items()), (place, told)

def test_strange_images_are_flagged(run, said, data, tmp_path):
    write_images(torch.cat([data.test_x[:40], 255 - data.test_x[40:44]]),
                 [f'{i}.png' for i in range(40)] + [f'strange/{i}.png' for i in range(4)], tmp_path/'in')
    code, out, err = said('anomaly', tmp_path/'in', '--run', run, '--level', .02, '--out', tmp_path/'found.csv', '--device', 'cpu')
    assert (code == 0 and ' of 44 images flagged at 2 %; 0.858 are expected if all are normal' in out
            and '40 of the images are among these' in out and '359 held-out normal images' in out), err
    table = pd.read_csv(tmp_path/'found.csv')
    assert list(table) == ['path', 'score', 'p_value', 'flagged'] and set(table.path[:4]) == {f'strange/{i}.png' for i in range(4)}
    assert table.flagged[:4].all() and table.score.is_monotonic_decreasing and (table.flagged == (table.p_value <= .02)).all()
    assert Image.open(tmp_path/'found.png').width > 300
    write_images(data.test_x[100:150], [f'{i}.png' for i in range(50)], tmp_path/'normal')
    code, out, err = said('anomaly', tmp_path/'in', '--run', run, '--normal', tmp_path/'normal', '--out', tmp_path/'few.csv',
                          '--device', 'cpu')
    assert (code == 0 and out.startswith('Of 44 images nothing can be flagged at 1 %')
            and not pd.read_csv(tmp_path/'few.csv').flagged.any()), err
    lines = out.strip().split('\n')
    assert (lines[1] == 'The strangest:' and lines[2].startswith(f'  {table.path[0]}  score ')
            and 'with 50 held-out normal images' in lines[0] and lines[-1].startswith('To flag any: --level 0.02, or'))
    code, out, err = said('anomaly', tmp_path/'in', '--run', run, '--normal', tmp_path/'normal', '--out', tmp_path/'some.csv',
                          '--level', .02, '--json', '--device', 'cpu')
    found = json.loads(out)  # the level that was named flags some
    assert code == 0 and found['flagged'] >= 4 and found['strangest'][0]['path'] == table.path[0] and found['lowest_p'] == 1/51, err
    code, _, err = said('anomaly', tmp_path/'in', 'found.csv', '--run', run)
    assert code == 2 and err == ('aebench: aebench anomaly takes FOLDER and flags, and found.csv is one word too many. '
                                 'aebench anomaly --help lists the flags.\n')
    code, out, err = said('anomaly', tmp_path/'in', '--run', run, '--level', .1, '--false-discovery', '--out', tmp_path/'fd.csv',
                          '--device', 'cpu')
    assert code == 0 and 'of which 10 % are expected to be normal, at most' in out and pd.read_csv(tmp_path/'fd.csv').flagged[:4].all(), err

def test_nothing_is_overwritten_unasked(run, said, data, tmp_path):
    "By no command, and by each with --overwrite; what is equal stays."
    write_images(data.test_x[:12], [f'{i}.png' for i in range(12)], tmp_path/'in')
    ways = dict(reconstruct=('in', 'copies', '0.png'), compress=('in', 'x.ae', ''), encode=('in', 'x.csv', ''),
                anomaly=('in', 'y.csv', ''), decompress=('x.ae', 'back', '0.png'), decode=('x.csv', 'decoded', '0.png'),
                export=(None, 'x.pt2', ''))
    for command, (given, out, name) in ways.items():
        words = [command, *([tmp_path/given] if given else ['--to', 'torch']), '--run', run, '--out', tmp_path/out, '--device', 'cpu']
        assert said(*words)[0] == 0, command
        path = tmp_path/out/name if name else tmp_path/out
        whole = path.read_bytes()
        if command != 'export': assert said(*words)[0] == 0 and path.read_bytes() == whole, command
        path.write_bytes(b'mine')
        code, _, err = said(*words)
        assert (code == 2 and f'{path} is there already and would be overwritten: add --overwrite, or choose another --out.' in err
                and path.read_bytes() == b'mine'), (command, err)
        code, _, err = said(*words, '--overwrite')
        assert code == 0 and (path.read_bytes() == whole or command == 'export'), (command, err)

def test_a_file_finds_the_model_that_made_it(run, said, data, tmp_path):
    "Among many runs, also where another copies better; without it there is a sentence."
    write_images(data.test_x[:4], [f'{i}.png' for i in range(4)], tmp_path/'in')
    do_runs(plan_runs('pca-4,pca-40', 'digits', judges=()), tmp_path/'runs', progress=Progress())
    maker, = (tmp_path/'runs').glob('pca-4-*')
    for command, out, back in (('compress', 'x.ae', 'decompress'), ('encode', 'x.csv', 'decode'), ('encode', 'x.npy', 'decode')):
        assert said(command, tmp_path/'in', '--run', maker, '--out', tmp_path/out, '--device', 'cpu')[0] == 0
        code, _, err = said(back, tmp_path/out, '--run', tmp_path/'runs', '--out', tmp_path/f'{out}-back', '--device', 'cpu')
        assert code == 0 and f'The model: PCA-4, which made the file: {maker}' in err, err
    shutil.rmtree(maker)
    code, _, err = said('decompress', tmp_path/'x.ae', '--run', tmp_path/'runs', '--out', tmp_path/'no', '--device', 'cpu')
    assert code == 2 and 'which no run in' in err, err

def test_of_images_that_grew_the_most_count(tmp_path):
    "Of several versions of one folder the largest is taken; several data sets are not compared."
    folder = make_folder(tmp_path/'images', n=20)
    for n in (20, 30):
        if n == 30: make_folder(tmp_path/'images', n=n)
        row, = do_runs(plan_runs('pca-4', str(folder), size=16, judges=()), tmp_path/'runs', progress=Progress())
    found, which = find_run(tmp_path/'runs', 'pca-4')
    assert found.name == row['run'] and '2 versions of the images are there, and this one trained on the most' in which
    do_runs(plan_runs('pca-4', 'digits', size=16, judges=()), tmp_path/'runs', progress=Progress())
    with pytest.raises(UsageError, match='runs on several data sets, whose errors cannot be compared: give one run'):
        find_run(tmp_path/'runs', 'pca-4')

def test_false_alarms_are_as_many_as_stated(run, said, data, tmp_path):
    "Normal images, split ten times into those that set the threshold and those that are looked at."
    gen, flagged = np.random.default_rng(0), []
    for i in range(10):
        order = torch.from_numpy(gen.permutation(len(data.test_x)))
        for name, part in (('normal', order[:179]), ('in', order[179:])):
            write_images(data.test_x[part], [f'{o}.png' for o in range(len(part))], tmp_path/f'{name}{i}')
        code, out, err = said('anomaly', tmp_path/f'in{i}', '--run', run, '--normal', tmp_path/f'normal{i}', '--level', .1,
                              '--out', tmp_path/f'{i}.csv', '--device', 'cpu')
        assert code == 0 and ' of 180 images flagged at 10 %; 18 are expected if all are normal' in out, out + err
        flagged.append(pd.read_csv(tmp_path/f'{i}.csv').flagged.mean())
    assert abs(np.mean(flagged) - .1) < .04 and max(flagged) < .25, flagged  # four standard errors, if the splits were independent

def test_masks_are_not_judged(run, said, tmp_path):
    "Nor where no folder says what is normal."
    make_folder(tmp_path/'x'/'images', 6), make_folder(tmp_path/'x'/'masks', 6)
    code, out, err = said('anomaly', tmp_path/'x', '--run', run, '--out', tmp_path/'found.csv', '--device', 'cpu')
    assert code == 0 and '6 images of the folder were not judged: training images, masks' in out, out + err
    assert pd.read_csv(tmp_path/'found.csv').path.str.startswith('images/').sum() == 6

def test_a_thousand_equal_names(tmp_path):
    found = image_paths(['same.png']*1000, tmp_path)
    assert len(set(found)) == 1000 and max(len(o.name) for o in found) < 20

@pytest.mark.parametrize('words, sentence', [
    (['reconstruct', 'NOWHERE', '--run', 'RUN'], 'no folder'),
    (['reconstruct', 'EMPTY', '--run', 'RUN'], 'holds no images'),
    (['reconstruct', 'BROKEN', '--run', 'RUN'], 'broken.png'),
    (['reconstruct', 'FOLDER', '--run', 'EMPTY'], 'holds no trained model. aebench train makes one.'),
    (['reconstruct', 'FOLDER', '--run', 'RUNS', '--method', 'resnet'], 'holds no finished run of resnet that left a model'),
    (['reconstruct', 'FOLDER', '--run', 'RUN', '--out', 'FOLDER'], 'lies within'),
    (['reconstruct', 'FOLDER', '--run', 'RUN', '--method', 'resnet'], 'holds a run of baseline, and none of resnet'),
    (['encode', 'FOLDER', '--run', 'RUN', '--out', 'FOLDER/latents.npy'], 'lies within'),
    (['compress', 'FOLDER', '--run', 'RUN', '--bytes', 'nan'], '--bytes takes a number above 0'),
    (['reconstruct', 'FOLDER', '--run', 'RUN', '--device', 'tpu'], 'no tpu device'),
    (['anomaly', 'FOLDER', '--run', 'RUN', '--level', '2'], 'is no share'),
    (['compress', 'FOLDER', '--run', 'RUN', '--quality', '.9'], '--quality is a PSNR in dB and no share: give one such as 30, not 0.9.'),
    (['compress', 'FOLDER', '--run', 'RUNZ'], 'There is no folder'),
    (['run', 'FOLDER', '--batch-size', '8', '--dry-run', '--out', 'FOLDER/x'], 'lies within'),
    (['anomaly', 'FOLDER', '--run', 'RUN', '--normal', 'EMPTY'], 'holds no images'),
    (['anomaly', 'FOLDER', '--run', 'RUN', '--out', 'FOLDER'], 'name it *.csv'),
    (['export', '--run', 'RUN', '--out', 'FOLDER'], 'name it *.onnx'),
    (['export', '--run', 'RUN', '--to', 'folder', '--out', 'RUN'], 'would be overwritten'),
    (['push', 'a b', '--run', 'RUN'], 'is no name on the hub'),
    (['pull', 'a/b/c'], 'is no name on the hub'),
])
def test_bad_input(words, sentence, run, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'EMPTY').mkdir()
    make_folder(tmp_path/'FOLDER', n=4), (make_folder(tmp_path/'BROKEN', n=4)/'a'/'broken.png').write_bytes(b'no image')
    places, before = dict(RUN=run, RUNS=run.parent), bytes_of(run)
    code, out, err = said(*(places.get(o, tmp_path/o) if o.isupper() else o for o in words))
    assert code == 2 and sentence in err and 'Traceback' not in err, err
    assert bytes_of(run) == before and {o.name for o in tmp_path.iterdir()} == {'EMPTY', 'FOLDER', 'BROKEN'}
