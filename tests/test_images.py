"Images as people have them: any format, any bits, any number of channels, pages and shapes; what is not read is said, with a true reason."
import io
import os
import re
import struct
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

from aebench.apply import load
from aebench.cli import main
from aebench.codec.archive import write_images
from aebench.data import load_images
from aebench.data import files, images, sets
from aebench.core.errors import UsageError
from aebench.data.folders import decode_files, inspect_folder, read_folder, with_pages
from aebench.data.given import read_images
from aebench.data.images import decode_image, read_image, why_unreadable
from aebench.data.pixels import Preprocessing
from made_up import make_images

@pytest.fixture
def folder(tmp_path, monkeypatch):
    "A dozen images of noise."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    make_images(tmp_path/'images', [f'{i:02}.png' for i in range(12)])
    return tmp_path/'images'

def checked(folder, capsys, *words) -> str:
    "What `aebench check` prints, for a folder without faults."
    capsys.readouterr()
    code = main(['check', str(folder), '--steps', '0', *words])
    out, err = capsys.readouterr()
    assert code == 0 and 'Warning' not in err, out + err
    return out

def as_bytes(img, format, **options) -> bytes:
    data = io.BytesIO()
    img.save(data, format, **options)
    return data.getvalue()

RED = Image.new('RGB', (20, 20), (200, 30, 30))

# ---- nothing is left out unsaid

LEFT_OUT = { # A name and a content → how check says that it is not read; None: it is read
    'photo.jpg?1528': (as_bytes(RED, 'JPEG'), None), 'without-suffix': (as_bytes(RED, 'PNG'), None),
    'page.htm': (as_bytes(RED, 'WEBP'), None), 'png-inside.jpg': (as_bytes(RED, 'PNG'), None), 'tone.avif': (as_bytes(RED, 'AVIF'), None),
    'plan.svg': (b'<?xml version="1.0"?><svg/>', 'SVG (drawings hold no pixels'),
    'report.pdf': (b'%PDF-1.7', 'PDF (drawings hold no pixels'),
    'DSC_1.NEF': (b'MM\0*' + bytes(99), 'camera raw file (develop'), 'IMG.dng': (as_bytes(RED, 'TIFF'), 'camera raw file (develop'),
    'pointer.png.lfs': (b'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer (git lfs pull'),
    'archive.zip': (b'PK\3\4', 'ZIP (unpack'),
    'notes.txt': (b'no image', '.txt file'), 'Thumbs.db': (b'\xd0\xcf', '.db file'), 'Makefile': (b'all:', '1 file'),
    '@eaDir/00.png/SYNO_THUMB_M.jpg': (as_bytes(RED, 'JPEG'), 'thumbnail (kept by'),
    '.thumbnails/00.png': (as_bytes(RED, 'PNG'), 'thumbnail (kept by'),
    'phone.jxl': (b'\xff\x0a' + bytes(99), 'JPEG XL (save them as PNG'), 'bom.svg': (b'\xef\xbb\xbf<svg/>', 'SVG (drawings'),
    'IM0001': (bytes(128) + b'DICM', 'DICOM (save'),
    '.IMG_1.HEIC.icloud': (b'bplist00', 'iCloud placeholder (download'), 'takeout.jpg.json': (b'{}', '.json file'),
    '#recycle/old.png': (as_bytes(RED, 'PNG'), 'thumbnail (kept by'), '.hidden.png': (as_bytes(RED, 'PNG'), 'hidden file'),
}

@pytest.mark.parametrize('name', LEFT_OUT)
def test_what_is_left_out_is_said(name, folder, capsys):
    content, said = LEFT_OUT[name]
    (folder/name).parent.mkdir(parents=True, exist_ok=True)
    (folder/name).write_bytes(content)
    found, text = inspect_folder(folder), checked(folder, capsys)
    assert len(found.layout.train + found.layout.test) == 12 + (said is None) and not found.unreadable
    assert ('Not read: ' in text) == (said is not None) and (said or '') in text, text

