"""Every bibliography key and label of docs/theory.md that a header, source or page cites exists, once, and every relative link in the documentation leads somewhere."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
keys = re.findall(r"^@\w+\{(\w+),", (root / "docs/references.bib").read_text(), re.M)
known = set(keys)
bad = [f"docs/references.bib: {key} stands there twice" for key in known if keys.count(key) > 1]
theory = (root / "docs/theory.md").read_text()
labels = set(re.findall(r"^\| ([a-d]\d+) \|", theory, re.M)) | set(re.findall(r"^\*\*(2\.\d)", theory, re.M)) | {"2", "3(e)", "(c)"}
pages = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
code = [f for part in ["lib", "estimators", "analysis", "validation", "cli"] for pattern in ["**/*.hpp", "**/*.cpp"] for f in (root / part).glob(pattern)]
for file in pages + code:
    text = file.read_text()
    for key in re.findall(r"\[([A-Z][A-Za-z]+(?:19|20)\d\d[a-z]?)\]", text):
        if key not in known:
            bad.append(f"{file.relative_to(root)}: [{key}] is not in docs/references.bib")
    for label in re.findall(r"theory\.md ((?:[a-d]\d+(?:, (?=[a-d]\d))?)+|\d\.\d|\d(?:\(e\))?(?![\d:])|\(c\))", text):
        for one in label.split(", "):
            if one not in labels:
                bad.append(f"{file.relative_to(root)}: docs/theory.md has no {one}")
for page in pages:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in link and not (page.parent / link).exists():
            bad.append(f"{page.relative_to(root)}: the link {link} leads nowhere")
assert len(known) > 5 and len(code) > 50, "the patterns match nothing"
print("\n".join(bad) or f"{len(known)} keys, {len(pages)} pages")
sys.exit(1 if bad else 0)
