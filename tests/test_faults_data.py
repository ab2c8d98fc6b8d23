"Harm done to what comes in: folders of images, downloads, the clock, processes that are forked."
import contextlib
import gzip
import hashlib
import http.server
import itertools
import logging.handlers
import multiprocessing
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tenacity
import torch
import torchvision
from PIL import Image

import aebench
from aebench.core import downloads
from aebench.cli import main
from aebench.data import load_images
from aebench.core.errors import AebenchError, UsageError
from aebench.settings import MAX_PIXELS
from aebench.data.files import image_files
from aebench.data.folders import inspect_folder
from aebench.data.layouts import recognise
from aebench.bench.memory import PeakMemory
from aebench.settings import plan_runs
from aebench.bench.run import train_run
from aebench.weights import imagenet_weights, trained_network, weights_key
from made_up import made_up_run
from started import load_and_encode
from test_cli import make_folder, quickly, steady

pytestmark = pytest.mark.skipif(os.name != 'posix', reason='pipes, links and rights as POSIX has them')

IMPORTED = logging.handlers, tenacity # What would be imported on its first use, when nobody may read Python's own folders

@contextlib.contextmanager
def nobody():
    "Without root's rights, which read and write everything."
    if os.geteuid(): yield
    else:
        os.setegid(65534), os.seteuid(65534)
        try: yield
        finally: os.seteuid(0), os.setegid(0)

# Folders -----------------------------------------------------------------------------------------------------------------

def png(width, height, rows=b''):
    "A PNG of one bit a pixel, with the size that its header names, whatever follows."
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))

BOMB = 11_600 # Pixels a side: more than Pillow's bound, less than twice as many, where it only warns; 16 KB that unpack to 17 MB
ABSURD_EXIF = b'Exif\0\0II*\0\xff\xff\xff\x7f' + b'\xff'*40 # The first directory begins 2 GB behind the file's end

def jpeg(exif=b'', seed=0):
    import io
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(data, 'JPEG', exif=exif)
    return data.getvalue()

