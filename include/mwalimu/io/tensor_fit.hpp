// io/tensor_fit: whether tensors are those that a network has, and which are not.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mwalimu/io/tensor_info.hpp"

namespace mwalimu::io {

/// "[64, 3, 7, 7]".
inline std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t d = 0; d < shape.size(); ++d) {
    text.append(d > 0 ? ", " : "").append(std::to_string(shape[d]));
  }
  return text + "]";
}

/// "3 missing (a, b, c)": as many names as `shown`, then "...".
inline std::string counted_names(std::span<const std::string> names, std::string_view what,
                                 std::size_t shown = 8) {
  std::string text = std::to_string(names.size());
  text.append(" ").append(what).append(" (");
  for (std::size_t i = 0; i < names.size() && i < shown; ++i) {
    text.append(i > 0 ? ", " : "").append(names[i]);
  }
  return text + (names.size() > shown ? ", ...)" : ")");
}

struct TensorFit {
  std::vector<std::string> missing, unexpected;
  std::vector<std::string> misshapen;  ///< "0.0.weight is [1, 2], want [3, 4]"

  bool perfect() const { return missing.empty() && unexpected.empty() && misshapen.empty(); }
  /// One line with the counts and the first names of each.
  std::string text(std::size_t shown = 8) const {
    std::string out;
    const auto list = [&](const std::vector<std::string>& names, std::string_view what) {
      if (!names.empty()) out.append(out.empty() ? "" : "; ") += counted_names(names, what, shown);
    };
    list(missing, "missing");
    list(misshapen, "of another shape");
    list(unexpected, "unexpected");
    return out;
  }
};

/// Compares names and shapes; element types may differ.
inline TensorFit fit_tensors(std::span<const TensorInfo> have, std::span<const TensorInfo> want) {
  std::unordered_map<std::string_view, const TensorInfo*> by_name;
  for (const TensorInfo& tensor : have) by_name.emplace(tensor.name, &tensor);
  TensorFit fit;
  for (const TensorInfo& tensor : want) {
    const auto found = by_name.find(tensor.name);
    if (found == by_name.end()) {
      fit.missing.push_back(tensor.name);
      continue;
    }
    if (found->second->shape != tensor.shape) {
      fit.misshapen.push_back(tensor.name + " is " + shape_text(found->second->shape) + ", want " +
                              shape_text(tensor.shape));
    }
    by_name.erase(found);
  }
  for (const TensorInfo& tensor : have) {
    if (by_name.contains(tensor.name)) fit.unexpected.push_back(tensor.name);
  }
  return fit;
}

}  // namespace mwalimu::io
