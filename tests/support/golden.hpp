// support/golden: the reference numbers, their inputs (rebuilt by the fill rule) and tolerances.
//
//     TEST(LinearGolden, MatchesEveryCase) {
//       MWALIMU_GOLDEN_CASES(cases, "linear");            // skips, with the reason, where absent
//       for (const golden::Case& c : cases) {
//         SCOPED_TRACE(c.id());
//         const auto x = c.fill("input", {c.at("B"), c.at("n_in")}, golden::Fill::input);
//         ...
//         EXPECT_TRUE(c.near("y", test::to_double(y)));   // by the case's own tolerance
//       }
//     }
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mwalimu/core/check.hpp"
#include "mwalimu/io/file.hpp"
#include "mwalimu/io/safetensors.hpp"
#include "support/compare.hpp"

namespace mwalimu::test::golden {

using Shape = std::vector<std::int64_t>;

/// MWALIMU_GOLDEN, else the folder beside the sources.
inline std::filesystem::path folder() {
  if (const char* named = std::getenv("MWALIMU_GOLDEN"); named != nullptr && *named != '\0') {
    return named;
  }
  return std::filesystem::path(MWALIMU_SOURCE_DIR) / ".." / "shared" / "golden";
}

/// What the numbers of a filled tensor look like.
enum class Fill {
  weight,  ///< (2u - 1) sqrt(3 / prod(shape[1:])): convolutions, linear layers, prototypes
  bn_w,    ///< 1 + 0.1 (2u - 1): batch norm's weight
  small,   ///< 0.1 (2u - 1): batch norm's bias, running_mean, linear bias
  var,     ///< 1 + 0.5 u: running_var
  input,   ///< (2u - 1) sqrt(3): inputs, upstream gradients
  unit,    ///< u
};

inline std::uint64_t fill_seed(std::string_view text) {  // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

/// Element i of a stream, in [0, 1): the top 24 bits of splitmix64.
inline double fill_uniform(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = seed + i + 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) * 0x1.0p-24;
}

/// The tensor `name` of the golden programs, row-major; the same bits on every machine.
inline std::vector<float> fill(std::string_view name, const Shape& shape, Fill kind,
                               std::string_view salt = "") {
  const std::uint64_t seed = fill_seed(std::string(salt) + std::string(name));
  std::int64_t count = 1, fan_in = 1;
  for (const std::int64_t extent : shape) count *= extent;
  for (std::size_t d = 1; d < shape.size(); ++d) fan_in *= shape[d];
  const double bound = std::sqrt(3.0 / static_cast<double>(fan_in));
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double u = fill_uniform(seed, i), v = 2 * u - 1;
    double value = u;
    switch (kind) {
      case Fill::weight:
        value = v * bound;
        break;
      case Fill::bn_w:
        value = 1 + 0.1 * v;
        break;
      case Fill::small:
        value = 0.1 * v;
        break;
      case Fill::var:
        value = 1 + 0.5 * u;
        break;
      case Fill::input:
        value = v * std::sqrt(3.0);
        break;
      case Fill::unit:
        break;
    }
    values[i] = static_cast<float>(value);
  }
  return values;
}

/// The kind by the name that the manifest gives it.
inline Fill fill_kind(std::string_view name) {
  static const std::map<std::string_view, Fill> kinds{
      {"weight", Fill::weight}, {"bn_w", Fill::bn_w},   {"small", Fill::small},
      {"var", Fill::var},       {"input", Fill::input}, {"unit", Fill::unit}};
  const auto it = kinds.find(name);
  require<ValueError>(it != kinds.end(), "golden: no fill kind '", name, "'");
  return it->second;
}

/// What a parameter or buffer is filled with, by its PyTorch name and shape: matrices and filters
/// are weights, a vector named weight is batch norm's, running_var is a variance, the rest is
/// small.
inline Fill fill_kind_of(std::string_view name, const Shape& shape) {
  if (shape.size() > 1) return Fill::weight;
  if (name.ends_with("running_var")) return Fill::var;
  return name.ends_with("weight") ? Fill::bn_w : Fill::small;
}

