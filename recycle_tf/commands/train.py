"""Loads `train.py` of this checkout for `recycle-tf train`; a wheel has that file itself in this place."""

import importlib.util
import pathlib

_spec = importlib.util.spec_from_file_location("train", pathlib.Path(__file__).parents[2] / "train.py")
_train = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_train)
main, resolve, train, conclude = _train.main, _train.resolve, _train.train, _train.conclude
