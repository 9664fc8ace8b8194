"""The program jko from outside: exit statuses, messages, files that appear whole or not at all, resuming to the same bits."""
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

program, source = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []


def run(*arguments):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def expect(condition, what):
    if not condition:
        failures.append(what)
        print("FAILED:", what)


def refused(arguments, *parts):
    """Status 2, one line on stderr with all the parts."""
    status, _, err = run(*arguments)
    expect(status == 2, f"{arguments}: status {status}, not 2")
    expect(len(err.strip().splitlines()) == 1, f"{arguments}: not one line: {err!r}")
    for part in parts:
        expect(part in err, f"{arguments}: {part!r} is not in {err!r}")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    good = (source / "docs/examples/ou.toml").read_text()

    def config(text, file="config.toml"):
        path = folder / file
        path.write_text(text)
        return path

    # Help and version.
    for command in ["simulate", "fit", "flow", "study", "report"]:
        status, out, _ = run(command, "--help")
        expect(status == 0 and "example: jko" in out, f"{command} --help")
    expect(run("--version")[0] == 0, "--version")
    expect(run()[0] == 2, "no command is misuse")
    expect(run("fly")[0] == 2, "an unknown command is misuse")

    # Every example runs, and its JSON has the promised fields.
    for example in ["ou.toml", "ou_2d.toml", "double_well.toml", "porous_medium.toml"]:
        out = folder / example
        status, _, err = run("flow", source / "docs/examples" / example, "--out", out)
        expect(status == 0, f"{example}: {status} {err}")
        flow = json.loads((out / "flow.json").read_text())
        expect(flow["status"] == "converged" and {"k", "t", "free_energy", "energies", "w2_moved", "residual", "gap", "w2_bound", "mass", "min_density", "mean", "covariance", "iterations", "seconds"} <= set(flow["steps"][0]), f"{example}: fields")
        expect(flow["configuration"] == (source / "docs/examples" / example).read_text(), f"{example}: configuration is kept")
        expect(not (out / "checkpoint.json").exists(), f"{example}: no checkpoint is left")

    # Particles: files, figure, a start from a CSV, and bad input with its place.
    out = folder / "particles"
    text = (source / "docs/examples/particles.toml").read_text()
    status, _, err = run("flow", source / "docs/examples/particles.toml", "--out", out)
    expect(status == 0, f"particles.toml: {status} {err}")
    flow = json.loads((out / "flow.json").read_text())
    energies = [step["free_energy"] for step in flow["steps"]]
    expect(flow["status"] == "converged" and all(b < a for a, b in zip(energies, energies[1:])), "particles: the energy falls")
    expect({"potential", "entropy", "interaction"} == set(flow["steps"][0]["energies"]) and flow["steps"][0]["gap"] is None, "particles: parts, and no gap for the blob")
    expect((out / "particles.svg").exists() and (out / "particles_000020.csv").read_text().startswith("x1,x2,weight"), "particles: figure and states")
    from_file = text.replace("gaussian = { mean = [2.0, -1.0], covariance = [[1.0, -0.3], [-0.3, 0.5]] }", 'particles = "start.csv"').replace("count     = 400", "").replace("seed      = 1", "").replace("steps      = 20", "steps = 2")
    (folder / "start.csv").write_text("x1,x2,weight\n0,0,0.5\n1,0,0.25\n0,1,0.25\n")
    (folder / "from_file.toml").write_text(from_file)
    expect(run("flow", folder / "from_file.toml", "--out", out)[0] == 0, "particles from a file")
    for old, new, message in [("0,1,0.25", "0,1,0.3", "the weights sum to 1.05"), ("0,1,0.25", "0,nan,0.25", "start.csv:4"), ("x1,x2,weight", "x1,y,weight", "x2")]:
        (folder / "start.csv").write_text("x1,x2,weight\n0,0,0.5\n1,0,0.25\n0,1,0.25\n".replace(old, new))
        status, _, err = run("flow", folder / "from_file.toml", "--out", out)
        expect(status == 2 and message in err, f"particles: {message}: {status} {err}")
    for old, new, message in [('"silverman"', "0", "'bandwidth' is 0, but must be positive"), ('"silverman"', '"wide"', "must be a number, silverman, scott or sheather-jones"), ('"blob"', '"blobs"', "must be one of blob, nearest-neighbour, spacing"),
                              ('"silverman"', '"sheather-jones"', "the rule is for one"), ("count     = 400", "count = 0", "'count' must be a whole number"), ('"blob"', '"spacing"', "'bandwidth' is for the blob entropy")]:
        (folder / "bad.toml").write_text(text.replace(old, new))
        status, _, err = run("flow", folder / "bad.toml", "--out", out)
        expect(status == 2 and message in err, f"particles: {message}: {status} {err}")

    # simulate -> fit -> flow with bands; the same seed gives the same bytes, whatever the threads.
    data = folder / "path.csv"
    expect(run("simulate", source / "docs/examples/ou.toml", "--out", data, "--seed", 3)[0] == 0, "simulate")
    first = data.read_bytes()
    run("simulate", source / "docs/examples/ou.toml", "--out", data, "--seed", 3, "--threads", 2)
    expect(first == data.read_bytes(), "simulate does not depend on threads")
    panel = run("simulate", config(good.replace("n  = 500", "n = 4\npaths = 3")))[1].splitlines()
    expect(panel[0] == "path,t,x" and len(panel) == 1 + 3 * 5, "a panel has a path column")
    snapshots = run("simulate", config(good.replace("n  = 500", "n = 4\nsnapshots = 7")))[1].splitlines()
    expect(snapshots[0] == "t,x" and len(snapshots) == 1 + 4 * 7 and snapshots[1].split(",")[0] == snapshots[7].split(",")[0], "snapshots: seven points at each of four times")
    refused(["simulate", config(good.replace("n  = 500", "n = 4\nsnapshots = 7\npaths = 2"))], "config.toml:23", "exclude")
    fit = folder / "fit.json"
    expect(run("fit", data, "--model", "ou", "--out", fit)[0] == 0, "fit")
    parameters = json.loads(fit.read_text())
    expect(parameters["status"] == "converged" and [p["name"] for p in parameters["parameters"]] == ["kappa", "mu", "beta"], "fit JSON")
    formula = json.loads(run("fit", data, "--potential", "k/2*(x-c)^2", "--estimator", "exact", "--start", "k=1,c=0", "--json")[1])
    expect(abs(formula["parameters"][0]["estimate"] - parameters["parameters"][0]["estimate"]) < 1e-7, "formula and family give the same fit")
    bands = folder / "bands"
    status, _, err = run("flow", source / "docs/examples/ou.toml", "--fit", fit, "--step-error", "--bootstrap", 20, "--data", data, "--out", bands)
    expect(status == 0, f"flow with a fit: {err}")
    for file in ["band_quantiles.csv", "band_distribution.csv", "band_density.csv", "band_moments.csv", "bootstrap.csv"]:
        expect((bands / file).exists(), file)
    expect("step_error" in (bands / "band_moments.csv").read_text().splitlines()[0], "the step error is a column")

    # Bad configurations: one line with the place, nothing written.
    out = folder / "nothing"
    cases = [
        (good.replace("h          = 0.01", "h = -0.01"), ["config.toml:13", "'h' is -0.01"]),
        (good.replace("h          = 0.01", "h = nan"), ["config.toml:13", "'h' is nan"]),
        (good.replace("beta       = 2.0", "beta = 0.0"), ["config.toml:5", "beta"]),
        (good.replace("kappa = 1.3", "kapa = 1.3"), ["config.toml:4", "kapa", "kappa"]),
        (good.replace("kappa = 1.3, ", ""), ["config.toml", "kappa"]),
        (good.replace('family     = "ou"', 'family = "oo"'), ["config.toml:3", "'oo'"]),
        (good.replace('family     = "ou"', 'potential = "kappa/2*(x-mu)^2+"'), ["config.toml:3", "column"]),
        (good.replace("[flow]", "[flows]"), ["flows", "flow"]),
        (good.replace("[[2.89]]", "[[-2.89]]"), ["config.toml:8"]),
        (good.replace('step       = "quantile"', 'step = "quantum"'), ["config.toml:11", "quantum"]),
        (good + "\n[[", ["config.toml"]),
        ("", ["config.toml", "[model]"]),
    ]
    for text, parts in cases:
        refused(["flow", config(text), "--out", out], *parts)
        expect(not out.exists(), "nothing is half-written")
    refused(["flow", folder / "absent.toml"], "absent.toml")

    # Densities and quantiles as starts.
    start = '[model]\nfamily = "ou"\nparameters = { kappa = 1.0, mu = 0.0 }\nbeta = 1.0\n[initial]\n%s\n[flow]\nstep = "quantile"\nh = 0.1\nsteps = 2\n'
    (folder / "density.csv").write_text("x,density\n0,0.5\n1,0.5\n2,0.5\n")
    expect(run("flow", config(start % 'density = "density.csv"'), "--out", folder / "d")[0] == 0, "a density as start")
    (folder / "density.csv").write_text("x,density\n0,0.6\n1,0.6\n2,0.6\n")
    refused(["flow", config(start % 'density = "density.csv"'), "--out", out], "density.csv", "mass")
    (folder / "quantiles.csv").write_text("probability,x\n0,-1\n0.5,0\n1,1\n")
    expect(run("flow", config(start % 'quantiles = "quantiles.csv"'), "--out", folder / "q")[0] == 0, "quantiles as start")
    (folder / "quantiles.csv").write_text("probability,x\n0,-1\n0.5,0\n0.9,1\n")
    refused(["flow", config(start % 'quantiles = "quantiles.csv"'), "--out", out], "quantiles.csv", "0 to 1")

    # A step too large for a potential that is not convex: a status with a remedy, exit 1.
    well = (source / "docs/examples/double_well.toml").read_text().replace("h      = 0.02", "h = 3.0").replace("vim", "jko")
    status, out_text, err = run("flow", config(well), "--out", folder / "well")
    expect(status == 1 and "concavity" in out_text + err, f"step_not_convex: {status} {out_text} {err}")

    # A potential that is not defined where the law has mass.
    undefined = '[model]\npotential = "log(x)"\nbeta = 1.0\n[initial]\ngaussian = { mean = [0.0], covariance = [[1.0]] }\n[flow]\nstep = "quantile"\nh = 0.01\nsteps = 3\n'
    status, out_text, err = run("flow", config(undefined), "--out", folder / "undefined")
    expect(status == 1 and "infinite or NaN" in out_text + err, f"not_finite: {status} {out_text} {err}")

    # Bad data.
    def csv(text):
        path = folder / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    for text, parts in [
        ("t,x\n0,1\n1,\n2,3\n", ["data.csv:3"]),
        ("t,x\n0,1\n1,abc\n", ["data.csv:3", "abc"]),
        ("t,x\n0,1\n1,nan\n", ["data.csv:3"]),
        ("t,x\n0,1\n1,inf\n", ["data.csv:3"]),
        ("t,x\n0,1\n2,1.5\n1,2\n", ["data.csv:4", "increase"]),
        ("t,x\n0,1\n1,2\n1,3\n", ["data.csv:4", "increase"]),
        ("t,x\n0,1\n", ["data.csv", "two observations"]),
        ("t,x\n", ["data.csv"]),
        ("", ["data.csv"]),
        ("t,x\n0,1\n1,2,3\n", ["data.csv:3"]),
        ("t,x\n0,1\n1,1\n2,1\n", ["constant"]),
        (b"t,x\n0,1\n1,\xff\xfe\n", ["data.csv:3"]),
    ]:
        refused(["fit", csv(text), "--model", "ou", "--out", folder / "no.json"], *parts)
        expect(not (folder / "no.json").exists(), "no half-written fit")
    refused(["fit", data, "--model", "ou", "--column", "y"], "y")
    refused(["fit", data, "--model", "ou", "--fix", "kapa=1"], "kapa", "kappa")
    refused(["fit", data, "--model", "ou", "--start", "kappa"], "--start")
    refused(["fit", data, "--model", "ou", "--estimator", "guess"], "guess")
    refused(["fit", data], "--model")
    refused(["study", "order-in-hh"], "order-in-h")

    # A huge file is read, and quickly.
    rows = 400000
    big = folder / "big.csv"
    big.write_text("t,x\n" + "".join(f"{i * 0.1:.1f},{(i * 7919) % 1000 / 500 - 1:.3f}\n" for i in range(rows)))
    begin = time.time()
    status, _, err = run("fit", big, "--model", "ou", "--estimator", "euler")
    expect(status in (0, 1), f"huge file: {status} {err}")
    expect(time.time() - begin < 60, "a huge file takes less than a minute")

    # Interrupt and resume: the same bits as an uninterrupted flow, timings aside.
    long = good.replace("steps      = 80", "steps = 4000").replace("cells = [1000]", "cells = [4000]").replace("keep_every = 20", "keep_every = 1000")
    path = config(long, "long.toml")
    expect(run("flow", path, "--out", folder / "whole")[0] == 0, "the long flow")
    process = subprocess.Popen([program, "flow", str(path), "--out", str(folder / "parts")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 130:  # not so if the machine finished the flow before the signal
        expect((folder / "parts/checkpoint.json").exists() and not (folder / "parts/flow.json").exists(), "an interrupted flow leaves a checkpoint only")
        refused(["flow", config(long.replace("0.01", "0.011"), "other.toml"), "--out", folder / "parts", "--resume"], "another configuration")
        status, _, err = run("flow", path, "--out", folder / "parts", "--resume")
        expect(status == 0, f"resume: {err}")
    else:
        expect(process.returncode == 0, f"interrupt: {process.returncode} {err}")
    a, b = (json.loads((folder / p / "flow.json").read_text()) for p in ("whole", "parts"))
    for flow in (a, b):
        for step in flow["steps"]:
            del step["seconds"]
    expect(a == b, "a resumed flow has the same bits")
    expect((folder / "whole/density_004000.csv").read_bytes() == (folder / "parts/density_004000.csv").read_bytes(), "and the same density")

print(f"{len(failures)} failed")
sys.exit(1 if failures else 0)