def damaged(folder, outside):
    "The ways of doing harm to `folder`: name → (what does it to a path, how the file is called, part of the reason that is given)."
    whole = jpeg()
    return dict(
        cut=(lambda p: p.write_bytes(whole[:len(whole)//2]), '{}.jpg', 'truncated'),
        zeros=(lambda p: p.write_bytes(bytes(len(whole))), '{}.jpg', 'no image'),
        empty=(lambda p: p.write_bytes(b''), '{}.png', 'no image'),
        wrong_ending=(lambda p: p.write_text('Minutes of the meeting'), '{}.png', 'no image'),
        bomb=(lambda p: p.write_bytes(png(BOMB, BOMB, bytes((BOMB//8 + 1)*BOMB))), '{}.png', 'not safe to decode'),
        dimensions=(lambda p: p.write_bytes(png(2**31 - 1, 2**31 - 1)), '{}.png', 'not safe to decode'),
        folder=(lambda p: p.mkdir(), '{}.jpg', 'a folder'),
        pipe=(os.mkfifo, '{}.jpg', 'no regular file'),
        dangling=(lambda p: p.symlink_to('nowhere.jpg'), '{}.jpg', 'No such file'),
        loop=(lambda p: p.symlink_to(p.name), '{}.jpg', 'symbolic links'),
        out=(lambda p: p.symlink_to(outside/'secret.txt'), '{}.jpg', 'no image'),
        unreadable=(lambda p: (p.write_bytes(whole), p.chmod(0)), '{}.jpg', 'Permission denied'),
        device=(lambda p: p.symlink_to('/dev/zero'), '{}.jpg', 'no regular file'),
        quotes=(lambda p: p.write_bytes(b'no'), '"{}\' "; rm -rf.jpg', 'no image'),
        newline=(lambda p: p.write_bytes(b'no'), '{}\nsecond line\x1b[31m.jpg', 'no image'),
        script=(lambda p: p.write_bytes(b'no'), '<script>alert({})<!--.jpg', 'no image'),
        not_text=(lambda p: p.write_bytes(b'no'), os.fsdecode(b'{}\xff\xfe.jpg'), 'no image'),
    )

def hostile(place, n):
    "A folder of `n` images in three classes, one in a hundred damaged, each way at least once: its path, and {name: (way, reason)}."
    folder, outside, harmed = place/'images', place/'outside', {}
    outside.mkdir()
    (outside/'secret.txt').write_text('secret')
    (outside/'fine.jpg').write_bytes(jpeg(seed=1))
    good = [jpeg(seed=i) for i in range(50)]
    for c in 'abc': (folder/c).mkdir(parents=True)
    ways = damaged(folder, outside)
    for i, way in zip(range(max(len(ways), n//100)), itertools.cycle(ways)):
        harm, name, reason = ways[way]
        path = folder/'abc'[i % 3]/name.replace('{}', f'bad{i:05}')
        harm(path)
        harmed[str(path.relative_to(folder))] = way, reason
    for i in range(n - len(harmed)): (folder/'abc'[i % 3]/f'{i:05}.jpg').write_bytes(good[i % 50])
    (folder/'a'/'absurd.jpg').write_bytes(jpeg(ABSURD_EXIF))
    (folder/'a'/'png-named.jpg').write_bytes(png(8, 8, bytes(16)))
    (folder/'b'/'linked.jpg').symlink_to(outside/'fine.jpg')
    (folder/'b'/'up').symlink_to(folder)  # followed, it would never end
    return folder, harmed

@pytest.mark.parametrize('n, most_seconds', [(600, 10), pytest.param(10_000, 60, marks=pytest.mark.slow)])
def test_hostile_folder(n, most_seconds, place, monkeypatch, capsys, tally):
    "Every harm is listed with its reason, in order; computing and memory are bounded; the good images are read as if nothing were."
    monkeypatch.setenv('AEBENCH_HOME', str(place/'home'))
    folder, harmed = hostile(place, n)
    capsys.readouterr()
    peak = PeakMemory()  # begins a new one: the process's own may be higher from before
    before, began = peak.megabytes, time.process_time()  # other work makes a process wait, and not compute
    with nobody():
        names = image_files(folder)
        found = inspect_folder(folder)
        with pytest.raises(UsageError, match=f'{len(harmed)} images of .* cannot be read'): load_images(folder, 16)
        data = load_images(folder, 16, skip_unreadable=True)
        code = main(['check', str(folder), '--steps', '0'])
    seconds, grown = time.process_time() - began, peak.megabytes - before
    text = capsys.readouterr().out
    assert names == sorted(names, key=lambda o: o.split('/')) and len(names) == n + 3
    assert set(found.unreadable) == set(harmed) == set(data.unreadable)
    for name, (way, reason) in harmed.items(): assert reason.lower() in found.unreadable[name].lower(), (way, found.unreadable[name])
    assert not [o for o in found.unreadable.values() if str(place) in o or '\n' in o]
    assert len(data.train_x) + len(data.test_x) == n + 3 - len(harmed)
    assert found.links == {'b/linked.jpg': f'leads out of the folder, to {place.resolve()}/outside/fine.jpg',
                           'b/up': 'a link to a folder that holds it, not followed'}
    assert data.links == {'b/linked.jpg': found.links['b/linked.jpg']}
    assert (code == 1 and f'Unreadable: {len(harmed)} ' in text
            and len(re.findall(r'^  [abc]/\S?bad|^  [abc]/<script>', text, re.M)) == len(harmed))  # one line each
    assert '\x1b' not in text and '\\nsecond line\\x1b[31m.jpg: no image' in text and '\\udcff\\udcfe.jpg: no image' in text
    assert seconds < most_seconds and grown < 400, (seconds, grown)
    tally('damaged files named', len(harmed))
    print(f'{len(harmed)} damaged files in {len({o for o, _ in harmed.values()})} ways named among {n}; '
          f'{seconds:.1f} s, {grown:.0f} MB more than before')

def test_bombs_are_errors_on_both_sides_of_twice_the_bound(place, monkeypatch):
    "Where Pillow only warns too, and whatever its warnings are set to; nothing is decoded."
    assert MAX_PIXELS < BOMB**2 < 2*MAX_PIXELS
    folder = make_folder(place/'images')
    for name, side in (('once', BOMB), ('twice', 2*BOMB)): (folder/'a'/f'{name}.png').write_bytes(png(side, side))
    import warnings
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        found = inspect_folder(folder)
    assert {k: 'not safe to decode' in v for k, v in found.unreadable.items()} == {'a/once.png': True, 'a/twice.png': True} and not caught

def test_a_folder_that_may_not_be_read_is_named(place):
    folder = make_folder(place/'images')
    (folder/'b').chmod(0)
    try:
        with nobody(), pytest.raises(UsageError, match='images/b/ cannot be read: Permission denied'): recognise(folder)
    finally: (folder/'b').chmod(0o755)

@pytest.mark.parametrize('name', [
    'file', 'x' + 'y'*240, 'a "b" \'c\'', '<script>alert(1)</script>', 'new\nline', os.fsdecode(b'no\xfftext')])
def test_messages_name_a_path_once(name, place, monkeypatch):
    "Whatever it is called; a folder of any name has its cache."
    monkeypatch.setenv('AEBENCH_HOME', str(place/'home'))
    folder = make_folder(place/name.replace('/', '-'))
    assert load_images(folder, 8).train_x.shape[0] == 20
    (folder/'a'/'file').mkdir()
    (folder/'a'/'file'/'file.png').write_bytes(b'no image')
    with pytest.raises(UsageError) as e: load_images(folder, 8)
    line = str(e.value).splitlines()[-1]
    assert line == '  a/file/file.png: no image, or damaged from its beginning'

def test_folders_that_may_not_be_written_to(place, monkeypatch, capsys):
    "Of results, and of the cache: a sentence that names the folder, and nothing in it."
    def run(out, home):
        monkeypatch.setenv('AEBENCH_HOME', str(home))
        code = main(['run', '-q', '--methods', 'mean_image', '--weights', 'random', '--size', '16',
                     '--data', str(images), '--out', str(out)])
        return code, capsys.readouterr().err
    images = make_folder(place/'images')
    assert run(place/'warm', place/'home')[0] == 0  # everything is imported: nobody may read Python's own folders
    for o in ('closed', 'open'): (place/o).mkdir()
    (place/'closed').chmod(0o555), (place/'open').chmod(0o777)
    with nobody():
        for out, home, named in ((place/'closed'/'out', place/'home', 'closed'), (place/'open'/'out', place/'closed'/'home', 'closed')):
            code, err = run(out, home)
            assert code == 1 and f'{place}/{named}' in err and 'written to' in err and 'Traceback' not in err and 'fault of' not in err, err
    assert not any((place/'closed').iterdir())

def test_one_run_that_may_not_be_written_goes_alone(place, monkeypatch, capsys):
    "It is told of, the others are made, and the same command makes it as soon as it may."
    monkeypatch.setenv('AEBENCH_HOME', str(place/'home'))
    def run(out):
        code = main(['run', '-q', '--methods', 'pca-2,pca-4,mean_image', '--weights', 'random', '--size', '16',
                     '--data', str(images), '--out', str(out)])
        return code, capsys.readouterr().err
    images = make_folder(place/'images')
    assert run(place/'warm')[0] == 0
    closed, other = (place/'out'/next((place/'warm').glob(f'{o}-*')).name for o in ('pca-2', 'pca-4'))
    closed.mkdir(parents=True)
    closed.chmod(0o555), closed.parent.chmod(0o777)
    with nobody(): code, err = run(closed.parent)
    assert (code == 1 and f'{closed} cannot be written to' in err and '1 of 3 runs failed; the same command tries them again' in err
            and 'Traceback' not in err and 'fault of' not in err), err
    assert (other/'row.json').exists() and not any(closed.iterdir()) and (closed.parent/'report.html').exists()
    closed.chmod(0o777)
    with nobody(): code, err = run(closed.parent)
    assert code == 0 and set(pd.read_csv(closed.parent/'results.csv').status) == {'done'}, err

# Downloads ---------------------------------------------------------------------------------------------------------------

class Server(http.server.BaseHTTPRequestHandler):
    "Serves `files`; `faults` say what goes wrong with a name's next answers, one after the other."
    def log_message(self, *args): pass
    def do_GET(self):
        name = self.path.rpartition('/')[2]
        self.server.asked.append(name)
        fault, data = next(self.server.faults.get(name, iter(())), None), self.server.files.get(name)
        if data is None: return self.send_error(404)
        if isinstance(fault, int): return self.send_error(fault)
        self.send_response(200)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if fault == 'cut': data = data[:len(data)//2]
        if fault == 'altered': data = bytes([data[0] ^ 1]) + data[1:]
        self.wfile.write(data)

@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE', .01)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as o:
        o.files, o.faults, o.asked, o.at = {}, {}, [], f'http://127.0.0.1:{o.server_port}/'
        threading.Thread(target=o.serve_forever, daemon=True).start()
        yield o
        o.shutdown()

def left(folder): return sorted(o.name for o in Path(folder).rglob('*') if o.is_file())

@pytest.mark.parametrize('faults, asked, reason', [
    ([], 1, None), (['cut'], 2, None), (['cut', 503], 3, None), ([429, 'cut'], 3, None),  # another try helps
    (['cut']*9, 3, 'the connection broke'), ([503]*9, 3, 'the server answers 503'),
    (['altered']*9, 1, 'another file, by its checksum'), ([404], 1, 'the server answers 404'),  # it doesn't
])
def test_download(faults, asked, reason, server, tmp_path):
    "Tried again where that helps; nothing but the whole file is ever in its place."
    data = os.urandom(300_000)
    server.files['x.bin'], server.faults['x.bin'] = data, iter(faults)
    def get(): return downloads.fetch([f'{server.at}x.bin'], tmp_path/'x.bin', hashlib.sha256(data).hexdigest())
    if reason is None: assert get().read_bytes() == data and left(tmp_path) == ['x.bin']
    else:
        with pytest.raises(AebenchError, match=re.escape(reason)): get()
        assert left(tmp_path) == []
    assert len(server.asked) == asked
    if reason is None:
        get()
        assert len(server.asked) == asked  # there and whole: not asked for again
        (tmp_path/'x.bin').write_bytes(data[:1000])  # half a file that somebody left
        assert get().read_bytes() == data and len(server.asked) == asked + 1

def test_download_goes_to_the_next_address(server, tmp_path):
    server.files['x.bin'] = b'data'
    downloads.fetch(['http://127.0.0.1:9/x.bin', f'{server.at}gone.bin', f'{server.at}x.bin'], tmp_path/'x.bin',
                    hashlib.md5(b'data').hexdigest(), 'md5')
    assert left(tmp_path) == ['x.bin'] and server.asked == ['gone.bin', 'x.bin']

def test_download_into_a_folder_that_may_not_be_written(server, place):
    server.files['x.bin'] = b'data'
    with pytest.raises(AebenchError, match='No such file|not be written'), nobody():
        (place/'cache').mkdir(mode=0o555)
        downloads.fetch([f'{server.at}x.bin'], place/'cache'/'x.bin', hashlib.sha256(b'data').hexdigest())
    assert left(place) == []

@pytest.fixture
def published(server, monkeypatch, tmp_path):
    "A network's weights, as if torchvision had published them on the server."
    from aebench.weights import classifier_network
    # Older than those counts, as torchvision's own files are
    state = {k: v for k, v in classifier_network('resnet34', 1000).state_dict().items() if not k.endswith('num_batches_tracked')}
    torch.save(state, tmp_path/'w.pth')
    data = (tmp_path/'w.pth').read_bytes()
    name = f'resnet34-{hashlib.sha256(data).hexdigest()[:8]}.pth'
    server.files[name] = data
    monkeypatch.setattr(torchvision.models, 'get_model_weights',
                        lambda arch: SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=server.at + name)))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))
    return name

def test_imagenet_weights(server, published, tmp_path):
    checkpoints = tmp_path/'torch'/'hub'/'checkpoints'
    server.faults[published] = iter(['cut'])
    first = imagenet_weights('resnet34')
    assert len(first) == 182 and left(checkpoints) == [published] and len(server.asked) == 2
    whole = server.files[published]
    for harmed in (whole[:5000], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], b''):  # what is kept is checked too, and got again
        (checkpoints/published).write_bytes(harmed)
        assert torch.equal(imagenet_weights('resnet34')['conv1.weight'], first['conv1.weight'])
    assert len(server.asked) == 5
    net = trained_network('resnet34', 'imagenet', SimpleNamespace(classes=('a', 'b')))
    assert all(torch.equal(net.get_parameter(k), v) for k, v in first.items() if k.endswith(('weight', 'bias')) and not k.startswith('fc.'))

def test_imagenet_weights_without_a_network(server, published, tmp_path):
    "The way by hand is in the message, and works; nothing is advised that can't be done."
    url, data = server.at + published, server.files.pop(published)
    with pytest.raises(AebenchError) as e: imagenet_weights('resnet34', classes=False)
    said, checkpoints = str(e.value), tmp_path/'torch'/'hub'/'checkpoints'
    assert f'put {url} into {checkpoints}' in said and '--weights random or the path of a file' in said and 'in-domain' not in said
    with pytest.raises(AebenchError, match='--weights in-domain, random or the path'): imagenet_weights('resnet34')
    assert left(tmp_path/'torch') == []
    checkpoints.mkdir(parents=True)
    (checkpoints/published).write_bytes(data)
    assert 'conv1.weight' in imagenet_weights('resnet34')

class Silent:
    "A server that is there and never answers: the system takes its calls."
    def __init__(self):
        self.socket = socket.create_server(('127.0.0.1', 0))
        self.at = 'http://127.0.0.1:%d/' % self.socket.getsockname()[1]

    def calls(self) -> int: # How many there were
        self.socket.setblocking(False)
        taken = []
        with self.socket, contextlib.suppress(BlockingIOError):
            while True: taken.append(self.socket.accept())
        return len(taken)

@pytest.mark.parametrize('where', ['closed', 'silent', 'read-only'])
@pytest.mark.parametrize('what', ['weights', 'mnist'])
def test_what_can_not_be_had_is_told(what, where, server, published, mnist, place, monkeypatch):
    "Nobody listens, or nobody answers, or the cache may not be written to: the way by hand in a sentence, nothing left behind."
    silent = Silent()
    at = dict(closed='http://127.0.0.1:9/', silent=silent.at).get(where, server.at)
    if where == 'silent': monkeypatch.setattr(downloads, 'TIMEOUT', 1.)
    monkeypatch.setattr(downloads, 'PAUSE', .01)
    monkeypatch.setattr(torchvision.models, 'get_model_weights',
                        lambda arch: SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=at + published)))
    monkeypatch.setattr(torchvision.datasets.MNIST, 'mirrors', [at])
    for name in ('TORCH_HOME', 'AEBENCH_HOME'): monkeypatch.setenv(name, str(place/'cache'))
    (place/'cache').mkdir(mode=0o555 if where == 'read-only' else 0o777)
    (place/'cache').chmod(0o555 if where == 'read-only' else 0o777)
    with nobody(), pytest.raises(AebenchError) as e: imagenet_weights('resnet34') if what == 'weights' else load_images('mnist')
    said = str(e.value)
    assert (dict(closed='no connection', silent='no answer').get(where, 'cannot be written to') in said
            and (f'put {at}' in said or (what, where) == ('mnist', 'read-only'))  # MNIST's pixels have no place there either
            and str(place/'cache') in said), said
    assert not [o for o in (place/'cache').rglob('*') if o.is_file()]
    assert silent.calls() == (downloads.TRIES if where == 'silent' else 0)

def idx(a): return struct.pack('>HBB', 0, 8, a.ndim) + struct.pack(f'>{a.ndim}I', *a.shape) + a.tobytes()

@pytest.fixture
def mnist(server, monkeypatch, tmp_path):
    "A small MNIST on the server, and an empty cache."
    rng, found, sums = np.random.default_rng(0), [], {}
    for split, n in (('train', 60), ('t10k', 20)):
        for name, a in (('images-idx3', rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)),
                        ('labels-idx1', np.arange(n, dtype=np.uint8) % 10)):
            sums[f'{split}-{name}-ubyte'], name = hashlib.md5(idx(a)).hexdigest(), f'{split}-{name}-ubyte.gz'
            server.files[name] = gzip.compress(idx(a), mtime=0)
            found.append((name, hashlib.md5(server.files[name]).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, 'resources', found)
    monkeypatch.setattr('aebench.data.sets.MNIST_SUMS', sums)
    monkeypatch.setattr(torchvision.datasets.MNIST, 'mirrors', [server.at])
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    return tmp_path/'home'/'MNIST'/'raw'

def test_mnist_is_got_whole(server, mnist):
    server.faults['train-images-idx3-ubyte.gz'] = iter(['cut', 500])
    first = load_images('mnist', 28)
    assert (len(first.train_x), len(first.test_x)) == (60, 20) and len(server.asked) == 6
    raw = mnist/'train-images-idx3-ubyte'
    whole = raw.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    # Unpacking that was cut short, and a bad disk
    for harm in (lambda: raw.write_bytes(whole[:-100]), raw.unlink, lambda: raw.write_bytes(b''), lambda: raw.write_bytes(flipped)):
        harm()
        assert load_images('mnist', 28).fingerprint == first.fingerprint and raw.read_bytes() == whole
    assert len(server.asked) == 6
    (mnist/'train-labels-idx1-ubyte').unlink()
    (mnist/'train-labels-idx1-ubyte.gz').write_bytes(b'half')
    assert load_images('mnist', 28).fingerprint == first.fingerprint and len(server.asked) == 7

def test_mnist_that_can_not_be_had(server, mnist):
    whole = server.files.pop('t10k-images-idx3-ubyte.gz')
    with pytest.raises(AebenchError) as e: load_images('mnist')
    assert ('the server answers 404' in str(e.value) and f'By hand: put {server.at}train-images-idx3-ubyte.gz, ' in str(e.value)
            and f'into {mnist}' in str(e.value))
    assert 't10k-images-idx3-ubyte.gz' not in left(mnist) and not [o for o in left(mnist) if o.endswith('.tmp')]
    (mnist/'t10k-images-idx3-ubyte.gz').write_bytes(whole)  # by hand, as the message says
    assert len(load_images('mnist').test_x) == 20

def as_published(n) -> bytes:
    "A file of CIFAR-10 as Python 2 has written it, with NumPy's names of that time."
    def text(o): return b'U' + bytes([len(o)]) + o
    array = (b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tU\x01btR(K\x01(K' + bytes([n])
             + b'M\0\x0ctcnumpy\ndtype\n(U\x02u1K\0K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T'
             + struct.pack('<I', 3072*n) + bytes([n])*3072*n + b'tb')
    return (b'\x80\x02}(' + text(b'labels') + b'](' + b''.join(b'K' + bytes([i % 10]) for i in range(n)) + b'e'
            + text(b'data') + array + text(b'batch_label') + text(b'training batch') + b'u.')

class Command:
    "What a pickle may make its reader do."
    def __init__(self, place): self.place = place
    def __reduce__(self): return os.mkdir, (str(self.place),)

@pytest.mark.parametrize('harm', [False, True])
def test_cifar_is_got_whole(harm, server, monkeypatch, tmp_path):
    "Cut, altered, and at last whole: only then is it unpacked. Even then nothing in it is run."
    import io
    import pickle
    import tarfile
    cls, parts = torchvision.datasets.CIFAR10, dict(data_batch_1=as_published(40), test_batch=as_published(20))
    parts['batches.meta'] = pickle.dumps(dict(label_names=[f'class {i}' for i in range(10)],
                                              more=Command(tmp_path/'made') if harm else None))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode='w:gz') as tar:
        for name, data in parts.items():
            info = tarfile.TarInfo(f'{cls.base_folder}/{name}')
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    md5 = {name: hashlib.md5(data).hexdigest() for name, data in parts.items()}
    for key, value in dict(
            url=f'{server.at}cifar.tar.gz', filename='cifar.tar.gz', tgz_md5=hashlib.md5(archive.getvalue()).hexdigest(),
            train_list=[['data_batch_1', md5['data_batch_1']]], test_list=[['test_batch', md5['test_batch']]],
            meta=dict(filename='batches.meta', key='label_names', md5=md5['batches.meta'])).items():
        monkeypatch.setattr(cls, key, value)
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path))
    server.files['cifar.tar.gz'], server.faults['cifar.tar.gz'] = archive.getvalue(), iter(['altered', 'cut'])
    with pytest.raises(AebenchError, match='By hand: put http://127.0.0.1:.*cifar.tar.gz'): load_images('cifar10')
    assert left(tmp_path) == []
    if harm:
        with pytest.raises(AebenchError, match='mkdir is no part of an array'): load_images('cifar10')
        assert not (tmp_path/'made').exists()
        return
    first = load_images('cifar10')
    assert ((first.train_x == 40).all() and (first.test_x == 20).all()
            and first.train_y.tolist() == [i % 10 for i in range(40)] and first.classes[9] == 'class 9')
    assert len(first.train_x) == 40 and len(server.asked) == 3
    (tmp_path/cls.base_folder/'data_batch_1').write_bytes(b'cut')
    assert load_images('cifar10').fingerprint == first.fingerprint and len(server.asked) == 3

# The clock ---------------------------------------------------------------------------------------------------------------

SAME = (10**18, 10**18)

def test_equal_dates_hide_no_change(place, monkeypatch):
    "Content of the same length and date, before and after: images, weights and rows are read anew."
    monkeypatch.setenv('AEBENCH_HOME', str(place/'home'))
    folder = place/'images'
    for i in range(20):
        (folder/'ab'[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (16, 16), (i, i, i)).save(folder/'ab'[i % 2]/f'{i:02}.bmp')  # of one length whatever the pixels
    changed, weights = folder/'a'/'00.bmp', place/'w.safetensors'
    weights.write_bytes(b'a'*100)
    def dated(path): os.utime(path, ns=SAME)
    for path in folder.rglob('*.bmp'): dated(path)
    dated(weights)
    first, key = load_images(folder, 16), weights_key(str(weights), ['resnet34'])
    size = changed.stat().st_size
    Image.new('RGB', (16, 16), (255, 0, 0)).save(changed)
    weights.write_bytes(b'b'*100)
    dated(changed), dated(weights)
    assert (changed.stat().st_size, changed.stat().st_mtime_ns) == (size, SAME[0])
    again = load_images(folder, 16)
    assert again.fingerprint != first.fingerprint and (again.train_x == 255).any() | (again.test_x == 255).any()
    assert weights_key(str(weights), ['resnet34']) != key

def test_dates_decide_nothing_in_a_report(tmp_path):
    "All files of one date, or in another order of dates: the same bytes."
    for method in ('baseline', 'resnet'): made_up_run(tmp_path, method, pictures=False)
    assert main(['report', str(tmp_path)]) == 0
    def outputs(): return {o: o.read_bytes() for o in [tmp_path/'results.csv', tmp_path/'report.html', *(tmp_path/'report').rglob('*.*')]}
    first = outputs()
    for way in (lambda i: 10**18, lambda i: 4*10**18 - i*10**12):  # all at once, and backwards from the year 2096
        for i, path in enumerate(sorted(tmp_path.rglob('*'))): os.utime(path, ns=(way(i), way(i)))
        assert main(['report', str(tmp_path)]) == 0 and outputs() == first

def test_the_clock_may_jump(monkeypatch):
    "Hours back and years ahead at every look: the same weights, and no time below nothing."
    run, = plan_runs('baseline', 'digits', epochs=(2, 0), batch_size=256)
    data, real, ticks, looks = load_images('digits'), time.time, itertools.cycle([0., 4e9, -3600., 1e9, 86400., -1e9]), []
    calm = train_run(run, data)[0].model.state_dict()
    monkeypatch.setattr(time, 'time', lambda: looks.append(0) or real() + next(ticks))
    learn, _, history, times = train_run(run, data)
    assert looks and all(torch.equal(v, calm[k]) for k, v in learn.model.state_dict().items())  # fastai looked at it
    assert all(0 < o < 600 for o in times.values())
    assert all(0 < row['train_seconds'] < 600 for row in history.rows) and len(history.rows) == 2

JUMPING = '''import itertools, sys, time
real, ticks = time.time, itertools.cycle([0., 4e9, -3600., 1e9, 86400., -1e9])
time.time = lambda: real() + next(ticks)
import aebench.cli
sys.exit(aebench.cli.main(sys.argv[1:]))'''

@pytest.mark.slow
def test_the_clock_may_jump_through_a_whole_command(home, tmp_path):
    "Judge, training, a stop, going on, report: the artefacts of a steady clock, and no time below nothing."
    images = make_folder(tmp_path/'images', 80)
    def words(out):
        return ['run', '--data', images, '--size', 16, '--latent', 8, '--batch-size', 16, '--epochs', 30, 30,
                '--methods', 'baseline,pca-4', '--weights', 'in-domain', '--out', out]
    assert quickly(*words(tmp_path/'calm'), home=home)[0] == 0
    def begun():
        return subprocess.Popen([sys.executable, '-c', JUMPING, *map(str, words(tmp_path/'jumped'))],
                                env={**os.environ, 'AEBENCH_HOME': str(tmp_path/'home')},
                                text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p = begun()
    for line in p.stderr:
        if ' epoch 3/60' in line: break
    p.terminate()
    assert p.wait(300) == 143
    out, err = (p := begun()).communicate(timeout=300)
    assert p.returncode == 0 and 'goes on from epoch' in err and 'Traceback' not in err, err
    pd.testing.assert_frame_equal(steady(tmp_path/'jumped'), steady(tmp_path/'calm').assign(command=steady(tmp_path/'jumped').command),
                                  check_exact=True)
    seconds = pd.read_csv(tmp_path/'jumped'/'results.csv').seconds.dropna()
    assert len(seconds) and seconds.between(0, 600).all()
    for path in (tmp_path/'calm').glob('*/*.safetensors'):
        assert path.read_bytes() == (tmp_path/'jumped'/path.relative_to(tmp_path/'calm')).read_bytes()

def test_no_decision_by_date_or_wall_clock():
    "No module looks at either."
    sources = {o: o.read_text(encoding='utf-8') for o in Path(aebench.__file__).parent.rglob('*.py')}
    assert len(sources) > 20
    assert not [(o.name, found) for o, text in sources.items() for found in re.findall(
        r'time\.time\b|import time\(|st_[mca]time|getmtime|datetime\.(?:now|utcnow|today)', text)]

# Processes ---------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind, n, limit', [
    ('fork', 4, 20), ('spawn', 1, 60),
    pytest.param('fork', 40, 20, marks=pytest.mark.slow), pytest.param('spawn', 10, 60, marks=pytest.mark.slow)])
def test_started_processes_do_not_hang(kind, n, limit, home, monkeypatch):
    "After torch computed in four threads here, a child computes as well, each within `limit` seconds."
    monkeypatch.setenv('AEBENCH_HOME', str(home))
    load_images('digits', 16)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    a = torch.rand(1000, 1000, requires_grad=True)
    (a @ a).sum().backward(), torch.rand(10**7).sum()
    context = multiprocessing.get_context(kind)
    try:
        for i in range(n):
            answers = context.SimpleQueue()
            p = context.Process(target=load_and_encode, args=(answers,))
            p.start()
            p.join(limit)
            hangs = p.is_alive()
            if hangs: p.kill()
            assert not hangs and p.exitcode == 0, f'start {i + 1} of {n} by {kind}: ' + ('hangs' if hangs else f'ended with {p.exitcode}')
            assert answers.get()[0] == (200, 16)
    finally: torch.set_num_threads(threads)