@pytest.mark.parametrize('has_plugin', [True, False])
def test_heic(has_plugin, folder, capsys, monkeypatch):
    "Read by Pillow's plugin; without it counted, and run says so in a line."
    if has_plugin: RED.save(folder/'IMG_1.HEIC', format='HEIF')
    else:
        monkeypatch.setattr(files, 'PILLOW', tuple(o for o in files.PILLOW if o != 'HEIF'))
        monkeypatch.setattr(files, 'IMAGE_SUFFIXES', files.IMAGE_SUFFIXES - {'.heic'})
        (folder/'IMG_1.HEIC').write_bytes(b'\0\0\0\x18ftypheic' + bytes(200))
    text = checked(folder, capsys)
    assert ('1 HEIC (pip install pillow-heif' in text) != has_plugin
    assert load_images(folder, 16).notes == ([] if has_plugin else ['Not read: 1 HEIC (pip install pillow-heif reads them)'])

def as_bytes_npy(a) -> bytes:
    data = io.BytesIO()
    np.save(data, a)
    return data.getvalue()

def deep_tiff() -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, np.zeros((20, 20, 3), np.uint16), photometric='rgb')
    return data.getvalue()

REASONS = { # What a file holds → part of the reason that it is not read
    'cut.jpg': (as_bytes(RED, 'JPEG')[:500], 'damaged: '), 'empty.png': (b'', 'no image: the file is empty'),
    'text.png': (b'once upon', 'no image, or damaged from its beginning'),
    'heic.jpg': (b'\0\0\0\x18ftypheic' + bytes(99), 'no image, or damaged from its beginning'),
    'jxl.jpg': (b'\xff\x0a' + bytes(99), 'not supported: JPEG XL (save'), 'page.png': (b'<!DOCTYPE html><html>', 'no image, but HTML'),
    'cut.npy': (as_bytes_npy(np.zeros((9, 9)))[:200], 'damaged: its header is broken, or it is cut short'),
    'objects.npy': (as_bytes_npy(np.array([[None]*9]*9)), 'not supported: an array of objects'),
    'cut.tif': (deep_tiff()[:700], 'damaged: '),
    'bands.npy': (as_bytes(RED, 'PNG'), None),
    'depth.bmp': (as_bytes(RED, 'BMP')[:28] + b'\2\0' + as_bytes(RED, 'BMP')[30:], 'not supported: Unsupported BMP pixel depth'),
}

@pytest.mark.parametrize('name', REASONS)
def test_reasons_are_true(name, folder):
    content, reason = REASONS[name]
    (folder/name).write_bytes(content)
    found = inspect_folder(folder).unreadable
    assert (list(found) == [name] and reason in found[name]) if reason is not None else not found, found
    if reason is not None:
        with pytest.raises(UsageError, match=re.escape(reason)): read_images(folder/name, 8)
    if found: assert 'damaged' not in found[name] or reason.startswith(('damaged', 'no image, or'))

def test_a_decoder_that_stumbles_met_damage():
    "Python's own words for it are no reason."
    assert why_unreadable(TypeError("'<' not supported between instances of 'tuple' and 'int'"), 'a.tif') == (
        'damaged: its header contradicts itself')

# ---- metadata never cost an image

def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def burdened(way) -> bytes:
    "A whole image with something in it that has nothing to do with its pixels."
    png, jpeg, info = as_bytes(RED, 'PNG'), as_bytes(RED, 'JPEG', quality=95), PngImagePlugin.PngInfo()
    info.add_text('notes', 'a'*3_000_000, zip=True)
    def segment(marker, data): return jpeg[:2] + bytes([0xff, marker]) + struct.pack('>H', len(data) + 2) + data + jpeg[2:]
    return dict(
        text=lambda: as_bytes(RED, 'PNG', pnginfo=info), profile=lambda: as_bytes(RED, 'PNG', icc_profile=os.urandom(1000)*1200),
        animation=lambda: png[:33] + chunk(b'acTL', struct.pack('>II', 0, 0)) + png[33:],
        frame=lambda: png[:33] + chunk(b'fcTL', b'\0') + png[33:],
        checksum=lambda: png[:33] + chunk(b'tEXt', b'a\0b')[:-4] + b'none' + png[33:], end=lambda: png[:-9],
        exif=lambda: segment(0xe1, b'Exif\0\0II*\0\xff\xff\xff\x7f' + b'\xff'*40),
        photoshop=lambda: segment(0xed, b'Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff'),
        comment=lambda: segment(0xfe, b'\xff'*60_000), jpeg_profile=lambda: segment(0xe2, b'ICC_PROFILE\0\x07\x02' + b'?'*1000),
        icon=lambda: (lambda o: o[:6] + bytes([9, 9]) + o[8:])(as_bytes(RED, 'ICO', sizes=[(20, 20)])),
        webp=lambda: as_bytes(RED, 'WEBP', exif=b'Exif\0\0nothing', xmp=b'<x'*5000))[way]()

