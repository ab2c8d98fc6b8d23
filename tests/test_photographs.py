"The patches of scikit-learn's two photographs, and copies of a whole photograph."
import io
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aebench.apply import copy_by_tiles, load, tiles, untiles
from aebench.apply.photograph import Copy, copy_of_run, file_of_bytes, part_psnr, photograph_picture, unseen
from aebench.bench.run import do_run
from aebench.codec.protocol import RawPixels
from aebench.codec.references import FileCodec, Thumbnail
from aebench.core.errors import UsageError
from aebench.data import load_images
from aebench.data.sets import APART, PHOTOGRAPHS, STRIP, cut_patches, photo_patches, photograph
from aebench.models import autoencoder
from aebench.settings import plan_runs

def touched(patches): # Of an image whose pixels are their own places
    "A map of the pixels that are in any of the patches."
    found = torch.zeros(427*640, dtype=torch.bool)
    found[patches.flatten()] = True
    return found

@pytest.mark.parametrize('size', [8, 20, 32, 44, 64, 128])
@pytest.mark.parametrize('first', PHOTOGRAPHS.values())
def test_no_pixel_is_trained_on_and_tested(first, size):
    "Known by its place in patches of full size; at half size nothing of a white strip is in any of them."
    places = torch.arange(427*640).view(1, 427, 640)
    marked = torch.zeros(1, 427, 640, dtype=torch.uint8)
    marked[..., first:first+STRIP] = 255
    edge = 640 - max(APART, size)
    beside = [cut_patches(o, size, 8) for o in (places[..., :first], places[..., first+STRIP:edge], places[..., edge:])]
    trained, alone = touched(torch.cat(beside[:2])), touched(beside[2])
    tested = touched(cut_patches(places[..., first:first+STRIP], size, size))
    assert all(o.any() for o in (trained, alone, tested)) and not ((trained & tested) | (trained & alone) | (alone & tested)).any()
    train, test, apart = photo_patches(marked, first, size)
    assert len(train) >= sum(map(len, beside)) and train.max() == 0 and test.min() == 255
    assert len(apart) == len(train) and apart.sum() >= len(beside[2])
    assert test[0].numel()*len(test) == tested.sum()  # test patches don't overlap one another

def test_loads_without_a_network(monkeypatch, tmp_path):
    "Into an empty cache, twice, to the same images; the cache is read the third time."
    def refuses(*args, **kwargs): raise AssertionError('something was to be downloaded')
    for name in ('connect', 'connect_ex'): monkeypatch.setattr(socket.socket, name, refuses)
    found = []
    for home in 'aab':
        monkeypatch.setenv('AEBENCH_HOME', str(tmp_path/home))
        found.append(load_images('scikit-photos'))
    assert len({o.fingerprint for o in found}) == 1 and len(list((tmp_path/'a'/'images').iterdir())) == 1
    assert all(torch.equal(found[0].test_x, o.test_x) for o in found[1:])

@pytest.mark.parametrize(('size', 'channels', 'n'), [(8, None, 2120), (16, 1, 520), (32, 3, 130),
                                                     (48, None, 48), (64, 1, 24), (192, None, 4)])
def test_every_size_has_both_classes(at_home, size, channels, n):
    data = load_images('scikit-photos', size, channels=channels)
    assert data.test_x.shape == (n, channels or 3, size, size) and len(data.train_x) > 500
    assert data.train_y.unique().tolist() == data.test_y.unique().tolist() == [0, 1] and data.test_x.float().std() > 30

