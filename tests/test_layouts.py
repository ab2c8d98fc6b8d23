"What folders of images are taken for: layouts as people have them, from contests, libraries' documentation and data sets' own archives."
import itertools
import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from aebench.cli import main
from aebench.core.errors import UsageError
from aebench.data import load_images
from aebench.data.layouts import recognise

def names(text:str) -> list[str]:
    "The images of a layout: `train/{a,b} 6` stands for six images in each of two folders."
    found = []
    for part in text.split(';'):
        path, n = part.rsplit(maxsplit=1)
        choices = [o.split(',') for o in re.split(r'[{}]', path.strip())]  # every other one is in braces
        found += [f'{"".join(o)}/{i}.png' for o in itertools.product(*choices) for i in range(int(n))]
    return found

def laid_out(folder:Path, text:str) -> Path:
    "Empty files serve: a layout is a matter of names."
    for o in names(text):
        (folder/o).parent.mkdir(parents=True, exist_ok=True)
        (folder/o).touch()
    return folder

def test_a_named_test_folder_is_in_use(tmp_path):
    "Wherever it lies, and it is no empty folder."
    found = recognise(laid_out(tmp_path, '{a,b} 20; mine/{a,b} 5'), test_folder='mine')
    assert (len(found.train), len(found.test), found.unused) == (40, 10, {}) and 'not used' not in str(found)
    for asked in (dict(test_folder='.'), dict(train_folder='a', test_folder='a')):
        with pytest.raises(UsageError, match='--test-folder'): recognise(tmp_path, **asked)

def test_folders_that_are_no_classes_refuse_nothing(tmp_path):
    "A class of test images alone, and images outside of all classes."
    for name, text in dict(one='train/{a,b} 6; test/{a,c} 3', two='{a,b} 20').items():
        folder = laid_out(tmp_path/name, text)
        if name == 'two': (folder/'stray.png').touch()
        with pytest.raises(UsageError): recognise(folder)
        assert recognise(folder, no_classes=True).classes == ()

