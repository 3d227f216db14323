"""A program of somebody else, as research code is: arguments in, files out. It knows nothing of wsss."""

import argparse
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image

parser = argparse.ArgumentParser()
for name in ("voc", "list", "labels", "classes", "out", "work", "mode", "note"):
    parser.add_argument(f"--{name}")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--alpha", type=float, default=1.0)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--pause", type=float, default=0.0)
parser.add_argument("--map-name", default="high_res")
parser.add_argument("--id-name", default="keys")
args = parser.parse_args()

if args.note and args.mode != "replaced":
    with open(args.note, "a") as file:
        file.write(f"{os.getpid()}\n")
if args.mode == "fail":
    print("epoch 1/3 loss 1.0")
    print("CUDA out of memory, says the foreign program", file=sys.stderr)
    sys.exit(3)
if args.mode == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if args.mode == "nothing":
    sys.exit(0)
if args.mode == "replaced":
    # Research code that "cleans up" first; then it writes a file instead, or a link.
    old = pathlib.Path(args.out).rename(pathlib.Path(args.work, f"old{os.getpid()}"))
    if args.note == "file":
        pathlib.Path(args.out).write_text("a file")
    if args.note == "link":
        pathlib.Path(args.out).symlink_to(old)
    sys.exit(0)
if args.mode == "huge":
    line = b"x" * 1023 + b"\n"
    for _ in range(20_000):
        sys.stdout.buffer.write(line)
    sys.stdout.buffer.write(b"y" * 5_000_000)
    print("\nthe end")
if args.mode in ("hang", "stubborn"):
    if args.mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # One child stays in the group, another leaves it, as daemons do.
    for away in (False, True):
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=away
        )
        with open(args.note, "a") as file:
            file.write(f"{child.pid}\n")
    print("now I hang", flush=True)
    time.sleep(600)

state = pathlib.Path(args.work or args.out, "state.json")
first = json.loads(state.read_text())["epoch"] if args.work and state.exists() else 0
for epoch in range(first, args.epochs):
    time.sleep(args.pause)
    if args.work:
        state.write_text(json.dumps({"epoch": epoch + 1}))
    print(f"epoch {epoch + 1}/{args.epochs} loss {1 / (epoch + 1):.3f}", flush=True)

classes = pathlib.Path(args.classes).read_text().splitlines()
with open(args.labels, newline="") as file:
    labels = {
        row["image"]: [classes.index(one) for one in row["labels"].split(";") if one]
        for row in csv.DictReader(file)
    }
for name in pathlib.Path(args.list).read_text().split():
    photo = Image.open(pathlib.Path(args.voc, "JPEGImages", f"{name}.jpg")).convert("L")
    grey = (np.asarray(photo, np.float32) / 255) ** args.alpha
    if args.mode == "wrong":
        grey = grey[:-1]
    keys = np.asarray(labels[name], np.int64)
    maps = np.stack([grey] * len(keys)) if len(keys) else np.zeros((0, *grey.shape), np.float32)
    np.save(pathlib.Path(args.out, f"{name}.npy"), {args.id_name: keys, args.map_name: maps})
