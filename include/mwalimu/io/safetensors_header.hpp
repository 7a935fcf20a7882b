// io/safetensors_header: the JSON header of a safetensors file, read strictly and in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"

namespace mwalimu::io::detail {

/// @throws ValueError  the text is not UTF-8.
inline std::string json_string(const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    mwalimu::detail::fail<ValueError>("write_safetensors: ", quoted_text(text), " is not UTF-8");
  }
}

/// One tensor as the header states it, its numbers not yet checked against the data.
struct HeaderEntry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

/// Receives the header's JSON event by event: the order and the repetition of names, which a parsed
/// tree would lose, are seen, and memory stays that of the result.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<HeaderEntry> entries;
  std::map<std::string, std::string, std::less<>> metadata;
  bool complete = false;
  std::string error = "has a header that ends early";

  bool start_object(std::size_t) override {
    switch (where_) {
      case Where::outside:
        where_ = Where::names;
        return true;
      case Where::tensor_value:
        where_ = Where::fields;
        seen_ = 0;
        return true;
      case Where::metadata_value:
        where_ = Where::metadata_keys;
        return true;
      default:
        return unexpected("an object");
    }
  }
  bool key(std::string& text) override {
    switch (where_) {
      case Where::names:
        if (!names_.insert(text).second) return fail("names " + quoted_text(text) + " twice");
        if (text == "__metadata__") {
          where_ = Where::metadata_value;
        } else {
          if (text.empty()) return fail("has a tensor without a name");
          entries.emplace_back().name = text;
          where_ = Where::tensor_value;
        }
        return true;
      case Where::fields:
        return field(text);
      case Where::metadata_keys:
        if (metadata.contains(text)) return fail("names metadata " + quoted_text(text) + " twice");
        metadata_key_ = text;
        where_ = Where::metadata_text;
        return true;
      default:
        return unexpected("a name");
    }
  }
  bool string(std::string& text) override {
    if (where_ == Where::dtype) {
      entries.back().dtype = std::move(text);
      where_ = Where::fields;
      return true;
    }
    if (where_ == Where::metadata_text) {
      metadata.emplace(std::move(metadata_key_), std::move(text));
      where_ = Where::metadata_keys;
      return true;
    }
    return unexpected("text");
  }
  bool start_array(std::size_t) override {
    if (where_ == Where::shape) {
      where_ = Where::extents;
      return true;
    }
    if (where_ == Where::offsets) {
      where_ = Where::offset_values;
      offset_count_ = 0;
      return true;
    }
    return unexpected("an array");
  }
  bool number_unsigned(std::uint64_t value) override {
    if (where_ == Where::extents &&
        value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      entries.back().shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (where_ == Where::offset_values && offset_count_ < 2) {
      (offset_count_++ == 0 ? entries.back().begin : entries.back().end) = value;
      return true;
    }
    return unexpected("a number");
  }
  bool end_array() override {
    if (where_ == Where::offset_values && offset_count_ != 2) {
      return fail("wants two data_offsets for tensor " + quoted_text(entries.back().name));
    }
    where_ = Where::fields;
    return true;
  }
  bool end_object() override {
    switch (where_) {
      case Where::fields:
        if (seen_ != 7) {
          return fail("wants dtype, shape and data_offsets for tensor " +
                      quoted_text(entries.back().name));
        }
        where_ = Where::names;
        return true;
      case Where::metadata_keys:
        where_ = Where::names;
        return true;
      default:
        complete = true;
        where_ = Where::outside;
        return true;
    }
  }
  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(std::int64_t) override { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { return unexpected("a fraction"); }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    return fail("has a header that is not JSON at its byte " + std::to_string(position));
  }

 private:
  enum class Where {
    outside,
    names,
    tensor_value,
    fields,
    dtype,
    shape,
    extents,
    offsets,
    offset_values,
    metadata_value,
    metadata_keys,
    metadata_text
  };

  bool field(const std::string& text) {
    const int index = text == "dtype" ? 0 : text == "shape" ? 1 : text == "data_offsets" ? 2 : 3;
    const std::string& name = entries.back().name;
    if (index == 3)
      return fail("has an unknown field " + quoted_text(text) + " in " + quoted_text(name));
    if (seen_ & 1 << index)
      return fail("repeats " + quoted_text(text) + " in " + quoted_text(name));
    seen_ |= 1 << index;
    where_ = index == 0 ? Where::dtype : index == 1 ? Where::shape : Where::offsets;
    return true;
  }
  bool unexpected(const char* what) {
    return fail(std::string("has ") + what + " in its header where none belongs" +
                (entries.empty() ? "" : ", at tensor " + quoted_text(entries.back().name)));
  }
  bool fail(std::string text) {
    error = std::move(text);
    return false;
  }

  Where where_ = Where::outside;
  int seen_ = 0;
  int offset_count_ = 0;
  std::string metadata_key_;
  std::unordered_set<std::string> names_;
};

}  // namespace mwalimu::io::detail
