#include <jko/core/error.hpp>
#include <jko/io/atomic_file.hpp>
#include <jko/io/csv.hpp>

#include <doctest/doctest.h>

#include <string>

using namespace jko;

TEST_CASE("a table round-trips every bit") {
  Matrix values(2, 2);
  values << 0.1, 1.0 / 3, -1e-300, 12345678.9;
  const CsvTable table = parse_csv(format_csv({"t", "x"}, values), "memory");
  CHECK(table.columns == std::vector<std::string>{"t", "x"});
  CHECK(table.values == values);
}

TEST_CASE("bad tables are one line with file and position") {
  const auto message = [](std::string_view text) -> std::string {
    try {
      (void)parse_csv(text, "d.csv");
    } catch (const ParseError& e) {
      return e.what();
    }
    return "";
  };
  CHECK(message("") == "d.csv: the file is empty");
  CHECK(message("t,x\n") == "d.csv:1: there are no rows under the header");
  CHECK(message("t,x\n1,\n") == "d.csv:2:3: column 'x' has a gap");
  CHECK(message("t,x\n1,abc\n") == "d.csv:2:3: column 'x' has 'abc', but must have a number");
  CHECK(message("t,x\n1,nan\n") == "d.csv:2:3: column 'x' has nan, but must be finite");
  CHECK(message("t,x\n1\n") == "d.csv:2: 1 cells, but the header has 2");
  CHECK(message("t,x\n1,2,3\n") == "d.csv:2:5: more cells than the header's 2");
  CHECK(message("t,t\n1,2\n") == "d.csv:1:3: column 't' appears twice");
  CHECK(parse_csv("\xEF\xBB\xBF# note\r\nt,x\r\n1,2\r\n", "d.csv").values(0, 1) == 2);
}

TEST_CASE("an unwritable path throws and leaves nothing") {
  CHECK_THROWS_AS(write_atomically("/proc/no/such/file", "x"), IoError);
}