TAKEN = dict(  # layout: files; training and test images, classes, words of the sentence
    classic=('train/{a,b} 6; test/{a,b} 3', 12, 6, 'a b', 'train and test; 2 classes'),
    keras_no_split=('{cat,dog} 10', 16, 4, 'cat dog', 'no split: one image in five'),
    valid_and_test=('train/{a,b} 6; valid/{a,b} 3; test/{a,b} 2', 12, 4, 'a b', 'train and test; valid not used'),
    capitals=('Train/{a,b} 6; Test/{a,b} 3', 12, 6, 'a b', 'Train and Test'),
    one_word=('TrainSet/{a,b} 6; Testset/{a,b} 3', 12, 6, 'a b', 'TrainSet and Testset'),
    of_another_name=('train/{a,b} 6; extern/{a,b} 3', 12, 6, 'a b', 'train and extern'),
    development=('train 12; dev 3', 12, 3, '', 'train and dev'),
    fastai_mnist=('training/{0,1} 6; testing/{0,1} 3', 12, 6, '0 1', 'training and testing'),
    training_validation=('training/{0,1} 6; validation/{0,1} 3', 12, 6, '0 1', 'training and validation'),
    kaggle_set=('training_set/{cats,dogs} 6; test_set/{cats,dogs} 3', 12, 6, 'cats dogs', 'training_set and test_set'),
    kaggle_intel=('seg_train/seg_train/{sea,street} 6; seg_test/seg_test/{sea,street} 3; seg_pred/seg_pred 5', 12, 6, 'sea street',
                  'seg_train/seg_train and seg_test/seg_test; seg_pred not used'),
    one_half_wrapped=('train/train/{a,b} 6; test/{a,b} 3', 12, 6, 'a b', 'train/train and test'),
    coco=('train2017 12; val2017 4', 12, 4, '', 'train2017 and val2017; no classes'),
    yolo=('images/train 12; images/val 4', 12, 4, '', 'images/train and images/val; no classes'),
    roboflow=('train/images 12; valid/images 4', 12, 4, '', 'no classes'),
    yolo_masks=('images/train 12; images/val 4; labels/{train,val} 4', 12, 4, '', 'labels not used; no classes'),
    visdrone=('VisDrone2019-DET-{train,val,test-dev}/images 12', 12, 12, '',
              'VisDrone2019-DET-train/images and VisDrone2019-DET-val/images'),
    zip_of_its_own=('PetImages/{Cat,Dog} 10', 16, 4, 'Cat Dog', 'classes of PetImages; no split'),
    several_deep=('archive/data/raw/{Cat,Dog} 10', 16, 4, 'Cat Dog', 'classes of archive/data/raw'),
    wrapped_split=('chest/chest_xray/{train,test}/{NORMAL,PNEUMONIA} 10', 20, 20, 'NORMAL PNEUMONIA', 'chest/chest_xray/train and'),
    imagenet=('Data/CLS-LOC/train/{n01,n02} 10; Data/CLS-LOC/{val,test} 7', 16, 4, 'n01 n02',
              'Data/CLS-LOC/test and Data/CLS-LOC/val not used'),
    contest=('train/{a,b} 10; test 7', 16, 4, 'a b', 'test not used'),
    contest_valid=('train/{a,b} 10; valid/{a,b} 3; test 7', 20, 6, 'a b', 'train and valid; test not used'),
    contest_unknown=('train/{a,b} 10; test/unknown 7', 16, 4, 'a b', 'test not used'),
    contest_test1=('train 12; test1 4', 12, 4, '', 'train and test1; no classes'),
    tiny_imagenet=('train/{n01,n02}/images 10; val/images 4; test/images 4', 16, 4, 'n01 n02', 'no split'),
    oxford_pets=('images 12; annotations/trimaps 12', 10, 2, '', 'annotations not used; no classes'),
    voc=('VOC/JPEGImages 20; VOC/SegmentationClass 5; VOC/SegmentationObject 5', 16, 4, '', 'no classes'),
    birds=('CUB/images/{x,y} 10; CUB/segmentations/{x,y} 10', 16, 4, 'x y', 'classes of CUB/images; no split'),
    carvana=('train 12; train_masks 12; test 5', 12, 5, '', 'train and test; train_masks not used'),
    masks_within=('train/{images,masks} 12; test/{images,masks} 5', 12, 5, '', 'no classes'),
    face_masks=('{mask,no_mask} 10', 16, 4, 'mask no_mask', '2 classes'),
    railway=('{bus,train} 10', 16, 4, 'bus train', '2 classes'),
    split_in_each=('{cat,dog}/{train,test} 6', 12, 12, 'cat dog', 'train and test in each class'),
    one_class=('cat 10', 8, 2, '', 'no classes'),
    deep=('{a,b}/2024/05 10', 16, 4, 'a b', '2 classes'),
    test_lacks_one=('train/{a,b} 6; test/a 4', 12, 4, 'a b', 'train and test'),
    train_without_classes=('train 20; test/{a,b} 5', 20, 10, '', 'no classes as the training images are in none'),
    half_in_folders=('{a,b} 10; . 5', 20, 5, '', 'no classes as 5 images lie outside of folders'),
    railway_split=('{train,test}/{bus,train,test} 6', 18, 18, 'bus test train', 'train and test; 3 classes'),
    visa=('pcb/Data/Images/{Normal,Anomaly} 10; pcb/Data/Masks/Anomaly 10', 16, 4, 'Anomaly Normal', 'classes of pcb/Data/Images'),
    loco=('train/good 20; validation/good 5; test/{good,logical_anomalies} 5; ground_truth/logical_anomalies 9', 20, 5, '',
          'validation not used'),
    celeba=('img_align_celeba/img_align_celeba 20', 16, 4, '', 'no classes'),
    svhn=('train 20; test 5; extra 9', 20, 5, '', 'train and test; extra not used'),
    mvtec=('train/good 20; test/good 6; test/{broken,scratch} 5; ground_truth/{broken,scratch} 5', 20, 6, '', 'ground_truth not used'),
    mvtec_ok=('train/ok 20; test/{ok,nok,unsure} 5', 20, 5, '', 'anomaly detection'),
    mvtec_wrapped=('bottle/train/good 20; bottle/test/{good,broken} 5; bottle/ground_truth/broken 5', 20, 5, '', 'anomaly detection'),
    mvtec_no_good_test=('train/good 20; test/broken 5', 16, 4, '', 'anomaly detection, no split'),
    mvtec_flat_train=('train 20; test/{good,broken} 5', 20, 5, '', 'anomaly detection'),
    mvtec_two=('train/good 20; validation/good 5; test_public/{good,bad} 5', 20, 5, '', 'test_public not used'),
)

