"""The program printed in README.md is tests/consumer/main_job.cpp, to the letter."""
import pathlib
import sys

root = pathlib.Path(sys.argv[1])
program = (root / "tests/consumer/main_job.cpp").read_text(encoding="utf-8")
readme = (root / "README.md").read_text(encoding="utf-8")
if "```cpp\n" + program + "```" not in readme:
    sys.exit("README.md does not show tests/consumer/main_job.cpp as it is")