/// A stored reference tensor: any element type, as doubles.
struct Array {
  Shape shape;
  std::vector<double> values;
};

inline Array to_array(const io::TensorInfo& tensor) {
  switch (tensor.dtype) {
    case io::Dtype::f32:
      return {tensor.shape, to_double(tensor.values<float>())};
    case io::Dtype::f64:
      return {tensor.shape, tensor.values<double>()};
    case io::Dtype::i64:
      return {tensor.shape, to_double(tensor.values<std::int64_t>())};
    case io::Dtype::i32:
      return {tensor.shape, to_double(tensor.values<std::int32_t>())};
    case io::Dtype::u8:
      return {tensor.shape, to_double(tensor.values<std::uint8_t>())};
    default:
      mwalimu::detail::fail<FileError>("golden: no tensor is of type ",
                                       io::dtype_name(tensor.dtype));
  }
}

/// @throws FileError   the manifest is missing or malformed.
/// @throws ValueError  its version is not the one these tests know.
inline nlohmann::json read_manifest(const std::filesystem::path& path) {
  auto json = nlohmann::json::parse(io::read_file(path), nullptr, false);
  require<FileError>(json.is_object() && json.contains("cases") && json.at("cases").is_array(),
                     "golden: ", path.string(), " is not a manifest");
  const auto version = json.value("version", nlohmann::json());
  require<ValueError>(version == 1, "golden: ", path.string(), " has version ", version.dump(),
                      ", these tests know 1");
  return json;
}

/// The manifest of folder(), read once.
inline const nlohmann::json& manifest() {
  static const nlohmann::json loaded = read_manifest(folder() / "manifest.json");
  return loaded;
}

/// One reference computation: its fields in the manifest, its tensors in a file of its own.
class Case {
 public:
  explicit Case(nlohmann::json fields) : fields_(std::move(fields)) {}

  std::string id() const { return at("id"); }
  std::string kind() const { return at("kind"); }
  std::string salt() const { return fields_.value("salt", ""); }
  const nlohmann::json& fields() const { return fields_; }
  bool has(const char* field) const { return fields_.contains(field); }
  /// A field: `const int B = c.at("B")`. Throws where it is missing.
  const nlohmann::json& at(const char* field) const { return fields_.at(field); }

  /// The whole file, opened at the first use.
  const io::SafetensorsFile& file() const {
    if (!file_) file_ = std::make_shared<io::SafetensorsFile>(folder() / std::string(at("file")));
    return *file_;
  }
  bool has_tensor(std::string_view name) const { return file().find(name) != nullptr; }
  Array tensor(std::string_view name) const { return to_array(file().at(name)); }
  /// The one number of a tensor of one element.
  double scalar(std::string_view name) const {
    const Array array = tensor(name);
    require<ShapeError>(array.values.size() == 1, "golden: ", name, " is not one number");
    return array.values[0];
  }

  /// An input, rebuilt under this case's salt.
  std::vector<float> fill(std::string_view name, const Shape& shape, Fill kind) const {
    return golden::fill(name, shape, kind, salt());
  }

  /// True for a gradient that is zero in exact arithmetic: a bias in front of batch norm in
  /// training.
  bool is_zero_gradient(std::string_view name) const {
    if (!has("zero_grads")) return false;
    const auto& names = at("zero_grads");
    return std::any_of(names.begin(), names.end(),
                       [&](const nlohmann::json& it) { return it.get<std::string>() == name; });
  }
  /// How far float32 itself is from the reference: `sens` or `fp32_rel_err`. NaN where not stated.
  double sensitivity(std::string_view name) const { return stated("sens", name); }
  double fp32_rel_err(std::string_view name) const { return stated("fp32_rel_err", name); }

