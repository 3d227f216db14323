"""Another one: CAMs of somebody in IRN's layout in, masks out."""

import pathlib
import sys

import numpy as np
from PIL import Image

cams, out = map(pathlib.Path, sys.argv[1:3])
files = sorted(cams.glob("*.npy"))
for number, path in enumerate(files):
    found = np.load(path, allow_pickle=True).item()
    assert found["cam"].shape[1:] == tuple(-(-side // 4) for side in found["high_res"].shape[1:])
    scores = np.pad(found["high_res"], ((1, 0), (0, 0), (0, 0)), constant_values=0.5)
    keys = np.pad(found["keys"] + 1, (1, 0))
    Image.fromarray(keys[scores.argmax(0)].astype(np.uint8)).save(out / f"{path.stem}.png")
    print(f"{number + 1} of {len(files)} refined", flush=True)
