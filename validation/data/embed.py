"""Turns a text file into a C++ source that defines it as a string: embed.py INPUT OUTPUT SYMBOL."""
import sys

source, target, symbol = sys.argv[1:]
with open(source, encoding="utf-8") as f:
    lines = f.read().splitlines()
with open(target, "w", encoding="utf-8") as f:
    f.write("#include <string_view>\n\nnamespace jko::validation {\n\n")
    f.write(f"extern const std::string_view {symbol};\nconst std::string_view {symbol} =\n")
    f.writelines('    "' + line.replace("\\", "\\\\").replace('"', '\\"') + '\\n"\n' for line in lines)
    f.write("    ;\n\n}  // namespace jko::validation\n")