@pytest.mark.parametrize('way', [
    'text', 'profile', 'animation', 'frame', 'checksum', 'end', 'exif', 'photoshop', 'comment', 'jpeg_profile', 'icon', 'webp'])
def test_metadata_never_cost_an_image(way, folder, capsys):
    path = folder/f'burdened{"" if way in ("icon", "webp") else ".png"}'
    path.write_bytes(burdened(way))
    assert 'Unreadable: 0' in checked(folder, capsys)
    assert np.abs(decode_image(path, 8).mean((1, 2)) - (200, 30, 30)).max() < 12

# ---- one scale for a set

def save_deep(path, a, way):
    if way == 'npy': np.save(path.with_suffix('.npy'), a)
    elif way == 'tifffile': tifffile.imwrite(path.with_suffix('.tif'), a)
    else: Image.fromarray(a).save(path.with_suffix(f'.{way}'))

@pytest.mark.parametrize('way, dtype, top, range', [
    ('tif', np.uint16, 4080, (0, 4095)), ('png', np.uint16, 4080, (0, 4095)), ('tif', np.int32, 65000, (0, 65535)),
    ('tif', np.float32, .98, (0, 1)), ('tif', np.float32, 80., None), ('npy', np.uint16, 1000, (0, 1023)),
    ('npy', np.float64, 254., (0, 255)), ('npy', np.int16, 3000, None), ('tifffile', np.float16, .98, (0, 1))])
def test_one_scale_for_a_set(way, dtype, top, range, tmp_path, monkeypatch, capsys):
    "What is equal in two files is equal afterwards; the brightest is bright; check says the scale, and --range sets another."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'deep').mkdir()
    ramp = np.linspace(0, top, 64).reshape(8, 8)
    if top in (80., 3000): ramp = ramp - top/3
    for i in np.arange(12): save_deep(tmp_path/'deep'/f'{i:02}', (ramp*(1 if i == 11 else .5)).astype(dtype), way)
    data = load_images(tmp_path/'deep', 8)
    x = np.concatenate([data.train_x, data.test_x])
    assert data.channels == 1 and x.max() > 240 and sorted(o.max() > 200 for o in x)[-2:] == [False, True], (x.max(), data.prep)
    if range: assert np.allclose(data.prep.range, range)
    assert f'Values: {data.prep.range[0]:,.6g} becomes black' in checked(tmp_path/'deep', capsys)
    narrow = load_images(tmp_path/'deep', 8, range=(0, top/4))
    assert (narrow.train_x == 255).any() and narrow.fingerprint != data.fingerprint

def test_a_small_difference_on_a_large_number_is_seen(tmp_path, monkeypatch):
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'deep').mkdir()
    for i in range(12): Image.fromarray(np.full((8, 8), 250 + 10*(i % 2), np.int32)).save(tmp_path/'deep'/f'{i:02}.tif')
    data = load_images(tmp_path/'deep', 8)
    assert set(np.unique(np.concatenate([data.train_x, data.test_x]))) == {0, 255}

def test_dark_values_are_said(tmp_path, monkeypatch, capsys):
    "One hot pixel must not make a set black without a word."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'deep').mkdir()
    a = np.random.default_rng(0).integers(0, 900, (40, 40)).astype(np.uint16)
    a[0, 0] = 65535
    for i in range(12): Image.fromarray(a + i).save(tmp_path/'deep'/f'{i:02}.png')
    assert 'nearly black so: 999 of 1,000 values are at most 9' in checked(tmp_path/'deep', capsys)
    assert 'nearly black' not in checked(tmp_path/'deep', capsys, '--range', '0', '1023')
    for low, high, said in (('0', 'inf', 'a larger one'), ('5', '1', 'a larger one'), ('nan', '1', 'a larger one'),
                            ('0', 'much', "invalid number value: 'much'")):
        assert main(['check', str(tmp_path/'deep'), '--steps', '0', '--range', low, high]) == 2 and said in capsys.readouterr().err

