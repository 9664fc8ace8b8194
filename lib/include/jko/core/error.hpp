#pragma once
/// What jko throws. Misuse throws; a numerical outcome never does (see status.hpp).
#include <stdexcept>
#include <string>
#include <string_view>

namespace jko {

/// Base of every exception of the library; what() is one line that names the field or the file and line.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument's value is outside its domain ("quantile_step: step size h is -0.1, but must be positive").
class DomainError : public Error {
 public:
  using Error::Error;
};

/// Sizes or dimensions do not fit each other.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// Text could not be understood. Lines and columns count from 1; 0 means unknown.
class ParseError : public Error {
 public:
  /// what() reads "source:line:column: message", without the parts that are unknown.
  ParseError(std::string_view source, long line, long column, std::string_view message);
  [[nodiscard]] long line() const noexcept { return line_; }
  [[nodiscard]] long column() const noexcept { return column_; }

 private:
  long line_;
  long column_;
};

/// A file could not be read or written.
class IoError : public Error {
 public:
  using Error::Error;
};

/// Thrown by result.require() when a numerical outcome is not a success.
class NotConverged : public Error {
 public:
  using Error::Error;
};

}  // namespace jko
