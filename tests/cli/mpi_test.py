"""A study at scale under mpirun: two ranks give what one process gives, to the bit."""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

program, launcher = sys.argv[1], [sys.argv[3], "--oversubscribe", "-n", "2", sys.argv[2]]
environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=250)


def results(folder):
    study = json.loads((folder / "study.json").read_text())
    del study["seconds"]
    study["notes"] = [note for note in study["notes"] if "of one processor" not in note]  # timings
    return study


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    alone = run(program, "study", "online-design", "--out", folder / "one")
    assert alone.returncode in (0, 3), alone.stderr
    together = run(*launcher, "study", "online-design", "--out", folder / "two")
    assert together.returncode == alone.returncode, together.stderr
    assert results(folder / "one") == results(folder / "two"), "two ranks give other numbers"
    assert together.stdout.count("\n") == alone.stdout.count("\n"), "only the first rank prints"
    for command in (["study", "order-in-h", "--out", folder / "no"], ["study", "online-design"], ["report", "--out", folder / "no"]):
        refused = run(*launcher, *command)
        assert refused.returncode == 2 and "mpirun:" in refused.stderr, (command, refused.returncode, refused.stderr)
    assert not (folder / "no").exists()
print("two ranks agree with one process")
