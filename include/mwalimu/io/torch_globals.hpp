// io/torch_globals: the Python names that files of weights may mention, and what they stand for
// here.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "mwalimu/io/dtype.hpp"

namespace mwalimu::io::detail {

/// The element type of a class such as torch.FloatStorage; nothing for another name.
constexpr std::optional<Dtype> dtype_of_storage(std::string_view name) {
  struct Entry {
    std::string_view name;
    Dtype dtype;
  };
  constexpr std::array<Entry, 8> kStorages{{{"torch.HalfStorage", Dtype::f16},
                                            {"torch.BFloat16Storage", Dtype::bf16},
                                            {"torch.FloatStorage", Dtype::f32},
                                            {"torch.DoubleStorage", Dtype::f64},
                                            {"torch.LongStorage", Dtype::i64},
                                            {"torch.IntStorage", Dtype::i32},
                                            {"torch.ByteStorage", Dtype::u8},
                                            {"torch.BoolStorage", Dtype::boolean}}};
  for (const Entry& entry : kStorages) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

/// The class whose elements are of that type.
constexpr std::string_view storage_class(Dtype dtype) {
  constexpr std::array<std::string_view, 8> kNames{
      "HalfStorage", "BFloat16Storage", "FloatStorage", "DoubleStorage",
      "LongStorage", "IntStorage",      "ByteStorage",  "BoolStorage"};
  return kNames[static_cast<std::size_t>(dtype)];
}

/// Calls that make a tensor out of a storage: what their arguments are.
enum class TensorCall {
  none,
  rebuild,    ///< (storage, offset, shape, strides, ...)
  wrapped,    ///< (tensor, ...)
  subclass,   ///< (class, storage, offset, shape, strides, ...)
  delegated,  ///< (function, class, arguments, state)
};

constexpr TensorCall tensor_call(std::string_view name) {
  if (name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_tensor") {
    return TensorCall::rebuild;
  }
  if (name == "torch._utils._rebuild_parameter" ||
      name == "torch._utils._rebuild_parameter_with_state") {
    return TensorCall::wrapped;
  }
  if (name == "fastai.torch_core._fa_rebuild_tensor") return TensorCall::subclass;
  if (name == "torch._tensor._rebuild_from_type_v2") return TensorCall::delegated;
  return TensorCall::none;
}

/// Dictionaries by another name.
constexpr bool is_dict_class(std::string_view name) {
  return name == "collections.OrderedDict" || name == "collections.defaultdict" ||
         name == "collections.Counter" || name == "builtins.dict" || name == "__builtin__.dict";
}

/// Names that weights, optimisers' states and the notes beside them consist of. None is ever
/// imported or called: those that are no dictionary and no tensor stay objects that nobody asks.
constexpr bool torch_global_allowed(std::string_view name) {
  constexpr std::array kInert{
      std::string_view("torch.Size"), std::string_view("torch.device"),
      std::string_view("torch.Tensor"), std::string_view("torch.nn.parameter.Parameter"),
      std::string_view("torch.nn.parameter.Buffer"),
      // Element types that are named but not held, so that the error speaks of the tensor.
      std::string_view("torch.ShortStorage"), std::string_view("torch.CharStorage"),
      std::string_view("torch.ComplexFloatStorage"), std::string_view("torch.ComplexDoubleStorage"),
      std::string_view("torch.storage.UntypedStorage"),
      std::string_view("torch._utils._rebuild_tensor_v3"),
      std::string_view("torch._utils._rebuild_qtensor"),
      std::string_view("torch._utils._rebuild_sparse_tensor"), std::string_view("torch.float16"),
      std::string_view("torch.bfloat16"), std::string_view("torch.float32"),
      std::string_view("torch.float64"), std::string_view("torch.uint8"),
      std::string_view("torch.int32"), std::string_view("torch.int64"),
      std::string_view("torch.bool"),
      // Notes of training programs.
      std::string_view("argparse.Namespace"), std::string_view("fastcore.foundation.L"),
      std::string_view("fastai.torch_core.TensorBase"), std::string_view("builtins.set"),
      std::string_view("builtins.object"), std::string_view("builtins.slice"),
      std::string_view("builtins.complex"), std::string_view("builtins.bytearray"),
      std::string_view("__builtin__.set"), std::string_view("__builtin__.object"),
      std::string_view("__builtin__.slice"), std::string_view("__builtin__.complex"),
      std::string_view("__builtin__.bytearray"), std::string_view("_codecs.encode"),
      std::string_view("copy_reg._reconstructor"), std::string_view("copyreg._reconstructor"),
      std::string_view("numpy.core.multiarray.scalar"), std::string_view("numpy.dtype"),
      std::string_view("numpy._core.multiarray.scalar"), std::string_view("pathlib.PosixPath"),
      std::string_view("pathlib.WindowsPath")};
  return dtype_of_storage(name) || tensor_call(name) != TensorCall::none || is_dict_class(name) ||
         std::find(kInert.begin(), kInert.end(), name) != kInert.end();
}

}  // namespace mwalimu::io::detail