  /// EXPECT_TRUE(c.near("train.y", y)): `got` against the stored tensor by the tolerance that the
  /// case states. Zero gradients: 1e-4 absolute. `sens`: relative L2 at most max(2e-5, 10 sens);
  /// but a gradient whose sens passes 1e-3 flips with single ReLUs, there cosine >= 0.99 and the
  /// norm within 10 %. `fp32_rel_err`: largest error over largest value at most max(1e-5, 20 times
  /// it). A tensor with neither needs a tolerance of the test's own: near_l2 and its kin.
  testing::AssertionResult near(std::string_view name, std::span<const double> got) const {
    return near(name, got, tensor(name).values, name);
  }
  /// The same against `want`, with the tolerance stated under `tolerance_name`: for slices.
  testing::AssertionResult near(std::string_view name, std::span<const double> got,
                                std::span<const double> want,
                                std::string_view tolerance_name) const {
    return judge(got, want, tolerance_name) << " in " << id() << " " << name;
  }

 private:
  double stated(const char* table, std::string_view name) const {
    if (!has(table)) return std::nan("");
    const auto it = at(table).find(std::string(name));
    return it == at(table).end() ? std::nan("") : it->get<double>();
  }
  testing::AssertionResult judge(std::span<const double> got, std::span<const double> want,
                                 std::string_view name) const {
    if (is_zero_gradient(name)) return near_abs(got, want, 1e-4);
    if (const double sens = sensitivity(name); !std::isnan(sens)) {
      const bool gradient = name.find("grad") != std::string_view::npos;
      if (!gradient || sens <= 1e-3 || got.size() != want.size()) {
        return near_l2(got, want, std::max(2e-5, 10 * sens));
      }
      const double angle = cosine(got, want);
      const double ratio =
          std::sqrt(std::inner_product(got.begin(), got.end(), got.begin(), 0.0) /
                    std::inner_product(want.begin(), want.end(), want.begin(), 0.0));
      if (angle >= 0.99 && std::abs(ratio - 1) <= 0.1) return testing::AssertionSuccess();
      return testing::AssertionFailure() << "cosine " << angle << ", ratio of norms " << ratio;
    }
    if (const double rounding = fp32_rel_err(name); !std::isnan(rounding)) {
      return near_max(got, want, std::max(1e-5, 20 * rounding));
    }
    return testing::AssertionFailure() << "no tolerance is stated";
  }

  nlohmann::json fields_;
  mutable std::shared_ptr<io::SafetensorsFile> file_;
};

/// Every case of a kind, whatever its name, in the manifest's order.
inline std::vector<Case> cases(std::string_view kind) {
  std::vector<Case> found;
  for (const auto& fields : manifest().at("cases")) {
    if (fields.at("kind").get<std::string>() == kind) found.emplace_back(fields);
  }
  return found;
}

/// Why nothing can be compared: no such folder, or no case of the kind in it. Empty: all is there.
inline std::string why_absent(std::string_view kind) {
  if (!std::filesystem::exists(folder() / "manifest.json")) {
    return "no reference numbers in " + folder().string() + "; name their folder in MWALIMU_GOLDEN";
  }
  if (!kind.empty() && cases(kind).empty()) {
    return "no case of kind " + std::string(kind) + " in " + folder().string();
  }
  return "";
}

/// Ordered [name, shape] of an architecture: list is "params" or "buffers".
inline std::vector<std::pair<std::string, Shape>> arch_tensors(const std::string& arch,
                                                               const char* list) {
  return manifest().at("archs").at(arch).at(list).get<std::vector<std::pair<std::string, Shape>>>();
}

}  // namespace mwalimu::test::golden

namespace mwalimu {
namespace golden = test::golden;  // tests live in mwalimu::...: they say golden::Case
}

/// Declares `list`, all cases of a kind, or skips the test with the reason. The kind stands as a
/// literal on the same line: the test that every kind has a test looks for it there.
#define MWALIMU_GOLDEN_CASES(list, kind)                                                 \
  if (const std::string why = ::mwalimu::test::golden::why_absent(kind); !why.empty()) { \
    GTEST_SKIP() << why;                                                                 \
  }                                                                                      \
  const std::vector<::mwalimu::test::golden::Case> list = ::mwalimu::test::golden::cases(kind)