def test_a_scale_that_no_model_gives_is_said(tmp_path, capsys):
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path/'a.png')
    for range, said in (None, 'more than 8 bits: 0 becomes black and 4,095 white'), ((0, 8000), ''):
        read_folder(tmp_path, 8, Preprocessing(1, range))
        assert (said in capsys.readouterr().err) if said else not capsys.readouterr().err

def test_values_that_stand_for_none_are_said(tmp_path, monkeypatch, capsys):
    "A satellite's -9999 beside reflectances in [0, 1]: all that is seen would be one grey."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'deep').mkdir()
    for i in range(12):
        a = np.random.default_rng(i).random((20, 20), np.float32)
        a[:3] = -9999
        tifffile.imwrite(tmp_path/'deep'/f'{i:02}.tif', a)
    assert re.search(r'Half of all values lie between 0\.\d+ and 0\.\d+, which that scale hardly', checked(tmp_path/'deep', capsys))
    assert 'Half' not in checked(tmp_path/'deep', capsys, '--range', '0', '1')

def test_thirty_two_bits_without_a_sign(tmp_path):
    tifffile.imwrite(tmp_path/'a.tif', np.array([[0, 2**31, 2**32 - 1]]*3, np.uint32))
    assert read_image(tmp_path/'a.tif', 3).extremes[:2] == (0, 2**32 - 1)

def test_colours_of_sixteen_bits(tmp_path):
    "Neither PNG nor TIFF is cut to the upper eight, where twelve hold the picture."
    a = np.random.default_rng(0).integers(0, 4096, (16, 16, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path/'a.tif', a, photometric='rgb')
    rows = b''.join(b'\0' + o.astype('>u2').tobytes() for o in a)
    (tmp_path/'a.png').write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 16, 16, 16, 2, 0, 0, 0))
                                   + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
    np.save(tmp_path/'a.npy', a)
    x = {o: decode_image(tmp_path/o, 16) for o in ('a.tif', 'a.png', 'a.npy')}
    assert all((o == x['a.npy']).all() for o in x.values()) and np.abs(x['a.npy'] - a.transpose(2, 0, 1)/4095*255).max() <= .51

@pytest.mark.parametrize('options', [{}, dict(compression='zlib'), dict(planarconfig='contig', extrasamples=['unspecified'])])
def test_negatives_and_signs(options, tmp_path):
    "Where the least value means white it is white, with 8 bits or 16; bytes with a sign are not wrapped around."
    ramp = np.linspace(0, 255, 64).reshape(8, 8).astype(np.uint8)
    if 'extrasamples' in options: ramp = np.stack([ramp, ramp], -1)
    def read(dtype, a, kind):
        tifffile.imwrite(tmp_path/'a.tif', a, photometric=kind, **options)
        return read_image(tmp_path/'a.tif', 8, Preprocessing(None, dict(uint16=(0, 65535), int8=(-128, 127)).get(dtype))).pixels[0]
    positive = read('uint8', ramp, 'minisblack')
    assert (read('int8', (ramp - 128.).astype(np.int8), 'minisblack') == positive).all()
    if 'extrasamples' not in options: assert (read('uint8', ramp, 'miniswhite') == 255 - positive).all()
    assert (read('uint16', ramp.astype(np.uint16)*257, 'miniswhite') == 255 - positive).all()

# ---- channels, pages, shapes

@pytest.mark.parametrize('way', ['npy', 'npy first', 'tif', 'tif planes'])
@pytest.mark.parametrize('channels', [2, 4, 5, 16])
def test_bands(channels, way, tmp_path, monkeypatch):
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'bands').mkdir()
    for i in range(12):
        a, path = np.random.default_rng(i).random((20, 20, channels), np.float32), tmp_path/'bands'/f'{i:02}'
        if way.startswith('npy'): np.save(f'{path}.npy', np.moveaxis(a, -1, 0) if 'first' in way else a)
        else:
            tifffile.imwrite(f'{path}.tif', np.moveaxis(a, -1, 0) if 'planes' in way else a, photometric='minisblack',
                             planarconfig='separate' if 'planes' in way else 'contig')
    data = load_images(tmp_path/'bands', 20)
    raw = [np.moveaxis(np.random.default_rng(i).random((20, 20, channels), np.float32), -1, 0)*255 for i in range(12)]
    assert data.channels == channels and min(np.abs(data.train_x[0].numpy() - o).max() for o in raw) <= 1

