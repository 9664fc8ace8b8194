"""Every bibliography key that a header, source or page cites exists, and every relative link in the documentation leads somewhere."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
known = set(re.findall(r"^@\w+\{(\w+),", (root / "docs/references.bib").read_text(), re.M))
bad = []
pages = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
code = [f for part in ["lib", "estimators", "analysis", "validation", "cli"] for pattern in ["**/*.hpp", "**/*.cpp"] for f in (root / part).glob(pattern)]
for file in pages + code:
    text = file.read_text()
    for key in re.findall(r"\[([A-Z][A-Za-z]+(?:19|20)\d\d[a-z]?)\]", text):
        if key not in known:
            bad.append(f"{file.relative_to(root)}: [{key}] is not in docs/references.bib")
for page in pages:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in link and not (page.parent / link).exists():
            bad.append(f"{page.relative_to(root)}: the link {link} leads nowhere")
assert len(known) > 5 and len(code) > 50, "the patterns match nothing"
print("\n".join(bad) or f"{len(known)} keys, {len(pages)} pages")
sys.exit(1 if bad else 0)
