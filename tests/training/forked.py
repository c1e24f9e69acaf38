"""What runs in a process that the fixture ``forked`` starts; ``TOLD`` says which function."""

import importlib.util
import sys

import torch

TOLD = globals()["TOLD"]
torch.set_num_threads(1)
sys.argv = ["pytest"]
spec = importlib.util.spec_from_file_location("told", TOLD["file"])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
getattr(module, TOLD["function"])(*TOLD["arguments"])