def test_test_patches_are_the_strip(at_home):
    "Beside and below each other they are the photograph again."
    first, rows = PHOTOGRAPHS['flower'], 427//32
    patches = load_images('scikit-photos').test_x[65:].view(rows, STRIP//32, 3, 32, 32)
    strip = patches.permute(2, 0, 3, 1, 4).reshape(3, rows*32, STRIP)
    assert torch.equal(strip, photograph('flower')[:, :rows*32, first:first+STRIP])

def test_channels_that_photographs_have_not(at_home):
    with pytest.raises(UsageError, match='give --channels 1 or 3'): load_images('scikit-photos', channels=4)

# ---- tiles

SHAPES = [(3, 427, 640), (3, 64, 64), (1, 33, 31), (5, 1, 100), (1, 1, 1), (3, 2, 7), (3, 65, 8)] # Odd, grey, bands, smaller than a tile

def noise(shape, seed=0): return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))

@pytest.mark.parametrize('size', [1, 7, 8, 32, 128])
@pytest.mark.parametrize('shape', SHAPES)
def test_tiles_go_back_together(shape, size):
    image = noise(shape)
    patches = tiles(image, size)
    rows, columns = (-(-o//size) for o in shape[1:])
    assert patches.shape == (rows*columns, shape[0], size, size)
    assert torch.equal(untiles(patches, *shape[1:]), image)
    assert torch.equal(tiles(image.float(), size), patches.float())

@pytest.mark.parametrize('shape', [(3, 20, 30), (1, 9, 17), (2, 5, 4), (3, 30, 33)])
def test_beyond_the_edge_is_a_mirror_image(shape):
    "As NumPy has it."
    image, size = noise(shape), 16
    missing = [-o%size for o in shape[1:]]
    wanted = np.pad(image.numpy(), ((0, 0), (0, missing[0]), (0, missing[1])), 'reflect')
    height, width = wanted.shape[1:]
    assert (untiles(tiles(image, size), height, width).numpy() == wanted).all()

def test_what_has_no_tiles():
    for image in (torch.zeros(3, 0, 4), torch.zeros(0, 4, 4), torch.zeros(4, 4), torch.zeros(1, 3, 4, 4)):
        with pytest.raises(UsageError, match='has no tiles'): tiles(image, 8)
    for n in (0, 5, 7):
        with pytest.raises(UsageError, match='are 6 tiles of 8×8'): untiles(torch.zeros(n, 3, 8, 8), 16, 20)

# ---- copies

@pytest.mark.parametrize('shape', SHAPES[:3] + SHAPES[4:])
def test_copies_of_every_codec(shape):
    "What loses nothing gives the image back, at any size of tile; a network and a thumbnail copy each tile as they copy it alone."
    image, channels = noise(shape), shape[0]
    for codec in (RawPixels(16, channels), FileCodec(8, 'PNG', channels=channels)): assert torch.equal(copy_by_tiles(codec, image), image)
    for codec in (Thumbnail(4, 16, channels=channels), autoencoder(latent=8, size=16, channels=channels).eval()):
        copy = copy_by_tiles(codec, image)
        assert copy.shape == image.shape and copy.dtype == torch.uint8
        with torch.no_grad(): alone = codec(tiles(image, 16)[:1].float()/255)[0].mul(255).round()
        h, w = (min(o, 16) for o in shape[1:])
        assert (copy[:, :h, :w] - alone[:, :h, :w]).abs().max() <= 1

@pytest.mark.parametrize(('given', 'taken'), [(3, 1), (1, 3)])
def test_colours_follow_the_codec(given, taken):
    assert copy_by_tiles(RawPixels(8, taken), noise((given, 20, 13))).shape == (taken, 20, 13)

@pytest.fixture(scope='module')
def runs(at_home, tmp_path_factory):
    "Principal components of the photographs, in colour and grey."
    out = tmp_path_factory.mktemp('runs')
    for channels in (1, 3):
        run, = plan_runs('pca-96', 'scikit-photos', channels=channels)
        do_run(run, load_images('scikit-photos', channels=channels), [], out/f'pca-{channels}')
    return out

@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', PHOTOGRAPHS)
def test_copies_of_a_run(runs, name, channels):
    "Rounded as `aebench compress` rounds, which loses little; a file of as many bytes is within a tenth of them."
    image, run = photograph(name), load(runs/f'pca-{channels}', 'cpu')
    copy = copy_of_run(run, image)
    exact = copy_by_tiles(run.codec, image)
    assert copy.image.shape == exact.shape == (channels, 427, 640) and copy.kept == '96 numbers a tile'
    assert part_psnr(exact, image) - 1 < part_psnr(copy.image, image) <= part_psnr(exact, image) + .01
    assert 500 < copy.bytes < 96*280*4
    few, more = (copy_of_run(run, image, most) for most in (2000, 20_000))
    assert 1500 < few.bytes <= 2000 and 15_000 < more.bytes <= 20_000
    assert part_psnr(few.image, image) < part_psnr(copy.image, image) < part_psnr(more.image, image)
    file = file_of_bytes(image, 'JPEG', copy.bytes)
    assert .9 < file.bytes/copy.bytes < 1.1 or file.kept.endswith('its smallest')

@pytest.mark.parametrize('shape', [(3, 50, 70), (1, 31, 9), (3, 1, 1)])
def test_files_near_any_number_of_bytes(shape):
    "No quality is nearer than the one that is taken."
    image, sizes = noise(shape), []
    for wanted in (1, 1000, 10**6): sizes.append(file_of_bytes(image, 'WebP', wanted).bytes)
    assert sizes == sorted(sizes) and file_of_bytes(image, 'JPEG', 1).image.shape == shape
    assert file_of_bytes(image, 'WebP', sizes[1]).bytes == sizes[1]

def test_quality_of_a_part():
    "Only what differs inside it counts."
    image = noise((3, 40, 60))
    copy = image.clone()
    copy[..., :10] = 255 - copy[..., :10]
    assert part_psnr(copy, image, slice(10, 60)) == float('inf') and part_psnr(copy, image, slice(0, 10)) < part_psnr(copy, image) < 20
    assert unseen('china') == slice(192, 352)

# ---- the picture

@pytest.mark.parametrize(('shape', 'crop'), [((3, 427, 640), (208, 64, 96, 64)), ((1, 20, 30), (3, 4, 6, 6)), ((3, 5, 4), (0, 0, 4, 5)),
                                               ((5, 40, 40), (8, 8, 16, 16)), ((3, 300, 20), (0, 280, 20, 20))])
def test_picture_of_any_shape(shape, crop):
    "As wide as a page; a second row where there are more than three; its bar only where something was not trained on."
    image = noise(shape)
    made = [Image.open(io.BytesIO(photograph_picture(image, [Copy('A $copy$', image, '8 numbers a tile', 99)]*n,
                                                     crop, columns))).convert('RGB')
            for n, columns in ((1, slice(None)), (4, slice(0, 2)))]
    assert made[0].width == made[1].width and 1.5*made[0].height < made[1].height < 2*made[0].height
    assert np.asarray(made[0])[0].min() == 255  # it ends in white, whatever is behind it
    for x, y, w, h in ((-1, 0, 2, 2), (0, 0, shape[2]+1, 1), (0, shape[1], 1, 1), (0, 0, 0, 1)):
        with pytest.raises(UsageError, match='There is no part'): photograph_picture(image, [], (x, y, w, h))

def test_script(runs, tmp_path):
    script = Path(__file__).resolve().parent.parent/'benchmarks'/'photograph.py'
    out = tmp_path/'whole.jpg'
    done = subprocess.run([sys.executable, script, runs/'pca-3', runs/'pca-1', '--photo', 'flower', '--formats', 'JPEG', '--out', out],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[2].startswith('JPEG: quality') and all('not trained on' in o for o in lines[:3])
    with Image.open(out) as picture: assert picture.format == 'JPEG' and picture.height > 1000
    for words, why in (((tmp_path/'none', '--out', out), 'There is no folder'),
                       ((runs/'pca-3', '--out', 'a.gif'), 'must end in .jpg or .png')):
        done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True)
        assert done.returncode and why in done.stderr