def test_colours_among_bands_are_unreadable(tmp_path, monkeypatch):
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path.parent/'home'))
    for i in range(20): np.save(tmp_path/f'b{i:02}.npy', np.full((8, 8, 5), 9, np.uint8))
    for i in range(4): Image.new('RGB', (8, 8), 'red').save(tmp_path/f'p{i}.png')
    with pytest.raises(UsageError, match='p0.png.* 3 channels, where 5 are wanted'): load_images(str(tmp_path), 8)
    found = load_images(str(tmp_path), 8, skip_unreadable=True)
    assert len(found.unreadable) == 4 and min(found.train_x.min(), found.test_x.min()) == 9

def test_images_of_other_channels_than_a_model_takes(tmp_path):
    "One sentence, and not a line for each."
    for i in range(12): np.save(tmp_path/f'{i}.npy', np.zeros((9, 9, 5), np.uint8))
    with pytest.raises(UsageError, match='None of the 12 images of .* can be read, for one reason: 5 channels, where 3 are wanted'):
        read_folder(tmp_path, 8)

def test_arrays_among_pictures_are_named(folder):
    np.save(folder/'cube.npy', np.zeros((9, 9, 7), np.uint8))
    assert inspect_folder(folder).unreadable == {'cube.npy': '7 channels, where 3 are wanted'}

@pytest.mark.parametrize('way', ['TIFF', 'GIF', 'PNG', 'WEBP', 'npy'])
def test_pages(way, tmp_path, monkeypatch, capsys):
    "Each further page is counted, or with --frames all an image of its own; those of a file stay together."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'stacks').mkdir()
    for i in range(12):
        pages = [Image.fromarray(np.full((10, 10, 3), 10*i + 60*j, np.uint8)) for j in range(3)]
        if way == 'npy': np.save(tmp_path/'stacks'/f'{i:02}.npy', np.stack([np.asarray(o) for o in pages]))
        else: pages[0].save(tmp_path/'stacks'/f'{i:02}.{way.lower()}', way, save_all=True, append_images=pages[1:], lossless=True)
    assert '24 further pages (--frames all reads them)' in checked(tmp_path/'stacks', capsys)
    first, every = load_images(tmp_path/'stacks', 8), load_images(tmp_path/'stacks', 8, frames='all')
    assert first.notes == ['Not read: 24 further pages (--frames all reads them)'] and every.notes == []
    assert (len(every.train_x), len(every.test_x)) == (3*len(first.train_x), 3*len(first.test_x))
    assert ((every.train_x[1] != every.train_x[0]).any()
            and '30 training and 6 test images' in checked(tmp_path/'stacks', capsys, '--frames', 'all'))

def test_a_broken_stack_loses_no_page_in_silence(tmp_path):
    "Pages before the break are read, the broken one is named, and the first page is the first."
    pages = [Image.fromarray(np.full((64, 64), 60*i, np.uint8)) for i in range(4)]
    pages[0].save(tmp_path/'whole.tif', save_all=True, append_images=pages[1:])
    content = (tmp_path/'whole.tif').read_bytes()
    for cut, found in ((4300, 2), (8624, 3), (len(content) - 10, 4)):
        (tmp_path/'cut.tif').write_bytes(content[:cut])
        names = with_pages([f'{tmp_path}/cut.tif'], 'all')
        read = decode_files(names, 8, Preprocessing(1))
        assert len(names) == found and list(read.bad) == [found - 1]
        assert [int(o.max()) for o in read.images[:found-1]] == [60*i for i in range(found - 1)]
    assert not decode_files([f'{tmp_path}/cut.tif'], 8, Preprocessing(1)).images.any()

def test_one_stack_is_a_set(tmp_path, monkeypatch):
    "Of fewer files than a set needs the pages are told apart."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'stack').mkdir()
    tifffile.imwrite(tmp_path/'stack'/'all.tif', np.arange(40*64, dtype=np.uint16).reshape(40, 8, 8), photometric='minisblack')
    data = load_images(tmp_path/'stack', 8, frames='all')
    assert (len(data.train_x), len(data.test_x), data.channels) == (32, 8, 1) and data.train_x.unique().numel() > 100
    with pytest.raises(UsageError, match='1 images and at least 10 are needed'): load_images(tmp_path/'stack', 8)

