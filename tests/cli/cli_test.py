"""The program jko from outside: exit statuses, messages, files that appear whole or not at all, resuming to the same bits."""
import json
import os
import pathlib
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time

program, source = sys.argv[1], pathlib.Path(sys.argv[2])
failures = []

# muParser evaluates formulas with OpenMP threads that spin while they wait: beside other work on the same processors that costs minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
    for example in ["ou.toml", "ou_2d.toml", "double_well.toml", "porous_medium.toml", "double_well_2d.toml", "interaction_3d.toml"]:
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

    # Densities on grids: files of the right shape, mass kept, energy falling; a kept density is a start again; bad boxes are refused with their line.
    plane = json.loads((folder / "double_well_2d.toml/flow.json").read_text())["steps"]
    expect(all(b["free_energy"] < a["free_energy"] for a, b in zip(plane, plane[1:])), "the 2-D energy falls")
    expect(all(b["w2_bound"] is None and b["residual"] < 1e-6 for b in plane), "entropic steps have no certificate unless asked, but a residual")
    for k in [0, 6, 24]:
        for end in ["npy", "svg"]:
            expect((folder / f"double_well_2d.toml/density_{k:06d}.{end}").exists(), f"density {k} as {end}")
    array = (folder / "double_well_2d.toml/density_000024.npy").read_bytes()
    expect(b"(72, 120)" in array[:128], "the shape of a 2-D density")
    again = (source / "docs/examples/double_well_2d.toml").read_text().replace("gaussian = { mean = [0.1, 0.3], covariance = [[0.04, 0.0], [0.0, 0.04]] }", 'density = "double_well_2d.toml/density_000024.npy"')
    again = again.replace("steps      = 24", "steps      = 1")
    expect(run("flow", config(again), "--out", folder / "again")[0] == 0, "a density as start on a grid")
    grid = '[model]\npotential = "x^2"\nbeta = 1.0\n[initial]\ngaussian = { mean = [0.0], covariance = [[1.0]] }\n[flow]\nstep = "entropic"\nh = 0.1\nsteps = 1\n[grid]\nlower = [-4.0]\nupper = [4.0]\ncells = [%s]\n'
    status, out_text, err = run("flow", config(grid.replace("h = 0.1", 'h = 0.1\ncertificate = "dual"') % "100"), "--out", folder / "dual", "--json")
    step = json.loads(out_text)["steps"][0]
    # x^2 has kappa = 2: b7's bound from the gap.
    expect(status == 0 and 0 <= step["gap"] < 1e-4 and abs(step["w2_bound"] - (0.2 * step["gap"] / 1.2) ** 0.5) < 1e-12, f"a certificate on request: {step}")
    status, out_text, err = run("flow", config(grid.replace("h = 0.1", 'h = 0.1\ncertificate = "dual"').replace("[grid]", '[grid]\nboundary = "periodic"') % "100"), "--out", folder / "dual")
    expect(status == 0 and "no certificate: " in err and "periodic" in err, f"the reason why there is none: {err}")
    # Richardson's scheme: -2 x has the mean e^{-2t}; h = 0.1, 4 steps: JKO is off by 1.2^-4 - e^-0.8 = 0.033, the extrapolation 2 1.1^-8 - 1.2^-4 - e^-0.8 = 0.0015.
    moved = grid.replace("mean = [0.0]", "mean = [1.0]").replace("covariance = [[1.0]]", "covariance = [[0.5]]").replace("steps = 1", 'steps = 4\nscheme = "richardson"')
    status, out_text, err = run("flow", config(moved % "80"), "--out", folder / "second", "--json", "--step-error")
    mean = json.loads(out_text)["steps"][-1]["mean"][0] if status == 0 else None
    expect(status == 0 and abs(mean - (2 * 1.1**-8 - 1.2**-4)) < 1e-4, f"richardson: {mean} {err}")
    for file in ["band_density.csv", "band_quantiles.csv", "band_moments.csv"]:
        expect((folder / "second" / file).exists(), f"{file} of a grid flow")
    refused(["flow", config(moved % "80"), "--out", out, "--resume"], "richardson")
    for text, parts in [(moved.replace("steps = 4", 'steps = 4\ncertificate = "dual"') % "40", ["certificate"]), (grid.replace("h = 0.1", 'h = 0.1\ncertificate = "yes"') % "40", ["certificate", "dual"]), (grid % "1000000000", ["config.toml:13"]), (grid % "100000000", ["config.toml:13", "GiB"]), (grid % "0", ["config.toml:13"]), (grid % "40, 40", ["cells"]),
                        (grid.replace("h = 0.1", 'h = 0.1\nscheme = "bdf2"') % "40", ["jko"]), (grid.replace("h = 0.1", "h = 0.1\nepsilon = 1e-12") % "40", ["epsilon", "width"]),
                        (grid.replace("x^2", "log(x)") % "40", ["potential", "nan"]), (grid.replace("x^2", "x1^2").replace("beta = 1.0", "beta = 1.0\ndimension = 2") % "40", ["dimension"])]:
        refused(["flow", config(text), "--out", out], *parts)

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
    refused(["study", "regimes", "--set", "potental=x^2"], "potental", "potential")
    refused(["study", "regimes", "--set", "potential"], "--set")
    refused(["study", "order-in-h", "--shard", "0/2", "--out", folder / "s"], "order-in-h", "shards")
    refused(["study", "online-design", "--shard", "2/2", "--out", folder / "s"], "shard")
    refused(["study", "merge", folder / "nowhere"], "nowhere")
    status, out, err = run("study", "list")
    expect(status == 0 and "--set potential=" in out and "--shard" in out, f"study list names the settings: {err}")
    # The user's own model: a convex formula passes; a potential whose parameters are not identified is inconclusive, not passed.
    own = ["study", "regimes", "--set", "potential=a/2*x^2+b*cos(x)", "--set", "parameters=a=2,b=0.5", "--set", "beta=2", "--set", "t=0.5", "--json"]
    status, out, err = run(*own)
    expect(status == 0 and all(c["verdict"] == "pass" for c in json.loads(out)["checks"]), f"own model: {status} {out} {err}")
    own[3] = "potential=(a+b)/2*x^2"
    status, out, err = run(*own)
    expect(status == 3 and "not identified" in json.loads(out)["checks"][0]["reason"], f"own model, not identified: {status} {err}")

    # Own claims: pass, fail, and inconclusive where the flow is too coarse for the tolerance; a mistake names its line.
    claims = (source / "docs/examples/claims.toml").read_text()
    status, out, err = run("study", source / "docs/examples/claims.toml", "--json")
    expect(status == 0 and len(json.loads(out)["checks"]) == 2, f"claims: {status} {out} {err}")
    status, out, err = run("study", config(claims.replace("0.9655274911", "0.97"), "wrong.toml"), "--json")
    expect(status == 1 and json.loads(out)["checks"][0]["verdict"] == "fail", f"a wrong claim fails: {status} {err}")
    status, out, err = run("study", config(claims.replace("tolerance  = 1e-4", "tolerance  = 1e-12"), "sharp.toml"), "--json")
    expect(status == 3 and "own error" in json.loads(out)["checks"][0]["reason"], f"a claim sharper than the flow is inconclusive: {status} {err}")
    refused(["study", config(claims.replace('functional = "x"', 'functional = "c*x"'), "param.toml")], "param.toml:", "'c'")
    refused(["study", config(claims.replace("at_most    =", "at_least   ="), "key.toml")], "key.toml:", "at_most")

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

