"A trained model in use: `from aebench.apply import load`."
from importlib import import_module

_MODULES = dict(
    trained='load Trained',
    folders='reconstruct_folder compress_folder decompress_file encode_folder decode_table Savings',
    tables='read_latents write_latents',
    anomaly='find_anomalies write_anomalies conformal_p flag',
    export='export_model',
    share='model_folder model_card push pull',
    photograph='copy_by_tiles tiles untiles')
_PLACES = {name: module for module, names in _MODULES.items() for name in names.split()}

def __getattr__(name):
    "What users want first, fetched when it is asked for: it brings torch."
    if name not in _PLACES: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_PLACES[name]}'), name)
