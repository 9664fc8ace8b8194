#include <jko/core/error.hpp>
#include <jko/io/csv.hpp>
#include <jko/io/npy.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

using namespace jko;

namespace {

template <class T>
std::string file(const std::string& dictionary, std::initializer_list<T> numbers, char version = 1) {
  std::string header = dictionary;
  header.append(117 - header.size(), ' ');
  header += '\n';
  std::string out = "\x93NUMPY";
  out += version;
  out += '\0';
  out += static_cast<char>(header.size());
  out.append(version == 1 ? 1 : 3, '\0');
  out += header;
  for (const T x : numbers) {
    char bytes[sizeof(T)];
    std::memcpy(bytes, &x, sizeof(T));
    out.append(bytes, sizeof(T));
  }
  return out;
}

std::string message(const std::string& bytes) {
  try {
    (void)parse_npy(bytes, "a.npy");
  } catch (const ParseError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("an array round-trips every bit, and its data begin at a multiple of 64") {
  Matrix values(2, 3);
  values << 0.1, 1.0 / 3, -1e-300, 12345678.9, INFINITY, -0.0;
  const std::string bytes = format_npy(values);
  CHECK((bytes.size() - 6 * 8) % 64 == 0);
  const Matrix back = parse_npy(bytes, "memory");
  CHECK(std::memcmp(back.data(), values.data(), 6 * 8) == 0);
  // NumPy's own header for this shape.
  CHECK(bytes.substr(10, 61) == "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }  ");
}

TEST_CASE("types, orders and versions") {
  const Matrix expected{{1.0, 2.0}, {3.0, 4.0}};
  CHECK(parse_npy(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", {1, 2, 3, 4}), "m") == expected);
  CHECK(parse_npy(file<double>("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }", {1, 3, 2, 4}), "m") == expected);
  CHECK(parse_npy(file<std::int64_t>("{'descr': '<i8', 'fortran_order': False, 'shape': (2, 2), }", {1, 2, 3, 4}), "m") == expected);
  CHECK(parse_npy(file<float>("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }", {1, 2, 3, 4}, 2), "m") == expected);
  CHECK(parse_npy(file<std::int32_t>("{'shape': (2, 2), 'fortran_order': False, 'descr': '<i4'}", {1, 2, 3, 4}), "m") == expected);
  const Matrix column = parse_npy(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", {1, 2, 3}), "m");
  CHECK(column.rows() == 3);
  CHECK(column.cols() == 1);
}

TEST_CASE("bad arrays are one line") {
  CHECK(message("hello") == "a.npy: this is no NPY file");
  CHECK(message(file<double>("{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }", {1})) == "a.npy: the NPY array has type '>f8', but must be '<f8', '<f4', '<i8' or '<i4'");
  CHECK(message(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", {1, 2, 3})) == "a.npy: the NPY array has 2 x 2 numbers, but the file holds 3");
  CHECK(message(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 1), }", {1})) == "a.npy: the NPY array has 3 dimensions, but must have 1 or 2");
  CHECK(message(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999, 9999999999), }", {1})) != "");
  CHECK(message(file<double>("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999999, 2), }", {1})) == "a.npy: the NPY array's shape is too large");
  CHECK(message(file<double>("{'fortran_order': False, 'shape': (1,), }", {1})) == "a.npy: the NPY header has no 'descr'");
  const std::string whole = format_npy(Matrix::Ones(2, 2));
  for (std::size_t cut = 0; cut < whole.size(); ++cut) CHECK(message(whole.substr(0, cut)) != "");
}

TEST_CASE("missing cells of a CSV file are NaN where asked for") {
  const CsvTable table = parse_csv("t,x\n0,1\n1,\n2,NA\n3,nan\n4,5\n", "m", Missing::nan);
  CHECK(table.values.rows() == 5);
  CHECK(std::isnan(table.values(1, 1)));
  CHECK(std::isnan(table.values(2, 1)));
  CHECK(std::isnan(table.values(3, 1)));
  CHECK(table.values(4, 1) == 5);
  CHECK_THROWS_AS((void)parse_csv("t,x\n0,inf\n", "m", Missing::nan), ParseError);
}