@pytest.mark.parametrize('name', ['a.tif', 'a.gif', 'deep.tif'])
def test_pages_are_read_in_one_pass(name, tmp_path, monkeypatch):
    "Page 1,000 is not found by passing 999 again; a damaged page costs no other; a file of many pages is hashed once."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    pages = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    path = tmp_path/'set'/name
    path.parent.mkdir()
    if name == 'deep.tif': tifffile.imwrite(path, pages.astype(np.uint16)*256, photometric='rgb')
    else: Image.fromarray(pages[0]).save(path, save_all=True, append_images=[Image.fromarray(o) for o in pages[1:]])
    alone = np.stack([decode_image(f'{path}[{i}]', 8, Preprocessing(3, (0, 65535))) for i in range(60)])
    opened, hashed = [], []
    for module, name in (images, '_pillow'), (tifffile, 'TiffFile'):
        monkeypatch.setattr(module, name, lambda *args, of=getattr(module, name), **kwargs: opened.append(args) or of(*args, **kwargs))
    monkeypatch.setattr(sets, '_digest', lambda path, of=sets._digest: hashed.append(path) or of(path))
    together = read_folder(path.parent, 8, Preprocessing(3, (0, 65535)), frames='all').images
    assert (together.numpy() == alone).all() and len(opened) < 60
    data = load_images(path.parent, 8, frames='all')
    assert len(data.train_x) + len(data.test_x) == 60 and len(hashed) == 1 + (data.unreadable != {})

def test_folders_that_are_no_classes(tmp_path, monkeypatch):
    "Years are none: the flag says so."
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    make_images(tmp_path/'photos', [f'{year}/{i}.png' for year in (2021, 2022) for i in range(8)])
    assert (load_images(tmp_path/'photos', 8).classes == ('2021', '2022')
            and load_images(tmp_path/'photos', 8, no_classes=True).classes == ())

def test_a_folder_of_drawings(tmp_path):
    "The message says what it holds in place of images."
    (tmp_path/'plan.svg').write_text('<svg/>')
    for read in (lambda: inspect_folder(tmp_path), lambda: read_folder(tmp_path, 8)):
        with pytest.raises(UsageError, match='no images.*but 1 SVG .drawings hold no pixels: save them as PNG|needed, but 1 SVG'): read()

@pytest.mark.parametrize('fit, kept', [('crop', 'cut to the middle'), ('pad', ''), ('stretch', '')])
def test_fits(fit, kept, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/'home'))
    (tmp_path/'wide').mkdir()
    a = np.zeros((20, 40, 3), np.uint8)
    a[:, :4] = 255, 250, 245  # only what is kept whole has it
    for i in range(12): Image.fromarray(a).save(tmp_path/'wide'/f'{i:02}.png')
    data = load_images(tmp_path/'wide', 16, fit=fit)
    assert bool(data.train_x.max() > 200) == (fit != 'crop')
    assert ('cut to the middle' in checked(tmp_path/'wide', capsys, '--fit', fit)) == bool(kept) == bool(data.notes)

def test_a_photograph_of_108_megapixels(tmp_path):
    "A JPEG is reduced while it is decoded; what is not goes by an option that the message names."
    Image.new('RGB', (12000, 9000), (90, 120, 30)).save(tmp_path/'photo.jpg', quality=30)
    assert (read_image(tmp_path/'photo.jpg', 32).size == (12000, 9000)
            and abs(int(decode_image(tmp_path/'photo.jpg', 32)[1].mean()) - 120) < 3)
    Image.new('1', (1200, 900)).save(tmp_path/'plan.png')
    with pytest.raises(ValueError, match='--max-pixels 1080000 lets it in'): read_image(tmp_path/'plan.png', 32, max_pixels=10**6)
    assert read_image(tmp_path/'plan.png', 32, Preprocessing(1), max_pixels=1_080_000).pixels.shape == (1, 32, 32)