@pytest.mark.parametrize('layout', TAKEN)
def test_taken_for_what_it_is(layout, tmp_path):
    text, train, test, classes, words = TAKEN[layout]
    found = recognise(laid_out(tmp_path, text))
    assert (len(found.train), len(found.test), ' '.join(found.classes)) == (train, test, classes), found
    assert words in found.kind
    assert not {*found.train} & {*found.test} and set(found.labels(found.test)) <= set(found.labels(found.train))
    counted = sum(int(o.split()[0].replace(',', '')) for o in found.unused.values() if o[0].isdigit())
    assert len({*found.train, *found.test, *found.kinds}) + counted == len(names(text))  # nothing is lost in silence
    tree = json.loads(json.dumps(found.tree()))
    assert (sum(tree['train']['classes'].values()), sum(tree['test']['classes'].values())) == ((train, test) if classes else (0, 0))

REFUSED = dict(
    cyclegan=('{train,test}{A,B} 6', {}, 'trainA and testA, trainB and testB.*--train-folder trainA --test-folder testA'),
    two_splits=('{cat,dog}_{train,test} 6', {}, r'cat_train and cat_test, dog_train'),
    mvtec_whole=('{bottle,cable}/train/good 10; {bottle,cable}/test/{good,broken} 5', {},
                 'bottle and cable in .* each have a split .* such as .*/bottle'),
    only_in_test=('train/{a,b} 6; test/{a,c} 3', {}, "class 'c' is in the test images"),
    one_class_each=('train/a 10; test/b 10', {}, "class 'b' is in the test images"),
    faults_unnamed=('train/bottle 10; test/{bottle,crack} 5', {}, 'call it good'),
    few_strays=('train/{a,b} 10; train 1; test/{a,b} 5', {}, 'outside the class folders'),
    half_sorted=('train/{a,b} 10; test/{a,b} 5; test 5', {}, 'outside the class folders'),
    half_a_split=('seg_train/{a,b} 10; seg_pred 10', {}, '--train-folder seg_train'),
    no_such_folder=('{a,b} 10', dict(train_folder='c'), "--train-folder c: .* no such folder of images; it contains a/, b/"),
    both_asked=('{a,b} 10', dict(test_folder='b', split=.5), 'give one of the two'),
    no_share=('{a,b} 10', dict(split=2), 'no share'),
)

@pytest.mark.parametrize('layout', REFUSED)
def test_refused_with_a_way_out(layout, tmp_path):
    text, asked, words = REFUSED[layout]
    with pytest.raises(UsageError, match=words): recognise(laid_out(tmp_path, text), **asked)

ASKED = dict(
    share=('{a,b} 10', dict(split=.5), 10, 10, 'a b'),
    share_beside_test=('train/{a,b} 10; test/{a,b} 5', dict(split=.1), 18, 2, 'a b'),
    holdout=('{a,b} 10; holdout/{a,b} 5', dict(test_folder='holdout'), 20, 10, 'a b'),
    which_of_two=('{cat,dog}_{train,test}/{x,y} 6', dict(train_folder='cat_train', test_folder='dog_test'), 12, 12, 'x y'),
    train_alone=('lear/{a,b} 10; prova/{a,b} 5', dict(train_folder='lear'), 16, 4, 'a b'),
    deeper=('x/lear/{a,b} 10; x/prova/{a,b} 5', dict(train_folder='x/lear/', test_folder='x/prova'), 20, 10, 'a b'),
    masks=('images 10; masks 10', dict(train_folder='masks'), 8, 2, ''),
    mvtec_share=('train/good 20; test/{good,broken} 5', dict(split=.3), 14, 6, ''),
    mvtec_public=('train/good 20; validation/good 5; test_public/{good,bad} 5',
                  dict(train_folder='train', test_folder='test_public'), 20, 5, ''),
)

@pytest.mark.parametrize('layout', ASKED)
def test_what_no_rule_can_know_is_asked_for(layout, tmp_path):
    text, asked, train, test, classes = ASKED[layout]
    found = recognise(laid_out(tmp_path, text), **asked)
    assert (len(found.train), len(found.test), ' '.join(found.classes)) == (train, test, classes), found

def test_empty_folders_are_told(tmp_path):
    for o in ('train/b', 'test', 'train/@eaDir'): (tmp_path/o).mkdir(parents=True)
    found = recognise(laid_out(tmp_path, 'train/a 12'))
    assert found.unused == {'train/b': 'no images', 'test': 'no images'} and (len(found.train), len(found.test)) == (10, 2)