# Inference on fits, snapshots, samples, arrays and gaps.
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    path = folder / "path.csv"
    run("simulate", source / "docs/examples/ou.toml", "--out", path, "--seed", 3)

    status, out, err = run("fit", path, "--model", "ou", "--profile", "kappa,mu", "--derive", "log(2)/kappa", "--residuals", "--starts", 3, "--bootstrap", 20, "--json")
    expect(status == 0, f"fit with everything: {err}")
    fit = json.loads(out)
    kappa = fit["parameters"][0]
    profile = fit["profiles"][0]
    expect(profile["name"] == "kappa" and profile["lower"]["value"] < kappa["estimate"] < profile["upper"]["value"] and profile["lower"]["status"] == "converged", "profile JSON")
    # A profile is skewed the way the likelihood is: further up than down for kappa.
    expect(profile["upper"]["value"] - kappa["estimate"] > kappa["estimate"] - profile["lower"]["value"], "the profile of kappa is skewed upwards")
    expect(abs(fit["derived"][0]["standard_error"] - 0.6931471805599453 / kappa["estimate"] ** 2 * kappa["standard_error"]) < 1e-9, "delta method JSON")
    expect(fit["starts"] == 3 and fit["starts_agreed"] == 3, "starts JSON")
    expect({"kolmogorov", "ljung_box", "ljung_box_squares"} <= set(fit["residuals"]), "residuals JSON")
    expect(fit["bootstrap"]["replications"] == 20 and fit["bootstrap"]["kind"] == "parametric", "bootstrap JSON")
    expect(fit["data"]["even"] and fit["data"]["transitions"] == fit["n"] and fit["data"]["gaps"] == 0, "data JSON")
    phi = 2.718281828459045 ** (-kappa["estimate"] * fit["T"] / fit["n"])
    expect(abs(fit["bias"][0] - (5 + 2 / phi + 1 / phi**2) / (2 * fit["T"])) < 1e-9, "the bias of kappa in its closed form")
    same = json.loads(run("fit", path, "--model", "ou", "--bootstrap", 20, "--threads", 2, "--json")[1])
    expect(same["bootstrap"]["standard_errors"] == fit["bootstrap"]["standard_errors"], "the bootstrap does not depend on threads")
    blocks = json.loads(run("fit", path, "--model", "ou", "--bootstrap", 20, "--block", 10, "--json")[1])
    expect(blocks["bootstrap"]["kind"] == "blocks of 10 transitions", "block bootstrap")
    compare = json.loads(run("fit", path, "--model", "ou", "--compare", "exact,euler,double-well", "--json")[1])["compare"]
    expect([f["estimator"] for f in compare] == ["exact", "euler", "shoji-ozaki"] and abs(compare[0]["log_likelihood"] - compare[1]["log_likelihood"]) < 1e-6, "compare estimators and models")
    _, text, _ = run("fit", path, "--model", "ou", "--compare", "exact,euler")
    expect("log-likelihood" in text and "BIC" in text and "sandwich" in text, "the comparison's table")
    _, text, _ = run("fit", path, "--model", "ou", "--covariance")
    expect("covariance\nkappa" in text and "95 % interval" in text, "the covariance on request")

    refused(["fit", path, "--model", "ou", "--profile", "kapa"], "kapa", "kappa")
    refused(["fit", path, "--model", "ou", "--fix", "kappa=1", "--profile", "kappa"], "kappa is fixed")
    refused(["fit", path, "--model", "ou", "--derive", "1/kapa"], "kapa", "kappa")
    refused(["fit", path, "--model", "ou", "--compare", "exact,eulr"], "eulr", "euler")
    refused(["fit", path, "--model", "ou", "--estimator", "exakt"], "exakt", "exact")
    refused(["fit", path, "--model", "ou", "--bounds", "kapa=0:1"], "kapa", "kappa")
    refused(["fit", path, "--model", "ou", "--level", 1.5, "--profile", "kappa"], "--level is 1.5")
    refused(["fit", path, "--potential", "k/2*x^2", "--interaction", "w/2*x^2"], "--interaction")

    # A fit that does not converge: exit 1, with what was reached.
    status, text, _ = run("fit", path, "--potential", "(a+b)/2*x^2", "--start", "a=1,b=1", "--estimator", "exact")
    expect(status == 1 and "singular_information" in text and "do not determine" in text, "an unidentified model names the combination")

    # Missing values are gaps in time: leaving a row out by hand is the same.
    rows = path.read_text().splitlines()
    gap, short = folder / "gap.csv", folder / "short.csv"
    gap.write_text("\n".join(rows[:100] + [rows[100].split(",")[0] + ",NA"] + rows[101:]) + "\n")
    short.write_text("\n".join(rows[:100] + rows[101:]) + "\n")
    refused(["fit", gap, "--model", "ou"], "gap.csv:101", "NA")
    a = json.loads(run("fit", gap, "--model", "ou", "--skip-missing", "--json")[1])
    b = json.loads(run("fit", short, "--model", "ou", "--json")[1])
    expect(a["parameters"] == b["parameters"] and a["data"]["gaps"] == 1 and not a["data"]["even"], "a missing value is a gap")

    # The same numbers as an array.
    values = [float(row.split(",")[1]) for row in rows[1:]]
    header = ("{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % len(values)).ljust(117) + "\n"
    array = folder / "path.npy"
    array.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(f"<{len(values)}d", *values))
    dt = fit["T"] / fit["n"]
    a = json.loads(run("fit", array, "--model", "ou", "--dt", dt, "--json")[1])
    expect(abs(a["parameters"][0]["estimate"] - kappa["estimate"]) < 1e-9, "an NPY array is a path")
    refused(["fit", array, "--model", "ou"], "--dt")
    array.write_bytes(array.read_bytes()[:-8])
    refused(["fit", array, "--model", "ou", "--dt", dt], "path.npy", "holds")

    # General diffusions: the same process written by its coefficients, sigma^2 = 2/beta.
    vasicek = json.loads(run("fit", path, "--drift", "kappa*(mu-x)", "--diffusion", "sigma", "--start", "kappa=1,mu=0,sigma=1", "--estimator", "shoji-ozaki", "--json")[1])
    expect(vasicek["status"] == "converged" and abs(vasicek["log_likelihood"] - fit["log_likelihood"]) < 1e-6, "drift and diffusion as formulas")
    found = {p["name"]: p["estimate"] for p in vasicek["parameters"]}
    expect(abs(found["sigma"] ** 2 - 2 / fit["parameters"][2]["estimate"]) < 1e-6 and abs(found["kappa"] - kappa["estimate"]) < 1e-6, "sigma^2 is 2/beta")
    named = json.loads(run("fit", path, "--model", "vasicek", "--profile", "kappa", "--residuals", "--json")[1])
    expect(named["estimator"] == "exact" and abs(named["profiles"][0]["upper"]["value"] - profile["upper"]["value"]) < 1e-4, "the profile of kappa as in the Langevin model")
    expect(abs(named["residuals"]["kolmogorov"]["statistic"] - fit["residuals"]["kolmogorov"]["statistic"]) < 1e-6, "the same residuals")
    numerical = json.loads(run("fit", path, "--model", "vasicek", "--estimator", "fokker-planck", "--json")[1])
    expect(abs(numerical["log_likelihood"] - fit["log_likelihood"]) < 1e-4, "the Fokker-Planck likelihood")
    rates = source / "validation/data/tcm_monthly_1953_1999.csv"
    status, text, err = run("fit", rates, "--column", "tcm1y", "--model", "cir", "--compare", "exact,euler,ckls")
    expect(status == 0 and "gamma" in text and "AIC" in text, f"compare diffusions: {status} {err}")
    refused(["fit", path, "--model", "cir"], "(0, inf)")
    refused(["fit", path, "--model", "cirr"], "cirr", "cir")
    refused(["fit", path, "--drift", "kappa*(mu-x)"], "--diffusion")
    refused(["fit", path, "--model", "vasicek", "--start", "kapa=1"], "kapa", "kappa")
    refused(["fit", path, "--model", "vasicek", "--estimator", "stationary"], "paths")

    # Snapshots and samples. Quantiles of the exact laws of dX = -1.3 (X - 0.4) dt + dW (beta = 2) from N(2, 0.09).
    nodes = [statistics.NormalDist().inv_cdf((i + 0.5) / 400) for i in range(400)]
    shots = folder / "shots.csv"
    with shots.open("w") as file:
        file.write("t,x\n")
        for t in (0, 0.1, 0.2, 0.3, 0.4):
            decay = 2.718281828459045 ** (-1.3 * t)
            mean, variance = 0.4 + 1.6 * decay, 0.09 * decay**2 + (1 - decay**2) / 2.6
            file.writelines(f"{t},{mean + variance**0.5 * z}\n" for z in nodes)
    # First order off by kappa tau/2 = 6.5 %; the whole flow only by what 400 quantiles lack in the tails (1 % of the variance).
    for estimator, off in [("first-order", 0.3), ("snapshot-flow", 0.1), ("snapshot-gaussian", 0.1)]:
        status, out, err = run("fit", shots, "--model", "ou", "--estimator", estimator, "--json")
        expect(status == 0, f"{estimator}: {status} {err}")
        found = [p["estimate"] for p in json.loads(out)["parameters"]]
        expect(all(abs(x - y) < off * y for x, y in zip(found, (1.3, 0.4, 2))), f"{estimator}: {found}")
    refused(["fit", shots, "--model", "ou"], "increase")
    refused(["fit", path, "--model", "ou", "--estimator", "first-order"], "one point")
    refused(["fit", shots, "--model", "ou", "--estimator", "first-order", "--profile", "kappa"], "likelihood")
    status, out, _ = run("fit", shots, "--model", "ou", "--estimator", "score-matching", "--fix", "beta=2", "--column", "x", "--json")
    sample = json.loads(out)
    expect(status == 0 and sample["log_likelihood"] is None and sample["n"] == 2000, "score matching of a sample")

print(f"{len(failures)} failed")
sys.exit(1 if failures else 0)