def test_upright_by_whatever_format(tmp_path):
    "The camera's mark is obeyed, and the size is that of the upright image."
    exif = Image.Exif()
    exif[0x112] = 6
    img = Image.fromarray(np.concatenate([np.full((20, 20, 3), 250, np.uint8), np.zeros((20, 20, 3), np.uint8)], 1))
    for format in ('JPEG', 'PNG', 'TIFF', 'WEBP'):
        img.save(tmp_path/'o', format, exif=exif)
        found = read_image(tmp_path/'o', 8, Preprocessing(3, fit='stretch'))
        assert found.size == (20, 40) and found.pixels[0, 0, 0] > 200 > 50 > found.pixels[0, -1, 0], format
    a = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
    for mark in range(1, 9):  # 16 bits as 8
        for kind in np.uint8, np.uint16:
            tifffile.imwrite(tmp_path/f'{kind.__name__}.tif', a.astype(kind)*(257 if kind is np.uint16 else 1), photometric='rgb',
                             extratags=[(274, 3, 1, mark, True)])
        few, many = (read_image(tmp_path/f'{o}.tif', 8, Preprocessing(3, (0, 65535), 'stretch')) for o in ('uint8', 'uint16'))
        assert few.size == many.size and np.abs(few.pixels - many.pixels.astype(int)).max() <= 1, mark

# ---- a model keeps what its images were made by

@pytest.fixture(scope='module')
def deep_run(tmp_path_factory):
    "Components of grey images of 12 bits, wider than high, padded: the run's folder, and that of the images."
    place = tmp_path_factory.mktemp('deep')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('AEBENCH_HOME', str(place/'home'))
        (place/'images').mkdir()
        for i in range(20):
            a = np.random.default_rng(i).integers(0, 4096, (4, 6)).repeat(5, 0).repeat(5, 1).astype(np.uint16)
            Image.fromarray(a).save(place/'images'/f'{i:02}.png')
        assert main(['run', '-q', '--data', str(place/'images'), '--methods', 'pca-16', '--fit', 'pad', '--size', '16',
                     '--weights', 'random', '--out', str(place/'runs')]) == 0
        yield next((place/'runs').glob('pca-16-*')), place/'images'

def test_a_model_keeps_its_preprocessing(deep_run, tmp_path):
    "A single file, a folder, a Pillow image and an array of 12 bits are brought to the scale of the training, not to their own."
    run, images = deep_run
    ae, dark = load(run, 'cpu'), np.full((16, 16), 1000, np.uint16)
    assert (ae.prep.channels, ae.prep.fit, ae.prep.range) == (1, 'pad', (0, 4095))
    Image.fromarray(dark).save(tmp_path/'dark.png')
    given = [ae.encode(o) for o in (str(tmp_path/'dark.png'), Image.fromarray(dark), dark, tmp_path)]
    assert all(np.allclose(o, given[0], atol=.01) for o in given)
    assert read_images([str(tmp_path/'dark.png')], 16, ae.prep)[0].unique().tolist() == [62]
    assert ae.errors(images).shape == (20,)

def test_original_sizes(deep_run, tmp_path, capsys):
    "Copies and decompressed images have the size of their files where that is asked for; an archive keeps the sizes."
    run, images = deep_run
    for i, words in enumerate((['reconstruct', images], ['decompress', tmp_path/'a.ae'])):
        if i:
            assert (main(['compress', str(images), '--run', str(run), '--out', str(tmp_path/'a.ae')]) == 0
                    and 'padded to squares of 16×16' in capsys.readouterr().out)
        for flag, size in (([], (16, 16)), (['--original-size'], (30, 20))):
            out = tmp_path/f'{words[0]}{len(flag)}'
            assert main([*map(str, words), '--run', str(run), '--out', str(out), *flag]) == 0
            with Image.open(out/'00.png') as img: assert (img.size, img.mode) == (size, 'L')
    with pytest.raises(UsageError, match='b is said to have had 2000000000×2 pixels.*leave out --original-size'):
        write_images(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), ['a', 'b'], tmp_path/'large', shapes=[(9, 9), (2*10**9, 2)])
    assert not (tmp_path/'large').exists()

def test_images_alike_when_small(tmp_path):
    "They are compared at their own size, with each that looks the same."
    def dot(name, at):
        image = np.zeros((512, 512), np.uint8)
        image[at] = 100
        (tmp_path/name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path/name)
    for i in range(12): dot(f'train/{i:02d}.png', (40*i + 8, 100))
    dot('test/a.png', (40*7 + 8, 100)), dot('test/b.png', (5, 5))
    assert inspect_folder(tmp_path).shared == [(f'train{os.sep}07.png', f'test{os.sep}a.png')]