def test_links_and_accents(tmp_path):
    "Class folders that are links to a store; a half that is one; a link that goes round; one class in two spellings; a NAS's own folders."
    composed, apart = (unicodedata.normalize(o, 'café') for o in ('NFC', 'NFD'))
    for o in ('a', 'b'): laid_out(tmp_path/'store', f'{o} 6')
    laid_out(tmp_path/'d', f'train/{composed} 6; test/{apart} 3; train/@eaDir 4')
    for half in ('train', 'test'):
        for o in ('a', 'b'): (tmp_path/'d'/half/o).symlink_to(tmp_path/'store'/o)
    (tmp_path/'d'/'train'/'a'/'round').symlink_to(tmp_path/'d')
    (tmp_path/'whole').mkdir()
    for o in ('train', 'test'): (tmp_path/'whole'/o).symlink_to(tmp_path/'d'/o)
    for folder in ('d', 'whole'):
        found = recognise(tmp_path/folder)
        assert (len(found.train), len(found.test), found.classes) == (18, 15, ('a', 'b', composed)), found
        assert found.unused == {} and found.labels(found.test).count(2) == 3

def test_known_sets_keep_their_split(at_home):
    with pytest.raises(UsageError, match='split of its own: leave out --split'): load_images('digits', 8, split=.3)

@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    "MVTec's layout: digits are good, inverted ones and halves are faults."
    folder, digits = tmp_path_factory.mktemp('parts'), (load_digits().images*15.9).astype(np.uint8)
    for part, images in {'train/good': digits[:200], 'test/good': digits[200:260], 'test/inverted': 255 - digits[260:280],
                         'test/half': np.where(np.arange(8) < 4, digits[280:300], 0).astype(np.uint8),
                         'ground_truth/half': 0*digits[:20]}.items():
        (folder/part).mkdir(parents=True)
        for i, o in enumerate(images): Image.fromarray(o).save(folder/part/f'{i:03}.png')
    return folder

@pytest.mark.parametrize('flags, n_train, n_test, among', [([], 200, 60, 60), (['--split', .2], 160, 40, 0)])
def test_faults_are_found_by_one_command(flags, n_train, n_test, among, parts, at_home, tmp_path, capsys):
    "The normal images that p-values come from are never the ones that are judged: each is compared with the others, or a part is held out."
    def said(*words):
        code = main([str(o) for o in words])
        return code, *capsys.readouterr()
    code, out, err = said('run', '--data', parts, '--methods', 'pca-8', '--size', 8, '--out', tmp_path/'runs', '--json', *flags)
    row = next(o for o in json.loads(out) if o['method'] == 'pca-8')
    assert (code, row['n_train'], row['n_test'], row['accuracy']) == (0, n_train, n_test, None), err
    code, out, err = said('anomaly', parts, '--run', tmp_path/'runs'/row['run'], '--level', .05, '--out', tmp_path/'found.csv',
                          '--device', 'cpu')
    table = pd.read_csv(tmp_path/'found.csv')
    good = table.kind == 'good'
    assert code == 0 and table.kind.value_counts().to_dict() == dict(good=60, inverted=20, half=20), err
    assert (f'AUROC {roc_auc_score(~good, table.score):.3f} (95 % interval' in out
            and re.search(r'\n  half +[01]\.\d+ .*\n  inverted +1\.000 ', out)), out
    assert f'{table.flagged[good].sum()} of 60 normal ones, {table.flagged[~good].sum()} of 40 faulty ones' in out
    assert (f'{among} of the images are among these' in out) == bool(among) and '220 images of the folder were not judged' in out
    assert table.flagged[good].sum() == 3 if among else table.flagged[good].sum() <= 9
    assert table.p_value.min() == pytest.approx(1/(n_test + 1)) and table.flagged[table.kind == 'inverted'].all()
    words = ['anomaly', parts/'train', '--run', tmp_path/'runs'/row['run'], '--normal', parts/'train'/'good', '--level', .05,
             '--out', tmp_path/'trained.csv', '--device', 'cpu']
    out = said(*words)[1]  # whoever judges or compares with what was trained on is told
    assert (f'{n_train} of these were trained on' in out and f'{n_train} of the images judged were trained on' in out
            and '200 of the images are among these' in out), out
